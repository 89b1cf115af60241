import type { EventEmitter } from 'node:events'
import { setTimeout as pause } from 'node:timers/promises'

// npm passes a terminal's Ctrl-C on, so the process gets it twice. A later one comes from a person who cannot
// wait.
const repeatMs = 1_000

type Log = (level: 'info' | 'error' | 'fatal', message: string, detail?: object) => void

export interface ShutdownOptions {
  log: Log
  /** Seconds after which unfinished work is aborted. */
  timeout: number
  /** Waits until the service can be closed, then closes it. */
  close: (code: number) => Promise<void>
}

/** The end of the process: by a signal with exit code 0, or by an error. */
export class Shutdown {
  readonly #options: ShutdownOptions
  readonly #stopping = new AbortController()
  #begunAt: number | undefined

  constructor (options: ShutdownOptions) {
    this.#options = options
  }

  /** Aborted when the shutdown begins. */
  get signal (): AbortSignal {
    return this.#stopping.signal
  }

  get hasBegun (): boolean {
    return this.#stopping.signal.aborted
  }

  /** Begins the shutdown on SIGTERM, SIGINT, SIGHUP (a closed terminal) or an uncaught exception. */
  listen (signals: EventEmitter): void {
    for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP']) {
      signals.on(
        signal, () => this.begin(0, `stopping on ${signal}`)
      )
    }
    process.on('uncaughtException', error => this.begin(1, 'unexpected error; stopping the service', error))
  }

  /** Ends the process with this exit code when everything is closed. A second call does not wait for that. */
  begin (code: number, reason: string, error?: unknown): void {
    if (this.#begunAt !== undefined) {
      if (performance.now() - this.#begunAt > repeatMs) process.exit(1)
      return
    }
    this.#begunAt = performance.now()
    this.#stopping.abort()
    const { log, timeout, close } = this.#options
    log(code === 0 ? 'info' : 'fatal', reason, { err: error })
    setTimeout(() => {
      log('error', 'shutdown timeout reached; aborting unfinished requests', { seconds: timeout })
      process.exit(1)
    }, timeout * 1_000).unref()
    close(code).then(() => process.exit(code), (error: unknown) => {
      log('error', 'shutdown failed', { err: error })
      process.exit(1)
    })
  }
}

/** A pause that ends early when the shutdown begins. */
export const pauseUntilShutdown = async (ms: number, { signal }: Shutdown): Promise<void> =>
  await pause(ms, undefined, { signal }).catch(() => {})
