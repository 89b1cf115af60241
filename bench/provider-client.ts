import { createHash, randomBytes } from 'node:crypto'
import pg from 'pg'
import { generateToken, hashOf } from '../src/sessions/browser-session.ts'
import { mint } from '../src/sessions/refresh-token.ts'
import type { MacKey } from '../src/crypto/secret-keys.ts'

/** A public client of the benchmark, and the authorization request that it sends. */
export interface MeasuredClient { id: string, authorizationPath: string }

const redirectUri = 'https://orders.example.com/callback'

/** Creates a public client. */
export async function createClient (url: string): Promise<MeasuredClient> {
  const [row] = await execute<{ id: string }>(url, `
    insert into clients (id, name, scopes, grant_types, redirect_uris, token_endpoint_auth_method)
    values (uuid_v7(), 'Orders', '{openid,profile,email}', '{authorization_code,refresh_token}', $1, 'none')
    returning id`, [[redirectUri]])
  const id = row?.id ?? ''
  const query = new URLSearchParams({
    response_type: 'code',
    client_id: id,
    redirect_uri: redirectUri,
    scope: 'openid profile email',
    state: randomBytes(16).toString('base64url'),
    nonce: randomBytes(16).toString('base64url'),
    code_challenge: createHash('sha256').update(randomBytes(32)).digest('base64url'),
    code_challenge_method: 'S256'
  })
  return { id, authorizationPath: `/oauth/authorize?${query.toString()}` }
}

/** A refresh token that its holder exchanges for the next one. */
export interface RefreshedSession { token: string }

interface SessionSet { count: number, scope: string, clientId: string | undefined }

/**
 * Creates sessions, those of a client if one is given, and returns their refresh tokens. All users have the
 * same number of them.
 */
export async function createSessions (
  url: string, mac: MacKey, { count, scope, clientId }: SessionSet
): Promise<RefreshedSession[]> {
  const rows = await execute<{ id: string }>(url, `
    with owners as (
      select id, row_number() over () as number, count(*) over () as total from users
    ), created as (
      insert into sessions (id, user_id, methods, remembered, expires_at, client_id, scope, audience)
      select uuid_v7(), owners.id, '{pwd}', false, now() + interval '30 days', $2::uuid,
        case when $2::uuid is not null then array[$3] end,
        case when $2::uuid is not null then '{}'::text[] end
      from generate_series(1, $1) as series (number) join owners on owners.number = 1 + series.number % total
      returning id
    )
    insert into refresh_tokens (session_id) select id from created returning session_id as id`,
  [count, clientId ?? null, scope])
  return rows.map(({ id: sessionId }) => ({
    token: mint(mac, { sessionId, generation: 1, issuedAt: new Date(), isOfClient: clientId !== undefined })
  }))
}

/**
 * Creates a browser session whose user allows the client everything, and returns the value of its cookie.
 */
export async function createBrowserSession (url: string, clientId: string): Promise<string> {
  const cookie = generateToken()
  await execute(url, `
    with owner as (
      select id from users limit 1
    ), allowed as (
      insert into consents (user_id, client_id, scopes, audiences)
      select id, $1, '{openid,profile,email}', '{}' from owner on conflict do nothing
    ), created as (
      insert into sessions (id, user_id, methods, remembered, expires_at, is_browser)
      select uuid_v7(), id, '{pwd}', false, now() + interval '30 days', true from owner returning id
    ), family as (
      insert into refresh_tokens (session_id) select id from created
    )
    insert into browser_tokens (token_hash, session_id) select $2, id from created`,
  [clientId, hashOf(cookie)])
  return cookie
}

/** Inserts codes that expired an hour ago. */
export async function insertExpiredCodes (url: string, clientId: string, count: number): Promise<void> {
  await execute(url, `
    insert into authorization_codes (
      code_hash, client_id, session_id, authenticated_at, redirect_uri, code_challenge, scope, audience,
      is_offline, expires_at
    )
    select sha256(number::text::bytea), $1, (select id from sessions limit 1), now(), $3, repeat('a', 43),
      '{openid,profile,email}', '{}', false, now() - interval '1 hour'
    from generate_series(1, $2) as number`, [clientId, count, redirectUri])
  await execute(url, 'analyze authorization_codes')
}

/** Executes one statement on a connection of its own. */
export async function execute<Row extends object> (
  url: string, text: string, values: unknown[] = []
): Promise<Row[]> {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  try {
    return (await client.query<Row>(text, values)).rows
  } finally {
    await client.end()
  }
}
