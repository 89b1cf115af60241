import * as audit from './audit.ts'
import type { Queryable, Statement } from './db.ts'

/** What ended while access tokens of it could be alive: a session, or a single token of a client. */
export interface Revocation {
  kind: 'session' | 'token'
  /** The `sid` or `jti` of those tokens. */
  id: string
  /** Their `sub`. */
  subject: string
  reason: string
  endedAt: Date
  /** When the last of them expires. */
  expiresAt: Date
  transactionId: bigint
}

/** A Revocation as the database gives it. */
export interface StoredRevocation {
  kind: 'session' | 'token'
  id: string
  subject: string
  reason: string
  ended_at: Date
  expires_at: Date
  transaction_id: string
}

export const stored = ({ kind, id, subject, reason, ended_at: endedAt, expires_at: expiresAt, transaction_id: transactionId }: StoredRevocation): Revocation =>
  ({ kind, id, subject, reason, endedAt, expiresAt, transactionId: BigInt(transactionId) })

// The tolerance with which `exp` is judged, and more.
const margin = 60

const select: Statement = {
  name: 'revocations.since',
  text: `
    select revocations.*, transaction_id::text, now() as now,
      pg_snapshot_xmin(pg_current_snapshot())::text as settled, pg_snapshot_xmax(pg_current_snapshot())::text as next
    from (select) as always left join revocations on transaction_id >= $1::xid8 and expires_at > now() - make_interval(secs => ${margin})`
}

/** What a look at the log gave. */
export interface Look {
  revocations: Revocation[]
  /** Whatever was written by a transaction before this one was there to be seen. */
  settled: bigint
  /** The number that no transaction had yet. */
  next: bigint
  now: Date
}

/** All of the log that still matters, from this transaction on. */
export async function since (db: Queryable, transactionId: bigint): Promise<Look> {
  const rows = await db.query<(StoredRevocation | { id: null }) & { settled: string, next: string, now: Date }>(select, [transactionId.toString()])
  const [{ settled, next, now } = { settled: '0', next: '0', now: new Date(0) }] = rows
  return { revocations: rows.flatMap(row => row.id === null ? [] : stored(row)), settled: BigInt(settled), next: BigInt(next), now }
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
