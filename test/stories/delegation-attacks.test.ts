import pg from 'pg'
import { connect } from '../../src/database/database.ts'
import { redeemCode } from '../../src/delegation/authorization-codes.ts'
import { purgeExpired } from '../../src/sessions/expiry.ts'
import { build, newUser } from '../support/app.ts'
import {
  adminOf, authorizationOf, authorize, codeIn, destinationOf, newClient, redeem, redirectUri, requestTokens,
  sealedIn, signInFor, submit
} from '../support/delegation.ts'
import { claimsOf } from '../support/jwt.ts'
import { waitFor } from '../support/polling.ts'
import { t } from '../support/test.ts'

const service = await build(t)
const { sql } = service
const client = await newClient(service)

/** A transaction that a test holds open, as a slow request would. */
async function openTransaction () {
  const connection = new pg.Client({ connectionString: service.url })
  await connection.connect()
  t.teardown(async () => { await connection.end() })
  await connection.query('begin')
  return connection
}

/** Waits until a statement of the service waits for a lock. */
const isWaiting = async () => await waitFor(async () => (await sql(`
  select from pg_stat_activity
  where datname = current_database() and wait_event_type = 'Lock'
    and query like '%redeem_authorization_code%'`
)).length > 0)

// The service waits for a lock only briefly. A busy machine must not fail a test.
const patient = connect({ url: service.url, connections: 2, lockTimeoutMs: 60_000 })
t.teardown(async () => { await patient.end() })
const lifetimes = {
  accessTokenSeconds: 900,
  refreshTokenSeconds: 86_400,
  sessionSeconds: 86_400,
  rememberedSessionSeconds: 86_400,
  replayGraceSeconds: 10,
  retryWindowSeconds: undefined
}

/** Redeems a code, and waits for locks. Returns the OAuth error, or `redeemed`. */
const redeemPatiently = async (clientId: string, { code, verifier }: { code: string, verifier: string }) =>
  await redeemCode(patient, {
    code, clientId, redirectUri, codeVerifier: verifier, audience: [], allowedAudience: []
  }, {
    lifetimes, origin: {}, assertAwaited: () => {}
  }).then(() => 'redeemed', error => error.code ?? error.message)

async function newAccount () {
  const user = newUser()
  const browser = service.browser()
  const { body } = await service.browser().post('/v1/auth/register', user)
  return { user, userId: String(body.user.id), browser }
}

/** A code that waits for its redemption. */
async function newCode (overrides: Record<string, string | undefined> = {}, of = client) {
  const account = await newAccount()
  const attempt = authorizationOf(of, overrides)
  return {
    ...account,
    code: codeIn(
      await authorize(account.browser, attempt, account.user)
    ),
    verifier: attempt.verifier
  }
}

const silently = authorizationOf.bind(undefined, client, { prompt: 'none' })

t.test('a code that was issued while its consent was being revoked is worth nothing', async t => {
  const { code, verifier, userId } = await newCode()
  // The revocation has not seen the code, because it was committed a moment later.
  await sql('delete from consents where user_id = $1', [userId])
  t.match(
    await redeem(service, client, { code, verifier }),
    { status: 400, body: { error: 'invalid_grant' } }
  )
})

t.test('a consent for less does not cover a code', async t => {
  const { code, verifier, userId } = await newCode()
  await sql("update consents set scopes = '{openid}' where user_id = $1", [userId])
  t.match(
    await redeem(service, client, { code, verifier }),
    { status: 400, body: { error: 'invalid_grant' } }
  )
})

t.test('a redemption and a revocation of consent do not deadlock', async t => {
  const { code, verifier, userId } = await newCode()
  const revocation = await openTransaction()
  await revocation.query('select from users where id = $1 for no key update', [userId])
  const redeemed = redeemPatiently(client.id, { code, verifier })
  await isWaiting()
  await revocation.query('delete from consents where user_id = $1', [userId])
  await revocation.query(
    'delete from authorization_codes using sessions where session_id = sessions.id and user_id = $1',
    [userId]
  )
  await revocation.query('commit')
  t.equal(await redeemed, 'invalid_grant')
})

