// The verifier's own backoff: other services install it, so it imports nothing of the server.

const firstDelayMs = 250
const maxDelayMs = 5_000

/**
 * Milliseconds until the next attempt after this many failures in a row: the first delay doubled each time,
 * with jitter. At least half of the delay passes, so that instances never retry at once while the issuer is
 * down.
 */
export const backoff = (failures: number): number =>
  Math.min(firstDelayMs * 2 ** (failures - 1), maxDelayMs) * (0.5 + Math.random() / 2)

/** A signal that aborts if it is not renewed in time, or when its parent aborts. */
export interface Deadline {
  signal: AbortSignal
  renew: () => void
  clear: () => void
}

/** Makes a deadline of so many milliseconds. Call `clear` when it is no longer needed. */
export function deadline (timeoutMs: number, parent: AbortSignal): Deadline {
  const controller = new AbortController()
  const abort = () => controller.abort(parent.reason)
  const expire = () => controller.abort(new Error(`no answer within ${timeoutMs / 1_000} s`))
  const timer = setTimeout(expire, timeoutMs).unref()
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
