import type { Queryable, Statement } from '../database/database.ts'
import { publishRevoked, type RevocationRow } from '../tokens/revocations.ts'

/** A session whose authentic token someone has presented. */
export interface ProvenSession {
  id: string
  /** The user, if the token names one. */
  userId?: string
  /** When the token was issued. */
  issuedAt: Date
}

// A refresh token does not name its user.
const unknownUser = '00000000-0000-0000-0000-000000000000'

const revoking: Statement = {
  name: 'sessions.revoke-forgotten',
  text: `
    -- $1 sessions, $2 their users, $3 when their tokens were issued, $4 lifetime of an access token
    insert into revocations (id, kind, subject, reason, expires_at)
    select id, 'session', user_id, 'logout', now() + make_interval(secs => $4)
    from unnest($1::uuid[], $2::uuid[], $3::timestamptz[]) as proven (id, user_id, issued_at)
    where issued_at > now() - make_interval(secs => $4)
      and not exists (select from sessions where sessions.id = proven.id)
    on conflict (id) do nothing
    returning id, kind, subject, reason, token_version, ended_at, expires_at, transaction_id::text,
      pg_notify('latchkey_revocations', '')`
}

/**
 * Revokes the access tokens of sessions that the database does not have, because it lost its latest writes in
 * a failover or comes from a backup. Sessions that it has, ended or not, are left as they are. A session
 * whose token was issued longer than `accessTokenSeconds` ago has no valid access token. Resolves to the ids
 * of the revoked sessions.
 */
export async function revokeForgotten (
  db: Queryable, proven: readonly ProvenSession[], accessTokenSeconds: number
): Promise<string[]> {
  const rows = await db.query<RevocationRow>(revoking, [
    proven.map(({ id }) => id),
    proven.map(({ userId }) => userId ?? unknownUser),
    proven.map(({ issuedAt }) => issuedAt),
    accessTokenSeconds
  ])
  publishRevoked(db, rows)
  return rows.map(({ id }) => id)
}
