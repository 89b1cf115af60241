import type { UserClaims } from '../../plugins/verifier/claims.ts'
import type { Queryable, Statement } from '../database/database.ts'
import type { RefreshToken } from './refresh-token.ts'
import { isLive } from './session.ts'

export interface RefreshTokenState { userId: string, roles: string[], expiresAt: Date }

// What a refresh would take, and no judgement of anything else.
const select: Statement = {
  name: 'sessions.introspect',
  text: `
    select users.id as "userId", users.roles, least(sessions.expires_at, $5::timestamptz + make_interval(secs => $6)) as "expiresAt"
    from refresh_tokens as held join sessions on sessions.id = held.session_id join users on users.id = sessions.user_id
    where held.session_id = $1
      and (held.generation = $2 - 1
        or held.generation = $2 and held.token_hash = $3
          and ($4::float8 is null or held.rotated_at is null or held.rotated_at + make_interval(secs => $4) > now()))
      and ${isLive}
      and $5::timestamptz + make_interval(secs => $6) > now()`
}

/** Whose refresh token it is and until when, if it could be exchanged now; changes nothing. Spans in seconds. */
export async function introspect (db: Queryable, { sessionId, generation, hash, issuedAt }: RefreshToken, { refreshToken, retryWindow }: { refreshToken: number, retryWindow: number | undefined }): Promise<RefreshTokenState | undefined> {
  const [state] = await db.query<RefreshTokenState>(select, [sessionId, generation, hash, retryWindow ?? null, issuedAt, refreshToken])
  return state
}

const selectHolder: Statement = {
  name: 'sessions.introspect-access-token',
  text: `
    select from sessions join users on users.id = sessions.user_id
    where sessions.id = $1 and ${isLive} and users.token_version <= $2`
}

/** Whether an access token that was verified is good by what the database knows now: its session lives, and it was not revoked with all of its user's. */
export async function isGood (db: Queryable, { sid, token_version: version = 0 }: Pick<UserClaims, 'sid' | 'token_version'>): Promise<boolean> {
  return (await db.query(selectHolder, [sid, version])).length > 0
}
