import { connect, type AddressInfo, type Server } from 'node:net'
import { promisify } from 'node:util'
import { build, newUser, type Service } from '../support/app.ts'
import type { Browser } from '../support/client.ts'
import {
  adminOf, authorizationOf, authorize, codeIn, destinationOf, isActive, newClient, newVerifier, redeem,
  redirectUri, requestTokens, signInFor, submit, type TestClient
} from '../support/delegation.ts'
import { claimsOf } from '../support/jwt.ts'
import { waitUntil } from '../support/polling.ts'
import { repeatUnavailable } from '../support/repetition.ts'
import { t } from '../support/test.ts'
import { requestText } from '../support/wire.ts'

const grace = { REFRESH_REPLAY_GRACE: '0s' }
const service = await build(t)
const second = await build(t, {}, { url: service.url })
const strict = await build(t, grace, { url: service.url })
const client = await newClient(service)

const countConnections = async (server: Server) =>
  await promisify(server.getConnections.bind(server))()

const refresh = async (on: Service, by: TestClient, refreshToken: string, parameters = {}) =>
  await requestTokens(on, by, { grant_type: 'refresh_token', refresh_token: refreshToken, ...parameters })

async function newCode (overrides: Record<string, string | undefined> = {}, of = client) {
  const user = newUser()
  await service.browser().post('/v1/auth/register', user)
  const attempt = authorizationOf(of, overrides)
  const browser = service.browser()
  return { code: codeIn(await authorize(browser, attempt, user)), verifier: attempt.verifier, browser, user }
}

t.test('a code', async t => {
  await t.test('is redeemed once, however many requests race on two instances', async t => {
    const { code, verifier } = await newCode()
    const answers = await Promise.all(Array.from({ length: 12 }, async (_, index) =>
      await repeatUnavailable(async () =>
        await redeem(index % 2 === 0 ? service : second, client, { code, verifier }))))
    t.equal(answers.filter(({ status }) => status === 200).length, 1)
    t.ok(answers.every(({ status, body }) => status === 200 || body.error === 'invalid_grant'))
    const tokens = answers.find(({ status }) => status === 200)?.body
    t.ok(await isActive(service, tokens.access_token), 'the retries did not end the session')
  })

  await t.test('is not used up by a request that is refused', async t => {
    const { code, verifier } = await newCode()
    const parameters = {
      grant_type: 'authorization_code', code, redirect_uri: redirectUri, code_verifier: verifier
    }
    const other = await newClient(service, { name: 'Other' })
    const wrong: Array<[error: string, by: TestClient, overrides: Record<string, string>]> = [
      ['invalid_grant', client, { code_verifier: newVerifier().verifier }],
      ['invalid_request', client, { code_verifier: 'short' }],
      ['invalid_grant', client, { redirect_uri: `${redirectUri}/` }],
      ['invalid_grant', other, {}],
      ['invalid_grant', client, { code: `${code}A` }],
      ['invalid_target', client, { resource: 'https://orders.example.com' }],
      ['invalid_client', { ...client, secret: 'lks_wrong' }, {}],
      ['invalid_request', client, { redirect_uri: '' }],
      ['unsupported_grant_type', client, { grant_type: 'password' }]
    ]
    for (const [error, by, overrides] of wrong) {
      const { body } = await requestTokens(service, by, { ...parameters, ...overrides })
      t.equal(body.error, error, JSON.stringify(overrides))
    }
    t.equal((await redeem(service, client, { code, verifier })).status, 200)
  })

  await t.test('that is used again ends the session, if its client has the verifier', async t => {
    const { code, verifier } = await newCode()
    const { body: tokens } = await redeem(service, client, { code, verifier })
    t.equal((await redeem(strict, client, { code, verifier: newVerifier().verifier })).status, 400)
    t.ok(await isActive(service, tokens.access_token), 'a wrong verifier proves nothing')
    t.equal((await redeem(service, client, { code, verifier })).body.error, 'invalid_grant')
    t.ok(await isActive(service, tokens.access_token), 'within the grace period it is a retry')
    t.equal((await redeem(strict, client, { code, verifier })).body.error, 'invalid_grant')
    t.notOk(await isActive(service, tokens.access_token))
    t.equal((await refresh(service, client, tokens.refresh_token)).body.error, 'invalid_grant')
    const { sid } = claimsOf(tokens.access_token)
    const events = await service.sql<{ type: string }>(
      'select type from audit_events where session_id = $1 order by type', [sid])
    t.strictSame(events.map(({ type }) => type), ['code.reused', 'session.authorized', 'session.ended'])
  })

  await t.test('lives for a minute', async t => {
    const { code, verifier } = await newCode()
    await service.sql('update authorization_codes set expires_at = now() where redeemed_at is null')
    t.equal((await redeem(service, client, { code, verifier })).body.error, 'invalid_grant')
  })

  await t.test('is worth nothing once its user has signed out', async t => {
    const { code, verifier, browser } = await newCode()
    await submit(browser, '/sign-out', {})
    t.equal((await redeem(service, client, { code, verifier })).body.error, 'invalid_grant')
  })

  await t.test('and the sign-out never miss each other', async t => {
    for (let round = 0; round < 10; round++) {
      const { code, verifier, browser } = await newCode()
      const [{ status, body }] = await Promise.all([
        redeem(service, client, { code, verifier }), submit(browser, '/sign-out', {})
      ])
      t.notOk(status === 200 && await isActive(service, body.access_token), `round ${round}`)
    }
  })
})

