import { setTimeout as pause } from 'node:timers/promises'

export interface RetryOptions {
  /** Milliseconds between attempts. */
  intervalMs: number
  /** Ends the attempts when it is aborted. */
  signal?: AbortSignal
  /** Whether a failure is one that a retry cannot mend. */
  isFinal: (error: unknown) => boolean
  onFailure: (error: unknown) => void
}

/**
 * Repeats an attempt until it succeeds, and returns its result. Throws an error that is final, and the reason
 * of the signal once that is aborted.
 */
export async function retry<T> (attempt: () => Promise<T>, options: RetryOptions): Promise<T> {
  const { intervalMs, signal, isFinal, onFailure } = options
  for (;;) {
    signal?.throwIfAborted()
    try {
      return await attempt()
    } catch (error) {
      if (isFinal(error)) throw error
      onFailure(error)
    }
    await pause(intervalMs, undefined, { ...signal && { signal }, ref: false })
  }
}
