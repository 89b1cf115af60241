import { setTimeout as pause } from 'node:timers/promises'
import { Type } from '@sinclair/typebox'
import { ping } from '../../src/database/database.ts'
import { databaseUnavailable, shuttingDown } from '../../src/http/problems.ts'
import { strict, type Typed } from '../typed.ts'

export interface OperationsOptions {
  /** Whether the service is shutting down. */
  isDraining: () => boolean
  /** Whether this port serves the metrics to everyone. */
  servesMetrics: boolean
}

const pingTimeoutMs = 1_500
const probe = { limit: 'none', isProbe: true } as const

/** The routes for operators: health and metrics. */
const operations: Typed<OperationsOptions> = async (app, { isDraining, servesMetrics }) => {
  app.get('/livez', {
    schema: {
      operationId: 'getLiveness',
      tags: ['Operation'],
      summary: 'Check that the process runs',
      security: [],
      response: {
        200: strict({ status: Type.Literal('live') }, {
          description: 'The process runs.', examples: [{ status: 'live' }]
        })
      }
    },
    config: probe
  }, async () => ({ status: 'live' as const }))

  app.get('/readyz', {
    schema: {
      operationId: 'getReadiness',
      tags: ['Operation'],
      summary: 'Check that the service can serve requests',
      description: 'The service is ready when the database answers, its schema is up to date, the keys and' +
        ' revocations are loaded, and no shutdown has begun.',
      security: [],
      response: {
        200: strict({ status: Type.Literal('ready') }, {
          description: 'The service is ready.', examples: [{ status: 'ready' }]
        })
      }
    },
    config: { ...probe, problems: ['database_unavailable', 'shutting_down'] }
  }, async () => {
    await assertReady()
    return { status: 'ready' as const }
  })

  const assertReady = async () => {
    if (isDraining()) throw shuttingDown()
    if (!app.keyring.isLoaded() || !app.revocations.isLoaded()) {
      throw databaseUnavailable('the service has not started yet')
    }
    // The check must not wake the database.
    if (!app.idleness.isIdle || app.databaseOutage.isOngoing) await withTimeout(ping(app.db))
  }

  // Some balancers send `OPTIONS` unless they are told otherwise (HAProxy).
  const hidden = { schema: { hide: true }, config: probe }
  app.options('/livez', hidden, async () => ({ status: 'live' as const }))
  app.options('/readyz', hidden, async () => {
    await assertReady()
    return { status: 'ready' as const }
  })

  if (!servesMetrics) return
  app.get('/metrics', {
    schema: {
      operationId: 'getMetrics',
      tags: ['Operation'],
      summary: 'Read the metrics',
      description: 'The metrics for Prometheus. In production, this route exists only with' +
        ' `METRICS=public`. With `METRICS_PORT`, the metrics are on that port instead.',
      security: [],
      response: {
        200: {
          description: 'The metrics, in the text format of Prometheus.',
          content: {
            'text/plain': { schema: Type.String({ examples: ['latchkey_hashing_queue_depth 0\n'] }) }
          }
        }
      }
    },
    config: probe
  }, async (_request, reply) => reply.type(app.metrics.contentType).send(await app.metrics.text()))
}

/** Throws `database_unavailable` if the database does not answer in time. */
async function withTimeout (answer: Promise<unknown>): Promise<void> {
  answer.catch(() => {})
  const finished = new AbortController()
  const timeout = pause(pingTimeoutMs, undefined, { signal: finished.signal })
    .then(() => { throw databaseUnavailable('the database does not answer') })
  timeout.catch(() => {})
  try {
    await Promise.race([answer, timeout])
  } finally {
    finished.abort()
  }
}

export default operations