t.test('a client refreshes with the rotation of first-party sessions', async t => {
  const { tokens } = await signInFor(service, client)
  const next = (await refresh(service, client, tokens.refresh_token)).body
  t.match(next, { token_type: 'Bearer', scope: 'openid profile email', refresh_token: /^lkr_/ })
  t.not(next.refresh_token, tokens.refresh_token)
  const [before, after] = [claimsOf(tokens.id_token), claimsOf(next.id_token)]
  for (const claim of ['iss', 'sub', 'aud', 'auth_time', 'sid']) t.equal(after[claim], before[claim], claim)
  t.notOk('nonce' in after)

  await t.test('a lost response can be repeated', async t => {
    t.equal((await refresh(service, client, tokens.refresh_token)).status, 200)
  })
  await t.test('another client, and the first party, get nothing', async t => {
    const other = await newClient(service, { name: 'Other' })
    t.equal((await refresh(service, other, next.refresh_token)).body.error, 'invalid_grant')
    const firstParty = await service.browser().post('/v1/auth/refresh', { refresh_token: next.refresh_token })
    t.equal(firstParty.status, 401)
    await service.browser().post('/v1/auth/logout', { refresh_token: next.refresh_token })
    t.equal((await refresh(service, client, next.refresh_token)).status, 200, 'and cannot end the session')
  })
  await t.test('reuse of a superseded token ends the session', async t => {
    const latest = (await refresh(service, client, next.refresh_token)).body
    await refresh(service, client, latest.refresh_token)
    t.equal((await refresh(strict, client, tokens.refresh_token)).body.error, 'invalid_grant')
    t.notOk(await isActive(service, latest.access_token))
  })
})

t.test('a request narrows scope and audience, and never widens them', async t => {
  const audiences = ['https://orders.example.com', 'https://stock.example.com']
  const buyer = await newClient(service, { name: 'Buyer', audiences })
  const [first = '', second = ''] = audiences
  const authorization = authorizationOf(buyer)
  authorization.url += audiences.map(resource => `&resource=${encodeURIComponent(resource)}`).join('')
  const user = newUser()
  await service.browser().post('/v1/auth/register', user)
  const code = codeIn(await authorize(service.browser(), authorization, user))
  const { body: tokens } = await redeem(service, buyer, { code, verifier: authorization.verifier })
  t.strictSame(claimsOf(tokens.access_token).aud, audiences)
  const ask = async (parameters: Record<string, string>) =>
    await refresh(service, buyer, tokens.refresh_token, parameters)
  t.equal(claimsOf((await ask({ resource: second })).body.access_token).aud, second)
  t.equal((await ask({ scope: 'openid' })).body.scope, 'openid')
  t.equal((await ask({ resource: 'https://other.example.com' })).body.error, 'invalid_target')
  t.equal((await ask({ scope: 'openid admin' })).body.error, 'invalid_scope')
  t.strictSame(claimsOf((await ask({})).body.access_token).aud, [first, second], 'nothing was lost')
  const { tokens: without } = await signInFor(service, buyer)
  const denied = await refresh(service, buyer, without.refresh_token, { resource: first })
  t.equal(denied.body.error, 'invalid_target', 'none was granted')
})

