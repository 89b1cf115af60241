/** Milliseconds to wait after so many failures in a row: exponential, from 250 to 5,000, with jitter. */
export const backoff = (failures: number): number => Math.min(250 * 2 ** (failures - 1), 5_000) * (0.5 + Math.random() / 2)

/** A signal that aborts after some time without `renew`, or together with its parent. */
export interface Deadline {
  signal: AbortSignal
  renew: () => void
  clear: () => void
}

/** Makes a deadline of so many milliseconds. Call `clear` when it is no longer needed. */
export function deadline (milliseconds: number, parent: AbortSignal): Deadline {
  const controller = new AbortController()
  const abort = () => controller.abort(parent.reason)
  const timer = setTimeout(() => controller.abort(new Error(`nothing came for ${milliseconds / 1_000} s`)), milliseconds).unref()
  if (parent.aborted) abort()
  else parent.addEventListener('abort', abort, { once: true })
  return {
    signal: controller.signal,
    renew: () => { timer.refresh() },
    clear () {
      clearTimeout(timer)
      parent.removeEventListener('abort', abort)
    }
  }
}
