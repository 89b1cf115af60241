import { createCipheriv, createDecipheriv, hash, hkdfSync, randomBytes } from 'node:crypto'
import { existsSync, linkSync, mkdirSync, readFileSync, unlinkSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { random16 } from './random.ts'

/** SHA-256: all that is kept of an opaque token of 128 random bits or more. */
export const digest = (token: string | Buffer) => hash('sha256', token, 'buffer')

/** The key-encryption keys: the first seals, all of them open. */
export type KeyEncryptionKeys = readonly [Buffer, ...Buffer[]]

const version = 1
const keyIds = new WeakMap<Buffer, Buffer>()
/** By which what a key sealed is known: bytes 1 to 4. */
export function keyId (key: Buffer): Buffer {
  const known = keyIds.get(key) ?? digest(Buffer.concat([Buffer.from('latchkey key-encryption key'), key])).subarray(0, 4)
  keyIds.set(key, known)
  return known
}

/**
 * Encrypts with AES-256-GCM, bound to its `purpose` so that a sealed secret cannot stand in for another.
 * Layout: version (1) | id of the key (4) | nonce (12) | tag (16) | ciphertext.
 */
export function seal (keys: KeyEncryptionKeys, purpose: string, secret: Buffer): Buffer {
  const [key] = keys
  const nonce = random16().subarray(0, 12)
  const cipher = createCipheriv('aes-256-gcm', key, nonce).setAAD(Buffer.from(purpose))
  const sealed = Buffer.concat([cipher.update(secret), cipher.final()])
  return Buffer.concat([Buffer.from([version]), keyId(key), nonce, cipher.getAuthTag(), sealed])
}

/** A secret of 32 bytes for this purpose alone, which a key-encryption key always gives and does not show through (RFC 5869). */
export const derive = (key: Buffer, purpose: string) => Buffer.from(hkdfSync('sha256', key, '', `latchkey ${purpose}`, 32))

/** Whether this key-encryption key sealed it. */
export const isSealedWith = (key: Buffer, sealed: Buffer) => keyId(key).equals(sealed.subarray(1, 5))

export class UnsealError extends Error {}

/** Decrypts what `seal` made for the same purpose; throws an UnsealError where no key fits or a bit was changed. */
export function open (keys: KeyEncryptionKeys, purpose: string, sealed: Buffer): Buffer {
  const key = keys.find(key => isSealedWith(key, sealed))
  if (sealed[0] !== version || !key) throw new UnsealError('it was sealed with another KEY_ENCRYPTION_KEY')
  const decipher = createDecipheriv('aes-256-gcm', key, sealed.subarray(5, 17)).setAAD(Buffer.from(purpose)).setAuthTag(sealed.subarray(17, 33))
  try {
    return Buffer.concat([decipher.update(sealed.subarray(33)), decipher.final()])
  } catch (cause) {
    throw new UnsealError('it was changed after it was sealed', { cause })
  }
}

/** A key-encryption key for development, kept in `file`; made there, for its owner alone, where there is none. */
export function developmentKey (file: string): KeyEncryptionKeys {
  mkdirSync(dirname(file), { recursive: true, mode: 0o700 })
  if (!existsSync(file)) {
    // Linked into place whole, so that of two that start together both read the same key.
    const draft = `${file}.${randomBytes(6).toString('hex')}`
    writeFileSync(draft, randomBytes(32).toString('base64') + '\n', { mode: 0o600 })
    try {
      linkSync(draft, file)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
    } finally {
      unlinkSync(draft)
    }
  }
  const key = Buffer.from(readFileSync(file, 'utf8').trim(), 'base64')
  if (key.length !== 32) throw new Error(`${file} does not hold 32 bytes in base64: put it back, or remove it with the database it belongs to`)
  return [key]
}
