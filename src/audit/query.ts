import type { EventType } from './events.ts'
import type { Queryable } from '../database/database.ts'

/** An event as it is in the audit log. */
export interface AuditEvent {
  id: string
  type: string
  created_at: Date
  user_id: string | null
  actor_id: string | null
  client_id: string | null
  session_id: string | null
  ip: string | null
  user_agent: string | null
  request_id: string | null
  detail: Record<string, unknown>
}

/** From `since` on, and before `until`. */
export interface Filter { userId?: string | undefined, actorId?: string | undefined, type?: EventType | undefined, since?: Date | undefined, until?: Date | undefined }

// In milliseconds: an id is made with its event, whose time is that of the transaction's beginning. None takes so long,
// for a statement ends within 5 s and an idle transaction within 10; and what happened in that time is walked over.
const slack = 20_000

/** The least UUIDv7 of a time (RFC 9562 section 5.7). */
const leastId = (milliseconds: number) => {
  const hex = Math.min(Math.max(milliseconds, 0), 2 ** 48 - 1).toString(16).padStart(12, '0')
  return `${hex.slice(0, 8)}-${hex.slice(8)}-0000-0000-000000000000`
}

/** Events, the newest first, from the one after `before` on. */
export async function list (db: Queryable, { userId, actorId, type, since, until }: Filter, { before, limit }: { before: string | undefined, limit: number }): Promise<AuditEvent[]> {
  const values: unknown[] = []
  const parameter = (value: unknown) => `$${values.push(value)}`
  const conditions = [
    ...userId === undefined ? [] : [`user_id = ${parameter(userId)}`],
    ...actorId === undefined ? [] : [`actor_id = ${parameter(actorId)}`],
    // Of one user there are few: the index over types is not for them.
    ...type === undefined ? [] : [userId === undefined ? `type = ${parameter(type)}` : `type || '' = ${parameter(type)}`],
    ...since ? [`created_at >= to_timestamp(${parameter(since.getTime() / 1_000)})`, `id >= ${parameter(leastId(since.getTime()))}`] : [],
    ...until ? [`created_at < to_timestamp(${parameter(until.getTime() / 1_000)})`, `id < ${parameter(leastId(until.getTime() + slack))}`] : [],
    ...before === undefined ? [] : [`id < ${parameter(before)}`]
  ]
  return await db.query<AuditEvent>(`
    select id, type, created_at, user_id, actor_id, client_id, session_id, host(ip) as ip, user_agent, request_id, detail
    from audit_events ${conditions.length > 0 ? `where ${conditions.join(' and ')}` : ''}
    order by id desc limit ${parameter(limit)}`, values)
}
