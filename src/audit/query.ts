import type { AuditEventType } from './events.ts'
import type { Queryable } from '../database/database.ts'

/** An event of the audit log. */
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

/** Which events to list: those from `since` on, and before `until`. */
export interface AuditEventFilter {
  userId?: string | undefined
  actorId?: string | undefined
  type?: AuditEventType | undefined
  since?: Date | undefined
  until?: Date | undefined
}

// An id is generated when the event is inserted, but the time of an event is the beginning of its
// transaction. No transaction takes as long as this: a statement ends within 5 s, and an idle transaction
// within 10 s.
const maxTransactionMs = 20_000

/** The lowest UUIDv7 of a time (RFC 9562 section 5.7). */
const lowestId = (milliseconds: number) => {
  const hex = Math.min(Math.max(milliseconds, 0), 2 ** 48 - 1).toString(16).padStart(12, '0')
  return `${hex.slice(0, 8)}-${hex.slice(8)}-0000-0000-000000000000`
}

/** Lists events, the newest first, from the one after `before` on. */
export async function list (
  db: Queryable, filter: AuditEventFilter, { before, limit }: { before: string | undefined, limit: number }
): Promise<AuditEvent[]> {
  const { userId, actorId, type, since, until } = filter
  const values: unknown[] = []
  const conditions: string[] = []
  const parameter = (value: unknown) => `$${values.push(value)}`
  if (userId !== undefined) conditions.push(`user_id = ${parameter(userId)}`)
  if (actorId !== undefined) conditions.push(`actor_id = ${parameter(actorId)}`)
  if (type !== undefined) {
    // One user has few events. The concatenation keeps the planner from using the index over types for them.
    conditions.push(`${userId === undefined ? 'type' : "type || ''"} = ${parameter(type)}`)
  }
  if (since) {
    conditions.push(`created_at >= to_timestamp(${parameter(since.getTime() / 1_000)})`)
    conditions.push(`id >= ${parameter(lowestId(since.getTime()))}`)
  }
  if (until) {
    conditions.push(`created_at < to_timestamp(${parameter(until.getTime() / 1_000)})`)
    conditions.push(`id < ${parameter(lowestId(until.getTime() + maxTransactionMs))}`)
  }
  if (before !== undefined) conditions.push(`id < ${parameter(before)}`)
  return await db.query<AuditEvent>(`
    select id, type, created_at, user_id, actor_id, client_id, session_id, host(ip) as ip, user_agent,
      request_id, detail
    from audit_events ${conditions.length > 0 ? `where ${conditions.join(' and ')}` : ''}
    order by id desc limit ${parameter(limit)}`, values)
}
