import * as bcrypt from './imported-hashes/bcrypt.ts'
import type { ImportedHash } from './imported-hashes/imported-hash.ts'
import * as pbkdf2 from './imported-hashes/pbkdf2.ts'
import * as phpass from './imported-hashes/phpass.ts'
import * as saltedDigest from './imported-hashes/salted-digest.ts'
import * as scrypt from './imported-hashes/scrypt.ts'
import * as shaCrypt from './imported-hashes/sha-crypt.ts'

const formats = [bcrypt, scrypt, pbkdf2, shaCrypt, saltedDigest, phpass]

/** Parses a hash that another system made; undefined if the format is unknown. */
export function parseHash (hash: string): ImportedHash | undefined {
  for (const format of formats) {
    const imported = format.parseHash(hash)
    if (imported) return imported
  }
  return undefined
}