t.test('offline access', async t => {
  const scopes = ['openid', 'offline_access']
  const offline = await newClient(service, { name: 'Offline', scopes })
  const { tokens, browser, user } = await signInFor(service, offline, { scope: scopes.join(' ') })
  t.equal(tokens.scope, 'openid offline_access')
  const online = await signInFor(service, client)
  await submit(browser, '/sign-out', {})
  await submit(online.browser, '/sign-out', {})
  t.notOk(
    await isActive(service, online.tokens.access_token),
    'a client session ends with its browser session'
  )
  t.ok(await isActive(service, tokens.access_token), 'with offline access it goes on')
  const next = (await refresh(service, offline, tokens.refresh_token)).body
  t.ok(next.access_token)

  await t.test('ends with a password change', async t => {
    const first = service.browser()
    first.accessToken = (await first.post('/v1/auth/login', user)).body.access_token
    await first.post(
      '/v1/me/password',
      { current_password: user.password, new_password: 'another phrase of mine' }
    )
    t.notOk(await isActive(service, next.access_token))
  })

  await t.test('a user has it ten times for a client', async t => {
    const person = newUser()
    await service.browser().post('/v1/auth/register', person)
    const all = []
    for (let index = 0; index < 11; index++) {
      const attempt = authorizationOf(offline, { scope: scopes.join(' ') })
      const code = codeIn(await authorize(service.browser(), attempt, person))
      all.push((await redeem(service, offline, { code, verifier: attempt.verifier })).body)
    }
    const active = await Promise.all(
      all.map(async ({ access_token: token }) => await isActive(service, token))
    )
    t.strictSame(active, [false, ...Array<boolean>(10).fill(true)])
  })

  await t.test('is not for a client without refresh tokens', async t => {
    const codeOnly = await newClient(
      service,
      { name: 'Code only', scopes, grant_types: ['authorization_code'] }
    )
    const { tokens } = await signInFor(service, codeOnly, { scope: scopes.join(' ') })
    t.equal(tokens.scope, 'openid')
    t.notOk('refresh_token' in tokens)
  })
})

t.test('a browser session has one session for each client', async t => {
  const { tokens, browser } = await signInFor(service, client)
  const next = authorizationOf(client)
  const code = codeIn(await authorize(browser, next))
  const { body } = await redeem(service, client, { code, verifier: next.verifier })
  t.notOk(await isActive(service, tokens.access_token))
  t.ok(await isActive(service, body.access_token))
})

t.test('if another user signs in, the sessions of the first one end', async t => {
  const { tokens, browser } = await signInFor(service, client)
  const second = newUser()
  await service.browser().post('/v1/auth/register', second)
  await submit(browser, '/sign-in', { identifier: second.email, password: second.password })
  t.notOk(await isActive(service, tokens.access_token))
  const attempt = authorizationOf(client)
  const code = codeIn(await authorize(browser, attempt))
  const { body } = await redeem(service, client, { code, verifier: attempt.verifier })
  t.equal((await service.sql<{ email: string }>('select email from users where id = $1',
    [claimsOf(body.id_token).sub]))[0]?.email, second.email)
})

/** A browser with the cookies that this one has now. */
function copyOf (browser: Browser, on = service): Browser {
  const copy = on.browser()
  for (const [name, value] of browser.jar) copy.jar.set(name, value)
  return copy
}

/** What an authorization request of the client leads to without a page: an error or a code. */
async function silent (browser: Browser, overrides: Record<string, string> = {}) {
  const { url } = authorizationOf(client, { prompt: 'none', ...overrides })
  const { searchParams } = destinationOf(await browser.get(url))
  return searchParams.get('error') ?? (searchParams.has('code') ? 'code' : 'nothing')
}

const signInAgain = async (browser: Browser, { email, password }: { email: string, password: string }) =>
  await submit(browser, '/sign-in', { identifier: email, password })

