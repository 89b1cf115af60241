// The server's backoff. plugins/verifier has its own, because other services install it without the server.

/** Spreads a delay over 90 to 110 %, so that what failed together is not retried together. */
const jitter = (delay: number) => delay * (0.9 + Math.random() / 5)

/** The delays of an exponential backoff: the first is doubled after each attempt, up to the last. */
export interface ExponentialBackoff { firstSeconds: number, lastSeconds: number }

/** Seconds until the next attempt after this many, with jitter. */
export const exponentialDelaySeconds = (
  attempts: number, { firstSeconds, lastSeconds }: ExponentialBackoff
): number => jitter(Math.min(lastSeconds, firstSeconds * 2 ** (attempts - 1)))

/** Seconds until the next attempt after this many, with jitter. The schedule's last delay repeats. */
export function scheduledDelaySeconds (
  attempts: number, scheduleSeconds: readonly [number, ...number[]]
): number {
  const [first] = scheduleSeconds
  return jitter(scheduleSeconds[Math.min(attempts, scheduleSeconds.length) - 1] ?? first)
}
