import { Type, type TSchema, type TString } from '@sinclair/typebox'
import { ref, strict, text } from './typed.ts'

/** The schema of a time, which a handler returns as a `Date`. */
export const time = (description: string) =>
  Type.Unsafe<Date>(Type.String({ format: 'date-time', description }))
/** The schema of a value of type `T` or null. */
export const orNull = <T>(schema: object, description: string) =>
  Type.Unsafe<T | null>({ anyOf: [schema, { type: 'null' }], description })

/** A UUID in its usual form. Ajv's format also accepts a URN (RFC 9562), which the database does not. */
export const id = Type.String({ format: 'uuid', pattern: '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' })

export const email = Type.String({
  minLength: 3,
  maxLength: 320,
  description: 'An email address. Case and Unicode form do not matter.',
  examples: ['ada@example.com']
})
export const username = Type.String({
  minLength: 3,
  maxLength: 32,
  description: 'Letters a-z, digits, `_`, `.` and `-`. Upper case is converted to lower case.',
  examples: ['ada']
})
export const name = text(1, 200, { description: 'The name of the user.', examples: ['Ada Lovelace'] })
export const currentPassword = Type.String({
  minLength: 1, maxLength: 1024, description: 'The password of the account.'
})
/**
 * A password to set. The schema rejects only what cannot be a password; the password policy does the rest.
 */
export const newPassword = Type.String({
  minLength: 1,
  maxLength: 1024,
  pattern: '^[^\\p{Cs}]*$',
  description: 'At least 8 (or `PASSWORD_MIN_LENGTH`) and at most 256 code points of any kind. Common' +
    ' passwords are rejected, and breached ones if the operator enables that check. The password must not' +
    ' contain the email address, the name, the username or the name of the service.',
  examples: ['a phrase of my own']
})
/** The same schema, or null for no value. */
export const orNone = <Schema extends TString>(schema: Schema) =>
  Type.Unsafe<string | null>({ ...schema, type: ['string', 'null'] })

export const refreshToken = Type.String({ maxLength: 8192, examples: ['lkr_AQIDBAUG…'] })

/** The one-time token of a mailed link. */
export const linkToken = Type.String({
  minLength: 1,
  maxLength: 200,
  description: 'The token of the link: the part after `#token=`.',
  examples: ['lkl_4l3Yc0w7pD2…']
})
/** The response to a request for a mail. */
export const accepted = strict({ status: Type.Literal('accepted') }, {
  description: 'The request was accepted. Any mail that it calls for will be sent.',
  examples: [{ status: 'accepted' }]
})

export const User = strict({
  id: Type.String({ format: 'uuid' }),
  email: Type.String({ description: 'The address as it was entered.' }),
  username: orNull<string>({ type: 'string' }, 'The username; null if the user has none.'),
  name: orNull<string>({ type: 'string' }, 'The name of the user; null if not given.'),
  roles: Type.Array(Type.String()),
  email_verified: Type.Boolean({ description: 'Whether the address is verified.' }),
  created_at: time('When the account was created.'),
  updated_at: time('When the account was last changed.')
}, {
  $id: 'User',
  examples: [{
    id: '0199e8f2-6c1a-7b3e-9d5f-0a1b2c3d4e5f',
    email: 'ada@example.com',
    username: null,
    name: 'Ada Lovelace',
    roles: ['user'],
    email_verified: false,
    created_at: '2026-11-22T09:00:00.000Z',
    updated_at: '2026-11-22T09:00:00.000Z'
  }]
})

export const TokenResponse = strict({
  access_token: Type.String({ description: 'A JWT (RFC 9068) for the `Authorization` header.' }),
  token_type: Type.Literal('Bearer'),
  expires_in: Type.Integer({ description: 'Seconds until the access token expires.' }),
  refresh_token: Type.Optional(Type.String({
    description: 'The token for the next refresh. Absent with cookie delivery, because it is in the cookie.'
  })),
  refresh_token_expires_in: Type.Integer({
    description: 'Seconds until the refresh token expires if it is not used.'
  }),
  session_id: Type.String({ format: 'uuid' }),
  user: ref(User)
}, {
  $id: 'TokenResponse',
  examples: [{
    access_token:
      'eyJhbGciOiJFUzI1NiIsInR5cCI6ImF0K2p3dCJ9.eyJpc3MiOiJodHRwczovL2F1dGguZXhhbXBsZS5jb20ifQ.c2lnbmF0dXJl',
    token_type: 'Bearer',
    expires_in: 900,
    refresh_token_expires_in: 604800,
    session_id: '0199e8f2-6c1b-7000-8000-0a1b2c3d4e5f',
    user: User['examples'][0]
  }]
})

/** The members of a session, for its user and for administrators. */
export const session = {
  id: Type.String({ format: 'uuid' }),
  created_at: time('When the user signed in.'),
  last_used_at: time('When the session was last refreshed.'),
  expires_at: time('When the session ends if it is not refreshed.'),
  user_agent: orNull<string>({ type: 'string' }, 'The `User-Agent` header of the sign-in.'),
  browser: orNull<string>({ type: 'string' }, 'The browser, from the `User-Agent` header; null if unknown.'),
  system: orNull<string>({ type: 'string' }, 'The operating system, from the same header; null if unknown.'),
  ip: orNull<string>({ type: 'string' }, 'The network address of the sign-in.'),
  methods: Type.Array(Type.String(), { description: 'How the user authenticated (RFC 8176).' }),
  client_id: orNull<string>(
    { type: 'string', format: 'uuid' },
    'The application that the session belongs to; null for a session of the service itself.'
  ),
  client_name: orNull<string>({ type: 'string' }, 'The name of that application.')
}

export const Session = strict({
  ...session,
  current: Type.Boolean({ description: 'Whether this is the session of the request.' })
}, {
  $id: 'Session',
  examples: [{
    id: '0199e8f2-6c1b-7000-8000-0a1b2c3d4e5f',
    current: true,
    created_at: '2026-11-22T09:00:00.000Z',
    last_used_at: '2026-11-22T09:15:00.000Z',
    expires_at: '2026-11-29T09:15:00.000Z',
    user_agent: 'Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0',
    browser: 'Firefox 140',
    system: 'Linux',
    ip: '203.0.113.7',
    methods: ['pwd'],
    client_id: null,
    client_name: null
  }]
})

/** The query parameters of a list. */
export const paging = {
  cursor: Type.Optional(Type.String({ ...id, description: '`next_cursor` of the previous page.' })),
  limit: Type.Optional(Type.Integer({
    minimum: 1, maximum: 100, default: 20, description: 'The maximum number of items on a page.'
  }))
}

/** A page of a list. */
export const page = <Item extends TSchema>(item: Item) => strict({
  items: Type.Array(ref(item)),
  next_cursor: orNull<string>({ type: 'string' }, 'The cursor of the next page; null on the last page.')
})

/** Makes a page of the rows after its cursor. One row more than `limit` means that there is a next page. */
export function pageOf<Item> (rows: Item[], limit: number, cursorOf: (item: Item) => string) {
  const items = rows.slice(0, limit)
  const last = rows.length > limit ? items.at(-1) : undefined
  return { items, next_cursor: last ? cursorOf(last) : null }
}

/** The schemas to register with the server by their `$id`. */
export const shared = [User, TokenResponse, Session]
