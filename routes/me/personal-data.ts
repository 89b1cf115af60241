import { Type, type TSchema } from '@sinclair/typebox'
import { personalData } from '../../src/capabilities.ts'
import { strict } from '../typed.ts'

const text = Type.String()
const time = Type.String({ format: 'date-time' })
const id = Type.String({ format: 'uuid' })
const orNull = (schema: TSchema) => Type.Unsafe({ anyOf: [schema, { type: 'null' }] })

/** All data about a user, except secrets. */
export const PersonalData = strict({
  user: strict({
    id,
    external_id: Type.Unsafe({
      ...orNull(text), description: 'The id in the system from which the account was imported.'
    }),
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
  ...Object.fromEntries(personalData.map(({ name, schema }) => [name, Type.Unsafe<object[]>(schema)]))
})