t.test('a redemption and a deletion of the client do not deadlock', async t => {
  const other = await newClient(service, { name: 'Other' })
  const { code, verifier } = await newCode({}, other)
  const deletion = await openTransaction()
  await deletion.query('select from clients where id = $1 for update', [other.id])
  const redeemed = redeemPatiently(other.id, { code, verifier })
  await isWaiting()
  await deletion.query('delete from clients where id = $1', [other.id])
  await deletion.query('commit')
  t.equal(await redeemed, 'invalid_grant')
})

t.test('a redemption with offline access takes its locks in the order of every end of sessions', async t => {
  const offline = await newClient(service, { name: 'Offline', scopes: ['openid', 'offline_access'] })
  const scope = 'openid offline_access'
  const { user, userId } = await newAccount()
  async function signInElsewhere () {
    const attempt = authorizationOf(offline, { scope })
    return { code: codeIn(await authorize(service.browser(), attempt, user)), verifier: attempt.verifier }
  }
  for (let count = 0; count < 10; count++) await redeem(service, offline, await signInElsewhere())
  const [oldest] = await sql<{ id: string }>(
    'select id from sessions where user_id = $1 and is_offline order by id limit 1', [userId])
  const last = await signInElsewhere()
  const [parent] = await sql<{ id: string }>(
    'select id from sessions where user_id = $1 and is_browser order by id desc limit 1', [userId])
  const ending = await openTransaction()
  await ending.query('select from refresh_tokens where session_id = $1 for update', [oldest?.id])
  const redeemed = redeemPatiently(offline.id, last)
  await isWaiting()
  await ending.query('select from refresh_tokens where session_id = $1 for update nowait', [parent?.id])
  await ending.query('commit')
  t.equal(await redeemed, 'redeemed')
})

t.test('a browser session that has expired is not renewed, and ends with its sessions', async t => {
  const { user, browser, tokens } = await signInFor(service, client)
  const { sid } = claimsOf(tokens.access_token)
  const [before] = await sql<{ parent_id: string }>('select parent_id from sessions where id = $1', [sid])
  await sql("update sessions set expires_at = now() - interval '1 s' where id = $1", [before?.parent_id])
  await submit(browser, '/sign-in', { identifier: user.email, password: user.password })
  const states = await sql('select ended_at is not null as ended from sessions where id = any ($1::uuid[])',
    [[sid, before?.parent_id]])
  t.strictSame(states, [{ ended: true }, { ended: true }])
})

t.test('a client session does not outlive a browser session that becomes shorter', async t => {
  const { user, browser, tokens } = await signInFor(service, client)
  const { sid } = claimsOf(tokens.access_token)
  await sql("update sessions set expires_at = now() + interval '300 days' where id = $1 or id = (" +
    'select parent_id from sessions where id = $1)', [sid])
  await submit(browser, '/sign-in', { identifier: user.email, password: user.password })
  const [session] = await sql<{ outlives: boolean }>(`
    select child.expires_at > parent.expires_at as outlives
    from sessions as child join sessions as parent on parent.id = child.parent_id where child.id = $1`, [sid])
  t.strictSame(session, { outlives: false })
})

t.test('a client that never refreshes is told of a sign-out after the life of a refresh token', async t => {
  const { tokens } = await signInFor(service, client)
  const { sid } = claimsOf(tokens.access_token)
  await sql(`
    update refresh_tokens
    set last_used_at = now() - interval '100 days', access_expires_at = now() - interval '99 days'
    where session_id = $1`, [sid])
  await purgeExpired(service.app.db, { after: undefined, limit: 1_000, refreshTokenSeconds: 86_400 })
  t.equal((await sql('select from sessions where id = $1', [sid])).length, 1)
  await sql("update sessions set expires_at = now() - interval '1 s' where id = $1", [sid])
  await purgeExpired(service.app.db, { after: undefined, limit: 1_000, refreshTokenSeconds: 86_400 })
  t.equal((await sql('select from sessions where id = $1', [sid])).length, 0)
})

