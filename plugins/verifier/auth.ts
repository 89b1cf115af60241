import type { VerifiedClaims } from './claims.ts'

/**
 * The claims of a verified access token (RFC 9068 section 2.2), under their own names. Frozen, because all
 * requests with the token share it. Times are seconds since 1970 (NumericDate, RFC 7519 section 2).
 *
 * @example
 * app.get('/orders', { onRequest: app.requireAuth }, async ({ auth }) => {
 *   return auth.roles.includes('support') ? allOrders() : ordersOf(auth.sub)
 * })
 */
export interface Auth {
  /** The id of the user; in a client's own token, the id of the client. */
  readonly sub: string
  /** The id of the session; undefined in a client's own token. */
  readonly sid: string | undefined
  /** The user's roles (RFC 9068 section 2.2.3.1); empty in a client's own token. */
  readonly roles: readonly string[]
  /** The scopes, one by one (RFC 6749 section 3.3). */
  readonly scope: readonly string[]
  /** The client that the token was issued to (RFC 8693 section 4.3). */
  readonly client_id: string
  /** The id of the token. */
  readonly jti: string
  /** How often all of the user's tokens were revoked before this one was issued; undefined means never. */
  readonly token_version: number | undefined
  /** When the token was issued. */
  readonly iat: number
  /** When the token expires. */
  readonly exp: number
  /** When the user signed in; undefined in a client's own token. */
  readonly auth_time: number | undefined
  /** How the user signed in (RFC 8176); empty in a client's own token. */
  readonly amr: readonly string[]
  /**
   * The other claims of the token: those of `TOKEN_CLAIMS`, such as `additional['email']`, with the
   * `TOKEN_CLAIMS_NAMESPACE` before their names. An address may be unverified: see `email_verified`.
   */
  readonly additional: Readonly<Record<string, string | number | boolean>>
}

/** The claims as requests get them. The value is frozen because all requests with this token share it. */
export function toAuth (claims: VerifiedClaims): Auth {
  const { sub, sid, roles = [], scope, client_id: clientId, jti, iat, exp, amr = [] } = claims
  return Object.freeze({
    sub,
    sid,
    roles: Object.freeze([...roles]),
    scope: Object.freeze(scope.split(' ').filter(value => value !== '')),
    client_id: clientId,
    jti,
    token_version: claims.token_version,
    iat,
    exp,
    auth_time: claims.auth_time,
    amr: Object.freeze([...amr]),
    additional: Object.freeze({ ...claims.additional })
  })
}
