import * as audit from '../audit/events.ts'
import type { Queryable, Statement } from '../database/database.ts'
import { stored, type Revocation, type StoredRevocation } from '../tokens/revocations.ts'
import { ending, told, type EndReason } from './ending.ts'
import { liveId, ownedBy } from './session.ts'

/** A session as its user sees it. */
export interface OwnSession {
  id: string
  created_at: Date
  last_used_at: Date
  expires_at: Date
  user_agent: string | null
  ip: string | null
  methods: string[]
}

// One that was not refreshed for the life of a refresh token cannot be again.
const lives = 'expires_at > now() and last_used_at + make_interval(secs => $2) > now()'

const select: Statement = {
  name: 'sessions.list',
  text: `
    select id, created_at, last_used_at, least(expires_at, last_used_at + make_interval(secs => $2)) as expires_at, user_agent, host(ip) as ip, methods
    from sessions join refresh_tokens on session_id = id
    where ${ownedBy('$1')} and ${lives} and ($3::uuid is null or ${liveId} < $3)
    order by ${liveId} desc limit $4`
}

/** The user's sessions that can be refreshed, the newest first, from the one after `before` on. */
export async function list (db: Queryable, userId: string, { refreshToken, before, limit }: { refreshToken: number, before: string | undefined, limit: number }): Promise<OwnSession[]> {
  return await db.query<OwnSession>(select, [userId, refreshToken, before ?? null, limit])
}

const locked = (which: string) => `delete from refresh_tokens where session_id in (
  select session_id from refresh_tokens join sessions on sessions.id = session_id
  where ${ownedBy('$1')} and ${which} order by session_id for update of refresh_tokens)`

const endOne: Statement = { name: 'sessions.end-own', text: `with ${ending(locked('session_id = $2'), '$4', '$3')} select revoked.*, ended.id as ended, transaction_id::text, pg_notify('latchkey_revocations', '') from ended left join revoked on true` }

/** Ends one session of the user; undefined where it is not theirs, or has ended. Gives what verifiers must know. */
export async function endOwn (db: Queryable, userId: string, sessionId: string, reason: EndReason, origin: audit.Origin): Promise<Revocation[] | undefined> {
  const rows = await db.query<StoredRevocation | { id: null }>(endOne, [userId, sessionId, audit.parameter(origin), reason])
  return rows.length === 0 ? undefined : rows.flatMap(row => row.id === null ? [] : stored(row))
}

const endMany: Statement = { name: 'sessions.end-others', text: `with ${ending(locked('session_id is distinct from $2'), '$4', '$3')} ${told}` }

/** Ends all sessions of the user, but for the one of `except`. Gives what verifiers must know. */
export async function endAll (db: Queryable, userId: string, except: string | undefined, reason: EndReason, origin: audit.Origin): Promise<Revocation[]> {
  return (await db.query<StoredRevocation>(endMany, [userId, except ?? null, audit.parameter(origin), reason])).map(stored)
}