t.test('signing out by the API leaves nobody signed in on the pages of the browser', async t => {
  const { user, browser, tokens } = await signInFor(service, client)
  await browser.post('/v1/auth/login', user)
  t.match(destinationOf(await browser.get(silently().url)).searchParams.get('code'), /^lkc_/)
  await browser.post('/v1/auth/logout')
  t.equal(destinationOf(await browser.get(silently().url)).searchParams.get('error'), 'login_required')
  t.match(await requestTokens(service, client, {
    grant_type: 'refresh_token', refresh_token: tokens.refresh_token
  }), { status: 400 }, 'and its client sessions have ended')
  t.test('but not for a page of another site', async t => {
    const { browser } = await signInFor(service, client)
    browser.jar.delete('refresh_token_3000')
    await browser.post(
      '/v1/auth/logout',
      undefined,
      { origin: 'https://evil.example.com', 'sec-fetch-site': 'same-site' }
    )
    t.match(destinationOf(await browser.get(silently().url)).searchParams.get('code'), /^lkc_/)
  })
})

t.test('an instance from before delegated login does not know the refresh token of a client', async t => {
  const { user, tokens } = await signInFor(service, client)
  const { body } = await service.browser().post('/v1/auth/login', { ...user, refresh_token_delivery: 'body' })
  const versionOf = (token: string) => Buffer.from(token.slice('lkr_'.length), 'base64url')[0]
  t.equal(versionOf(body.refresh_token), 1)
  t.equal(
    versionOf(tokens.refresh_token),
    2,
    'it would take version 1 for the token of a first-party session'
  )
})

t.test('a redirect URI that is removed meanwhile gets nothing', async t => {
  const moving = await newClient(service, { name: 'Moving' })
  const { user, browser } = await newAccount()
  const page = destinationOf(await browser.get(authorizationOf(moving).url))
  const credentials = { identifier: user.email, password: user.password }
  const asked = destinationOf(await submit(browser, '/sign-in', { ...credentials, request: sealedIn(page) }))
  await (await adminOf(service)).send('PATCH', `/v1/admin/clients/${moving.id}`, {
    redirect_uris: ['https://new.example.com/callback']
  })
  const forms: Array<[path: string, fields: Record<string, string>]> = [
    ['/sign-in', { ...credentials, request: sealedIn(page) }],
    ['/consent', { request: sealedIn(asked), decision: 'cancel' }],
    ['/consent', { request: sealedIn(asked), decision: 'allow' }]
  ]
  for (const [path, fields] of forms) {
    t.match(
      await submit(browser, path, fields),
      { status: 400, text: /took too long/ }
    )
  }
})

t.test('ended sessions do not pile up, however many sessions of clients a user has', async t => {
  const { browser, userId } = await signInFor(service, client)
  await sql(`
    insert into sessions
      (id, user_id, methods, remembered, expires_at, client_id, scope, audience, ended_at, end_reason)
    select uuid_v7(), $1, '{pwd}', false, now() + interval '1 day', $2, '{}', '{}',
      case when number > 400 then now() end, case when number > 400 then 'signed_in_again' end
    from generate_series(1, 700) as number`, [userId, client.id])
  const countEnded = async () =>
    (await sql('select from sessions where user_id = $1 and ended_at is not null', [userId])).length
  const before = await countEnded()
  const attempt = silently()
  const code = codeIn(destinationOf(await browser.get(attempt.url)))
  t.equal((await redeem(service, client, { code, verifier: attempt.verifier })).status, 200)
  t.ok(await countEnded() <= before - 19)
})

