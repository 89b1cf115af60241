import { createHmac, timingSafeEqual } from 'node:crypto'
import { parse as parseUuid, stringify as stringifyUuid } from 'uuid'
import { derive, type KeyEncryptionKeys } from '../crypto/sealing.ts'

/** Derives the secrets of registration tokens. The first one is for new tokens, and all of them verify. */
export function registrationSecrets ([first, ...others]: KeyEncryptionKeys): [Buffer, ...Buffer[]] {
  return [derive(first, 'registration'), ...others.map(key => derive(key, 'registration'))]
}

// version 1 | id of the registration 16 | HMAC-SHA-256 32
const version = 1
const contentLength = 17
const tokenLength = contentLength + 32

const mac = (secret: Buffer, content: Buffer) => createHmac('sha256', secret).update(content).digest()

/**
 * Creates a token that proves, to this service only, that its holder made the registration with this id.
 */
export function mint (secret: Buffer, registrationId: string): string {
  const content = Buffer.concat([Buffer.from([version]), parseUuid(registrationId)])
  return Buffer.concat([content, mac(secret, content)]).toString('base64url')
}

/** Returns the registration id of a token. Returns undefined for anything that `mint` did not create. */
export function parse (text: string, secrets: readonly Buffer[]): string | undefined {
  const bytes = Buffer.from(text, 'base64url')
  const isCanonical = bytes.toString('base64url') === text
  if (bytes.length !== tokenLength || bytes[0] !== version || !isCanonical) return undefined
  const content = bytes.subarray(0, contentLength)
  const tag = bytes.subarray(contentLength)
  const isAuthentic = secrets.some(secret => timingSafeEqual(mac(secret, content), tag))
  return isAuthentic ? stringifyUuid(bytes, 1) : undefined
}
