import { createHash, timingSafeEqual } from 'node:crypto'
import { base64Pattern, decodeBase64 } from './encoding.ts'
import type { ImportedHash } from './imported-hash.ts'

const digestBytes: Record<string, number> = { sha256: 32, sha512: 64 }
const ldapFormat = new RegExp(`^\\{SSHA(256|512)\\}(${base64Pattern})$`)
// The format of Ory Kratos. `pf` is the order of salt and password, in Base64.
const kratosFormat = new RegExp(
  `^\\$(sha256|sha512)\\$pf=(${base64Pattern})\\$(${base64Pattern})\\$(${base64Pattern})$`
)

interface DigestParts { digest: string, order: string, salt: Buffer, expected: Buffer }

/** Parses one round of SHA-2 over password and salt, in the format of LDAP (`{SSHA512}`) or Ory Kratos. */
export function parseHash (hash: string): ImportedHash | undefined {
  const parts = parseLdap(hash) ?? parseKratos(hash)
  if (!parts || parts.expected.length !== digestBytes[parts.digest]) return undefined
  const { digest, order, salt, expected } = parts
  if (salt.length < 1 || salt.length > 256) return undefined
  const pieces = order.split(/(\{SALT\}|\{PASSWORD\})/)
  return {
    memoryKib: 1,
    async matches (password) {
      const hashing = createHash(digest)
      for (const piece of pieces) {
        hashing.update(piece === '{SALT}' ? salt : piece === '{PASSWORD}' ? password : piece)
      }
      return timingSafeEqual(hashing.digest(), expected)
    }
  }
}

function parseLdap (hash: string): DigestParts | undefined {
  const [, bits, text] = ldapFormat.exec(hash) ?? []
  if (bits === undefined || text === undefined) return undefined
  const bytes = decodeBase64(text)
  const size = Number(bits) / 8
  const [expected, salt] = [bytes.subarray(0, size), bytes.subarray(size)]
  return { digest: `sha${bits}`, order: '{PASSWORD}{SALT}', salt, expected }
}

function parseKratos (hash: string): DigestParts | undefined {
  const [, digest, format, salt, text] = kratosFormat.exec(hash) ?? []
  if (digest === undefined || format === undefined || salt === undefined || text === undefined) {
    return undefined
  }
  const order = decodeBase64(format).toString()
  const hasOnePassword = order.split('{PASSWORD}').length === 2
  if (order.length > 256 || !order.includes('{SALT}') || !hasOnePassword) return undefined
  return { digest, order, salt: decodeBase64(salt), expected: decodeBase64(text) }
}
