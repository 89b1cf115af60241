import { setTimeout as pause } from 'node:timers/promises'

export interface RetryOptions {
  intervalMs: number
  /** Ends the attempts. */
  signal: AbortSignal
  /** Whether a failure is permanent. */
  isFinal: (error: unknown) => boolean
  onFailure: (error: unknown) => void
}

/**
 * Repeats an attempt at a fixed interval until it succeeds, and returns its result. Each process retries only
 * for itself, so it needs no backoff. Throws a permanent failure, or the signal's reason.
 */
export async function retryUntilSuccess<T> (attempt: () => Promise<T>, options: RetryOptions): Promise<T> {
  const { intervalMs, signal, isFinal, onFailure } = options
  for (;;) {
    signal.throwIfAborted()
    try {
      return await attempt()
    } catch (error) {
      if (isFinal(error)) throw error
      onFailure(error)
    }
    await pause(intervalMs, undefined, { signal, ref: false })
  }
}
