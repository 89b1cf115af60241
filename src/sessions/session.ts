import type { User } from '../users/users.ts'

/** How long tokens and sessions live. */
export interface Lifetimes {
  accessTokenSeconds: number
  refreshTokenSeconds: number
  sessionSeconds: number
  rememberedSessionSeconds: number
  /** For how long a superseded refresh token is only refused. Later its reuse ends the session. */
  replayGraceSeconds: number
  /**
   * For how long after its confirmation the current refresh token can be exchanged again. Undefined: until it
   * expires.
   */
  retryWindowSeconds: number | undefined
}

/** What a client session was authorized for. */
export interface ClientGrant {
  clientId: string
  scope: string[]
  /** The resources (RFC 8707); empty if none was named. */
  audience: string[]
  isOffline: boolean
}

/** A session that was just created or refreshed, and the generation of the refresh token to issue for it. */
export interface LiveSession {
  id: string
  user: User
  /** The id of the user in the system that they were imported from. */
  externalId: string | null
  /** How many times all access tokens of the user have been revoked. */
  tokenVersion: number
  methods: string[]
  remembered: boolean
  authenticatedAt: Date
  expiresAt: Date
  /** The database's time, at which the new tokens are issued. */
  now: Date
  nextGeneration: number
  /** The nonce of the refresh token to issue, if the database knows it; otherwise it is random. */
  refreshNonce: Buffer | undefined
  /** What the session was authorized for, if it is that of a client; undefined for a first-party session. */
  grant: ClientGrant | undefined
}

/** A live session and its user as the statements select them. */
export interface LiveSessionRow extends User {
  session_id: string
  external_id: string | null
  token_version: number
  methods: string[]
  remembered: boolean
  authenticated_at: Date
  expires_at: Date
  now: Date
  client_id: string | null
  scope: string[] | null
  audience: string[] | null
  is_offline: boolean
}

/** Converts a row; `generation` and perhaps `refreshNonce` are those of the refresh token to issue. */
export function toLiveSession (
  row: LiveSessionRow, generation: number, refreshNonce?: Buffer
): LiveSession {
  const {
    session_id: id, external_id: externalId, token_version: tokenVersion, methods, remembered,
    authenticated_at: authenticatedAt, expires_at: expiresAt, now,
    client_id: clientId, scope, audience, is_offline: isOffline, ...user
  } = row
  const grant = clientId === null
    ? undefined
    : { clientId, scope: scope ?? [], audience: audience ?? [], isOffline }
  return {
    id,
    user,
    externalId,
    tokenVersion,
    methods,
    remembered,
    authenticatedAt,
    expiresAt,
    now,
    nextGeneration: generation,
    refreshNonce,
    grant
  }
}
