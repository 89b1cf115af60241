import { createCipheriv, createDecipheriv, hash, hkdfSync, randomBytes } from 'node:crypto'
import { existsSync, linkSync, mkdirSync, readFileSync, unlinkSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { random16 } from './random.ts'

/**
 * Returns the SHA-256 of an opaque token. This is safe to store if the token has 128 random bits (ASVS
 * 6.5.2).
 */
export const digest = (token: string | Buffer) => hash('sha256', token, 'buffer')

/** The key-encryption keys. The first one seals; every one of them unseals. */
export type KeyEncryptionKeys = readonly [Buffer, ...Buffer[]]

const layoutVersion = 1
const keyIds = new WeakMap<Buffer, Buffer>()

/** Returns the four bytes that name a key-encryption key in the secrets that it sealed. */
export function keyId (key: Buffer): Buffer {
  const label = Buffer.from('latchkey key-encryption key')
  const id = keyIds.get(key) ?? digest(Buffer.concat([label, key])).subarray(0, 4)
  keyIds.set(key, id)
  return id
}

/**
 * Encrypts with AES-256-GCM (NIST SP 800-38D). The secret is bound to its `purpose`, so that one sealed
 * secret cannot be used in place of another. Layout: version (1) | key id (4) | nonce (12) | tag (16) |
 * ciphertext.
 */
export function seal (keys: KeyEncryptionKeys, purpose: string, secret: Buffer): Buffer {
  const [key] = keys
  const nonce = random16().subarray(0, 12)
  const cipher = createCipheriv('aes-256-gcm', key, nonce).setAAD(Buffer.from(purpose))
  const ciphertext = Buffer.concat([cipher.update(secret), cipher.final()])
  return Buffer.concat([Buffer.from([layoutVersion]), keyId(key), nonce, cipher.getAuthTag(), ciphertext])
}

/** Derives a secret of 32 bytes for one purpose from a key-encryption key (HKDF, RFC 5869). */
export const derive = (key: Buffer, purpose: string) =>
  Buffer.from(hkdfSync('sha256', key, '', `latchkey ${purpose}`, 32))

/** Returns whether this key-encryption key sealed the secret. */
export const isSealedWith = (key: Buffer, sealed: Buffer) => keyId(key).equals(sealed.subarray(1, 5))

/** A secret cannot be unsealed: no key-encryption key fits, or its bytes were changed. */
export class UnsealError extends Error {}

/**
 * Decrypts what `seal` encrypted for the same purpose. Throws an UnsealError if no key fits or if the sealed
 * bytes were changed.
 */
export function unseal (keys: KeyEncryptionKeys, purpose: string, sealed: Buffer): Buffer {
  const key = keys.find(key => isSealedWith(key, sealed))
  if (sealed[0] !== layoutVersion || !key) {
    throw new UnsealError('it was sealed with another KEY_ENCRYPTION_KEY')
  }
  const [nonce, tag, ciphertext] = [sealed.subarray(5, 17), sealed.subarray(17, 33), sealed.subarray(33)]
  const decipher = createDecipheriv('aes-256-gcm', key, nonce).setAAD(Buffer.from(purpose)).setAuthTag(tag)
  try {
    return Buffer.concat([decipher.update(ciphertext), decipher.final()])
  } catch (cause) {
    throw new UnsealError('it was changed after it was sealed', { cause })
  }
}

/**
 * Returns the key-encryption key for development, which `file` holds. Creates the file, readable by its owner
 * only, if it does not exist. Throws if the file holds no key.
 */
export function developmentKey (file: string): KeyEncryptionKeys {
  mkdirSync(dirname(file), { recursive: true, mode: 0o700 })
  if (!existsSync(file)) {
    // The complete file is linked into place, so that two processes that start together read the same key.
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
  if (key.length !== 32) {
    throw new Error(
      `${file} does not hold 32 bytes in base64; restore it, or delete it together with its database`
    )
  }
  return [key]
}
