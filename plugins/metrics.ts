import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client'
import { counters } from '../src/capabilities.ts'
import { Problem } from '../src/http/problem.ts'
import { shareRendering } from '../src/http/shared-rendering.ts'
import { jobKinds } from '../src/jobs/queue.ts'

declare module 'fastify' {
  interface FastifyInstance {
    metrics: {
      /** All metrics in Prometheus' text format, whose media type is `contentType`. */
      text: () => Promise<string>
      contentType: string
    }
  }
  interface FastifyContextConfig {
    /** The counter of the route's requests by result. */
    counted?: 'logins' | 'refreshes'
  }
}

/** The metrics of the service. They name no users, and each label has a fixed set of values. */
export default fp(async function metrics (app) {
  const registry = new Registry()
  observeRequests(app, registry)
  observeResources(app, registry)
  observeQueues(app, registry)
  observeHashing(app, registry)
  observeCapabilities(app, registry)
  // The default metrics describe the process until it ends, so only a server that listens collects them.
  app.addHook('onListen', async () => collectDefaultMetrics({ register: registry }))
  app.decorate(
    'metrics', { text: shareRendering(() => registry.metrics()), contentType: registry.contentType }
  )
}, { name: 'metrics' })

function observeRequests (app: FastifyInstance, registry: Registry): void {
  const registers = [registry]
  const duration = new Histogram({
    name: 'latchkey_http_request_duration_seconds',
    help: 'Time from the headers of a request to the end of its response. ' +
      'The status is "gone" if the client disconnected before it.',
    labelNames: ['method', 'route', 'status'],
    registers
  })
  const counters = {
    logins: new Counter({
      name: 'latchkey_logins_total',
      help: 'Sign-ins with a password: "ok", or the code of the problem.',
      labelNames: ['result'],
      registers
    }),
    refreshes: new Counter({
      name: 'latchkey_refreshes_total',
      help: 'Refreshes: "ok", "replayed" if a superseded token was reused and its session has ended, ' +
        'or the code of the problem.',
      labelNames: ['result'],
      registers
    })
  }
  const results = new WeakMap<FastifyRequest, string>()
  app.addHook('onError', (request, _reply, error, done) => {
    if (request.routeOptions.config.counted && error instanceof Problem) {
      results.set(request, isReuse(error.cause) ? 'replayed' : error.code)
    }
    done()
  })
  app.addHook('onRequest', (request, reply, done) => {
    const { method, routeOptions: { url: route = 'none', config: { endless, counted } } } = request
    reply.raw.once('close', () => {
      const status = statusOf(reply)
      if (!endless) duration.observe({ method, route, status }, reply.elapsedTime / 1_000)
      if (counted) counters[counted].inc({ result: results.get(request) ?? resultOf(status) })
    })
    done()
  })
}

const statusOf = ({ raw }: FastifyReply): string => raw.headersSent ? String(raw.statusCode) : 'gone'

/**
 * Returns the result of a request without a Problem: success, an invalid request, or an unexpected error.
 */
function resultOf (status: string): string {
  if (/^[123]/.test(status)) return 'ok'
  if (status.startsWith('4')) return 'validation_failed'
  return status.startsWith('5') ? 'internal_error' : status
}

const isReuse = (cause: unknown): boolean =>
  typeof cause === 'object' && cause !== null && 'replayed' in cause && cause.replayed === true

/** Adds a gauge that calls `read` when the metrics are read. */
function addGauge (registry: Registry, name: string, help: string, read: () => number): void {
  registry.registerMetric(new Gauge({ name, help, registers: [], collect () { this.set(read()) } }))
}

/** Adds a counter whose values are copied from `read` when the metrics are read. */
function addCopiedCounter (registry: Registry, options: {
  name: string,
  help: string,
  labelNames: string[],
  read: () => Array<{ labels: Record<string, string>, count: number }>
}): void {
  const { read, ...counterOptions } = options
  registry.registerMetric(new Counter({
    ...counterOptions,
    registers: [],
    collect () {
      this.reset()
      for (const { labels, count } of read()) this.inc(labels, count)
    }
  }))
}

