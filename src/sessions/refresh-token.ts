import { createHmac, timingSafeEqual } from 'node:crypto'
import { parse as parseUuid, stringify as stringifyUuid } from 'uuid'
import { random16 } from '../crypto/random.ts'
import { digest } from '../crypto/sealing.ts'
import type { MacKey } from '../crypto/secret-keys.ts'
import type { LiveSession } from './session.ts'

/** The content of an authentic refresh token, and the SHA-256 of its text. */
export interface RefreshToken {
  sessionId: string
  generation: number
  issuedAt: Date
  nonce: Buffer
  hash: Buffer
}

// The bytes are: version | key id 6 | session id 16 | generation 4 | time of issue in milliseconds 6 |
// nonce 16 | HMAC-SHA-256 of all preceding bytes 32. These 81 bytes make 108 characters without a spare bit,
// so that each token has one spelling.
const version = 1
// The token of a client session. An instance from before there were client sessions would exchange it for the
// tokens of a first-party session. It does not know this version, so it refuses the token.
const clientVersion = 2
const shape = /^lkr_[A-Za-z0-9_-]{108}$/
const signedBytes = 49

const macOf = (secret: Buffer, content: Buffer) => createHmac('sha256', secret).update(content).digest()

interface TokenContent extends Omit<RefreshToken, 'hash' | 'nonce'> {
  nonce?: Uint8Array | undefined
  isOfClient?: boolean
}

/** Makes a refresh token. Its nonce is random unless it is given. */
export function mint (
  { kid, secret }: MacKey,
  { sessionId, generation, issuedAt, nonce = random16(), isOfClient = false }: TokenContent
): string {
  const content = Buffer.alloc(signedBytes)
  content[0] = isOfClient ? clientVersion : version
  content.set(Buffer.from(kid, 'base64url'), 1)
  content.set(parseUuid(sessionId), 7)
  content.writeUInt32BE(generation, 23)
  content.writeUIntBE(issuedAt.getTime(), 27, 6)
  content.set(nonce, 33)
  return 'lkr_' + Buffer.concat([content, macOf(secret, content)]).toString('base64url')
}

/**
 * Issues a refresh token for a session that was just created or refreshed. It expires after `lifeSeconds`, or
 * with the session if that ends first.
 */
export function issue (
  key: MacKey, session: LiveSession, lifeSeconds: number
): { token: string, expiresInSeconds: number } {
  const { id: sessionId, nextGeneration: generation, refreshNonce: nonce, now: issuedAt, expiresAt } = session
  const sessionSeconds = Math.floor((expiresAt.getTime() - issuedAt.getTime()) / 1000)
  return {
    token: mint(key, { sessionId, generation, issuedAt, nonce, isOfClient: session.grant !== undefined }),
    expiresInSeconds: Math.max(0, Math.min(lifeSeconds, sessionSeconds))
  }
}

/**
 * Reads a refresh token without the database; undefined unless it is authentic. `findSecret` returns the
 * secret of a key id, and may throw if it cannot know.
 */
export function parse (
  token: string, findSecret: (kid: string) => Buffer | undefined
): RefreshToken | undefined {
  if (!shape.test(token)) return undefined
  const bytes = Buffer.from(token.slice(4), 'base64url')
  if (bytes[0] !== version && bytes[0] !== clientVersion) return undefined
  const secret = findSecret(bytes.toString('base64url', 1, 7))
  if (!secret) return undefined
  const mac = macOf(secret, bytes.subarray(0, signedBytes))
  if (!timingSafeEqual(mac, bytes.subarray(signedBytes))) return undefined
  return {
    sessionId: stringifyUuid(bytes, 7),
    generation: bytes.readUInt32BE(23),
    issuedAt: new Date(bytes.readUIntBE(27, 6)),
    nonce: bytes.subarray(33, signedBytes),
    hash: digest(token)
  }
}
