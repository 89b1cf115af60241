import { createCipheriv, scrypt, timingSafeEqual, type ScryptOptions } from 'node:crypto'
import { base64, decode, longest, shortest } from './encoding.ts'
import type { ForeignHash } from './imported-hash.ts'

const costs = '(?:ln|n)=(\\d{1,2}),r=(\\d{1,4}),p=(\\d{1,4})'
const phc = new RegExp(`^\\$scrypt\\$${costs}\\$(${base64})\\$(${base64})$`)
// Firebase's hash as Supabase writes it, and as Ory Kratos does.
const supabase = new RegExp(`^\\$fbscrypt\\$v=1,${costs},ss=(${base64}),sk=(${base64})\\$(${base64})\\$(${base64})$`)
const kratos = new RegExp(`^\\$firescrypt\\$${costs}\\$(${base64})\\$(${base64})\\$(${base64})\\$(${base64})$`)

const mostMemoryKib = 131_072
const mostWork = 2 ** 21

const derive = async (password: string, salt: Buffer, length: number, options: ScryptOptions) => await new Promise<Buffer>((resolve, reject) => {
  scrypt(password, salt, length, options, (error, key) => error ? reject(error) : resolve(key))
})

interface Parts { ln: number, r: number, p: number, salt: Buffer, expected: Buffer, firebase?: { separator: Buffer, signerKey: Buffer } }

/** scrypt (RFC 7914) in the form of PHC, and Firebase's variant of it. */
export function read (hash: string): ForeignHash | undefined {
  const parts = split(hash)
  if (!parts || parts.ln < 1 || parts.r < 1 || parts.p < 1 || parts.expected.length < shortest || parts.expected.length > longest) return undefined
  const { ln, r, p, salt, expected, firebase } = parts
  const N = 2 ** ln
  const memoryKib = Math.ceil((N + p) * r / 8)
  const options = { N, r, p, maxmem: (memoryKib + 1024) * 1024 }
  return {
    excess: memoryKib - Math.ceil(p * r / 8) > mostMemoryKib || N * r * p > mostWork ? `its memory is over ${mostMemoryKib} KiB, or N × r × p over ${mostWork}` : undefined,
    memoryKib,
    async matches (password) {
      if (!firebase) return timingSafeEqual(await derive(password, salt, expected.length, options), expected)
      // What was derived is the key under which Firebase encrypts its project's signer key: that is the hash.
      const key = await derive(password, Buffer.concat([salt, firebase.separator]), 32, options)
      return timingSafeEqual(createCipheriv('aes-256-ctr', key, Buffer.alloc(16)).update(firebase.signerKey), expected)
    }
  }
}

function split (hash: string): Parts | undefined {
  const [, ln, r, p, ...texts] = phc.exec(hash) ?? supabase.exec(hash) ?? kratos.exec(hash) ?? []
  const [first, second, third, fourth] = texts.map(decode)
  const numbers = { ln: Number(ln), r: Number(r), p: Number(p) }
  if (!first || !second) return undefined
  if (!third || !fourth) return { ...numbers, salt: first, expected: second }
  const [separator, signerKey, salt, expected] = hash.startsWith('$fbscrypt') ? [first, second, third, fourth] : [third, fourth, first, second]
  return signerKey.length === expected.length ? { ...numbers, salt, expected, firebase: { separator, signerKey } } : undefined
}
