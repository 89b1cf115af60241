import * as audit from '../audit/events.ts'
import type { Queryable, Statement } from '../database/database.ts'
import { stored, type Revocation, type StoredRevocation } from '../tokens/revocations.ts'
import { ownedBy } from './session.ts'

/** Why a session ended. */
export type EndReason = 'logout' | 'replayed' | 'ended_by_user' | 'session_limit' | 'signed_in_again' | 'revoked' | 'ended_by_operator' | 'password_changed' | 'password_reset' | 'email_verified' | 'email_change_undone' | 'ended_by_admin' | 'account_disabled' | 'account_deleted'

/**
 * The parts of a statement that end, for good, the sessions whose refresh state `dead` deletes: the end, its events,
 * and a revocation where an access token can be alive, by whatever clock. `ended` is what ended, for `told`. In this order everywhere,
 * for two orders could lock each other out: the refresh state, then the session.
 */
export const ending = (dead: string, reason: string, origin: string) => `
  dead as (
    ${dead} returning *
  ), ended as (
    update sessions set ended_at = now(), end_reason = ${reason}
    from dead where id = dead.session_id and ended_at is null
    returning sessions.*, dead.access_expires_at, dead.generation, dead.last_used_at
  ), audited as (${audit.insertion('session.ended', { user: 'user_id', session: 'id', detail: "jsonb_build_object('reason', end_reason)" }, origin, 'ended')}
  ), revoked as (
    insert into revocations (id, kind, subject, reason, ended_at, expires_at)
    select id, 'session', user_id, end_reason, ended_at, access_expires_at from ended where access_expires_at > now() - interval '1 minute'
    returning *
  )`

/** What the statement selects of them: the revocations, and word of them for the other instances. */
export const told = "select revoked.*, transaction_id::text, pg_notify('latchkey_revocations', '') from revoked"

const byId: Statement = {
  name: 'sessions.end',
  text: 'select each.*, transaction_id::text from end_sessions($1::uuid[], $2, $3::jsonb) as each'
}

/** Ends sessions for good; those that have ended stay as they are. Gives what verifiers must know. */
export async function end (db: Queryable, sessionIds: string[], reason: EndReason, origin: audit.Origin): Promise<Revocation[]> {
  return (await db.query<StoredRevocation>(byId, [sessionIds, reason, audit.parameter(origin)])).map(stored)
}

const lock: Statement = {
  name: 'sessions.lock',
  text: `
    select from refresh_tokens
    where session_id = any($2::uuid[]) or session_id in (select id from sessions where ${ownedBy('$1')})
    order by session_id for update`
}

/**
 * Locks the sessions of a user and these others until the end of the transaction. A transaction that ends
 * sessions more than once calls it first, because locks that are taken in two orders lead to a deadlock.
 */
export async function lockSessions (tx: Queryable, userId: string, others: string[]): Promise<void> {
  await tx.query(lock, [userId, others])
}