t.test('a sign-in renews the cookie of the browser session', async t => {
  const sessionCookie = 'session_3000'

  await t.test('whose use makes the use of the earlier one a reuse', async t => {
    const { tokens, browser, user } = await signInFor(service, client)
    const earlier = browser.jar.get(sessionCookie)
    const thief = copyOf(browser)
    await signInAgain(browser, user)
    t.not(browser.jar.get(sessionCookie), earlier)
    t.equal(await silent(copyOf(thief, strict)), 'login_required')
    t.ok(await isActive(service, tokens.access_token), 'the browser may not have received the new one')
    await browser.get('/signed-in')
    t.equal(await silent(thief), 'login_required')
    t.ok(await isActive(service, tokens.access_token), 'within the grace period nothing more happens')
    t.equal(await silent(copyOf(thief, strict)), 'login_required')
    t.notOk(await isActive(service, tokens.access_token), 'later its use ends the session')
    t.equal(await silent(browser), 'login_required')
  })

  await t.test('but not if the browser had given up on the request with the earlier one', async t => {
    const late = await build(t, grace, { url: service.url, lockTimeoutMs: 10_000 })
    await late.app.listen({ host: '127.0.0.1', port: 0 })
    const { port } = late.app.server.address() as AddressInfo
    const { tokens, browser, user } = await signInFor(service, client)
    const cookie = `cookie: ${sessionCookie}=${browser.jar.get(sessionCookie)}`
    await signInAgain(browser, user)
    await browser.get('/signed-in')
    await service.app.db.transaction(async tx => {
      await tx.query('lock table browser_tokens in access exclusive mode')
      const socket = connect(port, '127.0.0.1')
      socket.write(requestText('GET', '/signed-in', undefined, [cookie]))
      await waitUntil('the request waits', async () => (await service.sql(`
        select from pg_stat_activity
        where datname = current_database() and wait_event_type = 'Lock' and query like '%browser_tokens%'
      `)).length > 0)
      socket.destroy()
      await waitUntil('the instance has noticed', async () => await countConnections(late.app.server) === 0)
    })
    // The log says that the client has gone, not when the request ends.
    let idleTurns = 0
    await waitUntil('the request has ended', () => {
      const { total, idle } = late.app.db.connections
      idleTurns = idle === total ? idleTurns + 1 : 0
      return idleTurns === 20
    })
    t.ok(await isActive(service, tokens.access_token))
    t.equal(await silent(browser), 'code')
  })

  await t.test('and the redemption of a code from the same response is a use of it', async t => {
    const { tokens, browser, user } = await signInFor(service, client)
    const thief = copyOf(browser, strict)
    const attempt = authorizationOf(client, { prompt: 'login' })
    const code = codeIn(await authorize(browser, attempt, user))
    t.equal(await silent(thief), 'login_required')
    t.ok(await isActive(service, tokens.access_token))
    t.match(await redeem(service, client, { code, verifier: attempt.verifier }), { status: 200 })
    t.equal(await silent(thief), 'login_required')
    t.equal(await silent(browser), 'login_required', 'the session has ended')
  })

  await t.test('and goes on with the session if the response to another sign-in was lost', async t => {
    const { tokens, browser, user, userId } = await signInFor(service, client)
    for (let i = 0; i < 25; i++) await signInAgain(copyOf(browser), user)
    t.equal(await silent(copyOf(browser, strict)), 'login_required')
    await signInAgain(browser, user)
    t.equal(await silent(copyOf(browser, strict)), 'code')
    t.ok(await isActive(service, tokens.access_token))
    t.match(await service.sql(`
      select count(*)::int as count from sessions
      where user_id = $1 and is_browser and ended_at is null`, [userId]), [{ count: 1 }])
    const [{ count } = { count: 0 }] = await service.sql<{ count: number }>(`
      select count(*)::int as count from browser_tokens join sessions on id = session_id
      where user_id = $1`, [userId])
    t.ok(count <= 21, 'the earlier values are few')
    t.strictSame(await service.sql(`
      select from audit_events where type = 'session.replayed' and user_id = $1`, [userId]), [])
  })

  await t.test('and of two at once, any may be the one that the browser keeps', async t => {
    for (const keepsFirst of [true, false]) {
      const { tokens, browser, user } = await signInFor(service, client)
      const [first, other] = [copyOf(browser), copyOf(browser)]
      await Promise.all([first, other].map(async each =>
        await repeatUnavailable(async () => await signInAgain(each, user))))
      t.equal(await silent(copyOf(keepsFirst ? first : other, strict)), 'code')
      t.ok(await isActive(service, tokens.access_token))
    }
  })

  await t.test('and a sign-out with the earlier one ends the session if the response was lost', async t => {
    for (const path of ['/sign-out', '/oauth/logout']) {
      const { tokens, browser, user } = await signInFor(service, client)
      await signInAgain(copyOf(browser), user)
      await (path === '/sign-out'
        ? submit(browser, path, {})
        : browser.get(`${path}?id_token_hint=${tokens.id_token}`))
      t.notOk(await isActive(service, tokens.access_token), path)
    }
  })

  await t.test('and the earlier one does not let another user end the session', async t => {
    const { tokens, browser, user } = await signInFor(service, client)
    const thief = copyOf(browser)
    thief.jar.delete('refresh_token_3000')
    await signInAgain(browser, user)
    const own = newUser()
    await service.browser().post('/v1/auth/register', own)
    await signInAgain(thief, own)
    t.ok(await isActive(service, tokens.access_token))
  })

  await t.test('and one that comes after another was used is only refused', async t => {
    const { tokens, browser, user } = await signInFor(service, client)
    const [late, next] = [copyOf(browser), copyOf(browser)]
    await signInAgain(late, user)
    await signInAgain(next, user)
    t.equal(await silent(next), 'code')
    t.equal(await silent(copyOf(late, strict)), 'login_required')
    t.ok(await isActive(service, tokens.access_token))
  })

  await t.test('and a sign-in with the earlier one that is executed late ends nothing', async t => {
    const { tokens, browser, user, userId } = await signInFor(service, client)
    const [late, later] = [copyOf(browser), copyOf(browser, strict)]
    await signInAgain(browser, user)
    t.equal(await silent(browser), 'code')
    await signInAgain(late, user)
    t.equal(await silent(browser), 'code')
    t.ok(await isActive(service, tokens.access_token))
    t.match(await service.sql(`
      select count(*)::int as count from sessions
      where user_id = $1 and is_browser and ended_at is null`, [userId]), [{ count: 1 }])
    await signInAgain(later, user)
    t.notOk(await isActive(service, tokens.access_token), 'after the grace period it is another session')
  })

  await t.test('and does not wait for a sign-in that changes it', async t => {
    const { browser, user, userId } = await signInFor(service, client)
    await signInAgain(browser, user)
    await service.app.db.transaction(async tx => {
      await tx.query(`
        select from browser_tokens join sessions on id = session_id
        where user_id = $1 for update of browser_tokens`, [userId])
      t.equal(await silent(browser), 'code')
    })
  })

  await t.test('and concurrent uses of a superseded one are recorded once', async t => {
    const { browser, user, userId } = await signInFor(service, client)
    const thief = copyOf(browser, strict)
    await signInAgain(browser, user)
    await browser.get('/signed-in')
    // It is recorded although no access token is valid any more.
    await service.sql(`
      update refresh_tokens set access_expires_at = now() - interval '1 day'
      where session_id in (select id from sessions where user_id = $1)`, [userId])
    await Promise.all(Array.from({ length: 12 }, async () =>
      await repeatUnavailable(async () => await thief.get('/signed-in'))))
    t.match(await service.sql(`
      select count(*)::int as count from audit_events
      where type = 'session.replayed' and user_id = $1`, [userId]), [{ count: 1 }])
  })
})

