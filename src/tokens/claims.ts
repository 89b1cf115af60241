/** The claims of every access token (RFC 9068 section 2.2). */
interface Claims {
  iss: string
  aud: string | string[]
  sub: string
  client_id: string
  iat: number
  exp: number
  jti: string
  scope: string
}

/** The claims of a user's, with the session it belongs to. */
export interface UserClaims extends Claims {
  sid: string
  auth_time: number
  amr: string[]
  roles: string[]
  /** How often all of the user's tokens were revoked before this one; left out for never. */
  token_version?: number
}

/** Those of a client's own, which has no session and no roles; its `sub` is the client. */
export type AccessTokenClaims = UserClaims | Claims & { sid?: never, roles?: never, token_version?: never }
