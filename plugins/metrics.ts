import { setTimeout as pause } from 'node:timers/promises'
import type { FastifyReply, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client'
import { jobKinds } from '../src/jobs/queue.ts'
import { overloaded, Problem } from '../src/http/problem.ts'

declare module 'fastify' {
  interface FastifyInstance {
    metrics: {
      /** All of them, in Prometheus' text format, which `contentType` names. */
      text: () => Promise<string>
      contentType: string
    }
  }
  interface FastifyContextConfig {
    /** As what its requests are counted, by their result. */
    counted?: 'logins' | 'refreshes'
  }
}

/** What the service does, in numbers and without names: no label has more values than the code has words for. */
export default fp(async function metrics (app) {
  const registry = new Registry()
  const registers = [registry]

  const duration = new Histogram({ name: 'latchkey_http_request_duration_seconds', help: 'From a request\'s headers to the end of its answer; the status is "gone" where the client did not wait for one.', labelNames: ['method', 'route', 'status'], registers })
  const counters = {
    logins: new Counter({ name: 'latchkey_logins_total', help: 'Sign-ins by password: "ok", or the code of the problem.', labelNames: ['result'], registers }),
    refreshes: new Counter({ name: 'latchkey_refreshes_total', help: 'Refreshes: "ok", "replayed" where the token was a spent one and the session has ended, or the code of the problem.', labelNames: ['result'], registers })
  }
  const results = new WeakMap<FastifyRequest, string>()
  app.addHook('onError', (request, _reply, error, done) => {
    if (request.routeOptions.config.counted && error instanceof Problem) results.set(request, isReplay(error.cause) ? 'replayed' : error.code)
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

  const gauge = (name: string, help: string, value: () => number) =>
    new Gauge({ name, help, registers, collect () { this.set(value()) } })
  gauge('latchkey_database_connections', 'Connections to the database.', () => app.db.connections.total)
  gauge('latchkey_database_connections_idle', 'Those of them that nobody uses.', () => app.db.connections.idle)
  gauge('latchkey_database_queue_depth', 'Requests that wait for a connection to the database.', () => app.db.connections.waiting)
  gauge('latchkey_rate_limits_shared', 'Whether the instances count requests together now, in Redis.', () => Number(app.rateLimiting.shared))
  // eslint-disable-next-line no-new -- it is the registry's
  new Counter({
    name: 'latchkey_rate_limited_total',
    help: 'Requests refused because their network was over the limit of the class.',
    labelNames: ['class'],
    registers,
    collect () {
      this.reset()
      for (const [limit, count] of Object.entries(app.rateLimiting.refused)) this.inc({ class: limit }, count)
    }
  })
  // eslint-disable-next-line no-new -- it is the registry's
  new Counter({
    name: 'latchkey_mails_total',
    help: 'Mails by kind and result: "sent", "shown" in the log of development, "failed" where it is tried again, "limited" if too many were requested, or given up: "refused" by the recipient\'s server, "expired", "unreadable".',
    labelNames: ['kind', 'result'],
    registers,
    collect () {
      this.reset()
      for (const { count, ...labels } of app.mailer.counts) this.inc(labels, count)
    }
  })
  const backlog = (name: string, help: string, value: 'jobs' | 'late') => new Gauge({
    name,
    help,
    labelNames: ['kind'],
    registers,
    collect () {
      for (const kind of jobKinds) this.set({ kind }, app.jobs.backlog().find(one => one.kind === kind)?.[value] ?? 0)
    }
  })
  const jobsHelp = 'Mails ("mail") and deliveries ("webhook") still to be sent by all instances together, as of at most ' +
    '15 seconds ago. Counts up to 10,000 mails, and up to 10,000 deliveries of each webhook.'
  backlog('latchkey_jobs', jobsHelp, 'jobs')
  backlog('latchkey_jobs_oldest_seconds', 'Age of the oldest of them, without those that are kept for a paused webhook.', 'late')
  gauge('latchkey_hashing_queue_depth', 'Requests that wait until it is their turn to hash a password.', () => app.passwords.queue.waiting)
  gauge('latchkey_hashing_running', 'Passwords that are being hashed.', () => app.passwords.queue.running)

  const waits = new Histogram({ name: 'latchkey_hashing_wait_seconds', help: 'How long those waited whose turn to hash has come.', registers })
  const hashes = new Histogram({ name: 'latchkey_hashing_duration_seconds', help: 'How long hashing a password took.', registers })
  const refused = new Counter({ name: 'latchkey_hashing_refused_total', help: 'Those whose turn did not come: the queue was "full", or their network\'s "share" of it, the "wait" would have been too long, it was too "late", or the client had "gone".', labelNames: ['reason'], registers })
  app.addHook('onReady', async () => {
    app.passwords.queue.observe({
      started: seconds => waits.observe(seconds),
      ended: seconds => hashes.observe(seconds),
      refused: reason => refused.inc({ reason })
    })
    new Gauge({ name: 'latchkey_argon2_build_info', help: 'The build of argon2 in use.', labelNames: ['build'], registers }).set({ build: app.passwords.build }, 1)
  })
  // They watch the whole process, for as long as it lives: a server that does not listen is not one to watch.
  app.addHook('onListen', async () => collectDefaultMetrics({ register: registry }))

  app.decorate('metrics', { text: shareRendering(() => registry.metrics()), contentType: registry.contentType })
}, { name: 'metrics' })

// The pause after a rendering is this many times as long, so that renderings take a tenth of the event loop.
const pauseFactor = 9
const maxPauseMs = 1_000
const maxWaiting = 1_000

/**
 * Renders once for all requests that wait, so that many requests cost no more than few. What a request gets was
 * rendered after it came. Beyond 1,000 waiting requests it throws `overloaded`.
 */
function shareRendering (render: () => Promise<string>): () => Promise<string> {
  let rendering: Promise<unknown> = Promise.resolve()
  let next: Promise<string> | undefined
  let pauseEndsAt = 0
  let waiting = 0

  async function renderNext (): Promise<string> {
    await rendering
    const pauseMs = pauseEndsAt - performance.now()
    if (pauseMs > 0) await pause(pauseMs, undefined, { ref: false })
    // A request that comes from now on waits for a later rendering.
    next = undefined
    const beganAt = performance.now()
    const text = render()
    rendering = text.catch(() => {}).then(() => {
      const now = performance.now()
      pauseEndsAt = now + Math.min((now - beganAt) * pauseFactor, maxPauseMs)
    })
    return await text
  }

  return async () => {
    if (waiting >= maxWaiting) throw overloaded(1, 'too many requests wait for the metrics')
    waiting++
    try {
      next ??= renderNext()
      return await next
    } finally {
      waiting--
    }
  }
}

const statusOf = ({ raw }: FastifyReply) => raw.headersSent ? String(raw.statusCode) : 'gone'

// Of what is no Problem: bodies that do not fit, and what nobody expected.
const resultOf = (status: string) => /^[123]/.test(status) ? 'ok' : status.startsWith('4') ? 'validation_failed' : status.startsWith('5') ? 'internal_error' : status

const isReplay = (cause: unknown) => typeof cause === 'object' && cause !== null && 'replayed' in cause && cause.replayed === true