t.test('a NUL byte is a wrong value, and no failure of the service', async t => {
  const { browser, code, verifier } = await newCode()
  const url = destinationOf(await browser.get(authorizationOf(client, { nonce: 'a\0b', prompt: 'none' }).url))
  t.equal(url.searchParams.get('error'), 'invalid_request')
  for (const wrong of [
    { redirect_uri: `${redirectUri}\0` }, { resource: 'https://a.example.com/\0' }, { code: '\0' }
  ]) {
    const { status } = await requestTokens(service, client, {
      grant_type: 'authorization_code', code, redirect_uri: redirectUri, code_verifier: verifier, ...wrong
    })
    t.equal(status, 400, JSON.stringify(wrong))
  }
})

t.test('a request that is too long for a form is refused at once', async t => {
  const long = 'x'.repeat(2_000)
  const url = destinationOf(await service.browser().get(authorizationOf(client, {
    state: long, nonce: long, login_hint: long, id_token_hint: long
  }).url))
  t.equal(url.searchParams.get('error'), 'invalid_request')
})

t.test('an answer with a code is never stored, and its address never passed on', async t => {
  const { browser } = await signInFor(service, client)
  const { headers } = await browser.get(silently().url)
  t.match(headers, { 'cache-control': /no-store/, 'referrer-policy': 'no-referrer' })
})

t.test('a sealed request is good for its own purpose, and for the user who was asked', async t => {
  const { user, browser } = await newAccount()
  const first = destinationOf(await browser.get(authorizationOf(client).url))
  t.match(await submit(browser, '/consent', { request: sealedIn(first), decision: 'allow' }), { status: 400 },
    'the request of the sign-in page is no consent')
  t.match(await submit(browser, '/sign-out', { request: sealedIn(first) }), { status: 400 })
  const asked = destinationOf(await submit(browser, '/sign-in', {
    identifier: user.email, password: user.password, request: sealedIn(first)
  }))
  t.equal(asked.pathname, '/consent')
  const { browser: attacker } = await signInFor(service, client)
  const other = destinationOf(
    await submit(attacker, '/consent', { request: sealedIn(asked), decision: 'allow' })
  )
  t.not(other.pathname, '/consent')
  t.equal((await sql(
    'select from consents join users on users.id = user_id where email = $1',
    [user.email]
  )).length, 0)
})

t.test('tokens of one kind are refused in place of another', async t => {
  const { tokens, browser, code } = await signInFor(service, client)
  const admin = await adminOf(service)
  const bearer = async (token: string, path: string) => {
    const caller = service.browser()
    caller.accessToken = token
    return (await caller.get(path)).status
  }
  for (const [name, token] of Object.entries({
    'ID token': tokens.id_token, 'refresh token': tokens.refresh_token, code
  })) {
    t.equal(await bearer(token, '/oauth/userinfo'), 401, name)
    t.equal(await bearer(token, '/v1/me'), 401, name)
  }
  t.equal(
    await bearer(String(admin.accessToken), '/oauth/userinfo'),
    403,
    'a first-party token has no scope openid'
  )
  for (const token of [tokens.access_token, tokens.refresh_token, code]) {
    const hinted = destinationOf(
      await browser.get(`/oauth/logout?${new URLSearchParams({ id_token_hint: token }).toString()}`)
    )
    t.equal(hinted.pathname, '/sign-out', 'only an ID token proves who asks for a sign-out')
  }
  const planted = service.browser()
  planted.jar.set('refresh_token_3000', tokens.refresh_token)
  t.equal((await planted.post('/v1/auth/refresh')).status, 401)
  await planted.post('/v1/auth/logout')
  await submit(planted, '/sign-out', {})
  t.equal(
    await bearer(tokens.access_token, '/oauth/userinfo'),
    200,
    'a client session is its client\'s to end'
  )
  planted.jar.clear()
  planted.jar.set('session_3000', tokens.refresh_token)
  t.equal(destinationOf(await planted.get(silently().url)).searchParams.get('error'), 'login_required')
})
