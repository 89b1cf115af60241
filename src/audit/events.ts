import type { Queryable } from '../database/database.ts'

/** Every kind of event that the audit log has. */
export const eventTypes = [
  'user.registered', 'user.verified', 'user.updated', 'user.password_changed', 'user.password_reset', 'user.email_changed', 'user.imported', 'users.exported',
  'user.disabled', 'user.enabled', 'user.roles_changed', 'user.reset_requested', 'user.deleted', 'user.exported',
  'login.succeeded', 'login.failed', 'login.throttled',
  'session.ended', 'session.replayed',
  'client.created', 'client.updated', 'client.deleted', 'client.secret_rotated',
  'key.created', 'key.rotated', 'key.dropped',
  'token.revoked',
  'mail.failed',
  'webhook.created', 'webhook.updated', 'webhook.deleted', 'webhook.secret_rotated', 'webhook.paused', 'webhook.tested', 'webhook.redelivered'
] as const
export type EventType = typeof eventTypes[number]

/** Where a request came from, and who made it, as far as it is known: at the command line, nothing of it. */
export interface Origin {
  requestId?: string | undefined
  ip?: string | undefined
  userAgent?: string | undefined
  /** The signed-in user who did it, or the client that did. */
  actorId?: string | undefined
  clientId?: string | undefined
}

/** What an event is about; each is an SQL expression over the rows it is made from. */
export interface Subject { user?: string, session?: string, client?: string, detail?: string }

/**
 * The part of a statement that adds an event for each row of `from` (what follows the word), so that it is written
 * with the fact or not at all. `origin` names the parameter that `parameter` fills.
 */
export const insertion = (type: EventType, { user = 'null', session = 'null', client = 'null', detail = "'{}'::jsonb" }: Subject, origin: string, from: string) => `
  insert into audit_events (type, user_id, session_id, client_id, detail, actor_id, ip, user_agent, request_id)
  select '${type}', ${user}, ${session}, coalesce(${client}, (${origin}::jsonb ->> 'clientId')::uuid), ${detail},
    (${origin}::jsonb ->> 'actorId')::uuid, (${origin}::jsonb ->> 'ip')::inet, ${origin}::jsonb ->> 'userAgent', ${origin}::jsonb ->> 'requestId'
  from ${from}`

/** An origin as the parameter of a statement. */
export const parameter = (origin: Origin) => JSON.stringify(origin)

export interface Event { userId?: string | undefined, sessionId?: string, clientId?: string, detail?: Record<string, unknown> }

const statements = new Map(eventTypes.map(type => [type, {
  name: `audit.${type}`,
  text: insertion(type, { user: '$2::uuid', session: '$3::uuid', client: '$4::uuid', detail: '$5::jsonb' }, '$1', '(select) as always')
}]))

/** Adds an event; in a transaction it is written with what else that does. */
export async function record (db: Queryable, type: EventType, { userId, sessionId, clientId, detail = {} }: Event, origin: Origin): Promise<void> {
  await db.query(statements.get(type) ?? '', [parameter(origin), userId ?? null, sessionId ?? null, clientId ?? null, JSON.stringify(detail)])
}

const purge = { name: 'audit.purge', text: 'select purge_audit_events(now() - make_interval(secs => $1), $2) as purged' }

/** Removes up to `most` events that are older than `retention` seconds; gives how many. */
export async function forget (db: Queryable, retention: number, most: number): Promise<number> {
  const [row] = await db.query<{ purged: number }>(purge, [retention, most])
  return row?.purged ?? 0
}
