import * as argon2id from './argon2id.ts'
import * as foreign from './imported-hashes.ts'
import { withoutKeyid } from './pepper.ts'
import { normalise } from './policy.ts'

/** A hash that a password is verified against. */
export interface Target {
  /** KiB that it takes. */
  memoryKib: number
  /** Why it is not evaluated, where it costs too much. */
  excess?: string | undefined
  /** Whether it takes the work of a new hash, or more. */
  full: boolean
  /** What is tried, in this order, when this was typed. */
  forms: (typed: string) => string[]
  matches: (form: string) => Promise<boolean>
}

/** A hash of argon2: one of ours, or one that came from elsewhere, which is of what was typed and looks the same. `secret` is that of its pepper. */
export const ofArgon2 = (hash: string, secret?: Buffer): Pick<Target, 'forms' | 'matches'> => ({
  forms: typed => [...new Set([normalise(typed), typed])],
  matches: async form => await argon2id.verify(withoutKeyid(hash), form, secret)
})

/** Whatever there is of this hash to verify against; undefined where its format is none of those known. */
export function target (hash: string, options: argon2id.Argon2Options, secret?: Buffer): Target | undefined {
  const cost = argon2id.cost(hash, options)
  if (cost) return { ...cost, full: !argon2id.outdated(hash, options), ...ofArgon2(hash, secret) }
  const found = foreign.read(hash)
  return found && { ...found, full: false, forms: foreign.forms }
}
