import * as audit from '../audit/events.ts'
import type { Queryable, Statement } from '../database/database.ts'
import { retry } from '../jobs/retry.ts'
import { publishRevoked, type RevocationRow } from '../tokens/revocations.ts'

/** Why a session ended. Expiry is not among the reasons: see expiry.ts. */
export type EndReason =
  'logout' | 'replayed' | 'ended_by_user' | 'session_limit' | 'signed_in_again' | 'revoked' |
  'ended_by_operator' | 'password_changed' | 'password_reset' | 'email_verified' | 'email_change_undone' |
  'ended_by_admin' | 'account_disabled' | 'account_deleted' | 'consent_revoked' | 'client_deleted'

// end_sessions (migrations/014-delegated-login.sql) also ends the client sessions of a browser session,
// records the events, and enqueues the logout tokens.
const byId: Statement = {
  name: 'sessions.end',
  text: `
    select revoked.*, transaction_id::text
    from end_sessions($1::uuid[], $2, $3::jsonb) as revoked`
}

/** Ends sessions for good, and leaves ended ones as they are. Their access tokens are revoked. */
export async function end (
  db: Queryable, sessionIds: string[], reason: EndReason, origin: audit.Origin
): Promise<void> {
  publishRevoked(db, await db.query<RevocationRow>(byId, [sessionIds, reason, origin]))
}

const firstPartyById: Statement = {
  name: 'sessions.end-first-party',
  text: `
    select revoked.*, transaction_id::text
    from end_sessions(
      array(select id from sessions where id = any ($1::uuid[]) and client_id is null), $2, $3::jsonb
    ) as revoked`
}

/** Ends those of the sessions that are no client's. Client sessions are ended by their client. */
export async function endFirstParty (
  db: Queryable, sessionIds: string[], reason: EndReason, origin: audit.Origin
): Promise<void> {
  publishRevoked(db, await db.query<RevocationRow>(firstPartyById, [sessionIds, reason, origin]))
}

const ofClient: Statement = {
  name: 'sessions.end-of-client',
  text: `
    select revoked.*, transaction_id::text
    from end_sessions(
      array(select id from sessions where id = $1 and client_id = $2), $3, $4::jsonb
    ) as revoked`
}

/** Ends a session if it is that of this client. */
export async function endOfClient (
  db: Queryable, { sessionId, clientId }: { sessionId: string, clientId: string },
  reason: EndReason, origin: audit.Origin
): Promise<void> {
  publishRevoked(db, await db.query<RevocationRow>(ofClient, [sessionId, clientId, reason, origin]))
}

// The lock makes sure that only one of two concurrent requests finds the session. The left join keeps a row
// for a session without a valid access token, so that it counts as found.
const oneOfUser: Statement = {
  name: 'sessions.end-own',
  text: `
    with owned as materialized (
      select session_id from refresh_tokens join unended_sessions($1) as session on session.id = session_id
      where session_id = $2 for update of refresh_tokens
    )
    select revoked.*, transaction_id::text
    from owned left join lateral end_sessions(array[session_id], $3, $4::jsonb) as revoked on true`
}

/**
 * Ends one session of a user. Returns false if the session has ended before, or belongs to another user.
 */
export async function endOwn (
  db: Queryable, { userId, sessionId }: { userId: string, sessionId: string },
  reason: EndReason, origin: audit.Origin
): Promise<boolean> {
  const rows = await db.query<RevocationRow | { id: null }>(oneOfUser, [userId, sessionId, reason, origin])
  publishRevoked(db, rows.filter(row => row.id !== null))
  return rows.length > 0
}

const allOfUser: Statement = {
  name: 'sessions.end-all',
  text: `
    select revoked.*, transaction_id::text
    from end_sessions(
      array(select id from unended_sessions($1) where id is distinct from $2), $3, $4::jsonb
    ) as revoked`
}

/** Ends all sessions of a user but `except`. */
export async function endAll (
  db: Queryable, { userId, except }: { userId: string, except?: string | undefined },
  reason: EndReason, origin: audit.Origin
): Promise<void> {
  publishRevoked(db, await db.query<RevocationRow>(allOfUser, [userId, except ?? null, reason, origin]))
}

