const minDelayMs = 250
const maxDelayMs = 5_000

/** How long to wait after so many failures in a row. Jitter keeps verifiers from trying again all at once. */
export const backoffMs = (failures: number): number =>
  Math.min(minDelayMs * 2 ** (failures - 1), maxDelayMs) * (0.5 + Math.random() / 2)

/** A signal that aborts if `renew` is not called in time, or when its parent signal aborts. */
export interface Deadline {
  signal: AbortSignal
  renew: () => void
  clear: () => void
}

export function startDeadline (timeoutMs: number, parent: AbortSignal): Deadline {
  const controller = new AbortController()
  const abort = () => controller.abort(parent.reason)
  const timeout = () => controller.abort(new Error(`the issuer sent nothing for ${timeoutMs / 1_000} s`))
  const timer = setTimeout(timeout, timeoutMs).unref()
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
