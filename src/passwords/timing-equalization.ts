import { spend, type Argon2Options } from './argon2id.ts'

/**
 * Lets a wrong password cost the same whatever hash it was held against, as long as that costs less than a new one:
 * a quick answer would tell that there is an account, and that its password is old.
 */
export function evenWork (options: Argon2Options) {
  // Milliseconds that a new hash takes, averaged with weight on the latest.
  let pace: number | undefined

  /** Learns how long a new hash takes from work that is this part of one. */
  async function timed<T> (part: number, work: () => Promise<T>): Promise<T> {
    const began = performance.now()
    const result = await work()
    const whole = (performance.now() - began) / part
    pace = pace === undefined ? whole : pace + (whole - pace) / 8
    return result
  }

  /** Does what is left of the work of so many new hashes after so many milliseconds. */
  async function complete (hashes: number, spent: number): Promise<void> {
    for (let left = pace === undefined ? 0 : hashes - spent / pace; left > 0; left--) {
      const part = Math.min(left, 1)
      const work = async () => await spend(part, options)
      // Of a small part, much is not hashing.
      await (part > 0.5 ? timed(part, work) : work())
    }
  }

  return { timed, complete }
}