t.test('a repeated sign-in does not strengthen tokens from before it', async t => {
  const { browser, user, userId } = await signInFor(service, client)
  await service.sql(
    "update sessions set authenticated_at = now() - interval '1 hour' where user_id = $1", [userId])
  const authTimeOf = async (by: Browser) => {
    const { status, body } = await by.post('/v1/auth/refresh')
    t.equal(status, 200)
    by.accessToken = body.access_token
    return Number(claimsOf(body.access_token).auth_time)
  }
  const [withAccessToken, withRefreshToken] = [copyOf(browser), copyOf(browser)]
  const earlier = await authTimeOf(withAccessToken)
  await signInAgain(browser, user)
  await service.sql("update sessions set methods = '{link}' where user_id = $1", [userId])
  t.equal(await authTimeOf(withRefreshToken), earlier)
  t.strictSame(claimsOf(withRefreshToken.accessToken ?? '').amr, ['pwd'])

  // An account without a password can choose one soon after a sign-in.
  await service.sql('update users set password_hash = null where id = $1', [userId])
  const choosePassword = async (by: Browser) =>
    await by.post('/v1/me/password', { new_password: 'a phrase that I chose' })
  t.match(await choosePassword(withRefreshToken), { status: 403 })
  t.ok(await authTimeOf(browser) > earlier)
  t.match(await choosePassword(withAccessToken), { status: 403 })
  t.match(await choosePassword(browser), { status: 204 })
})

