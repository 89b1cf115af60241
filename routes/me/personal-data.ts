import { Type, type TSchema } from '@sinclair/typebox'
import { strict } from '../typed.ts'

const text = Type.String()
const time = Type.String({ format: 'date-time' })
const id = Type.String({ format: 'uuid' })
const orNull = (schema: TSchema) => Type.Unsafe({ anyOf: [schema, { type: 'null' }] })

const origin = { ip: orNull(text), user_agent: orNull(text), request_id: orNull(text) }

/** All data about a user, except secrets. */
export const PersonalData = strict({
  user: strict({
    id,
    email: text,
    canonical_email: Type.String({ description: 'The form in which addresses are compared.' }),
    username: orNull(text),
    username_lookalike: Type.Boolean({
      description: 'Whether the username resembles another one. New usernames must not resemble others.'
    }),
    name: orNull(text),
    roles: Type.Array(text),
    has_password: Type.Boolean(),
    password_version: Type.Integer({ description: 'The number of passwords that the account has had.' }),
    token_version: Type.Integer({ description: 'How often all access tokens of the user were revoked.' }),
    email_version: Type.Integer({ description: 'The number of addresses that the account has had.' }),
    email_verified_at: orNull(time),
    disabled_at: orNull(time),
    devices_known_from: Type.Unsafe({
      ...orNull(time), description: 'When all known devices were last forgotten.'
    }),
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
  }), { description: 'Ended sessions are kept for a day.' }),
  links: Type.Array(strict({
    purpose: text,
    email: Type.Unsafe({ ...orNull(text), description: 'The address to change to, or back to.' }),
    created_at: time,
    expires_at: time
  }), { description: 'Mailed links that have not been used.' }),
  jobs: Type.Array(strict({
    id, kind: text, attempts: Type.Integer(), created_at: time, run_at: time, expires_at: time
  }), { description: 'Mails that are still to be sent.' }),
  audit_events: Type.Array(strict({
    id,
    type: text,
    created_at: time,
    user_id: orNull(id),
    actor_id: Type.Unsafe({ ...orNull(id), description: 'The user who caused the event, if known.' }),
    client_id: orNull(id),
    session_id: orNull(id),
    ...origin,
    detail: Type.Record(text, Type.Unknown())
  }), { description: 'Events about the account.' }),
  actions: Type.Array(strict({ id, type: text, created_at: time, session_id: orNull(id), ...origin }), {
    description: 'Actions of the user that are not about their own account.'
  })
})
