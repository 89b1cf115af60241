import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import { counters } from '../src/capabilities.ts'
import { jobKinds } from '../src/jobs/queue.ts'

/** The metrics of what the service uses: the database, the queues, the limits, and the capabilities. */
export default fp(async function resourceMetrics (app) {
  observeDatabase(app)
  observeRateLimits(app)
  observeJobs(app)
  observeHashing(app)
  observeCapabilities(app)
}, {
  name: 'resource-metrics',
  dependencies: ['metrics', 'database', 'rate-limit', 'jobs', 'keyring', 'passwords']
})

function observeDatabase ({ metrics, db, keyring }: FastifyInstance): void {
  metrics.addGauge({
    name: 'latchkey_database_connections',
    help: 'Connections to the database.',
    read: () => [{ value: db.connections.total }]
  })
  metrics.addGauge({
    name: 'latchkey_database_connections_idle',
    help: 'Connections to the database that are not in use.',
    read: () => [{ value: db.connections.idle }]
  })
  metrics.addGauge({
    name: 'latchkey_database_queue_depth',
    help: 'Requests that wait for a connection to the database.',
    read: () => [{ value: db.connections.waiting }]
  })
  metrics.addGauge({
    name: 'latchkey_clock_offset_seconds',
    help: "The database's clock minus that of this machine.",
    read: () => [{ value: keyring.clockOffsetMs() / 1_000 }]
  })
}

function observeRateLimits ({ metrics, rateLimiting }: FastifyInstance): void {
  metrics.addGauge({
    name: 'latchkey_rate_limits_shared',
    help: '1 while the instances count requests together in Redis, 0 otherwise.',
    read: () => [{ value: Number(rateLimiting.isShared) }]
  })
  metrics.addCopiedCounter({
    name: 'latchkey_rate_limited_total',
    help: 'Requests that were refused because their network was over the limit of the class.',
    labelNames: ['class'],
    read: () => Object.entries(rateLimiting.refused).map(
      ([limit, count]) => ({ labels: { class: limit }, value: count })
    )
  })
}

function observeJobs ({ metrics, jobs }: FastifyInstance): void {
  const readBacklog = (member: 'jobs' | 'lateSeconds') => {
    const backlog = jobs.backlog()
    return jobKinds.map(kind => ({
      labels: { kind }, value: backlog.find(each => each.kind === kind)?.[member] ?? 0
    }))
  }
  metrics.addGauge({
    name: 'latchkey_jobs',
    help: 'Mails ("mail"), deliveries ("webhook") and back-channel logouts that all instances together ' +
      'have yet to send, as of at most 15 seconds ago. Counts up to 10,000 of each kind, and up to 10,000 ' +
      'deliveries of each webhook.',
    labelNames: ['kind'],
    read: () => readBacklog('jobs')
  })
  metrics.addGauge({
    name: 'latchkey_jobs_oldest_seconds',
    help: 'Age of the oldest job, except those of paused webhooks.',
    labelNames: ['kind'],
    read: () => readBacklog('lateSeconds')
  })
}

function observeHashing ({ metrics, passwords: { queue, build } }: FastifyInstance): void {
  metrics.addGauge({
    name: 'latchkey_hashing_queue_depth',
    help: 'Requests that wait for password hashing.',
    read: () => [{ value: queue.waiting }]
  })
  metrics.addGauge({
    name: 'latchkey_hashing_running',
    help: 'Passwords that are being hashed.',
    read: () => [{ value: queue.running }]
  })
  const waits = metrics.addHistogram({
    name: 'latchkey_hashing_wait_seconds', help: 'Time that a request waited for password hashing.'
  })
  const hashes = metrics.addHistogram({
    name: 'latchkey_hashing_duration_seconds', help: 'Time to hash a password.'
  })
  const refused = metrics.addCounter({
    name: 'latchkey_hashing_refused_total',
    help: 'Requests that were not hashed: the queue was "full", or their network\'s "share" of it was, the ' +
      '"wait" would have been too long, it was too "late", or the client had "gone".',
    labelNames: ['reason']
  })
  queue.observe({
    started: seconds => waits.observe(seconds),
    ended: seconds => hashes.observe(seconds),
    refused: reason => refused.inc({ reason })
  })
  metrics.addGauge({
    name: 'latchkey_argon2_build_info',
    help: 'The build of argon2 in use.',
    labelNames: ['build'],
    read: () => [{ labels: { build }, value: 1 }]
  })
}

/** Adds the counters that the capabilities declare. */
function observeCapabilities ({ metrics, db }: FastifyInstance): void {
  for (const { name, help, labelNames, topic } of counters) {
    const counter = metrics.addCounter({ name, help, labelNames })
    db.subscribe(topic, (labels: Record<string, string>) => counter.inc(labels))
  }
}
