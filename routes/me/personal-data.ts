import { Type, type TSchema } from '@sinclair/typebox'
import { personalData } from '../../src/capabilities.ts'
import { strict } from '../typed.ts'

const text = Type.String()
const time = Type.String({ format: 'date-time' })
const id = Type.String({ format: 'uuid' })
const orNull = (schema: TSchema) => Type.Unsafe({ anyOf: [schema, { type: 'null' }] })

/** Everything that is held about a user. */
export const PersonalData = strict({
  user: strict({
    id,
    email: text,
    canonical_email: Type.String({ description: 'The form in which addresses are compared.' }),
    username: orNull(text),
    username_lookalike: Type.Boolean({
      description: 'Whether the username looks like another one and is older than the rule against that.'
    }),
    name: orNull(text),
    roles: Type.Array(text),
    has_password: Type.Boolean(),
    password_version: Type.Integer({ description: 'Counts the passwords that the account had.' }),
    token_version: Type.Integer({ description: 'Counts how often all access tokens were revoked.' }),
    email_version: Type.Integer({ description: 'Counts the addresses that the account had.' }),
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
