import { setTimeout as pause } from 'node:timers/promises'

export interface Retry {
  /** Milliseconds between attempts. */
  every: number
  signal: AbortSignal
  /** Failures that time does not mend. */
  isFinal: (error: unknown) => boolean
  onFailure: (error: unknown) => void
}

/** What the first successful attempt gives; throws what is final, and the signal's reason. */
export async function untilItSucceeds<T> (attempt: () => Promise<T>, { every, signal, isFinal, onFailure }: Retry): Promise<T> {
  for (;;) {
    signal.throwIfAborted()
    try {
      return await attempt()
    } catch (error) {
      if (isFinal(error)) throw error
      onFailure(error)
    }
    await pause(every, undefined, { signal, ref: false })
  }
}
