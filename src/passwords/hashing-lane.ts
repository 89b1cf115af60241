import { overloaded } from '../problem.ts'

export interface HashingLane {
  /**
   * Runs an expensive task when its turn comes. Throws `overloaded` at once where the queue is full, later
   * where the turn did not come in time, and the signal's reason where the caller has gone before.
   */
  run: <T>(task: () => Promise<T>, signal?: AbortSignal) => Promise<T>
  readonly waiting: number
}

interface Waiter { start: () => void, enqueued: number }

const longestWait = 5_000
const longestQueue = 1_000

/**
 * Lets `concurrency` tasks run at a time, the others wait in order: hashing takes a core and its memory, and
 * whatever does not hash must not wait behind it. The queue is bounded by length and by the waiting time
 * that it means at the pace of late.
 */
export function hashingLane (concurrency: number): HashingLane {
  const queue = new Set<Waiter>()
  let running = 0
  // Milliseconds a task takes, averaged with weight on the latest.
  let pace = 50

  const expectedWait = () => (queue.size + 1) * pace / concurrency

  const turn = (signal?: AbortSignal) => new Promise<void>((resolve, reject) => {
    const leave = (reason: unknown) => {
      queue.delete(waiter)
      clearTimeout(timer)
      signal?.removeEventListener('abort', abort)
      reject(reason)
    }
    const abort = () => leave(signal?.reason)
    const timer = setTimeout(() => leave(overloaded(expectedWait() / 1000)), longestWait)
    const waiter: Waiter = {
      enqueued: performance.now(),
      start: () => {
        clearTimeout(timer)
        signal?.removeEventListener('abort', abort)
        resolve()
      }
    }
    signal?.addEventListener('abort', abort)
    queue.add(waiter)
  })

  async function run<T> (task: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    signal?.throwIfAborted()
    if (running < concurrency) running++
    else if (queue.size >= longestQueue || expectedWait() > longestWait) throw overloaded(expectedWait() / 1000)
    else await turn(signal)

    const started = performance.now()
    try {
      return await task()
    } finally {
      // A sample may be absurd: the whole process may have slept.
      pace += (Math.min(performance.now() - started, longestWait) - pace) / 16
      const [next] = queue
      if (next) {
        queue.delete(next)
        next.start()
      } else {
        running--
      }
    }
  }

  return { run, get waiting () { return queue.size } }
}
