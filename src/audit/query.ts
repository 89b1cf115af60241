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

// The plan leaves out a condition without a value, because the statement has no name: PostgreSQL plans it for
// its values. One user has few events; the concatenation keeps the planner from using the index over types.
const select = `
  select id, type, created_at, user_id, actor_id, client_id, session_id, host(ip) as ip, user_agent,
    request_id, detail
  from audit_events
  where ($1::uuid is null or user_id = $1)
    and ($2::uuid is null or actor_id = $2)
    and ($3::text is null or case when $1::uuid is null then type = $3 else type || '' = $3 end)
    and ($4::float8 is null or created_at >= to_timestamp($4))
    and ($5::uuid is null or id >= $5)
    and ($6::float8 is null or created_at < to_timestamp($6))
    and ($7::uuid is null or id < $7)
    and ($8::uuid is null or id < $8)
  order by id desc limit $9`

/** Lists events, the newest first, from the one after `before` on. */
export async function list (
  db: Queryable, filter: AuditEventFilter, { before, limit }: { before: string | undefined, limit: number }
): Promise<AuditEvent[]> {
  const { userId = null, actorId = null, type = null } = filter
  const [sinceMs, untilMs] = [filter.since?.getTime(), filter.until?.getTime()]
  const since = sinceMs === undefined ? [null, null] : [sinceMs / 1_000, lowestId(sinceMs)]
  const until = untilMs === undefined
    ? [null, null]
    : [untilMs / 1_000, lowestId(untilMs + maxTransactionMs)]
  return await db.query<AuditEvent>(
    select, [userId, actorId, type, ...since, ...until, before ?? null, limit])
}
