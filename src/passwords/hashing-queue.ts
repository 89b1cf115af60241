import { overloaded } from '../http/problems.ts'
import { fairQueue, type FairQueue } from './fair-queue.ts'

/**
 * A request's place in the hashing queue. `signal` aborts when the client goes away. `network` is the
 * client's. `known` tells whether the client is on a known device of the account.
 */
export interface QueueTicket {
  signal?: AbortSignal | undefined
  network?: string | undefined
  isKnownDevice?: boolean | undefined
}

/**
 * Why a task did not run; these are labels of a metric. `full`: all places are taken. `share`: the network
 * has its share of the places. `wait`: the expected wait is too long. `late`: the task waited too long.
 * `gone`: the client went away.
 */
export type QueueRejection = 'full' | 'share' | 'wait' | 'late' | 'gone'

/** Called for each task. Times are in seconds. */
export interface QueueObserver {
  started: (waitSeconds: number) => void
  ended: (durationSeconds: number) => void
  refused: (reason: QueueRejection) => void
}

export interface HashingQueue {
  /**
   * Runs a task when its turn comes, and returns its result. Throws `overloaded` at once if the expected wait
   * is too long, or later if the task waited too long. Throws the signal's reason if the client went away.
   */
  run: <T>(task: () => Promise<T>, ticket?: QueueTicket) => Promise<T>
  /** Throws `overloaded` if `run` would do so at once. */
  assertCapacity: (ticket: QueueTicket) => void
  observe: (observer: QueueObserver) => void
  readonly waiting: number
  readonly running: number
}

/** How long a task may wait, and how many tasks may wait in each of the two lines. */
export interface QueueLimits { maxWaitMs: number, maxWaiting: number }

interface Waiter { start: () => void }

/**
 * `retryUntil` is the time at which the clients rejected so far will have been served, if they retry as told.
 */
interface Line { waiters: FairQueue<Waiter>, retryUntil: number }

// While unknown devices wait too, known devices get three of four places.
const knownPlacesInARow = 3
// An estimate may be too low, so a task is admitted only if its expected wait is this fraction of the
// longest.
const admittedWaitFraction = 0.6
const maxRetryMs = 30_000
const initialTaskMs = 50

/**
 * Admission control for password hashing: runs `concurrency` tasks at a time, because each takes a core and
 * its memory. Networks are served round-robin, so that one network's flood does not delay another network.
 * Known devices wait in a line of their own. That line is served first, but unknown devices always get one
 * place in four.
 */
export function hashingQueue (
  concurrency: number, { maxWaitMs, maxWaiting }: QueueLimits = { maxWaitMs: 5_000, maxWaiting: 500 }
): HashingQueue {
  const knownDevices: Line = { waiters: fairQueue(), retryUntil: 0 }
  const unknownDevices: Line = { waiters: fairQueue(), retryUntil: 0 }
  let running = 0
  // Places that known devices have had since a stranger's.
  let knownInARow = 0
  // A moving average over about 16 tasks.
  let averageTaskMs = initialTaskMs
  let observer: QueueObserver | undefined

  const lineOf = ({ isKnownDevice }: QueueTicket) => isKnownDevice ? knownDevices : unknownDevices

  function nextWaiter () {
    const isTurnOfUnknownDevices = knownInARow >= knownPlacesInARow && unknownDevices.waiters.size > 0
    if (knownDevices.waiters.size > 0 && !isTurnOfUnknownDevices) {
      if (unknownDevices.waiters.size > 0) knownInARow++
      return knownDevices.waiters.dequeue()
    }
    knownInARow = 0
    return unknownDevices.waiters.dequeue()
  }

  function expectedWaitMs (line: Line, network: string) {
    if (running < concurrency) return 0
    const ahead = line.waiters.countAhead(network)
    const aheadInOtherLine = line === knownDevices
      ? Math.min(unknownDevices.waiters.size, Math.floor((knownInARow + ahead) / knownPlacesInARow))
      : Math.min(knownDevices.waiters.size, knownPlacesInARow * (ahead + 1) - knownInARow)
    return (ahead + aheadInOtherLine + 1) * averageTaskMs / concurrency
  }

  function rejectionReason (line: Line, network: string): QueueRejection | undefined {
    if (running < concurrency) return undefined
    const [{ size }, depth] = [line.waiters, line.waiters.depth(network)]
    // The last quarter of the places is for networks of which no task waits yet.
    if (size >= (depth > 0 ? maxWaiting * 3 / 4 : maxWaiting)) return 'full'
    // One network gets a quarter of the places while others wait.
    if (depth >= maxWaiting / 4 && size > depth) return 'share'
    return expectedWaitMs(line, network) > maxWaitMs * admittedWaitFraction ? 'wait' : undefined
  }

  function rejection (reason: QueueRejection, line: Line, network: string) {
    observer?.refused(reason)
    // Each client gets a retry time of its own, because a crowd that retried at once would be rejected again.
    const now = performance.now()
    const roomAt = now + expectedWaitMs(line, network) - maxWaitMs * admittedWaitFraction
    const retryAt = Math.max(line.retryUntil, roomAt, now) + averageTaskMs / concurrency
    // Subtracting `now` from a sum with it would not give the exact limit back.
    const waitMs = Math.min(retryAt - now, maxRetryMs)
    line.retryUntil = now + waitMs
    return overloaded(waitMs / 1_000)
  }

  const wait = (line: Line, network: string, signal?: AbortSignal) => new Promise<void>((resolve, reject) => {
    const leave = () => {
      line.waiters.remove(network, waiter)
      clearTimeout(timer)
      signal?.removeEventListener('abort', abort)
    }
    const abort = () => {
      leave()
      observer?.refused('gone')
      reject(signal?.reason)
    }
    const timer = setTimeout(() => {
      leave()
      reject(rejection('late', line, network))
    }, maxWaitMs)
    const waiter = { start: () => { leave(); resolve() } }
    signal?.addEventListener('abort', abort)
    line.waiters.enqueue(network, waiter)
  })

  function assertCapacity (ticket: QueueTicket) {
    const [line, network] = [lineOf(ticket), ticket.network ?? '']
    const reason = rejectionReason(line, network)
    if (reason) throw rejection(reason, line, network)
  }

  async function run<T> (task: () => Promise<T>, ticket: QueueTicket = {}): Promise<T> {
    ticket.signal?.throwIfAborted()
    assertCapacity(ticket)
    const askedAt = performance.now()
    // A task that ends hands its place to the next waiter, so `running` grows only here.
    if (running < concurrency) running++
    else await wait(lineOf(ticket), ticket.network ?? '', ticket.signal)

    const startedAt = performance.now()
    observer?.started((startedAt - askedAt) / 1_000)
    try {
      return await task()
    } finally {
      const durationMs = performance.now() - startedAt
      observer?.ended(durationMs / 1_000)
      // The sample is capped, because the whole process may have been suspended.
      averageTaskMs += (Math.min(durationMs, maxWaitMs) - averageTaskMs) / 16
      const waiter = nextWaiter()
      if (waiter) waiter.start()
      else running--
    }
  }

  return {
    run,
    assertCapacity,
    observe: newObserver => { observer = newObserver },
    get waiting () { return knownDevices.waiters.size + unknownDevices.waiters.size },
    get running () { return running }
  }
}
