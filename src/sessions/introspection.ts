import type { Queryable, Statement } from '../database/database.ts'
import type { UserClaims } from '../../plugins/verifier/claims.ts'
import type { RefreshToken } from './refresh-token.ts'
import type { Lifetimes } from './session.ts'

export interface RefreshTokenState {
  userId: string
  roles: string[]
  expiresAt: Date
  /** The client that the token was issued to, and its scopes; null for a first-party session. */
  clientId: string | null
  scope: string[] | null
}

// The conditions are those of `rotation`: keep them alike. This statement only reads, and detects no reuse.
const refreshTokenQuery: Statement = {
  name: 'sessions.introspect',
  text: `
    select users.id as "userId", users.roles, sessions.client_id as "clientId", sessions.scope,
      least(sessions.expires_at, $5::timestamptz + make_interval(secs => $6)) as "expiresAt"
    from refresh_tokens as family
    join sessions on sessions.id = family.session_id join users on users.id = sessions.user_id
    where family.session_id = $1
      and (
        family.generation < $2
        or (family.generation = $2 and family.token_hash = $3
          and ($4::float8 is null or family.confirmations[1] > now() - make_interval(secs => $4)))
      )
      and sessions.ended_at is null and sessions.expires_at > now() and users.disabled_at is null
      and $5::timestamptz > now() - make_interval(secs => $6)`
}

/** The owner and the expiry of a refresh token that could be exchanged now; undefined if it could not. */
export async function introspectRefreshToken (
  db: Queryable, { sessionId, generation, hash, issuedAt }: RefreshToken,
  { refreshTokenSeconds, retryWindowSeconds }: Pick<Lifetimes, 'refreshTokenSeconds' | 'retryWindowSeconds'>
): Promise<RefreshTokenState | undefined> {
  const [state] = await db.query<RefreshTokenState>(refreshTokenQuery, [
    sessionId, generation, hash, retryWindowSeconds ?? null, issuedAt, refreshTokenSeconds
  ])
  return state
}

const accessTokenQuery: Statement = {
  name: 'sessions.introspect-access-token',
  text: `
    select from sessions join users on users.id = sessions.user_id
    where sessions.id = $1 and users.token_version <= $2
      and sessions.ended_at is null and sessions.expires_at > now() and users.disabled_at is null`
}

/**
 * Whether a verified access token is active (RFC 7662 section 2.2): its session has not ended, and it was not
 * revoked with all access tokens of its user.
 */
export async function isAccessTokenActive (
  db: Queryable, { sid, token_version: version = 0 }: Pick<UserClaims, 'sid' | 'token_version'>
): Promise<boolean> {
  return (await db.query(accessTokenQuery, [sid, version])).length > 0
}
