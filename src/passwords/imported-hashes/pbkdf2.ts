import { pbkdf2, timingSafeEqual } from 'node:crypto'
import { promisify } from 'node:util'
import { base64Pattern, decodeBase64, maxHashBytes, minHashBytes, saltTextPattern } from './encoding.ts'
import type { ImportedHash } from './imported-hash.ts'

const derive = promisify(pbkdf2)
const digestBytes: Record<string, number> = { sha1: 20, sha256: 32, sha512: 64 }
// The format of passlib, and that of Ory Kratos, which adds the length of the hash.
const phcFormat = new RegExp(
  '^\\$pbkdf2(?:-(sha1|sha256|sha512))?\\$(?:i=)?(\\d{1,10})(?:,l=\\d+)?' +
  `\\$(${base64Pattern})\\$(${base64Pattern})$`
)
// In the formats of Django and Werkzeug the salt is text. Werkzeug's hash is in hexadecimal.
const djangoFormat =
  new RegExp(`^pbkdf2_(sha1|sha256|sha512)\\$(\\d{1,10})\\$(${saltTextPattern})\\$(${base64Pattern})$`)
const werkzeugFormat =
  new RegExp(`^pbkdf2:(sha1|sha256|sha512):(\\d{1,10})\\$(${saltTextPattern})\\$((?:[0-9a-f]{2})+)$`)
// Spring Security's hash does not name its parameters: they are the defaults of a version. The salt comes
// first.
const springFormat = /^\{pbkdf2(@SpringSecurity_v5_8)?\}((?:[0-9a-f]{2})+)$/
const springParameters = {
  v5_5: { digest: 'sha1', iterations: 185_000, saltBytes: 8 },
  v5_8: { digest: 'sha256', iterations: 310_000, saltBytes: 16 }
}
const springKeyBytes = 32

const maxIterations = 2_000_000

interface Pbkdf2Parts { digest: string, iterations: number, salt: Buffer, expected: Buffer }

/**
 * Parses a PBKDF2 hash (RFC 8018) in the PHC format, or in that of Django, Werkzeug, Spring Security or
 * ASP.NET Core Identity.
 */
export function parseHash (hash: string): ImportedHash | undefined {
  const parts = parseNamed(hash) ?? parseSpring(hash) ?? parseIdentity(hash)
  if (!parts) return undefined
  const { digest, iterations, salt, expected } = parts
  if (iterations < 1 || expected.length < minHashBytes || expected.length > maxHashBytes) return undefined
  // Each block of the digest's size costs all iterations.
  const blocks = Math.ceil(expected.length / (digestBytes[digest] ?? 1))
  return {
    exceededLimit:
      iterations * blocks > maxIterations ? `it takes more than ${maxIterations} iterations` : undefined,
    memoryKib: 1,
    matches: async password =>
      timingSafeEqual(await derive(password, salt, iterations, expected.length, digest), expected)
  }
}

/** Parses the formats that name the digest and the iterations. */
function parseNamed (hash: string): Pbkdf2Parts | undefined {
  const parts = phcFormat.exec(hash) ?? djangoFormat.exec(hash) ?? werkzeugFormat.exec(hash)
  const [, digest = 'sha1', iterations, salt, key] = parts ?? []
  if (salt === undefined || key === undefined) return undefined
  return {
    digest,
    iterations: Number(iterations),
    salt: hash.startsWith('$') ? decodeBase64(salt) : Buffer.from(salt),
    expected: hash.startsWith('pbkdf2:') ? Buffer.from(key, 'hex') : decodeBase64(key)
  }
}

function parseSpring (hash: string): Pbkdf2Parts | undefined {
  const [, version, text] = springFormat.exec(hash) ?? []
  if (text === undefined) return undefined
  const { saltBytes, ...parameters } = springParameters[version === undefined ? 'v5_5' : 'v5_8']
  const bytes = Buffer.from(text, 'hex')
  if (bytes.length !== saltBytes + springKeyBytes) return undefined
  return { ...parameters, salt: bytes.subarray(0, saltBytes), expected: bytes.subarray(saltBytes) }
}

const identityDigests = ['sha1', 'sha256', 'sha512']
const identitySaltBytes = 16
const identityV2Bytes = 49
const identityV3HeaderBytes = 13

/**
 * Parses the bytes of ASP.NET Core Identity. Version 2: 0, salt, key. Version 3: 1, then the digest, the
 * iterations and the length of the salt as numbers of 32 bits, then salt and key.
 */
function parseIdentity (hash: string): Pbkdf2Parts | undefined {
  if (!/^A[A-Za-z0-9+/]{60,250}={0,2}$/.test(hash)) return undefined
  const bytes = Buffer.from(hash, 'base64')
  const saltAt = (start: number, length: number) =>
    ({ salt: bytes.subarray(start, start + length), expected: bytes.subarray(start + length) })
  if (bytes[0] === 0 && bytes.length === identityV2Bytes) {
    return { digest: 'sha1', iterations: 1_000, ...saltAt(1, identitySaltBytes) }
  }
  const digest = identityDigests[bytes.readUInt32BE(1)]
  const saltBytes = bytes.readUInt32BE(9)
  if (bytes[0] !== 1 || digest === undefined || saltBytes < identitySaltBytes) return undefined
  return { digest, iterations: bytes.readUInt32BE(5), ...saltAt(identityV3HeaderBytes, saltBytes) }
}