const locking: Statement = {
  name: 'sessions.lock',
  text: `
    select from refresh_tokens
    where session_id = any ($2::uuid[]) or session_id in (select id from unended_sessions($1))
    order by session_id for update`
}

/**
 * Locks all sessions of a user, and those in `others`, until the end of the transaction. A transaction that
 * ends sessions more than once calls it first, because locks that are taken in two orders lead to a deadlock.
 */
export async function lockSessions (tx: Queryable, userId: string, others: string[]): Promise<void> {
  await tx.query(locking, [userId, others])
}

const batchOfAll: Statement = {
  name: 'sessions.end-batch',
  text: `
    with page as materialized (
      select session_id from refresh_tokens join sessions on sessions.id = session_id
      where created_at <= $1 and ($2::uuid is null or session_id > $2)
      order by session_id limit $3 for update of refresh_tokens
    )
    select
      (select count(*)::int from page) as ended,
      (select session_id from page order by 1 desc limit 1) as last,
      (select count(*)::int from end_sessions(array(select session_id from page), $4, $5::jsonb)) as revoked`
}

// It is sorted by the second expression of the index `sessions_live_idx`, so that the planner uses it.
const batchOfUser: Statement = {
  name: 'sessions.end-batch-of-user',
  text: `
    with page as materialized (
      select session_id from refresh_tokens join unended_sessions($6) as session on session.id = session_id
      where created_at <= $1 and ($2::uuid is null or (case when ended_at is null then id end) > $2)
      order by (case when ended_at is null then id end) limit $3 for update of refresh_tokens
    )
    select
      (select count(*)::int from page) as ended,
      (select session_id from page order by 1 desc limit 1) as last,
      (select count(*)::int from end_sessions(array(select session_id from page), $4, $5::jsonb)) as revoked`
}

const batchOfClient: Statement = {
  name: 'sessions.end-batch-of-client',
  text: `
    with page as materialized (
      select session_id from refresh_tokens join sessions on sessions.id = session_id
      where created_at <= $1 and ($2::uuid is null or session_id > $2) and client_id = $6
      order by session_id limit $3 for update of refresh_tokens
    )
    select
      (select count(*)::int from page) as ended,
      (select session_id from page order by 1 desc limit 1) as last,
      (select count(*)::int from end_sessions(array(select session_id from page), $4, $5::jsonb)) as revoked`
}

/** Whose sessions are ended: those of a user, those of a client, or all. */
export type SessionSelection = { userId: string } | { clientId: string } | 'all'

const batchSize = 1_000
// A batch that waited too long for a lock, or lost its connection, can safely be repeated.
const maxAttempts = 5
const retryIntervalMs = 200

/**
 * Ends all selected sessions that exist when it is called. Each batch is a transaction of its own, so that no
 * request waits for long. If one fails, the sessions of earlier batches stay ended. Returns the number of
 * ended sessions.
 */
export async function endInBatches (
  db: Queryable, selection: SessionSelection, reason: EndReason, origin: audit.Origin
): Promise<number> {
  // Rounded up, because a Date has milliseconds.
  const [start] = await db.query<{ cutoff: Date }>(
    "select date_trunc('milliseconds', now()) + interval '1 ms' as cutoff")
  const cutoff = start?.cutoff
  let total = 0
  for (let after: string | null = null; ;) {
    let failures = 0
    const values: unknown[] = [cutoff, after, batchSize, reason, origin]
    const [statement, parameters] = selection === 'all'
      ? [batchOfAll, values]
      : 'userId' in selection
        ? [batchOfUser, [...values, selection.userId]]
        : [batchOfClient, [...values, selection.clientId]]
    const [row] = await retry(
      async () => await db.query<{ ended: number, last: string | null }>(statement, parameters),
      { intervalMs: retryIntervalMs, isFinal: () => ++failures >= maxAttempts, onFailure: () => {} })
    if (!row || row.last === null) return total
    total += row.ended
    after = row.last
  }
}
