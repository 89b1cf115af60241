import { EventEmitter } from 'node:events'
import { setTimeout as pause } from 'node:timers/promises'

export interface IdlenessOptions {
  /** Milliseconds without a request after which the service is idle. */
  afterMs: number
  /** Milliseconds between reads of the database while the service is idle; undefined if it is never idle. */
  intervalMs: number | undefined
}

/**
 * Whether requests come. While none do, the database is read less often, so that one that sleeps when it is
 * not used can sleep.
 */
export class Idleness extends EventEmitter<{ idle: [], awake: [] }> {
  readonly #intervalMs: number | undefined
  readonly #timer: NodeJS.Timeout | undefined
  readonly #refreshers: Array<() => Promise<void>> = []
  #isIdle = false
  #inFlight = 0
  #waking: Promise<unknown> | undefined

  constructor ({ afterMs, intervalMs }: IdlenessOptions) {
    super()
    this.setMaxListeners(0)
    this.#intervalMs = intervalMs
    if (intervalMs === undefined) return
    this.#timer = setTimeout(() => {
      if (this.#inFlight > 0) return
      this.#isIdle = true
      this.emit('idle')
    }, afterMs).unref()
  }

  get isIdle (): boolean {
    return this.#isIdle
  }

  /** Adds what reads the database again before the first request after an idle time is served. */
  addRefresher (refresh: () => Promise<void>): void {
    this.#refreshers.push(refresh)
  }

  /** Notes that a request has begun. Fulfilled when what is known of the database is as new as usual. */
  async begin (): Promise<void> {
    if (this.#intervalMs === undefined) return
    this.#inFlight++
    this.#timer?.refresh()
    if (this.#isIdle) {
      this.#isIdle = false
      this.#waking = Promise.allSettled(this.#refreshers.map(async refresh => await refresh()))
        .finally(() => { this.#waking = undefined })
      this.emit('awake')
    }
    await this.#waking
  }

  /** Notes that a request has ended. */
  end (): void {
    this.#inFlight--
    this.#timer?.refresh()
  }

  /** The milliseconds until the next read of the database, if they are usually `ms`. */
  intervalOf (ms: number): number {
    return this.#isIdle ? Math.max(ms, this.#intervalMs ?? 0) : ms
  }

  /** Waits until the next read of the database. A request that ends an idle time ends the wait. */
  async pause (ms: number, signal: AbortSignal): Promise<void> {
    const awake = new AbortController()
    const wake = () => awake.abort()
    this.once('awake', wake)
    const either = AbortSignal.any([signal, awake.signal])
    await pause(this.intervalOf(ms), undefined, { signal: either, ref: false }).catch(() => {})
    this.off('awake', wake)
  }

  /** Calls `work` every `ms` milliseconds, less often while the service is idle. Returns what stops it. */
  repeat (ms: number, work: () => void): () => void {
    const stopped = new AbortController()
    const run = async () => {
      for (;;) {
        await this.pause(ms, stopped.signal)
        if (stopped.signal.aborted) return
        work()
      }
    }
    void run()
    return () => stopped.abort()
  }
}
