import { Type, type TSchema } from '@sinclair/typebox'
import { strict } from '../typed.ts'

const text = Type.String()
const time = Type.String({ format: 'date-time' })
const id = Type.String({ format: 'uuid' })
const orNull = (schema: TSchema) => Type.Unsafe({ anyOf: [schema, { type: 'null' }] })

const origin = { ip: orNull(text), user_agent: orNull(text), request_id: orNull(text) }

/** All that is held about a user. */
export const PersonalData = strict({
  user: strict({
    id,
    email: text,
    canonical_email: Type.String({ description: 'What addresses are compared by.' }),
    username: orNull(text),
    username_lookalike: Type.Boolean({ description: 'Whether the username looks like another, and was there before the rule about such.' }),
    name: orNull(text),
    roles: Type.Array(text),
    has_password: Type.Boolean(),
    password_version: Type.Integer({ description: 'Counts the passwords.' }),
    token_version: Type.Integer({ description: 'Counts what all access tokens were ended for.' }),
    email_version: Type.Integer({ description: 'Counts the addresses.' }),
    email_verified_at: orNull(time),
    disabled_at: orNull(time),
    devices_known_from: Type.Unsafe({ ...orNull(time), description: 'When all devices were forgotten last.' }),
    language: orNull(text),
    created_at: time,
    updated_at: time
  }),
  sessions: Type.Array(strict({
    id,
    methods: Type.Array(text),
    authenticated_at: time,
    remembered: Type.Boolean(),
    user_agent: orNull(text),
    ip: orNull(text),
    created_at: time,
    last_used_at: orNull(time),
    expires_at: time,
    ended_at: orNull(time),
    end_reason: orNull(text)
  }), { description: 'Those that have ended are kept for a day.' }),
  links: Type.Array(strict({
    purpose: text,
    email: Type.Unsafe({ ...orNull(text), description: 'The address to change to, or back to.' }),
    created_at: time,
    expires_at: time
  }), { description: 'What was mailed to be used once, and was not yet.' }),
  jobs: Type.Array(strict({ id, kind: text, attempts: Type.Integer(), created_at: time, run_at: time, expires_at: time }), { description: 'What is still to be sent.' }),
  audit_events: Type.Array(strict({
    id,
    type: text,
    created_at: time,
    user_id: orNull(id),
    actor_id: Type.Unsafe({ ...orNull(id), description: 'Who did it, where that is known.' }),
    client_id: orNull(id),
    session_id: orNull(id),
    ...origin,
    detail: Type.Record(text, Type.Unknown())
  }), { description: 'What happened to the account.' }),
  actions: Type.Array(strict({ id, type: text, created_at: time, session_id: orNull(id), ...origin }), { description: 'What the user did that is not about themselves.' })
})
