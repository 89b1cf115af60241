import * as argon2id from './argon2id.ts'
import * as importedHashes from './imported-hashes.ts'
import { asTyped } from './imported-hashes/imported-hash.ts'
import { withoutKeyid } from './pepper.ts'
import { normalise } from './policy.ts'

/** A password hash from the database, in any supported format. */
export interface StoredHash {
  /** KiB of memory that an evaluation takes. */
  memoryKib: number
  /** Why the hash must not be evaluated, if it costs too much. */
  exceededLimit?: string | undefined
  /** Whether an evaluation takes at least the work of a new hash. */
  isFullWork: boolean
  /** Returns the texts to verify for a typed password, in order. */
  passwordCandidates: (typed: string) => string[]
  matches: (candidate: string) => Promise<boolean>
}

/**
 * Verifies against a hash of argon2. A hash of another system looks like ours but is of the password as it
 * was typed, so both texts are candidates. `secret` is the pepper.
 */
export const argon2Hash = (
  hash: string,
  secret?: Buffer
): Pick<StoredHash, 'passwordCandidates' | 'matches'> => ({
  passwordCandidates: typed => [...new Set([normalise(typed), typed])],
  matches: async candidate => await argon2id.verify(withoutKeyid(hash), candidate, secret)
})

// The names that Django and Spring Security put before a PHC string of argon2. No other system's hash has a
// pepper of this service.
const argon2Prefix = /^(?:argon2|\{argon2(?:@SpringSecurity_v5_8)?\})(?=\$argon2[^,]+,[^,]+,[^,]+$)/

/** Parses a hash in any supported format; undefined if the format is unknown. `secret` is the pepper. */
export function parseStoredHash (
  hash: string, options: argon2id.Argon2Options, secret?: Buffer
): StoredHash | undefined {
  const phcString = hash.replace(argon2Prefix, '')
  const cost = argon2id.evaluationCost(phcString, options)
  if (cost) {
    const isFullWork = !argon2id.needsRehash(phcString, options)
    return { ...cost, isFullWork, ...argon2Hash(phcString, secret) }
  }
  const imported = importedHashes.parseHash(hash)
  return imported && { passwordCandidates: asTyped, ...imported, isFullWork: false }
}
