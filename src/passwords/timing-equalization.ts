import { performWork, type Argon2Options } from './argon2id.ts'

/**
 * Makes a wrong password take the same time for every stored hash that costs less than a new one. A faster
 * response would tell an attacker that the account exists and that its hash is old (ASVS 6.3.8).
 */
export function timingEqualization (options: Argon2Options) {
  // A moving average over about 8 hashes; undefined until the first one was measured.
  let newHashMs: number | undefined

  /** Runs work that is this fraction of a new hash, and learns from its duration. */
  async function measure<T> (fraction: number, work: () => Promise<T>): Promise<T> {
    const startedAt = performance.now()
    const result = await work()
    const wholeMs = (performance.now() - startedAt) / fraction
    newHashMs = newHashMs === undefined ? wholeMs : newHashMs + (wholeMs - newHashMs) / 8
    return result
  }

  /** Does what `spentMs` leaves of the work of `hashes` new hashes. */
  async function pad (hashes: number, spentMs: number): Promise<void> {
    for (let left = newHashMs === undefined ? 0 : hashes - spentMs / newHashMs; left > 0; left--) {
      const fraction = Math.min(left, 1)
      const work = async () => await performWork(fraction, options)
      // A small fraction is mostly overhead, so it would distort the average.
      await (fraction > 0.5 ? measure(fraction, work) : work())
    }
  }

  return { measure, pad }
}
