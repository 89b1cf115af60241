import { Type, type TSchema, type TString } from '@sinclair/typebox'
import { scopeSyntax } from '../src/syntax/scope.ts'
import { ref, strict, text } from './typed.ts'

export const time = (description: string) => Type.Unsafe<Date>(Type.String({ format: 'date-time', description }))
export const orNull = <T>(schema: object, description: string) => Type.Unsafe<T | null>({ anyOf: [schema, { type: 'null' }], description })

/** A UUID as it is written here: RFC 9562 knows it as a URN too, the database does not. */
export const id = Type.String({ format: 'uuid', pattern: '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' })

export const email = Type.String({ minLength: 3, maxLength: 320, description: 'An e-mail address. Case and Unicode form do not matter.', examples: ['ada@example.com'] })
export const username = Type.String({ minLength: 3, maxLength: 32, description: 'Letters a-z, digits, `_`, `.` and `-`; upper case is lowered.', examples: ['ada'] })
export const name = text(1, 200, { description: 'What to call the user.', examples: ['Ada Lovelace'] })
/** A password that an account has. */
export const currentPassword = Type.String({ minLength: 1, maxLength: 1024, description: 'The password of the account.' })
/** A password to be set: the policy judges it, the schema only keeps out what cannot be one. */
export const newPassword = Type.String({ minLength: 1, maxLength: 1024, pattern: '^[^\\p{Cs}]*$', description: 'At least 8 and at most 256 code points, of any kind; not a common one or, where that is checked, a breached one, and without the e-mail address, name or username and the name of the service.', examples: ['a phrase of my own'] })
/** The same, or null for none. */
export const orNone = <Schema extends TString>(schema: Schema) => Type.Unsafe<string | null>({ ...schema, type: ['string', 'null'] })

export const refreshToken = Type.String({ maxLength: 8192, examples: ['lkr_AQIDBAUG…'] })

/** What a mailed link carries. */
export const linkToken = Type.String({ minLength: 1, maxLength: 200, description: 'What stands behind `#token=` in the link.', examples: ['lkl_4l3Yc0w7pD2…'] })
/** The answer to whoever asks for a mail. */
export const accepted = strict({ status: Type.Literal('accepted') }, { description: 'If there is something to be mailed, it will be.', examples: [{ status: 'accepted' }] })

export const User = strict({
  id: Type.String({ format: 'uuid' }),
  email: Type.String({ description: 'The address as it was given.' }),
  username: orNull<string>({ type: 'string' }, 'Null where there is none.'),
  name: orNull<string>({ type: 'string' }, 'Null where there is none.'),
  roles: Type.Array(Type.String()),
  email_verified: Type.Boolean({ description: 'Whether the user has proved to own the address.' }),
  created_at: time('When the account was made.'),
  updated_at: time('When the account was changed last.')
}, {
  $id: 'User',
  examples: [{
    id: '0199e8f2-6c1a-7b3e-9d5f-0a1b2c3d4e5f', email: 'ada@example.com', username: null, name: 'Ada Lovelace', roles: ['user'], email_verified: false, created_at: '2026-11-22T09:00:00.000Z', updated_at: '2026-11-22T09:00:00.000Z'
  }]
})

export const TokenResponse = strict({
  access_token: Type.String({ description: 'A JWT by RFC 9068, for the `Authorization` header.' }),
  token_type: Type.Literal('Bearer'),
  expires_in: Type.Integer({ description: 'Seconds the access token lives.' }),
  refresh_token: Type.Optional(Type.String({ description: 'Good for one use and its retries. With cookie delivery it is in the cookie alone.' })),
  refresh_token_expires_in: Type.Integer({ description: 'Seconds the refresh token lives when it is not used.' }),
  session_id: Type.String({ format: 'uuid' }),
  user: ref(User)
}, {
  $id: 'TokenResponse',
  examples: [{
    access_token: 'eyJhbGciOiJFUzI1NiIsInR5cCI6ImF0K2p3dCJ9.eyJpc3MiOiJodHRwczovL2F1dGguZXhhbXBsZS5jb20ifQ.c2lnbmF0dXJl',
    token_type: 'Bearer',
    expires_in: 900,
    refresh_token_expires_in: 604800,
    session_id: '0199e8f2-6c1b-7000-8000-0a1b2c3d4e5f',
    user: User['examples'][0]
  }]
})

/** A session, whoever looks at it. */
export const session = {
  id: Type.String({ format: 'uuid' }),
  created_at: time('When the user signed in.'),
  last_used_at: time('When it was refreshed last.'),
  expires_at: time('When it ends, unless it is refreshed before.'),
  user_agent: orNull<string>({ type: 'string' }, 'The `User-Agent` header at the sign-in.'),
  browser: orNull<string>({ type: 'string' }, 'The browser, as far as the header tells.'),
  system: orNull<string>({ type: 'string' }, 'The operating system, as far as the header tells.'),
  ip: orNull<string>({ type: 'string' }, 'The network address at the sign-in.'),
  methods: Type.Array(Type.String(), { description: 'How the user proved who they are (RFC 8176).' })
}

