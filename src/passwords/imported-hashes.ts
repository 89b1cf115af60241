import * as bcrypt from './imported-hashes/bcrypt.ts'
import type { ForeignHash } from './imported-hashes/imported-hash.ts'
import * as pbkdf2 from './imported-hashes/pbkdf2.ts'
import * as saltedDigest from './imported-hashes/salted-digest.ts'
import * as scrypt from './imported-hashes/scrypt.ts'
import * as shaCrypt from './imported-hashes/sha-crypt.ts'

const families = [bcrypt, scrypt, pbkdf2, shaCrypt, saltedDigest]

/** The hash that a string of PHC or modular-crypt form is; undefined where the format is none of those known. */
export function read (hash: string): ForeignHash | undefined {
  for (const { read } of families) {
    const found = read(hash)
    if (found) return found
  }
  return undefined
}

/** The forms in which another system may have taken what was typed: as it came, or in NFC. */
export const forms = (password: string) => [...new Set([password, password.normalize('NFC')])]