t.test('a repeated sign-in does not strengthen a code from before it', async t => {
  const { browser, user, userId } = await signInFor(service, client)
  await service.sql(`
    update sessions set methods = '{otp}', authenticated_at = now() - interval '1 hour'
    where user_id = $1 and is_browser`, [userId])
  const [before, after] = [authorizationOf(client), authorizationOf(client)]
  const code = codeIn(await authorize(copyOf(browser), before))
  await signInAgain(browser, user)
  const anHourAgo = Date.now() / 1_000 - 3_000
  const methodsOf = async (code: string, { verifier }: { verifier: string }) => {
    const { status, body } = await redeem(service, client, { code, verifier })
    t.equal(status, 200)
    const refreshed = await refresh(service, client, body.refresh_token)
    return [body.id_token, body.access_token, refreshed.body.access_token].map(token => claimsOf(token))
      .map(({ amr, auth_time: time }) => ({ amr, isFresh: Number(time) > anHourAgo }))
  }
  const stale = { amr: ['otp'], isFresh: false }
  t.strictSame(await methodsOf(code, before), [stale, stale, stale])
  const fresh = { amr: ['pwd'], isFresh: true }
  t.strictSame(await methodsOf(codeIn(await authorize(browser, after)), after), [fresh, fresh, fresh])
})

t.test('a sign-in on a page goes on with the token family, and its token supersedes the others', async t => {
  const { browser, user } = await signInFor(service, client)
  const name = 'refresh_token_3000'
  const current = browser.jar.get(name) ?? ''
  const thief = service.browser()
  thief.jar.set(name, current)
  t.match(await thief.post('/v1/auth/refresh'), { status: 200 })
  const stolen = thief.jar.get(name) ?? ''

  await submit(browser, '/sign-in', { identifier: user.email, password: user.password })
  const other = service.browser()
  other.jar.set(name, current)
  t.match(await other.post('/v1/auth/refresh'), { status: 200 }, 'the response may have been lost')
  const { status, body } = await browser.post('/v1/auth/refresh')
  t.equal(status, 200)
  t.match(await thief.post('/v1/auth/refresh'), { status: 401, body: { code: 'invalid_refresh_token' } })
  browser.accessToken = body.access_token
  t.match(await browser.get('/v1/me'), { status: 200 }, 'within the grace period the thief is only refused')
  thief.app = strict.app
  thief.jar.set(name, stolen)
  t.match(await thief.post('/v1/auth/refresh'), { status: 401 })
  t.match(await browser.get('/v1/me'), { status: 401 }, 'later the use of the stolen token ends the session')
})

t.test('users see and revoke what they have allowed', async t => {
  const { tokens, user, browser } = await signInFor(service, client)
  const account = service.browser()
  account.accessToken = (await account.post('/v1/auth/login', user)).body.access_token
  const { body } = await account.get('/v1/me/consents')
  t.match(body, {
    items: [{ client_id: client.id, name: 'Orders', scopes: ['email', 'openid', 'profile'], audiences: [] }],
    next_cursor: null
  })
  t.match(
    (await account.get('/v1/me/export')).body,
    { consents: [{ client_id: client.id, client_name: 'Orders' }] }
  )
  t.equal((await account.delete(`/v1/me/consents/${client.id}`)).status, 204)
  t.equal((await account.delete(`/v1/me/consents/${client.id}`)).status, 404)
  t.notOk(await isActive(service, tokens.access_token))
  t.strictSame((await account.get('/v1/me/consents')).body.items, [])
  t.equal(destinationOf(await browser.get(authorizationOf(client).url)).pathname, '/consent')
})

t.test('deleting a client ends the sessions of its users', async t => {
  const shortLived = await newClient(service, { name: 'Short-lived' })
  const { tokens } = await signInFor(service, shortLived)
  const { adminOf } = await import('../support/delegation.ts')
  t.equal((await (await adminOf(service)).delete(`/v1/admin/clients/${shortLived.id}`)).status, 204)
  t.notOk(await isActive(service, tokens.access_token))
  t.equal((await refresh(service, shortLived, tokens.refresh_token)).body.error, 'invalid_client')
})

