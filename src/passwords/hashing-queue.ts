import { overloaded } from '../http/problem.ts'
import { fairQueue, type FairQueue } from './fair-queue.ts'

/** Who wants a turn: how long they stay, from which network they come, and whether on a device that the account knows. */
export interface QueueTicket { signal?: AbortSignal | undefined, network?: string | undefined, known?: boolean | undefined }

/**
 * Why there was no turn: the places are taken; the network has its share of them; it would take too long; it
 * did take too long; the caller has gone.
 */
export type Refusal = 'full' | 'share' | 'wait' | 'late' | 'gone'

/** Told of what happens, in seconds. */
export interface Observer {
  started: (waited: number) => void
  ended: (took: number) => void
  refused: (why: Refusal) => void
}

export interface HashingQueue {
  /**
   * Runs an expensive task when its turn comes. Throws `overloaded` at once where that is not to be expected in
   * time, later where it did not come in time, and the signal's reason where the caller has gone before.
   */
  run: <T>(task: () => Promise<T>, ticket?: QueueTicket) => Promise<T>
  /** Throws `overloaded` where `run` would at once. */
  assertCapacity: (ticket: QueueTicket) => void
  observe: (observer: Observer) => void
  readonly waiting: number
  readonly running: number
}

/** How long a turn is waited for, in milliseconds, and how many may wait for one in each of the two lines. */
export interface Bounds { longestWait: number, places: number }

interface Waiter { start: () => void }
/** `room`: when those who were refused so far, and come back as they were told, will have had their turns. */
interface Line { queue: FairQueue<Waiter>, room: number }

// Of four turns, while others wait.
const turnsOfKnown = 3
// What is foreseen may take longer: of the time that is waited, this share is promised.
const foresight = 0.6
// In milliseconds.
const longestRetry = 30_000

/**
 * Lets `concurrency` tasks run at a time: hashing takes a core and its memory, and whatever does not hash must not
 * wait behind it. Those that wait are served in turn by network, so that one's flood holds up none of another's;
 * known devices stand in a line of their own, which is served first, but not alone.
 */
export function hashingQueue (concurrency: number, { longestWait, places }: Bounds = { longestWait: 5_000, places: 500 }): HashingQueue {
  const known: Line = { queue: fairQueue(), room: 0 }
  const strangers: Line = { queue: fairQueue(), room: 0 }
  let running = 0
  // Turns that known devices have had since a stranger's.
  let streak = 0
  // Milliseconds a task takes, averaged with weight on the latest.
  let pace = 50
  let observer: Observer | undefined

  function next () {
    if (known.queue.size > 0 && (streak < turnsOfKnown || strangers.queue.size === 0)) {
      if (strangers.queue.size > 0) streak++
      return known.queue.next()
    }
    streak = 0
    return strangers.queue.next()
  }

  // In milliseconds, for one that came now.
  function expectedWait (line: Line, network: string) {
    if (running < concurrency) return 0
    const ahead = line.queue.ahead(network)
    const others = line === known
      ? Math.min(strangers.queue.size, Math.floor((streak + ahead) / turnsOfKnown))
      : Math.min(known.queue.size, turnsOfKnown * (ahead + 1) - streak)
    return (ahead + others + 1) * pace / concurrency
  }

  function refusal (line: Line, network: string): Refusal | undefined {
    if (running < concurrency) return undefined
    const [{ size }, depth] = [line.queue, line.queue.depth(network)]
    // The last quarter is for networks of which nobody waits yet, and none has more than a quarter beside others.
    if (size >= (depth > 0 ? places * 3 / 4 : places)) return 'full'
    if (depth >= places / 4 && size > depth) return 'share'
    return expectedWait(line, network) > longestWait * foresight ? 'wait' : undefined
  }

  function refuse (why: Refusal, line: Line, network: string) {
    observer?.refused(why)
    // Each is given a time of its own: a crowd that came back at once would be refused again.
    const now = performance.now()
    line.room = Math.min(Math.max(line.room, now + expectedWait(line, network) - longestWait * foresight, now) + pace / concurrency, now + longestRetry)
    return overloaded(Math.min(line.room - now, longestRetry) / 1_000)
  }

  const wait = (line: Line, network: string, signal?: AbortSignal) => new Promise<void>((resolve, reject) => {
    const settle = () => {
      line.queue.remove(network, waiter)
      clearTimeout(timer)
      signal?.removeEventListener('abort', abort)
    }
    const abort = () => {
      settle()
      observer?.refused('gone')
      reject(signal?.reason)
    }
    const timer = setTimeout(() => {
      settle()
      reject(refuse('late', line, network))
    }, longestWait)
    const waiter = { start: () => { settle(); resolve() } }
    signal?.addEventListener('abort', abort)
    line.queue.add(network, waiter)
  })

  function assertCapacity ({ network = '', known: isKnown }: QueueTicket) {
    const line = isKnown ? known : strangers
    const why = refusal(line, network)
    if (why) throw refuse(why, line, network)
  }

  async function run<T> (task: () => Promise<T>, ticket: QueueTicket = {}): Promise<T> {
    ticket.signal?.throwIfAborted()
    assertCapacity(ticket)
    const asked = performance.now()
    // Handed on by the one that ends, where somebody waits.
    if (running < concurrency) running++
    else await wait(ticket.known ? known : strangers, ticket.network ?? '', ticket.signal)

    const started = performance.now()
    observer?.started((started - asked) / 1_000)
    try {
      return await task()
    } finally {
      const took = performance.now() - started
      observer?.ended(took / 1_000)
      // A sample may be absurd: the whole process may have slept.
      pace += (Math.min(took, longestWait) - pace) / 16
      const waiter = next()
      if (waiter) waiter.start()
      else running--
    }
  }

  return {
    run,
    assertCapacity,
    observe: given => { observer = given },
    get waiting () { return known.queue.size + strangers.queue.size },
    get running () { return running }
  }
}
