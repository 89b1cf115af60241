import { Type } from '@sinclair/typebox'
import type { AuditEventType } from '../../src/audit/events.ts'
import { auditEventTypes } from '../../src/capabilities.ts'
import type { UserStatus } from '../../src/users/listing.ts'
import { orNull, session, Session, time, User } from '../schemas.ts'
import { strict, text } from '../typed.ts'

export const status = Type.Unsafe<UserStatus>({ type: 'string', enum: ['active', 'disabled'], description: 'A disabled user has no sessions, and cannot sign in.' })
export const role = text(1, 100, { description: '`user`, `admin`, or one that the operator has named.', examples: ['admin'] })
export const roles = Type.Array(role, { maxItems: 50, description: 'All roles that the user shall have.' })
export const eventType = Type.Unsafe<AuditEventType>({ type: 'string', enum: [...auditEventTypes], description: 'What happened.' })

export const AdminUser = strict({ ...User.properties, status }, {
  $id: 'AdminUser',
  examples: [{ ...User['examples'][0], status: 'active' }]
})

const { current: _, ...example } = Session['examples'][0]
export const UserSession = strict(session, { $id: 'UserSession', examples: [example] })

const uuidOrNull = (description: string) => orNull<string>({ type: 'string', format: 'uuid' }, description)

export const AuditEvent = strict({
  id: Type.String({ format: 'uuid' }),
  type: Type.String({ description: 'What happened.' }),
  created_at: time('When it happened.'),
  user_id: uuidOrNull('Whom it is about, also when they are gone.'),
  actor_id: uuidOrNull('The user who did it; null where nobody was signed in, and for the command line.'),
  client_id: uuidOrNull('The client it is about, or that did it.'),
  session_id: uuidOrNull('The session it is about.'),
  ip: orNull<string>({ type: 'string' }, 'Where the request came from.'),
  user_agent: orNull<string>({ type: 'string' }, 'The `User-Agent` header of the request.'),
  request_id: orNull<string>({ type: 'string' }, 'The id of the request, as in the log.'),
  detail: Type.Unsafe<Record<string, unknown>>({ type: 'object', additionalProperties: true, description: 'What else is known; it depends on the type.' })
}, {
  $id: 'AuditEvent',
  examples: [{
    id: '0199e8f2-6c1e-7000-8000-0a1b2c3d4e5f', type: 'user.roles_changed', created_at: '2026-11-22T09:00:00.000Z', user_id: '0199e8f2-6c1a-7b3e-9d5f-0a1b2c3d4e5f', actor_id: '0199e8f2-0000-7b3e-9d5f-0a1b2c3d4e5f', client_id: null, session_id: null, ip: '203.0.113.7', user_agent: 'curl/8.14.1', request_id: '0199e8f2-6c1c-7000-8000-0a1b2c3d4e5f', detail: { from: ['user'], to: ['user', 'admin'] }
  }]
})

/** Schemas that are known to the server by their `$id`. */
export const shared = [AdminUser, UserSession, AuditEvent]
