import * as audit from '../audit/events.ts'
import type { Queryable, Statement } from '../database/database.ts'
import { newId } from '../crypto/random.ts'

/** What ended while access tokens of it could be alive: a session, a single token of a client, or all tokens that a user has, while the sessions live on. */
export interface Revocation {
  kind: 'session' | 'token' | 'user'
  /** The `sid` or `jti` of those tokens; of a user's nothing but the name of the row. */
  id: string
  /** Their `sub`. */
  subject: string
  reason: string
  /** Of a user's, those tokens have a lower one. */
  tokenVersion: number | undefined
  endedAt: Date
  /** When the last of them expires. */
  expiresAt: Date
  transactionId: bigint
}

/** A Revocation as the database gives it. */
export interface StoredRevocation {
  kind: 'session' | 'token' | 'user'
  id: string
  subject: string
  reason: string
  token_version: number | null
  ended_at: Date
  expires_at: Date
  transaction_id: string
}

export const stored = ({ kind, id, subject, reason, token_version: tokenVersion, ended_at: endedAt, expires_at: expiresAt, transaction_id: transactionId }: StoredRevocation): Revocation =>
  ({ kind, id, subject, reason, tokenVersion: tokenVersion ?? undefined, endedAt, expiresAt, transactionId: BigInt(transactionId) })

// The tolerance with which `exp` is judged, and more.
const margin = 60

// What was visible at the look before is left out, so that a transaction that takes long costs the readers nothing.
const select: Statement = {
  name: 'revocations.since',
  text: `
    with news as (
      select revocations.*, transaction_id::text as number from revocations
      where transaction_id >= $1::xid8 and ($2::pg_snapshot is null or not pg_visible_in_snapshot(transaction_id, $2::pg_snapshot))
        and ($3::uuid is null or id > $3) and expires_at > now() - make_interval(secs => ${margin})
      order by id limit $4
    )
    select news.*, news.number as transaction_id, now() as now, pg_current_snapshot()::text as snapshot,
      pg_snapshot_xmin(pg_current_snapshot())::text as settled, pg_snapshot_xmax(pg_current_snapshot())::text as next,
      transaction_history() as history
    from (select) as always left join news on true`
}

// A mass of ends comes in parts, between which others have their turn.
const most = 10_000

/** A moment in the history of the database, as a look found it. */
export interface Moment {
  /** What transactions were visible. */
  snapshot: string
  /** Whatever was written by a transaction before this one was there to be seen. */
  settled: bigint
  /** The number that no transaction had yet. */
  next: bigint
  /** Which line of transactions the numbers are of. */
  history: string
  now: Date
}

/** What a look at the log gave. */
export interface Look extends Moment { revocations: Revocation[] }

interface Found { snapshot: string, settled: string, next: string, history: string, now: Date }

/**
 * All of the log that still matters, or what has become visible after a moment. Each part of it is given up after
 * `patience` milliseconds, with the connection: one that is frozen must not keep the next look waiting.
 */
export async function look (db: Queryable, after: Moment | undefined, patience: number): Promise<Look> {
  const revocations: Revocation[] = []
  let moment: Moment | undefined
  for (let last: string | null = null; ;) {
    const rows: Array<(StoredRevocation | { id: null }) & Found> = await db.query({ ...select, query_timeout: patience }, [String(after?.settled ?? 0n), after?.snapshot ?? null, last, most])
    const [first] = rows
    if (!first) throw new Error('a look at the revocation log gave nothing')
    // What becomes visible from the second part on may be missed, and is not visible in the first one.
    const { snapshot, settled, next, history, now } = first
    moment ??= { snapshot, settled: BigInt(settled), next: BigInt(next), history, now }
    for (const row of rows) if (row.id !== null) revocations.push(stored(row))
    if (rows.length < most) return { ...moment, revocations }
    last = revocations.at(-1)?.id ?? null
  }
}

const insert: Statement = {
  name: 'revocations.token',
  text: `
    with revoked as (
      insert into revocations (id, kind, subject, reason, expires_at) values ($1, 'token', $2, 'revoked', $3)
      on conflict (id) do nothing returning *
    ), audited as (${audit.insertion('token.revoked', { client: '$2::uuid', detail: "jsonb_build_object('jti', id)" }, '$4', 'revoked')}
    )
    select revoked.*, transaction_id::text, pg_notify('latchkey_revocations', '') from revoked`
}

/** Ends a client's own access token. Gives what verifiers must know; nothing where it had ended. */
export async function revokeToken (db: Queryable, { jti, clientId, expiresAt }: { jti: string, clientId: string, expiresAt: Date }, origin: audit.Origin): Promise<Revocation[]> {
  return (await db.query<StoredRevocation>(insert, [jti, clientId, expiresAt, audit.parameter(origin)])).map(stored)
}

// A refresh that has begun before may still issue one, of before this commit.
const cut: Statement = {
  name: 'revocations.user',
  text: `
    with cut as (
      update users set token_version = token_version + 1 where id = $1 returning id, token_version
    ), revoked as (
      insert into revocations (id, kind, subject, reason, token_version, expires_at)
      select $2, 'user', id, $3, token_version, interval '1 minute' + greatest(clock_timestamp() + make_interval(secs => $4),
        (select max(access_expires_at) from unended_sessions($1) as session join refresh_tokens on session_id = session.id))
      from cut returning *
    )
    select revoked.*, transaction_id::text, pg_notify('latchkey_revocations', '') from revoked`
}

/**
 * Revokes every access token that the user has, of all sessions, which live on: the next refresh gives one that is
 * good. To be called in the transaction of the reason, and of its event. `accessToken` is the life of such tokens, in
 * seconds. Gives what verifiers must know; nothing where there is no such user.
 */
export async function cutOff (tx: Queryable, userId: string, { accessToken }: { accessToken: number }, reason: string): Promise<Revocation[]> {
  return (await tx.query<StoredRevocation>(cut, [userId, newId(), reason, accessToken])).map(stored)
}

const remove: Statement = {
  name: 'revocations.forget',
  text: `
    with old as (
      delete from revocations where id in (select id from revocations where expires_at < now() - interval '1 hour' limit $1 for update skip locked)
      returning 1
    )
    select count(*)::int as removed from old`
}

/** Removes up to `most` of what nobody needs any more; gives how many. */
export async function forget (db: Queryable, most: number): Promise<number> {
  const [row] = await db.query<{ removed: number }>(remove, [most])
  return row?.removed ?? 0
}