t.test('a code is not used up while its client may not use a resource of it', async t => {
  const audiences = ['https://orders.example.com', 'https://stock.example.com']
  const [orders = '', stock = ''] = audiences
  const buyer = await newClient(service, { name: 'Buyer', audiences })
  const admin = await adminOf(service)
  const allow = async (allowed: string[]) => {
    t.match(await admin.patch(`/v1/admin/clients/${buyer.id}`, { audiences: allowed }), { status: 200 })
  }
  const user = newUser()
  const browser = service.browser()
  await service.browser().post('/v1/auth/register', user)
  const newCode = async () => {
    const attempt = authorizationOf(buyer)
    attempt.url += audiences.map(resource => `&resource=${encodeURIComponent(resource)}`).join('')
    return { code: codeIn(await authorize(browser, attempt, user)), verifier: attempt.verifier }
  }
  type IssuedCode = Awaited<ReturnType<typeof newCode>>
  const present = async (on: Service, { code, verifier }: IssuedCode, resource?: string) =>
    await requestTokens(on, buyer, {
      grant_type: 'authorization_code',
      code,
      redirect_uri: redirectUri,
      code_verifier: verifier,
      ...resource !== undefined && { resource }
    })

  await t.test('because an administrator took it from the client', async t => {
    const issued = await newCode()
    await allow([stock])
    for (const resource of [undefined, orders]) {
      const refused = await present(service, issued, resource)
      t.match(refused, { status: 400, body: { error: 'invalid_target' } }, String(resource))
    }
    const wrong = await present(service, { ...issued, verifier: newVerifier().verifier })
    t.equal(wrong.body.error, 'invalid_grant', 'it says this only to the sender of the verifier')
    await allow(audiences)
    const { status, body } = await present(service, issued)
    t.equal(status, 200)
    t.strictSame(claimsOf(body.access_token).aud, audiences)
    await allow([stock])
    t.equal((await present(strict, issued, orders)).body.error, 'invalid_grant')
    t.notOk(
      await isActive(service, body.access_token),
      'a replay ends the session although its resource is refused'
    )
  })

  await t.test('but for its other resources it works', async t => {
    await allow(audiences)
    const issued = await newCode()
    await allow([stock])
    const { status, body } = await present(service, issued, stock)
    t.equal(status, 200)
    t.equal(claimsOf(body.access_token).aud, stock)
  })

  await t.test('because the service itself has its name now', async t => {
    await allow(audiences)
    const issued = await newCode()
    const moved = await build(t, { AUDIENCE: orders }, { url: service.url })
    t.match(await present(moved, issued), { status: 400, body: { error: 'invalid_target' } })
    t.equal((await present(service, issued)).status, 200)
  })
})

t.test('while no key can sign the other tokens, a code is not used up', async t => {
  for (const purpose of ['access_token', 'refresh_token']) {
    const { code, verifier } = await newCode()
    const retire = async (at: string) => {
      await service.sql(`update keys set retires_at = ${at} where purpose = $1`, [purpose])
      await service.app.keyring.reload()
    }
    await retire("now() - interval '1 second'")
    t.match(await redeem(service, client, { code, verifier }), { status: 503 }, purpose)
    await retire('null')
    t.match(await redeem(service, client, { code, verifier }), { status: 200 }, purpose)
  }
})

t.test('while no key can sign an ID token, a code is not used up', async t => {
  const starting = await build(t)
  const shop = await newClient(starting)
  const user = newUser()
  await starting.browser().post('/v1/auth/register', user)
  const attempt = authorizationOf(shop)
  const code = codeIn(await authorize(starting.browser(), attempt, user))
  const { db, keyring } = starting.app
  await db.transaction(async tx => {
    // As if another instance were generating the key.
    await tx.query('select pg_advisory_xact_lock(7308332182714022)')
    await starting.sql("delete from keys where purpose = 'id_token'")
    await keyring.reload()
    const refused = await redeem(starting, shop, { code, verifier: attempt.verifier })
    t.match(refused, { status: 503, body: { error: 'temporarily_unavailable' } })
  })
  await waitUntil('the key exists', async () =>
    (await redeem(starting, shop, { code, verifier: attempt.verifier })).status === 200)
})
