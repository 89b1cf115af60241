import { pbkdf2, timingSafeEqual } from 'node:crypto'
import { promisify } from 'node:util'
import { base64Pattern, decodeBase64, maxHashBytes, minHashBytes } from './encoding.ts'
import type { ImportedHash } from './imported-hash.ts'

const derive = promisify(pbkdf2)
const digestBytes: Record<string, number> = { sha1: 20, sha256: 32, sha512: 64 }
// The format of passlib, and that of Ory Kratos, which adds the length of the hash.
const phcFormat = new RegExp(
  '^\\$pbkdf2(?:-(sha1|sha256|sha512))?\\$(?:i=)?(\\d{1,10})(?:,l=\\d+)?' +
  `\\$(${base64Pattern})\\$(${base64Pattern})$`
)
// In Django's format the salt is text, not Base64.
const djangoFormat = new RegExp(
  `^pbkdf2_(sha1|sha256|sha512)\\$(\\d{1,10})\\$([A-Za-z0-9+/=_.-]{1,128})\\$(${base64Pattern})$`
)

const maxIterations = 2_000_000

/** Parses a PBKDF2 hash (RFC 8018) in the PHC format or in Django's. */
export function parseHash (hash: string): ImportedHash | undefined {
  const [, digest = 'sha1', iterationText = '', salt = '', key = ''] =
    phcFormat.exec(hash) ?? djangoFormat.exec(hash) ?? []
  const expected = decodeBase64(key)
  const iterations = Number(iterationText)
  if (iterations < 1 || expected.length < minHashBytes || expected.length > maxHashBytes) return undefined
  // Each block of the digest's size costs all iterations.
  const blocks = Math.ceil(expected.length / (digestBytes[digest] ?? 1))
  const saltBytes = hash.startsWith('$') ? decodeBase64(salt) : salt
  return {
    exceededLimit:
      iterations * blocks > maxIterations ? `it takes more than ${maxIterations} iterations` : undefined,
    memoryKib: 1,
    matches: async password =>
      timingSafeEqual(await derive(password, saltBytes, iterations, expected.length, digest), expected)
  }
}
