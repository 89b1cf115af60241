import { createHash, timingSafeEqual } from 'node:crypto'
import { base64, decode } from './encoding.ts'
import type { ForeignHash } from './imported-hash.ts'

const sizes: Record<string, number> = { sha256: 32, sha512: 64 }
const ldap = new RegExp(`^\\{SSHA(256|512)\\}(${base64})$`)
// As Ory Kratos writes it: `pf` is the order of salt and password, in Base64.
const phc = new RegExp(`^\\$(sha256|sha512)\\$pf=(${base64})\\$(${base64})\\$(${base64})$`)

interface Parts { digest: string, order: string, salt: Buffer, expected: Buffer }

/** One round of SHA-2 over a password and its salt, in the form of LDAP (`{SSHA512}`) or of Ory Kratos. */
export function read (hash: string): ForeignHash | undefined {
  const parts = ofLdap(hash) ?? ofPhc(hash)
  if (!parts || parts.expected.length !== sizes[parts.digest] || parts.salt.length < 1 || parts.salt.length > 256) return undefined
  const { digest, order, salt, expected } = parts
  const pieces = order.split(/(\{SALT\}|\{PASSWORD\})/)
  return {
    memoryKib: 1,
    async matches (password) {
      const hashing = createHash(digest)
      for (const piece of pieces) hashing.update(piece === '{SALT}' ? salt : piece === '{PASSWORD}' ? password : piece)
      return timingSafeEqual(hashing.digest(), expected)
    }
  }
}

function ofLdap (hash: string): Parts | undefined {
  const [, bits, text] = ldap.exec(hash) ?? []
  if (bits === undefined || text === undefined) return undefined
  const bytes = decode(text)
  const size = Number(bits) / 8
  return { digest: `sha${bits}`, order: '{PASSWORD}{SALT}', salt: bytes.subarray(size), expected: bytes.subarray(0, size) }
}

function ofPhc (hash: string): Parts | undefined {
  const [, digest, format, salt, text] = phc.exec(hash) ?? []
  if (digest === undefined || format === undefined || salt === undefined || text === undefined) return undefined
  const order = decode(format).toString()
  if (order.length > 256 || !order.includes('{SALT}') || order.split('{PASSWORD}').length !== 2) return undefined
  return { digest, order, salt: decode(salt), expected: decode(text) }
}
