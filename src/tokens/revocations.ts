import type { Origin } from '../audit/events.ts'
import type { Queryable, Statement } from '../database/database.ts'
import { createTopic, type Publisher } from '../database/effects.ts'

/**
 * Access tokens that are revoked before they expire: those of a session, a single token of a client, or all
 * tokens of a user whose sessions continue.
 */
export interface Revocation {
  kind: 'session' | 'token' | 'user'
  /** The `sid` or `jti` of the tokens. If `kind` is 'user', only the id of the row. */
  id: string
  /** The `sub` of the tokens. */
  subject: string
  reason: string
  /** If `kind` is 'user', the tokens are those with a lower version. */
  tokenVersion: number | undefined
  endedAt: Date
  /** When the last of the tokens expires. */
  expiresAt: Date
  transactionId: bigint
}

/**
 * The revocations of this process. Its revocation log subscribes to them, and so learns of a revocation
 * before the database announces it to all instances.
 */
export const revoked = createTopic<readonly Revocation[]>('revoked')

/** A row of the table `revocations`. */
export interface RevocationRow {
  kind: 'session' | 'token' | 'user'
  id: string
  subject: string
  reason: string
  token_version: number | null
  ended_at: Date
  expires_at: Date
  transaction_id: string
}

/** Converts a row of the table `revocations`. */
export const toRevocation = (row: RevocationRow): Revocation => ({
  kind: row.kind,
  id: row.id,
  subject: row.subject,
  reason: row.reason,
  tokenVersion: row.token_version ?? undefined,
  endedAt: row.ended_at,
  expiresAt: row.expires_at,
  transactionId: BigInt(row.transaction_id)
})

/** A revocation that a statement returned as JSON. Its times are text. */
export type RevocationJson =
  Omit<RevocationRow, 'ended_at' | 'expires_at'> & Record<'ended_at' | 'expires_at', string>

const fromJson = ({ ended_at: endedAt, expires_at: expiresAt, ...row }: RevocationJson): Revocation =>
  toRevocation({ ...row, ended_at: new Date(endedAt), expires_at: new Date(expiresAt) })

/** Publishes the revocations that a statement has inserted. */
export function publishRevoked (db: Publisher, rows: readonly RevocationRow[]): void {
  if (rows.length > 0) db.publish(revoked, rows.map(toRevocation))
}

/** Publishes the revocations that a statement has inserted and returned as JSON. */
export function publishRevokedJson (db: Publisher, rows: readonly RevocationJson[]): void {
  if (rows.length > 0) db.publish(revoked, rows.map(fromJson))
}

const insert: Statement = {
  name: 'revocations.token',
  text: `
    insert into revocations (id, kind, subject, reason, expires_at) values ($1, 'token', $2, 'revoked', $3)
    on conflict (id) do nothing
    returning id, kind, subject, reason, token_version, ended_at, expires_at, transaction_id::text,
      record_event('token.revoked', $4, client_id => subject, detail => jsonb_build_object('jti', id)),
      pg_notify('latchkey_revocations', '')`
}

/** An access token of a client. */
export interface ClientToken { jti: string, clientId: string, expiresAt: Date }

/** Revokes a client's own access token, unless it was revoked before. */
export async function revokeToken (
  db: Queryable, { jti, clientId, expiresAt }: ClientToken, origin: Origin
): Promise<void> {
  publishRevoked(db, await db.query<RevocationRow>(insert, [jti, clientId, expiresAt, origin]))
}

// A refresh that began before this transaction commits may still issue an access token with the old version.
// Therefore the revocation lasts for the lifetime of a new token, with a margin. The expressions over
// sessions are those of the index sessions_live_idx.
const incrementVersion: Statement = {
  name: 'revocations.user',
  text: `
    with updated as (
      update users set token_version = token_version + 1 where id = $1 returning id, token_version
    )
    insert into revocations (id, kind, subject, reason, token_version, expires_at)
    select uuid_v7(), 'user', id, $2, token_version, interval '1 minute' + greatest(
      clock_timestamp() + make_interval(secs => $3),
      (
        select max(access_expires_at) from refresh_tokens join sessions on sessions.id = session_id
        where (case when sessions.ended_at is null then sessions.user_id end) = $1
          and sessions.ended_at is null
      )
    )
    from updated
    returning id, kind, subject, reason, token_version, ended_at, expires_at, transaction_id::text,
      pg_notify('latchkey_revocations', '')`
}

/** Why all access tokens of a user are revoked, and for how many seconds such tokens are valid. */
export interface UserRevocation { reason: string, accessTokenSeconds: number }

/**
 * Revokes all access tokens of a user. The sessions continue: their next refresh issues a valid token. Call
 * it in the transaction of the reason and of its event. Does nothing if there is no such user.
 */
export async function revokeUserTokens (
  tx: Queryable, userId: string, { reason, accessTokenSeconds }: UserRevocation
): Promise<void> {
  publishRevoked(tx, await tx.query<RevocationRow>(incrementVersion, [userId, reason, accessTokenSeconds]))
}

const purgeExpired: Statement = {
  name: 'revocations.purge',
  text: `
    with purged as (
      delete from revocations where id in (
        select id from revocations where expires_at < now() - interval '1 hour' limit $1
        for update skip locked
      ) returning 1
    )
    select count(*)::int as purged from purged`
}

/** Purges up to `batchSize` revocations whose tokens have expired. Returns how many it purged. */
export async function purge (db: Queryable, batchSize: number): Promise<number> {
  const [row] = await db.query<{ purged: number }>(purgeExpired, [batchSize])
  return row?.purged ?? 0
}
