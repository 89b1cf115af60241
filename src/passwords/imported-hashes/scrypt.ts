import { createCipheriv, scrypt, timingSafeEqual, type ScryptOptions } from 'node:crypto'
import { base64Pattern, decodeBase64, maxHashBytes, minHashBytes, saltTextPattern } from './encoding.ts'
import type { ImportedHash } from './imported-hash.ts'

const base64 = `(${base64Pattern})`
const costs = '(?:ln|n)=(\\d{1,2}),r=(\\d{1,4}),p=(\\d{1,4})'
const phcFormat = new RegExp(`^\\$scrypt\\$${costs}\\$${base64}\\$${base64}$`)
// Firebase's hash in the formats of Supabase and Ory Kratos.
const supabaseFormat =
  new RegExp(`^\\$fbscrypt\\$v=1,${costs},ss=${base64},sk=${base64}\\$${base64}\\$${base64}$`)
const kratosFormat = new RegExp(`^\\$firescrypt\\$${costs}\\$${base64}\\$${base64}\\$${base64}\\$${base64}$`)
// In the formats of Django and Werkzeug N is a number and the salt is text. Werkzeug's hash is hexadecimal.
const [cost, number] = ['(\\d{1,10})', '(\\d{1,4})']
const djangoFormat =
  new RegExp(`^scrypt\\$${cost}\\$(${saltTextPattern})\\$${number}\\$${number}\\$${base64}$`)
const werkzeugFormat =
  new RegExp(`^scrypt:${cost}:${number}:${number}\\$(${saltTextPattern})\\$((?:[0-9a-f]{2})+)$`)
// Spring Security's parameters are one hexadecimal number: the logarithm of N, then two digits each of r and
// p.
const springCosts = '([0-9a-f]{1,2})([0-9a-f]{2})([0-9a-f]{2})'
const springFormat =
  new RegExp(`^\\{scrypt(?:@SpringSecurity_v5_8)?\\}\\$${springCosts}\\$${base64}\\$${base64}$`)
// better-auth hashes with the hexadecimal text of the salt, and a password in NFKC.
const betterAuthFormat = /^([0-9a-f]{32}):([0-9a-f]{128})$/

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
  N: number
  r: number
  p: number
  salt: Buffer
  expected: Buffer
  firebase?: { separator: Buffer, signerKey: Buffer }
  passwordCandidates?: (typed: string) => string[]
}

/**
 * Parses a scrypt hash (RFC 7914) in the PHC format, or in that of Django, Werkzeug, Spring Security or
 * better-auth. Also parses Firebase's variant of scrypt.
 */
export function parseHash (hash: string): ImportedHash | undefined {
  const parts = parsePhc(hash) ?? parseSaltText(hash) ?? parseSpring(hash) ?? parseBetterAuth(hash)
  if (!parts) return undefined
  const { N, r, p, salt, expected, firebase, passwordCandidates } = parts
  if (N < 2 || !Number.isInteger(Math.log2(N)) || r < 1 || p < 1) return undefined
  if (expected.length < minHashBytes || expected.length > maxHashBytes) return undefined
  const memoryKib = Math.ceil((N + p) * r / 8)
  const options = { N, r, p, maxmem: (memoryKib + 1024) * 1024 }
  // RFC 7914 section 2: the large block takes N × r × 128 bytes.
  const isTooExpensive = memoryKib - Math.ceil(p * r / 8) > maxMemoryKib || N * r * p > maxWork
  const limits = `${maxMemoryKib} KiB of memory, or N × r × p over ${maxWork}`
  return {
    exceededLimit: isTooExpensive ? `it takes more than ${limits}` : undefined,
    memoryKib,
    ...passwordCandidates && { passwordCandidates },
    async matches (password) {
      if (!firebase) return timingSafeEqual(await derive(password, salt, expected.length, options), expected)
      // Firebase encrypts its project's signer key under the derived key: the ciphertext is the hash.
      const key = await derive(password, Buffer.concat([salt, firebase.separator]), 32, options)
      const cipher = createCipheriv('aes-256-ctr', key, Buffer.alloc(16))
      return timingSafeEqual(cipher.update(firebase.signerKey), expected)
    }
  }
}

/** Parses the formats that name the logarithm of N and have a salt in Base64. */
function parsePhc (hash: string): ScryptParts | undefined {
  const [, ln, r, p, ...texts] =
    phcFormat.exec(hash) ?? supabaseFormat.exec(hash) ?? kratosFormat.exec(hash) ?? []
  const [first, second, third, fourth] = texts.map(decodeBase64)
  const numbers = { N: 2 ** Number(ln), r: Number(r), p: Number(p) }
  if (!first || !second) return undefined
  if (!third || !fourth) return { ...numbers, salt: first, expected: second }
  const [separator, signerKey, salt, expected] = hash.startsWith('$fbscrypt')
    ? [first, second, third, fourth]
    : [third, fourth, first, second]
  if (signerKey.length !== expected.length) return undefined
  return { ...numbers, salt, expected, firebase: { separator, signerKey } }
}

function parseSaltText (hash: string): ScryptParts | undefined {
  const [, djangoN, djangoSalt, djangoR, djangoP, djangoKey] = djangoFormat.exec(hash) ?? []
  if (djangoSalt !== undefined && djangoKey !== undefined) {
    const numbers = { N: Number(djangoN), r: Number(djangoR), p: Number(djangoP) }
    return { ...numbers, salt: Buffer.from(djangoSalt), expected: decodeBase64(djangoKey) }
  }
  const [, N, r, p, salt, key] = werkzeugFormat.exec(hash) ?? []
  if (salt === undefined || key === undefined) return undefined
  const numbers = { N: Number(N), r: Number(r), p: Number(p) }
  return { ...numbers, salt: Buffer.from(salt), expected: Buffer.from(key, 'hex') }
}

function parseSpring (hash: string): ScryptParts | undefined {
  const [, ln = '', r = '', p = '', salt, key] = springFormat.exec(hash) ?? []
  if (salt === undefined || key === undefined) return undefined
  const numbers = { N: 2 ** parseInt(ln, 16), r: parseInt(r, 16), p: parseInt(p, 16) }
  return { ...numbers, salt: decodeBase64(salt), expected: decodeBase64(key) }
}

function parseBetterAuth (hash: string): ScryptParts | undefined {
  const [, salt, key] = betterAuthFormat.exec(hash) ?? []
  if (salt === undefined || key === undefined) return undefined
  return {
    N: 16_384,
    r: 16,
    p: 1,
    salt: Buffer.from(salt),
    expected: Buffer.from(key, 'hex'),
    passwordCandidates: typed => [typed.normalize('NFKC')]
  }
}
