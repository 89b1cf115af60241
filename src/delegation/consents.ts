import * as audit from '../audit/events.ts'
import type { Database, Queryable, Statement } from '../database/database.ts'
import { deletedClient } from './authorization-codes.ts'
import { signInExpired } from './problems.ts'
import { end } from '../sessions/ending.ts'

/** What a user has allowed a client. */
export interface Consent {
  client_id: string
  name: string
  scopes: string[]
  audiences: string[]
  granted_at: Date
  last_used_at: Date
}

export interface ConsentRequest { userId: string, clientId: string, scope: string[], audience: string[] }

const granting: Statement = {
  name: 'consents.grant',
  text: `
    with granted as (
      insert into consents as existing (user_id, client_id, scopes, audiences)
      values (
        $1, $2, array(select unnest($3::text[]) order by 1), array(select unnest($4::text[]) order by 1)
      )
      on conflict (user_id, client_id) do update set
        scopes = array(select distinct unnest(existing.scopes || excluded.scopes) order by 1),
        audiences = array(select distinct unnest(existing.audiences || excluded.audiences) order by 1),
        granted_at = now(), last_used_at = now()
      returning user_id, client_id
    )
    select record_event(
      'consent.granted', $5::jsonb, user_id, client_id => client_id,
      detail => jsonb_build_object('scopes', $3::text[], 'audiences', $4::text[])
    ) from granted`
}

/**
 * Records that a user allows a client these scopes and resources, in addition to earlier ones. Throws
 * `sign_in_expired` if the client was deleted.
 */
export async function grantConsent (
  db: Queryable, { userId, clientId, scope, audience }: ConsentRequest, origin: audit.Origin
): Promise<void> {
  await db.query(granting, [userId, clientId, scope, audience, origin]).catch(deletedClient(signInExpired))
}

const listing: Statement = {
  name: 'consents.list',
  text: `
    select client_id, clients.name, consents.scopes, consents.audiences, granted_at, last_used_at
    from consents join clients on clients.id = client_id
    where user_id = $1 and ($2::uuid is null or client_id > $2) order by client_id limit $3`
}

export interface ConsentPage { after: string | undefined, limit: number }

/** A page of what a user has allowed, ordered by client. */
export async function listConsents (
  db: Queryable, userId: string, { after, limit }: ConsentPage
): Promise<Consent[]> {
  return await db.query<Consent>(listing, [userId, after ?? null, limit])
}

const revoking = 'delete from consents where user_id = $1 and client_id = $2 returning client_id'
const sessionsOfClient = `
  select id from sessions where client_id = $1 and user_id = $2 and ended_at is null order by id`
// A code that was issued before must not become a session afterwards.
const deletingCodes = `
  delete from authorization_codes using sessions
  where authorization_codes.client_id = $1 and sessions.id = authorization_codes.session_id
    and sessions.user_id = $2 and redeemed_at is null`
// A redemption holds this lock, so that none is under way.
const lockingUser = 'select from users where id = $1 for no key update'

/**
 * Revokes what a user has allowed a client, and ends the client's sessions of the user. Returns false if
 * there was nothing.
 */
export async function revokeConsent (
  db: Database, { userId, clientId }: Pick<ConsentRequest, 'userId' | 'clientId'>, origin: audit.Origin
): Promise<boolean> {
  return await db.transaction(async tx => {
    await tx.query(lockingUser, [userId])
    const revoked = await tx.query(revoking, [userId, clientId])
    if (revoked.length === 0) return false
    await tx.query(deletingCodes, [clientId, userId])
    const sessions = await tx.query<{ id: string }>(sessionsOfClient, [clientId, userId])
    await end(tx, sessions.map(({ id }) => id), 'consent_revoked', origin)
    await audit.record(tx, 'consent.revoked', { userId, clientId }, origin)
    return true
  })
}
