import type { Queryable } from '../database/database.ts'

/** The types of events. Each room adds its own to this interface, beside its `capability`. */
export interface AuditEventTypes {}
export type AuditEventType = keyof AuditEventTypes

/**
 * The request that caused an event, as far as it is known. A command of the command line has no origin. It is
 * a parameter of the SQL function `record_event`, to which the driver passes it as JSON.
 */
export interface Origin {
  requestId?: string | undefined
  ip?: string | undefined
  userAgent?: string | undefined
  /** The signed-in user who caused the event. */
  actorId?: string | undefined
  /** The client that caused the event. */
  clientId?: string | undefined
}

/** What an event is about. */
export interface EventSubject {
  userId?: string | undefined
  sessionId?: string
  clientId?: string
  detail?: Record<string, unknown>
}

const insert = {
  name: 'audit.record',
  text: 'select record_event($1, $2, user_id => $3, session_id => $4, client_id => $5, detail => $6)'
}

/** Records an event. In a transaction, the event is committed only with the rest. */
export async function record (
  db: Queryable, type: AuditEventType, subject: EventSubject, origin: Origin
): Promise<void> {
  const { userId = null, sessionId = null, clientId = null, detail = {} } = subject
  await db.query(insert, [type, origin, userId, sessionId, clientId, detail])
}

const purgeOld = {
  name: 'audit.purge',
  text: 'select purge_audit_events(now() - make_interval(secs => $1), $2) as purged'
}

/** Purges up to `batchSize` events that are older than `retentionSeconds`. Returns how many it purged. */
export async function purge (db: Queryable, retentionSeconds: number, batchSize: number): Promise<number> {
  const [row] = await db.query<{ purged: number }>(purgeOld, [retentionSeconds, batchSize])
  return row?.purged ?? 0
}
