import { setMaxListeners } from 'node:events'
import { setTimeout as pause } from 'node:timers/promises'
import fp from 'fastify-plugin'
import { exponentialDelaySeconds } from '../src/jobs/backoff.ts'
import { readBacklog, type Backlog } from '../src/jobs/backlog.ts'
import * as jobs from '../src/jobs/queue.ts'

/** How the jobs of a kind are run. */
export interface Worker {
  /**
   * Runs a job. Throws if the job must run again later. It also gets expired jobs, which it must abandon.
   * Returns `rescheduled` if it has rescheduled or deleted the job itself.
   */
  run: (job: jobs.Job) => Promise<undefined | 'rescheduled'> | Promise<void>
  /** How many jobs run at the same time. */
  concurrency: number
  /** Seconds after which a started job counts as lost and runs again. Longer than `run` can take. */
  leaseSeconds: number
  /**
   * Whether a job failed because a server that all jobs need is down. Until the server is back, only one job
   * at a time runs, to probe it.
   */
  isOutage?: (error: unknown) => boolean
  /** Leases up to `limit` jobs that are due. Without it, the oldest jobs are leased. */
  lease?: (limit: number) => Promise<jobs.Job[]>
}

declare module 'fastify' {
  interface FastifyInstance {
    jobs: {
      /** Makes this instance run the jobs of a kind, as soon as the database is ready. */
      work: (kind: jobs.JobKind, worker: Worker) => void
      /** Returns the backlog of all instances together, as of the last read. */
      backlog: () => Backlog[]
    }
  }
}

/** The interval between polls. A poll finds rescheduled jobs, and jobs of instances that died. */
const pollIntervalMs = 1_000
/**
 * The delay after each poll, so that jobs that are enqueued together start together. It grows with the load
 * of the event loop, because requests come first.
 */
const batchDelayMs = 20
const maxBatchDelayMs = 250
/** The interval between probes of a server that is down. */
const outageRetryMs = 5_000
/** The interval between reads of the backlog. */
const statsIntervalMs = 15_000

const backoff = { firstSeconds: 5, lastSeconds: 3_600 }

/**
 * Runs the jobs of the queue (the outbox) in the process that serves requests. Each kind of job has its own
 * loop, so no kind waits for another.
 */
export default fp(async function jobsPlugin (app) {
  const closing = new AbortController()
  const { signal } = closing
  const isStopping = () => signal.aborted
  // While the database is unavailable, each finished job that waits to be deleted adds a listener.
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

  app.idleness.on('awake', () => { for (const wake of wakeUps.values()) wake() })

  app.migrated.then(() => { loops.push(refreshBacklog()) }, () => {})
  async function refreshBacklog () {
    while (!isStopping()) {
      backlog = await readBacklog(app.db).catch(() => backlog)
      await app.idleness.pause(statsIntervalMs, signal)
    }
  }

  async function loop (kind: jobs.JobKind, worker: Worker) {
    const { lease = (limit: number) => jobs.lease(app.db, kind, limit, worker.leaseSeconds) } = worker
    const running = new Set<Promise<void>>()
    let isFailing = false
    // When to probe a server that is down.
    let probeAt: number | undefined
    // A wake-up during a poll leads to another poll.
    let isWoken = false
    const mayPollAgain = () => isWoken && probeAt === undefined
    let endWait = () => {}
    const wake = () => {
      isWoken = true
      if (probeAt === undefined || isStopping()) endWait()
    }
    const capacity = () => {
      if (probeAt === undefined) return worker.concurrency - running.size
      return running.size === 0 && performance.now() >= probeAt ? 1 : 0
    }
    wakeUps.set(kind, wake)
    let utilizationBefore = performance.eventLoopUtilization()
    while (!isStopping()) {
      isWoken = false
      try {
        const limit = capacity()
        const leased = limit > 0 ? await lease(limit) : []
        isFailing = false
        for (const job of leased) {
          const work = runJob(job, worker).then(isOutage => {
            probeAt = isOutage ? performance.now() + outageRetryMs : undefined
          }).finally(() => {
            running.delete(work)
            if (leased.length === limit || worker.lease) wake()
          })
          running.add(work)
        }
      } catch (error) {
        if (!isFailing && !isStopping()) {
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
      if (mayPollAgain() || isStopping()) continue
      await new Promise<void>(resolve => {
        const untilProbeMs = (probeAt ?? 0) - performance.now()
        const waitMs = probeAt === undefined
          ? app.idleness.intervalOf(pollIntervalMs)
          : Math.max(untilProbeMs, batchDelayMs)
        const timer = setTimeout(resolve, waitMs)
        timer.unref()
        endWait = () => {
          clearTimeout(timer)
          resolve()
        }
      })
    }
    await Promise.allSettled(running)
  }

  /** Runs a job. Returns whether it failed because of an outage. */
  async function runJob (job: jobs.Job, worker: Worker): Promise<boolean> {
    const { id, kind, attempts } = job
    try {
      if (await worker.run(job) === 'rescheduled') return false
    } catch (error) {
      const delaySeconds = exponentialDelaySeconds(attempts, backoff)
      const details = { err: error, job: id, kind, attempts, seconds: Math.round(delaySeconds) }
      if (!signal.aborted) app.log.warn(details, 'job failed; retrying')
      // If rescheduling fails too, the job runs again when its lease ends.
      await jobs.reschedule(app.db, job, delaySeconds).catch(() => {})
      return worker.isOutage?.(error) ?? false
    }
    await deleteFinished(job, performance.now() + worker.leaseSeconds * 1_000)
    return false
  }

  /**
   * Deletes a finished job, because it would otherwise run again. While the database is unavailable, it
   * retries until `untilMs`.
   */
  async function deleteFinished (job: jobs.Job, untilMs: number) {
    try {
      await jobs.deleteJob(app.db, job)
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
}, { name: 'jobs', dependencies: ['database', 'idleness'] })
