import { pbkdf2, timingSafeEqual } from 'node:crypto'
import { promisify } from 'node:util'
import { base64, decode, longest, shortest } from './encoding.ts'
import type { ForeignHash } from './imported-hash.ts'

const derive = promisify(pbkdf2)
const sizes: Record<string, number> = { sha1: 20, sha256: 32, sha512: 64 }
// As passlib writes it, and as Ory Kratos does, with the length of the hash.
const phc = new RegExp(`^\\$pbkdf2(?:-(sha1|sha256|sha512))?\\$(?:i=)?(\\d{1,10})(?:,l=\\d+)?\\$(${base64})\\$(${base64})$`)
// Its salt is text.
const django = new RegExp(`^pbkdf2_(sha1|sha256|sha512)\\$(\\d{1,10})\\$([A-Za-z0-9+/=_.-]{1,128})\\$(${base64})$`)

const mostIterations = 2_000_000

/** PBKDF2 (RFC 8018) in the form of PHC or of Django. */
export function read (hash: string): ForeignHash | undefined {
  const [, digest = 'sha1', iterations = '', salt = '', key = ''] = phc.exec(hash) ?? django.exec(hash) ?? []
  const expected = decode(key)
  const rounds = Number(iterations)
  if (rounds < 1 || expected.length < shortest || expected.length > longest) return undefined
  // Each block of the digest's size costs all iterations.
  const blocks = Math.ceil(expected.length / (sizes[digest] ?? 1))
  return {
    excess: rounds * blocks > mostIterations ? `its iterations are more than ${mostIterations}` : undefined,
    memoryKib: 1,
    matches: async password => timingSafeEqual(await derive(password, hash.startsWith('$') ? decode(salt) : salt, rounds, expected.length, digest), expected)
  }
}
