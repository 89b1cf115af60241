import { setMaxListeners } from 'node:events'
import { setTimeout as pause } from 'node:timers/promises'
import fp from 'fastify-plugin'
import { exponentialDelaySeconds } from '../src/jobs/backoff.ts'
import { readBacklog, type Backlog } from '../src/jobs/backlog.ts'
import * as jobs from '../src/jobs/queue.ts'

/** How the jobs of a kind are run. */
export interface Worker {
  /**
   * Runs a job, and throws if it must run again later. It also receives expired jobs, and gives them up.
   * Returns `rescheduled` if it has rescheduled or deleted the job itself.
   */
  run: (job: jobs.Job) => Promise<undefined | 'rescheduled'> | Promise<void>
  /** How many jobs run at the same time. */
  concurrency: number
  /** After so many seconds a started job counts as lost, and is run again. Longer than `run` ever takes. */
  leaseSeconds: number
  /**
   * Whether a job failed because a server that all of them need is down. Until it is back, one job at a time
   * probes it.
   */
  isOutage?: (error: unknown) => boolean
  /** Leases up to `limit` jobs that are due. Without it the oldest are leased. */
  lease?: (limit: number) => Promise<jobs.Job[]>
}

declare module 'fastify' {
  interface FastifyInstance {
    jobs: {
      /** Makes this instance run the jobs of a kind, as soon as the database is ready. */
      work: (kind: jobs.JobKind, worker: Worker) => void
      /** The backlog of all instances together, when it was last read. */
      backlog: () => Backlog[]
    }
  }
}

/** Between two looks without a wake-up. They find jobs of instances that died, and rescheduled jobs. */
const pollIntervalMs = 1_000
/**
 * After each look, so that jobs enqueued together start together. Grows with the load, because requests go
 * first.
 */
const batchDelayMs = 20
const maxBatchDelayMs = 250
/** Between two probes of a server that is down. */
const outageRetryMs = 5_000
/** Between two reads of the backlog. */
const statsIntervalMs = 15_000

const backoff = { firstSeconds: 5, lastSeconds: 3_600 }

/**
 * Runs the jobs of the queue (the outbox) beside the requests. Each kind has a loop of its own, so none waits
 * for another.
 */
export default fp(async function jobsPlugin (app) {
  const closing = new AbortController()
  const { signal } = closing
  // While the database is unavailable, every finished job waits to be deleted.
  setMaxListeners(0, signal)
  const loops: Array<Promise<void>> = []
  const wakeUps = new Map<jobs.JobKind, () => void>()
  let backlog: Backlog[] = []

  app.decorate('jobs', {
    work (kind: jobs.JobKind, worker: Worker) {
      app.migrated.then(() => { loops.push(loop(kind, worker)) }, () => {})
    },
    backlog: () => backlog
  })

  // Jobs that this process enqueues start at once, not at the next poll.
  app.db.subscribe(jobs.enqueued, kind => wakeUps.get(kind)?.())

  app.migrated.then(() => { loops.push(refreshBacklog()) }, () => {})
  async function refreshBacklog () {
    while (!signal.aborted) {
      backlog = await readBacklog(app.db).catch(() => backlog)
      await pause(statsIntervalMs, undefined, { signal, ref: false }).catch(() => {})
    }
  }

  async function loop (kind: jobs.JobKind, worker: Worker) {
    const { lease = (limit: number) => jobs.lease(app.db, kind, limit, worker.leaseSeconds) } = worker
    const running = new Set<Promise<void>>()
    let isFailing = false
    // When a server that is down is probed next.
    let probeAt: number | undefined
    // A wake-up during a look leads to another look.
    let isWoken = false
    let endWait = () => {}
    const wake = () => { isWoken = true; if (probeAt === undefined || signal.aborted) endWait() }
    const capacity = () => {
      if (probeAt === undefined) return worker.concurrency - running.size
      return running.size === 0 && performance.now() >= probeAt ? 1 : 0
    }
    wakeUps.set(kind, wake)
    let utilizationBefore = performance.eventLoopUtilization()
    while (!signal.aborted) {
      isWoken = false
      try {
        const limit = capacity()
        const leased = limit > 0 ? await lease(limit) : []
        isFailing = false
        for (const job of leased) {
          const work = run(job, worker).then(isOutage => {
            probeAt = isOutage ? performance.now() + outageRetryMs : undefined
          }).finally(() => {
            running.delete(work)
            if (leased.length === limit || worker.lease) wake()
          })
          running.add(work)
        }
      } catch (error) {
        if (!isFailing && !signal.aborted) {
          const level = app.databaseOutage.consequenceLevel
          app.log[level]({ err: error, kind }, 'jobs not read; retrying')
        }
        isFailing = true
      }
      const utilizationNow = performance.eventLoopUtilization()
      const { utilization } = performance.eventLoopUtilization(utilizationNow, utilizationBefore)
      utilizationBefore = utilizationNow
      const delayMs = Math.min(batchDelayMs / (1 - utilization), maxBatchDelayMs)
      await pause(delayMs, undefined, { signal, ref: false }).catch(() => {})
      if ((isWoken && probeAt === undefined) || signal.aborted) continue
      await new Promise<void>(resolve => {
        const untilProbeMs = (probeAt ?? 0) - performance.now()
        const waitMs = probeAt === undefined ? pollIntervalMs : Math.max(untilProbeMs, batchDelayMs)
        const timer = setTimeout(resolve, waitMs)
        timer.unref()
        endWait = () => { clearTimeout(timer); resolve() }
      })
    }
    await Promise.allSettled(running)
  }

  /** Runs a job; returns whether it failed because of an outage. */
  async function run (job: jobs.Job, { run, leaseSeconds, isOutage = () => false }: Worker) {
    const { id, kind, attempts } = job
    try {
      if (await run(job) === 'rescheduled') return false
    } catch (error) {
      const delaySeconds = exponentialDelaySeconds(attempts, backoff)
      const details = { err: error, job: id, kind, attempts, seconds: Math.round(delaySeconds) }
      if (!signal.aborted) app.log.warn(details, 'job failed; retrying')
      // If not even this is possible, the job runs again when its lease ends.
      await jobs.reschedule(app.db, job, delaySeconds).catch(() => {})
      return isOutage(error)
    }
    await deleteFinished(job, performance.now() + leaseSeconds * 1_000)
    return false
  }

  /**
   * Deletes a finished job, if necessary once the database is available again: a job that stays runs twice.
   */
  async function deleteFinished (job: jobs.Job, untilMs: number) {
    try {
      await jobs.remove(app.db, job)
    } catch (error) {
      if (signal.aborted || performance.now() > untilMs) {
        const details = { err: error, job: job.id, kind: job.kind }
        return app.log.warn(details, 'job finished but could not be marked as done; it will run again')
      }
      await pause(pollIntervalMs, undefined, { signal, ref: false }).catch(() => {})
      await deleteFinished(job, untilMs)
    }
  }

  const end = () => {
    closing.abort()
    for (const wake of wakeUps.values()) wake()
  }
  // No job starts while the workers shut down.
  app.addHook('preClose', async () => end())
  app.addHook('onClose', async () => {
    end()
    await Promise.allSettled(loops)
  })
}, { name: 'jobs', dependencies: ['database'] })
