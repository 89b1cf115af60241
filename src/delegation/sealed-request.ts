import { seal, unseal, UnsealError, type KeyEncryptionKeys } from '../crypto/sealing.ts'
import type { AuthorizationRequest } from './authorization-request.ts'

/**
 * An authorization request that waits for its user. It is sealed and not stored, so that a visit without a
 * sign-in writes nothing. It travels in the URL of a page, then in its form. After a request for a mailed
 * link, it is in a cookie. Parallel tabs each have their own.
 */
export interface PendingAuthorization {
  kind: 'authorization'
  request: AuthorizationRequest
  /** The browser session whose user is asked for consent. */
  consentOf?: string
  /** Whether the user authenticated for this request before being asked for consent. */
  hasSignedIn?: boolean
}

/** A sign-out that waits for its confirmation. */
export interface PendingSignOut {
  kind: 'sign_out'
  /** Where the browser goes afterwards. */
  redirectUrl?: string | undefined
  clientName?: string | undefined
}

export type PendingRequest = PendingAuthorization | PendingSignOut

/** A longer sealed request would not fit into the URL of a page. */
export const maxSealedLength = 8_192

const purpose = 'authorization request'
const lifetimeMs = 10 * 60_000
// What comes before the ciphertext.
const headerBytes = 33

/** Seals a pending request for ten minutes. `nowMs` is the database's time. */
export function sealRequest (keys: KeyEncryptionKeys, pending: PendingRequest, nowMs: number): string {
  const text = JSON.stringify({ ...pending, expiresAt: nowMs + lifetimeMs })
  return seal(keys, purpose, Buffer.from(text)).toString('base64url')
}

/** Unseals what `sealRequest` sealed; undefined if it has expired, or was not sealed here. */
export function unsealRequest (
  keys: KeyEncryptionKeys, sealed: string, nowMs: number
): PendingRequest | undefined {
  const bytes = Buffer.from(sealed, 'base64url')
  if (bytes.length <= headerBytes) return undefined
  try {
    const text = unseal(keys, purpose, bytes).toString()
    const { expiresAt, ...pending } = JSON.parse(text) as PendingRequest & { expiresAt: number }
    return nowMs < expiresAt ? pending : undefined
  } catch (error) {
    if (error instanceof UnsealError) return undefined
    throw error
  }
}
