import { createHmac, timingSafeEqual } from 'node:crypto'
import { parse as parseUuid, stringify as stringifyUuid } from 'uuid'
import { random16 } from '../crypto/random.ts'
import { digest } from '../crypto/sealing.ts'
import type { MacKey } from '../crypto/secret-keys.ts'
import type { LiveSession } from './session.ts'

/** What an authentic refresh token says of itself. */
export interface RefreshToken { sessionId: string, generation: number, issuedAt: Date, hash: Buffer }

// version 1 | key id 6 | session id 16 | generation 4 | issued at, in milliseconds 6 | nonce 16 | HMAC-SHA-256 32:
// 81 bytes are 108 characters without a spare bit, so each token has one spelling.
const version = 1
const shape = /^lkr_[A-Za-z0-9_-]{108}$/
const signed = 49

const mac = (secret: Buffer, content: Buffer) => createHmac('sha256', secret).update(content).digest()

/** A new refresh token of a session. */
export function mint ({ kid, secret }: MacKey, { sessionId, generation, issuedAt }: Omit<RefreshToken, 'hash'>): string {
  const content = Buffer.alloc(signed)
  content[0] = version
  content.set(Buffer.from(kid, 'base64url'), 1)
  content.set(parseUuid(sessionId), 7)
  content.writeUInt32BE(generation, 23)
  content.writeUIntBE(issuedAt.getTime(), 27, 6)
  content.set(random16(), 33)
  return 'lkr_' + Buffer.concat([content, mac(secret, content)]).toString('base64url')
}

/** A refresh token of a session that has just proved itself, and the seconds it lives for: at most so many. */
export const issue = (key: MacKey, { id: sessionId, generation, now: issuedAt, expiresAt }: LiveSession, most: number) => ({
  token: mint(key, { sessionId, generation, issuedAt }),
  lives: Math.max(0, Math.min(most, Math.floor((expiresAt.getTime() - issuedAt.getTime()) / 1000)))
})

/**
 * Reads a refresh token without the database: undefined unless it is authentic.
 * `find` gives the secret of a key id, and may throw where it cannot know.
 */
export function parse (token: string, find: (kid: string) => Buffer | undefined): RefreshToken | undefined {
  if (!shape.test(token)) return undefined
  const bytes = Buffer.from(token.slice(4), 'base64url')
  if (bytes[0] !== version) return undefined
  const secret = find(bytes.toString('base64url', 1, 7))
  if (!secret || !timingSafeEqual(mac(secret, bytes.subarray(0, signed)), bytes.subarray(signed))) return undefined
  return {
    sessionId: stringifyUuid(bytes, 7),
    generation: bytes.readUInt32BE(23),
    issuedAt: new Date(bytes.readUIntBE(27, 6)),
    hash: digest(token)
  }
}
