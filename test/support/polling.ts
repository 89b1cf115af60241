import { setTimeout as pause } from 'node:timers/promises'

type Found<T> = T | undefined | false

/**
 * Calls `check` every 10 ms until it returns something, and returns that. Throws with the description when
 * the seconds are over. They only keep a failing test from hanging, so they are many: a busy machine must not
 * fail a test.
 */
export async function waitUntil<T> (description: string | (() => string), check: () => Found<T> | Promise<Found<T>>, seconds = 60): Promise<T> {
  for (const deadline = performance.now() + seconds * 1_000; ; await pause(10)) {
    const found = await check()
    if (found !== undefined && found !== false) return found
    if (performance.now() > deadline) throw new Error(`not within ${seconds} s: ${typeof description === 'string' ? description : description()}`)
  }
}

/** The same with the source of `check` as the description. */
export const waitFor = async <T>(check: () => Found<T> | Promise<Found<T>>, seconds?: number): Promise<T> =>
  await waitUntil(String(check), check, seconds)
