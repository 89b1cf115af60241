import { Type } from '@sinclair/typebox'
import type { AuditEventType } from '../../src/audit/events.ts'
import { auditEventTypes } from '../../src/capabilities.ts'
import type { UserStatus } from '../../src/users/listing.ts'
import { maxExternalIdLength } from '../../src/users/external-id.ts'
import { orNull, session, Session, time, User } from '../schemas.ts'
import { strict, text } from '../typed.ts'
import { Client, ClientWithSecret, CreatedClient } from './client-schemas.ts'

export const status = Type.Unsafe<UserStatus>({
  type: 'string',
  enum: ['active', 'disabled'],
  description: 'A disabled user has no sessions and cannot sign in.'
})
export const role = text(1, 100, {
  description: '`user`, `admin`, or a role that the operator has defined.', examples: ['admin']
})
export const roles = Type.Array(role, {
  maxItems: 50, description: 'All roles of the user. They replace the current ones.'
})
export const eventType = Type.Unsafe<AuditEventType>({
  type: 'string', enum: [...auditEventTypes], description: 'The type of the event.'
})

const externalIdMeaning = 'The id of the user in the system from which they were imported.'
export const externalId = text(1, maxExternalIdLength, {
  description: externalIdMeaning, examples: ['auth0|5f7c8ec7c33c6c004bbafe82']
})

export const AdminUser = strict({
  ...User.properties, status, external_id: orNull<string>({ type: 'string' }, externalIdMeaning)
}, {
  $id: 'AdminUser',
  examples: [{ ...User['examples'][0], status: 'active', external_id: null }]
})

const { current: _, ...example } = Session['examples'][0]
export const UserSession = strict(session, { $id: 'UserSession', examples: [example] })

const uuidOrNull = (description: string) => orNull<string>({ type: 'string', format: 'uuid' }, description)

export const AuditEvent = strict({
  id: Type.String({ format: 'uuid' }),
  type: Type.String({ description: 'The type of the event.' }),
  created_at: time('When the event happened.'),
  user_id: uuidOrNull('The user that the event is about, even if the account was deleted.'),
  actor_id: uuidOrNull('The user who caused the event; null for the command line and without a sign-in.'),
  client_id: uuidOrNull('The client that the event is about, or that caused it.'),
  session_id: uuidOrNull('The session that the event is about.'),
  ip: orNull<string>({ type: 'string' }, 'The network address of the request.'),
  user_agent: orNull<string>({ type: 'string' }, 'The `User-Agent` header of the request.'),
  request_id: orNull<string>({ type: 'string' }, 'The id of the request, as in the log.'),
  detail: Type.Unsafe<Record<string, unknown>>({
    type: 'object', additionalProperties: true, description: 'Further facts, which depend on the type.'
  })
}, {
  $id: 'AuditEvent',
  examples: [{
    id: '0199e8f2-6c1e-7000-8000-0a1b2c3d4e5f',
    type: 'user.roles_changed',
    created_at: '2026-11-22T09:00:00.000Z',
    user_id: '0199e8f2-6c1a-7b3e-9d5f-0a1b2c3d4e5f',
    actor_id: '0199e8f2-0000-7b3e-9d5f-0a1b2c3d4e5f',
    client_id: null,
    session_id: null,
    ip: '203.0.113.7',
    user_agent: 'curl/8.14.1',
    request_id: '0199e8f2-6c1c-7000-8000-0a1b2c3d4e5f',
    detail: { from: ['user'], to: ['user', 'admin'] }
  }]
})

const keyPurposes = ['access_token', 'refresh_token', 'id_token', 'password'] as const
const timeOrNull = (description: string) => orNull<Date>({ type: 'string', format: 'date-time' }, description)

export const Key = strict({
  kid: Type.String({
    description: 'The id of the key: `kid` in the header of the tokens that it signs, and in the JWKS.'
  }),
  purpose: Type.Unsafe<typeof keyPurposes[number]>({
    type: 'string',
    enum: [...keyPurposes],
    description: 'What the key is for: to sign access tokens, to authenticate refresh tokens, to sign ID' +
      ' tokens with RS256, or to hash passwords (the pepper).'
  }),
  alg: Type.String({ description: 'The algorithm (RFC 7518, RFC 8037).' }),
  published_at: time('When the key was created and, if it has a public half, published in the JWKS.'),
  signs_from: time('When the key starts to sign.'),
  retires_at: timeOrNull('When its successor starts to sign; null if there is no successor.'),
  gone_at: timeOrNull('When its tokens are no longer accepted; null if there is no successor.')
}, {
  $id: 'Key',
  examples: [{
    kid: 'mB5hG0xWd6wqCqXvYp1oYqkq9o5v7sE8Qm2c4h0nUeA',
    purpose: 'access_token',
    alg: 'ES256',
    published_at: '2026-11-22T08:50:00.000Z',
    signs_from: '2026-11-22T09:00:00.000Z',
    retires_at: null,
    gone_at: null
  }]
})

/** The schemas to register with the server by their `$id`. */
export const shared = [AdminUser, UserSession, AuditEvent, Client, ClientWithSecret, CreatedClient, Key]
