import { setMaxListeners } from 'node:events'
import { setTimeout as pause } from 'node:timers/promises'
import fp from 'fastify-plugin'
import { readBacklog, type Backlog } from '../src/jobs/backlog.ts'
import * as jobs from '../src/jobs/queue.ts'

/** How the jobs of a kind are done. */
export interface Worker {
  /** Does a job; throws where it is to be tried again later. A job that comes here after it expired is given up by it. Gives `kept` where it has put the job off, or ended it, by itself. */
  run: (job: jobs.Job) => Promise<undefined | 'kept'> | Promise<void>
  /** How many are done at a time. */
  atOnce: number
  /** Seconds after which one that was begun is taken for lost, and begun once more: more than `run` ever takes. */
  lease: number
  /** Seconds until the next attempt after so many; grows from 5 s to an hour where it is left out. */
  wait?: (attempts: number) => number
  /** Whether one failed because what all of them need is away: then one is tried every 5 s, until that is back. */
  isAway?: (error: unknown) => boolean
  /** Begins up to `most` that are due, where it is not simply the oldest. */
  claim?: (most: number) => Promise<jobs.Job[]>
}

declare module 'fastify' {
  interface FastifyInstance {
    jobs: {
      /** Has this instance do the jobs of a kind, from when the database is ready. */
      work: (kind: jobs.JobKind, worker: Worker) => void
      /** Has it look for jobs of a kind now, for some were added. */
      wake: (kind: jobs.JobKind) => void
      /** What there was to do, of all instances, when it was last looked at. */
      backlog: () => Backlog[]
    }
  }
}

// Milliseconds between two looks where nobody wakes: for jobs of other instances that died, and those that were put off.
const rest = 1_000
// And after each one, for those that are added together to be begun together. What requests do goes before: the less is
// left of the time, the longer it takes, up to the latter.
const [breath, longestBreath] = [20, 250]
// Where what they need is away.
const absence = 5_000
// And between two counts of what there is to do.
const glance = 15_000

/** Does what was left to be done after the fact, beside the requests: each kind for itself, so that none waits for another. */
export default fp(async function jobsPlugin (app) {
  const closing = new AbortController()
  const { signal } = closing
  // While the database is away each job that is done waits to be removed.
  setMaxListeners(0, signal)
  const loops: Array<Promise<void>> = []
  const wakes = new Map<jobs.JobKind, () => void>()

  app.decorate('jobs', {
    work (kind: jobs.JobKind, worker: Worker) {
      app.migrated.then(() => { loops.push(loop(kind, worker)) }, () => {})
    },
    wake: (kind: jobs.JobKind) => wakes.get(kind)?.(),
    backlog: () => backlog
  })

  let backlog: Backlog[] = []
  app.migrated.then(() => { loops.push(watch()) }, () => {})
  async function watch () {
    while (!signal.aborted) {
      backlog = await readBacklog(app.db).catch(() => backlog)
      await pause(glance, undefined, { signal, ref: false }).catch(() => {})
    }
  }

  async function loop (kind: jobs.JobKind, worker: Worker) {
    const { claim = (most: number) => jobs.lease(app.db, kind, most, worker.lease) } = worker
    const running = new Set<Promise<void>>()
    let failing = false
    // When one is tried where what they need is away.
    let back: number | undefined
    // Whoever wakes while it looks has it look again.
    let again = false
    let rested = () => {}
    const wake = () => { again = true; if (back === undefined || signal.aborted) rested() }
    wakes.set(kind, wake)
    let since = performance.eventLoopUtilization()
    while (!signal.aborted) {
      again = false
      try {
        const room = back === undefined ? worker.atOnce - running.size : running.size === 0 && performance.now() >= back ? 1 : 0
        const begun = room > 0 ? await claim(room) : []
        failing = false
        for (const job of begun) {
          const work = run(job, worker).then(isAway => {
            back = isAway ? performance.now() + absence : undefined
          }).finally(() => { running.delete(work); if (begun.length === room || worker.claim) wake() })
          running.add(work)
        }
      } catch (error) {
        if (!failing && !signal.aborted) app.log[app.databaseOutage.consequenceLevel]({ err: error, kind }, 'jobs could not be read; retrying')
        failing = true
      }
      const now = performance.eventLoopUtilization()
      const { utilization } = performance.eventLoopUtilization(now, since)
      since = now
      await pause(Math.min(breath / (1 - utilization), longestBreath), undefined, { signal, ref: false }).catch(() => {})
      if ((again && back === undefined) || signal.aborted) continue
      await new Promise<void>(resolve => {
        const timer = setTimeout(resolve, back === undefined ? rest : Math.max(back - performance.now(), breath))
        timer.unref()
        rested = () => { clearTimeout(timer); resolve() }
      })
    }
    await Promise.allSettled(running)
  }

  /** Gives whether what it needs is away. */
  async function run (job: jobs.Job, { run, wait = jobs.backoffSeconds, lease, isAway = () => false }: Worker) {
    try {
      if (await run(job) === 'kept') return false
    } catch (error) {
      const seconds = wait(job.attempts)
      if (!signal.aborted) app.log.warn({ err: error, job: job.id, kind: job.kind, attempts: job.attempts, seconds: Math.round(seconds) }, 'job failed; retrying')
      // Where not even this is possible it is begun again when its time is over.
      await jobs.reschedule(app.db, job, seconds).catch(() => {})
      return isAway(error)
    }
    await removed(job, performance.now() + lease * 1_000)
    return false
  }

  /** Removes what was done, also where the database is away for a while: whatever is left would be done twice. */
  async function removed (job: jobs.Job, until: number) {
    try {
      await jobs.remove(app.db, job)
    } catch (error) {
      if (signal.aborted || performance.now() > until) return app.log.warn({ err: error, job: job.id, kind: job.kind }, 'job finished but could not be marked as done; it will run again')
      await pause(rest, undefined, { signal, ref: false }).catch(() => {})
      await removed(job, until)
    }
  }

  const end = () => {
    closing.abort()
    for (const wake of wakes.values()) wake()
  }
  // None is begun any more when those who do them end.
  app.addHook('preClose', async () => end())
  app.addHook('onClose', async () => {
    end()
    await Promise.allSettled(loops)
  })
}, { name: 'jobs', dependencies: ['database'] })
