import { Type } from '@sinclair/typebox'
import { ping } from '../../src/database/database.ts'
import { databaseUnavailable, shuttingDown } from '../../src/http/problem.ts'
import { strict, type Typed } from '../typed.ts'

export interface OperationsOptions {
  /** Whether the service is about to stop. */
  isDraining: () => boolean
  /** Whether the metrics are on this port, for everyone. */
  metrics: boolean
}

const patience = 1_500

/** For whoever runs the service. */
const operations: Typed<OperationsOptions> = async (app, { isDraining, metrics }) => {
  app.get('/livez', {
    schema: {
      operationId: 'getLiveness',
      tags: ['Operation'],
      summary: 'Whether the process is up',
      security: [],
      response: { 200: strict({ status: Type.Literal('live') }, { examples: [{ status: 'live' }] }) }
    },
    config: { limit: 'none' }
  }, async () => ({ status: 'live' as const }))

  app.get('/readyz', {
    schema: {
      operationId: 'getReadiness',
      tags: ['Operation'],
      summary: 'Whether requests can be served',
      description: 'The database answers, its schema is up to date, the keys are loaded, and the service is not about to stop.',
      security: [],
      response: { 200: strict({ status: Type.Literal('ready') }, { examples: [{ status: 'ready' }] }) }
    },
    config: { limit: 'none', problems: ['database_unavailable', 'shutting_down'] }
  }, async () => {
    if (isDraining()) throw shuttingDown()
    if (!app.keyring.isLoaded() || !app.revocations.isLoaded()) throw databaseUnavailable('the service has not started yet')
    await inTime(ping(app.db))
    return { status: 'ready' as const }
  })

  if (!metrics) return
  app.get('/metrics', {
    schema: {
      operationId: 'getMetrics',
      tags: ['Operation'],
      summary: 'What the service does, in numbers',
      description: 'For Prometheus. In production the route exists only with `METRICS=public`. With `METRICS_PORT` it is on that port instead.',
      security: [],
      response: { 200: { description: 'The metrics, in the text format of Prometheus.', content: { 'text/plain': { schema: Type.String({ examples: ['latchkey_hashing_queue_depth 0\n'] }) } } } }
    },
    config: { limit: 'none' }
  }, async (_request, reply) => reply.type(app.metrics.contentType).send(await app.metrics.text()))
}

async function inTime (answer: Promise<unknown>) {
  answer.catch(() => {})
  let timer: NodeJS.Timeout | undefined
  const late = new Promise((_resolve, reject) => { timer = setTimeout(() => reject(databaseUnavailable('the database does not answer')), patience) })
  try {
    await Promise.race([answer, late])
  } finally {
    clearTimeout(timer)
  }
}

export default operations
