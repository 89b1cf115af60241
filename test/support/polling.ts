import { setTimeout as pause } from 'node:timers/promises'

type Found<T> = T | undefined | false

/**
 * Calls `check` until it returns something, and returns that. Throws with the description when the seconds
 * are over. They only keep a failing test from hanging, so they are many: a busy machine must not fail a
 * test.
 */
export async function waitUntil<T> (
  description: string | (() => string),
  check: () => Found<T> | Promise<Found<T>>,
  seconds = 120
): Promise<T> {
  const deadline = performance.now() + seconds * 1_000
  // A long wait needs no exact end, and leaves the processors to other tests.
  for (let intervalMs = 10; ; intervalMs = Math.min(1.2 * intervalMs, 60)) {
    const found = await check()
    if (found !== undefined && found !== false) return found
    if (performance.now() > deadline) {
      const text = typeof description === 'string' ? description : description()
      throw new Error(`not within ${seconds} s: ${text}`)
    }
    await pause(intervalMs)
  }
}

/** The same with the source of `check` as the description. */
export const waitFor = async <T>(check: () => Found<T> | Promise<Found<T>>, seconds?: number): Promise<T> =>
  await waitUntil(String(check), check, seconds)