export const Session = strict({
  ...session,
  current: Type.Boolean({ description: 'Whether it is the session of this request.' })
}, {
  $id: 'Session',
  examples: [{
    id: '0199e8f2-6c1b-7000-8000-0a1b2c3d4e5f', current: true, created_at: '2026-11-22T09:00:00.000Z', last_used_at: '2026-11-22T09:15:00.000Z', expires_at: '2026-11-29T09:15:00.000Z', user_agent: 'Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0', browser: 'Firefox 140', system: 'Linux', ip: '203.0.113.7', methods: ['pwd']
  }]
})

const scope = Type.String({ pattern: scopeSyntax.source, examples: ['orders:read'] })
// RFC 6749 section 3.1.2: absolute, and without a fragment; a user and a password in it would only deceive.
const redirectUri = Type.String({ format: 'uri', maxLength: 2048, pattern: '^https?://[^/?#@]+([/?][^#]*)?$', examples: ['https://orders.example.com/callback'] })

/** What is set of a client. */
export const clientName = text(1, 100, { description: 'What to call the client.', examples: ['Orders'] })
export const scopes = Type.Array(scope, { maxItems: 50, description: 'What its tokens may be for, and what it may do here.' })
export const redirectUris = Type.Array(redirectUri, { maxItems: 20, description: 'Where users may be sent back to.' })

const client = {
  client_id: Type.String({ format: 'uuid' }),
  name: Type.String(),
  scopes: Type.Array(Type.String(), { description: 'What its tokens may be for, and what it may do here.' }),
  redirect_uris: Type.Array(Type.String(), { description: 'Where users may be sent back to.' }),
  created_at: time('When the client was made.')
}
const clientExample = {
  client_id: '0199e8f2-6c1d-7c44-9a3e-0a1b2c3d4e5f', name: 'Orders', scopes: ['orders:read', 'introspect'], redirect_uris: ['https://orders.example.com/callback'], created_at: '2026-11-22T09:00:00.000Z'
}

export const Client = strict(client, { $id: 'Client', examples: [clientExample] })

export const ClientWithSecret = strict({
  ...client,
  client_secret: Type.String({ description: 'Shown this once, and kept nowhere.' })
}, { $id: 'ClientWithSecret', examples: [{ ...clientExample, client_secret: 'lks_AQIDBAUG…' }] })

export const Key = strict({
  kid: Type.String({ description: 'The id of the key: `kid` in the header of access tokens, and in the JWKS.' }),
  purpose: Type.Unsafe<'access_token' | 'refresh_token' | 'password'>({ type: 'string', enum: ['access_token', 'refresh_token', 'password'], description: 'Whether it signs access tokens, authenticates refresh tokens, or is a part of password hashes (the pepper).' }),
  alg: Type.String({ description: 'The algorithm (RFC 7518, RFC 8037).' }),
  published_at: time('When it was made, and its public half put into the JWKS.'),
  signs_from: time('From when on it signs.'),
  retires_at: orNull<Date>({ type: 'string', format: 'date-time' }, 'When its successor signs instead; null until there is one.'),
  gone_at: orNull<Date>({ type: 'string', format: 'date-time' }, 'When nothing that it signed is accepted any more; null until there is a successor.')
}, {
  $id: 'Key',
  examples: [{
    kid: 'mB5hG0xWd6wqCqXvYp1oYqkq9o5v7sE8Qm2c4h0nUeA', purpose: 'access_token', alg: 'ES256', published_at: '2026-11-22T08:50:00.000Z', signs_from: '2026-11-22T09:00:00.000Z', retires_at: null, gone_at: null
  }]
})

/** The query of a list. */
export const paging = {
  cursor: Type.Optional(Type.String({ ...id, description: '`next_cursor` of the page before.' })),
  limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 100, default: 20, description: 'How many items a page has at most.' }))
}

/** A page of a list. */
export const page = <Item extends TSchema>(item: Item) => strict({
  items: Type.Array(ref(item)),
  next_cursor: orNull<string>({ type: 'string' }, 'For the next page; null where this is the last.')
})

/** The page of what was found from its cursor on: one more than `limit` where there is a next page. */
export function pageOf<Item> (found: Item[], limit: number, cursorOf: (item: Item) => string) {
  const items = found.slice(0, limit)
  const last = found.length > limit ? items.at(-1) : undefined
  return { items, next_cursor: last ? cursorOf(last) : null }
}

/** Shared schemas, to be known to the server by their `$id`. */
export const shared = [User, TokenResponse, Session, Client, ClientWithSecret, Key]
