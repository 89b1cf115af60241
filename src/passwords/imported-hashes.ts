import * as bcrypt from './imported-hashes/bcrypt.ts'
import type { ImportedHash } from './imported-hashes/imported-hash.ts'
import * as pbkdf2 from './imported-hashes/pbkdf2.ts'
import * as saltedDigest from './imported-hashes/salted-digest.ts'
import * as scrypt from './imported-hashes/scrypt.ts'
import * as shaCrypt from './imported-hashes/sha-crypt.ts'

const formats = [bcrypt, scrypt, pbkdf2, shaCrypt, saltedDigest]

/** Parses a hash of another system in a PHC or modular crypt format; undefined if the format is unknown. */
export function parseHash (hash: string): ImportedHash | undefined {
  for (const format of formats) {
    const imported = format.parseHash(hash)
    if (imported) return imported
  }
  return undefined
}

/** Returns the texts that another system may have hashed for a typed password: as it came, and in NFC. */
export const passwordCandidates = (typed: string) => [...new Set([typed, typed.normalize('NFC')])]