function observeResources (app: FastifyInstance, registry: Registry): void {
  addGauge(
    registry, 'latchkey_database_connections', 'Connections to the database.', () => app.db.connections.total
  )
  addGauge(registry, 'latchkey_database_connections_idle', 'Connections to the database that are not in use.',
    () => app.db.connections.idle)
  addGauge(registry, 'latchkey_database_queue_depth', 'Requests that wait for a connection to the database.',
    () => app.db.connections.waiting)
  addGauge(registry, 'latchkey_clock_offset_seconds', "The database's clock minus that of this machine.",
    () => app.keyring.clockOffsetMs() / 1_000)
  addGauge(registry, 'latchkey_rate_limits_shared',
    '1 while the instances count requests together in Redis, 0 otherwise.',
    () => Number(app.rateLimiting.shared))
  addCopiedCounter(registry, {
    name: 'latchkey_rate_limited_total',
    help: 'Requests that were refused because their network was over the limit of the class.',
    labelNames: ['class'],
    read: () => Object.entries(app.rateLimiting.refused).map(
      ([limit, count]) => ({ labels: { class: limit }, count })
    )
  })
}

function observeQueues (app: FastifyInstance, registry: Registry): void {
  function addBacklog (name: string, help: string, value: 'jobs' | 'lateSeconds'): void {
    registry.registerMetric(new Gauge({
      name,
      help,
      labelNames: ['kind'],
      registers: [],
      collect () {
        for (const kind of jobKinds) {
          this.set({ kind }, app.jobs.backlog().find(each => each.kind === kind)?.[value] ?? 0)
        }
      }
    }))
  }
  addBacklog('latchkey_jobs', 'Mails ("mail"), deliveries ("webhook") and back-channel logouts that all' +
    ' instances together have yet to send, as of at most 15 seconds ago. Counts up to 10,000 of each kind,' +
    ' and up to 10,000 deliveries of each webhook.', 'jobs')
  addBacklog('latchkey_jobs_oldest_seconds', 'Age of the oldest job, except those of paused webhooks.',
    'lateSeconds')
}

/** Adds the counters that the capabilities declare. */
function observeCapabilities (app: FastifyInstance, registry: Registry): void {
  for (const { name, help, labelNames, topic } of counters) {
    const counter = new Counter({ name, help, labelNames, registers: [registry] })
    app.addHook('onReady', async () => {
      app.db.subscribe(topic, (labels: Record<string, string>) => counter.inc(labels))
    })
  }
}

function observeHashing (app: FastifyInstance, registry: Registry): void {
  const registers = [registry]
  addGauge(registry, 'latchkey_hashing_queue_depth', 'Requests that wait for password hashing.',
    () => app.passwords.queue.waiting)
  addGauge(registry, 'latchkey_hashing_running', 'Passwords that are being hashed.',
    () => app.passwords.queue.running)
  const waits = new Histogram({
    name: 'latchkey_hashing_wait_seconds', help: 'Time that a request waited for password hashing.', registers
  })
  const hashes = new Histogram({
    name: 'latchkey_hashing_duration_seconds', help: 'Time to hash a password.', registers
  })
  const refused = new Counter({
    name: 'latchkey_hashing_refused_total',
    help: 'Requests that were not hashed: the queue was "full", or their network\'s "share" of it was, the ' +
      '"wait" would have been too long, it was too "late", or the client had "gone".',
    labelNames: ['reason'],
    registers
  })
  app.addHook('onReady', async () => {
    app.passwords.queue.observe({
      started: seconds => waits.observe(seconds),
      ended: seconds => hashes.observe(seconds),
      refused: reason => refused.inc({ reason })
    })
    const build = new Gauge({
      name: 'latchkey_argon2_build_info',
      help: 'The build of argon2 in use.',
      labelNames: ['build'],
      registers
    })
    build.set({ build: app.passwords.build }, 1)
  })
}
