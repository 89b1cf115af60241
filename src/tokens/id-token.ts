import { createHash } from 'node:crypto'
import type { SigningAlgorithm } from './key-pair.ts'

/**
 * The claims of an ID token (OpenID Connect Core 1.0 section 2), without `iss` and `at_hash`, which the
 * signer adds. Times are seconds since the epoch. A claim that is undefined is left out.
 */
export interface IdTokenClaims {
  readonly sub: string
  readonly aud: string
  readonly iat: number
  readonly exp: number
  readonly [claim: string]: unknown
}

/**
 * The claims of a logout token (OpenID Connect Back-Channel Logout 1.0 section 2.4), without `iss` and
 * `events`, which the signer adds. Times are seconds since the epoch.
 */
export interface LogoutTokenClaims {
  readonly sub: string
  readonly sid: string
  readonly aud: string
  readonly iat: number
  readonly exp: number
  readonly jti: string
}

/** What an ID token of this service says that a client presents as `id_token_hint`. */
export interface IdTokenHint {
  sub: string
  sid: string | undefined
  aud: string | string[]
  /** The client that the ID token was issued to. */
  client: string
}

// The hash functions of the signature algorithms. Ed25519 hashes with SHA-512 (RFC 8032 section 5.1).
const hashFunctions = { ES256: 'sha256', RS256: 'sha256', EdDSA: 'sha512' } as const

/**
 * Calculates the claim `at_hash` of an ID token that is signed with this algorithm: the left half of the hash
 * of the access token (OpenID Connect Core 1.0 section 3.1.3.6).
 */
export function hashAccessToken (accessToken: string, algorithm: SigningAlgorithm): string {
  const digest = createHash(hashFunctions[algorithm]).update(accessToken, 'ascii').digest()
  return digest.subarray(0, digest.length / 2).toString('base64url')
}
