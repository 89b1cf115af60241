interface BaseClaims {
  readonly iss: string
  readonly aud: string | string[]
  readonly sub: string
  readonly client_id: string
  /** The scopes, separated by spaces; empty if the token names none. */
  readonly scope: string
  /** Seconds since the epoch, as are the other times. */
  readonly iat: number
  readonly exp: number
  readonly jti: string
}

/** The claims of a token that a user's session issued. */
export interface UserClaims extends BaseClaims {
  readonly sid: string
  readonly roles: string[]
  readonly amr: string[]
  readonly auth_time?: number
  /** How often all tokens of the user were revoked before this one was issued. Absent means never. */
  readonly token_version?: number
}

/** The claims of a client's own token. Its `sub` is the client. It has no session and no roles. */
export interface ClientClaims extends BaseClaims {
  readonly sid?: never
  readonly roles?: never
  readonly amr?: never
  readonly auth_time?: never
  readonly token_version?: never
}

export type AccessTokenClaims = UserClaims | ClientClaims

/**
 * The claims of a verified token. `additional` are those that are not named above, such as the ones of
 * TOKEN_CLAIMS, by their names in the token.
 */
export type VerifiedClaims = AccessTokenClaims & {
  readonly additional: Readonly<Record<string, string | number | boolean>>
}

/** The claims by which a token can be revoked. */
export interface RevocableClaims {
  readonly sub: string
  readonly sid?: string | undefined
  readonly jti: string
  readonly token_version?: number | undefined
}
