import { createCipheriv, scrypt, timingSafeEqual, type ScryptOptions } from 'node:crypto'
import { base64Pattern, decodeBase64, maxHashBytes, minHashBytes } from './encoding.ts'
import type { ImportedHash } from './imported-hash.ts'

const base64 = `(${base64Pattern})`
const costs = '(?:ln|n)=(\\d{1,2}),r=(\\d{1,4}),p=(\\d{1,4})'
const phcFormat = new RegExp(`^\\$scrypt\\$${costs}\\$${base64}\\$${base64}$`)
// Firebase's hash in the formats of Supabase and Ory Kratos.
const supabaseFormat =
  new RegExp(`^\\$fbscrypt\\$v=1,${costs},ss=${base64},sk=${base64}\\$${base64}\\$${base64}$`)
const kratosFormat = new RegExp(`^\\$firescrypt\\$${costs}\\$${base64}\\$${base64}\\$${base64}\\$${base64}$`)

const maxMemoryKib = 131_072
const maxWork = 2 ** 21

async function derive (
  password: string,
  salt: Buffer,
  length: number,
  options: ScryptOptions
): Promise<Buffer> {
  return await new Promise((resolve, reject) => {
    scrypt(password, salt, length, options, (error, key) => (error ? reject(error) : resolve(key)))
  })
}

interface ScryptParts {
  ln: number
  r: number
  p: number
  salt: Buffer
  expected: Buffer
  firebase?: { separator: Buffer, signerKey: Buffer }
}

/** Parses a scrypt hash (RFC 7914) in the PHC format, or Firebase's variant of scrypt. */
export function parseHash (hash: string): ImportedHash | undefined {
  const parts = splitHash(hash)
  if (!parts || parts.ln < 1 || parts.r < 1 || parts.p < 1) return undefined
  const { ln, r, p, salt, expected, firebase } = parts
  if (expected.length < minHashBytes || expected.length > maxHashBytes) return undefined
  const N = 2 ** ln
  const memoryKib = Math.ceil((N + p) * r / 8)
  const options = { N, r, p, maxmem: (memoryKib + 1024) * 1024 }
  // RFC 7914 section 2: the large block takes N × r × 128 bytes.
  const isTooExpensive = memoryKib - Math.ceil(p * r / 8) > maxMemoryKib || N * r * p > maxWork
  const limits = `${maxMemoryKib} KiB of memory, or N × r × p over ${maxWork}`
  return {
    exceededLimit: isTooExpensive ? `it takes more than ${limits}` : undefined,
    memoryKib,
    async matches (password) {
      if (!firebase) return timingSafeEqual(await derive(password, salt, expected.length, options), expected)
      // Firebase encrypts its project's signer key under the derived key: the ciphertext is the hash.
      const key = await derive(password, Buffer.concat([salt, firebase.separator]), 32, options)
      const cipher = createCipheriv('aes-256-ctr', key, Buffer.alloc(16))
      return timingSafeEqual(cipher.update(firebase.signerKey), expected)
    }
  }
}

function splitHash (hash: string): ScryptParts | undefined {
  const [, ln, r, p, ...texts] =
    phcFormat.exec(hash) ?? supabaseFormat.exec(hash) ?? kratosFormat.exec(hash) ?? []
  const [first, second, third, fourth] = texts.map(decodeBase64)
  const numbers = { ln: Number(ln), r: Number(r), p: Number(p) }
  if (!first || !second) return undefined
  if (!third || !fourth) return { ...numbers, salt: first, expected: second }
  const [separator, signerKey, salt, expected] = hash.startsWith('$fbscrypt')
    ? [first, second, third, fourth]
    : [third, fourth, first, second]
  if (signerKey.length !== expected.length) return undefined
  return { ...numbers, salt, expected, firebase: { separator, signerKey } }
}
