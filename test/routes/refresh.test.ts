import { mint } from '../../src/sessions/refresh-token.ts'
import { build, newUser, type Service } from '../support/app.ts'
import { sql } from '../support/postgres.ts'
import { t } from '../support/test.ts'
import { ageTokenFamily } from '../support/token-family.ts'

interface Family { generation: number, hash: string, confirmations: Date[] }

/** Signs a new user in. Returns the refresh token, and functions that use it and look at its token family. */
async function signIn (service: Service) {
  const { body } = await service.browser()
    .post('/v1/auth/register', { ...newUser(), refresh_token_delivery: 'body' })
  const sessionId: string = body.session_id
  return {
    sessionId,
    accessToken: body.access_token as string,
    first: body.refresh_token as string,
    refresh: async (token: string) => await refresh(service, token),
    /** Refreshes, which must succeed, and returns the successor. */
    next: async (token: string): Promise<string> => {
      const { status, body } = await refresh(service, token)
      if (status !== 200) throw new Error(`a refresh was answered ${status}`)
      return body.refresh_token
    },
    family: async () => (await service.sql<Family>(`
      select generation, encode(token_hash, 'hex') as hash, confirmations
      from refresh_tokens where session_id = $1`, [sessionId]))[0],
    session: async () => (await service.sql<{ end_reason: string | null }>(
      'select end_reason from sessions where id = $1', [sessionId]))[0],
    age: async (seconds: number) => { await ageTokenFamily(service, sessionId, seconds) }
  }
}

const refresh = async (service: Service, token: string) =>
  await service.browser().post('/v1/auth/refresh', { refresh_token: token })
const refused = { status: 401, body: { code: 'invalid_refresh_token' }, cookies: [] }

// The grace period is long, and time passes by aging the row, so that a slow machine changes nothing.
const settings = { REFRESH_REPLAY_GRACE: '1000s' }

t.test('each case of the rotation', async t => {
  const service = await build(t, settings)

  t.test('a successor is confirmed by its first use, and supersedes its predecessor', async t => {
    const { first, next, refresh, family, age } = await signIn(service)
    t.match(await family(), { generation: 0, hash: '' }, 'a token is not stored before it is used')
    const second = await next(first)
    t.match(await family(), { generation: 1, hash: /^[0-9a-f]{64}$/ })
    const third = await next(second)
    t.match(await family(), { generation: 2 })
    t.match(await refresh(first), refused)
    t.match(await refresh(third), { status: 200 })
    await age(1_100)
    t.match(await refresh(second), refused)
    t.match(await refresh(third), refused, 'the reuse ended the session')
  })

  t.test('the current token works until a successor is used: after lost responses, in two tabs', async t => {
    const { first, next, family, age } = await signIn(service)
    const successors = [await next(first), await next(first), await next(first)]
    await age(100_000)
    successors.push(await next(first))
    t.equal(new Set(successors).size, 4)
    t.match(await family(), { generation: 1 })
    await next(successors[2] ?? '')
    t.match(await family(), { generation: 2 })
  })

  t.test('the use of two successors of one token is a reuse', async t => {
    const { first, next, refresh, session, family, age } = await signIn(service)
    const [mine, stolen] = [await next(first), await next(first)]
    const current = await next(mine)
    await age(1_100)
    t.match(await refresh(stolen), refused)
    t.match(await session(), { end_reason: 'replayed' })
    t.equal(await family(), undefined)
    t.match(await refresh(current), refused)
    const causes = service.logs.map(({ cause }) => cause as { replayed?: boolean } | undefined)
    t.ok(causes.some(cause => cause?.replayed), 'and is logged')
  })

  t.test('the use of a superseded token is a reuse, however old the token is', async t => {
    const { first, next, refresh, session, age } = await signIn(service)
    let token = first
    for (let i = 0; i < 5; i++) token = await next(token)
    await age(1_100)
    t.match(await refresh(first), refused)
    t.match(await session(), { end_reason: 'replayed' })
    t.match(await refresh(token), refused)
  })

  t.test('a thief who keeps refreshing is detected', async t => {
    const { first, next, refresh, session, age } = await signIn(service)
    const [mine, stolen] = [await next(first), await next(first)]
    let token = await next(stolen)
    // The latest confirmation is never older than the grace period.
    for (let i = 0; i < 5; i++) {
      await age(700)
      token = await next(token)
    }
    t.match(await refresh(mine), refused)
    t.match(await session(), { end_reason: 'replayed' })
    t.match(await refresh(token), refused)
  })

  t.test('a predecessor superseded long ago is reused even right after a confirmation', async t => {
    const { first, next, refresh, session, age } = await signIn(service)
    const token = await next(await next(first))
    await age(360_000)
    await next(token)
    t.match(await refresh(first), refused)
    t.match(await session(), { end_reason: 'replayed' })
  })

  t.test('a successor that was never used may be detected one grace period later', async t => {
    const { first, next, refresh, session, age } = await signIn(service)
    const [unused, used] = [await next(first), await next(first)]
    const token = await next(used)
    await age(360_000)
    await next(token)
    t.match(await refresh(unused), refused)
    t.match(await session(), { end_reason: null }, 'it counts as superseded with the used successor')
    await age(1_100)
    t.match(await refresh(unused), refused)
    t.match(await session(), { end_reason: 'replayed' })
  })

  t.test('a late duplicate of the first of many tokens within the grace period ends nothing', async t => {
    const { first, next, refresh, session } = await signIn(service)
    let token = first
    for (let i = 0; i < 32; i++) token = await next(token)
    t.match(await refresh(first), refused)
    t.match(await session(), { end_reason: null })
    t.match(await refresh(token), { status: 200 })
  })

  t.test('only the latest 32 confirmations are kept', async t => {
    const { first, next, refresh, session, family } = await signIn(service)
    let token = first
    for (let i = 0; i < 34; i++) token = await next(token)
    t.equal((await family())?.confirmations.length, 32)
    t.match(await refresh(first), refused)
    t.match(await session(), { end_reason: 'replayed' })
  })

  t.test('confirmations are kept for the grace period, and the latest one for ever', async t => {
    const { first, next, family, age } = await signIn(service)
    const kept = async () => (await family())?.confirmations.length
    t.equal(await kept(), 1, 'the sign-in is the first')
    const third = await next(await next(first))
    t.equal(await kept(), 3)
    await age(700)
    const fourth = await next(third)
    t.equal(await kept(), 4)
    await age(700)
    const fifth = await next(fourth)
    t.equal(await kept(), 2)
    await next(fourth)
    t.equal(await kept(), 2, 'a retry confirms no token')
    await age(360_000)
    t.equal(await kept(), 2)
    await next(fifth)
    const { confirmations = [] } = await family() ?? {}
    t.equal(confirmations.length, 1)
  })

  t.test('within the grace period a superseded token is only refused', async t => {
    const { first, next, refresh, session, age } = await signIn(service)
    const unused = await next(first)
    const second = await next(first)
    const third = await next(second)
    for (const superseded of [first, unused]) t.match(await refresh(superseded), refused)
    await age(900)
    for (const superseded of [first, unused]) t.match(await refresh(superseded), refused)
    t.match(await session(), { end_reason: null })
    t.match(await refresh(third), { status: 200 })
  })

  t.test('without a grace period a reuse ends the session at once', async t => {
    const strict = await build(t, { REFRESH_REPLAY_GRACE: '0s' }, { url: service.url })
    const { first, next, refresh, session } = await signIn(strict)
    await next(await next(first))
    t.match(await refresh(first), refused)
    t.match(await session(), { end_reason: 'replayed' })
  })

  t.test('with a retry window the current token is superseded when the window is over', async t => {
    const windowed = await build(t, { ...settings, REFRESH_RETRY_WINDOW: '6000s' }, { url: service.url })
    const { first, next, refresh, session, age } = await signIn(windowed)
    await next(first)
    await age(5_900)
    await next(first)
    await age(200)
    t.match(await refresh(first), refused, 'the window counts from the first exchange')
    t.match(await session(), { end_reason: 'replayed' })
  })

  t.test('a session that ended, expired, or belongs to a disabled user is not refreshed', async t => {
    const changes = [
      'update sessions set expires_at = now() where id = $1',
      'update users set disabled_at = now() where id = (select user_id from sessions where id = $1)',
      `with deleted as (delete from refresh_tokens where session_id = $1)
        update sessions set ended_at = now(), end_reason = 'logout' where id = $1`,
      'delete from users where id = (select user_id from sessions where id = $1)'
    ]
    for (const change of changes) {
      const { first, sessionId, refresh } = await signIn(service)
      await service.sql(change, [sessionId])
      t.match(await refresh(first), refused, change)
    }
  })

  t.test('a token expires a fixed time after its issue, and never after its session', async t => {
    const { sessionId, refresh } = await signIn(service)
    const aged = (seconds: number) => {
      const issuedAt = new Date(Date.now() - seconds * 1_000)
      return mint(service.app.keyring.getMacKey(), { sessionId, generation: 1, issuedAt })
    }
    t.match(await refresh(aged(7 * 86_400 + 1)), refused)
    const fresh = { status: 200, body: { refresh_token_expires_in: 604_800 } }
    t.match(await refresh(aged(7 * 86_400 - 60)), fresh)
    const ending = await signIn(service)
    await service.sql(
      "update sessions set expires_at = now() + interval '90 seconds' where id = $1", [ending.sessionId])
    const short = await ending.refresh(ending.first)
    t.ok(short.body.refresh_token_expires_in <= 90 && short.body.refresh_token_expires_in > 80)
    t.ok(short.body.expires_in <= 90, 'and so does the access token')
  })

  t.test('a refresh returns the same user as the sign-in', async t => {
    const browser = service.browser()
    const { body } = await browser.post('/v1/auth/register', { ...newUser(), name: 'Ada' })
    t.strictSame((await browser.post('/v1/auth/refresh')).body.user, body.user)
  })
})

t.test('a token that is newer than the database, after a failover or a restored backup', async t => {
  const service = await build(t, settings)
  const warnings = (sessionId: string) => service.logs.filter(line => line['sessionId'] === sessionId)
  const grown = async () => {
    const session = await signIn(service)
    const tokens = [session.first]
    for (let i = 0; i < 4; i++) tokens.push(await session.next(tokens.at(-1) ?? ''))
    return { ...session, tokens }
  }
  type Grown = Awaited<ReturnType<typeof grown>>
  /** Puts the token family back to the state that it had before its last two confirmations. */
  const lose = async ({ sessionId, tokens }: Grown) => {
    await service.sql(`
      update refresh_tokens
      set generation = 2, token_hash = sha256($2::bytea), confirmations = confirmations[3:]
      where session_id = $1`, [sessionId, Buffer.from(tokens[1] ?? '')])
  }

  t.test('is taken for the current one, and logged once', async t => {
    const session = await grown()
    const { tokens, sessionId, refresh, next, family } = session
    await lose(session)
    const sixth = await next(tokens[4] ?? '')
    t.match(await family(), { generation: 5 })
    t.match(warnings(sessionId), [{
      level: 40,
      sessionId,
      presented: 5,
      msg: 'refresh token is newer than the database: recent writes were lost'
    }])
    t.equal(warnings(sessionId).length, 1)
    t.match(await refresh(tokens[4] ?? ''), { status: 200 }, 'a retry is no news')
    await next(sixth)
    t.equal(warnings(sessionId).length, 1)
  })

  t.test('supersedes the older ones, with a grace period for each', async t => {
    for (const older of [0, 1, 2, 3]) {
      const session = await grown()
      const { tokens, refresh, next, age, session: state } = session
      await lose(session)
      await next(tokens[4] ?? '')
      t.match(await refresh(tokens[older] ?? ''), refused)
      t.match(await state(), { end_reason: null }, `generation ${older + 1} is only refused`)
      await age(1_100)
      t.match(await refresh(tokens[older] ?? ''), refused)
      t.match(await state(), { end_reason: 'replayed' }, `then generation ${older + 1} is reused`)
    }
  })

  t.test('may be any number of generations newer', async t => {
    const { sessionId, first, refresh, session, family, age } = await signIn(service)
    const key = service.app.keyring.getMacKey()
    const newest = mint(key, { sessionId, generation: 1_000_000, issuedAt: new Date() })
    const { status, body } = await refresh(newest)
    t.equal(status, 200)
    t.match(await family(), { generation: 1_000_000 })
    t.equal((await family())?.confirmations.length, 32)
    t.match(await refresh(body.refresh_token), { status: 200 })
    await age(1_100)
    t.match(await refresh(first), refused)
    t.match(await session(), { end_reason: 'replayed' })
  })

  t.test('is active for a client that introspects it', async t => {
    const session = await grown()
    await lose(session)
    const { introspectRefreshToken } = await import('../../src/sessions/introspection.ts')
    const { parse } = await import('../../src/sessions/refresh-token.ts')
    const { secret } = service.app.keyring.getMacKey()
    const read = parse(session.tokens[4] ?? '', () => secret)
    const state = read && await introspectRefreshToken(
      service.app.db, read, { refreshTokenSeconds: 604_800, retryWindowSeconds: undefined })
    t.match(state, { roles: ['user'] })
    t.match(await session.family(), { generation: 2 })
  })
})

t.test('a token that Latchkey did not issue is refused without the database', async t => {
  const service = await build(t)
  const { first, refresh, session } = await signIn(service)
  const bytes = Buffer.from(first.slice(4), 'base64url')
  const flipped = (index: number) => {
    const copy = Buffer.from(bytes)
    copy[index] = (copy[index] ?? 0) ^ 1
    return 'lkr_' + copy.toString('base64url')
  }
  for (let index = 0; index < bytes.length; index++) {
    t.match(await refresh(flipped(index)), refused, `a flipped bit in byte ${index}`)
  }
  const others = [
    '', 'x', 'a.access.token', 'x'.repeat(8192), 'lkr_', 'lkr_' + 'A'.repeat(108),
    first.slice(0, -1), first + 'A', first.slice(4), first.toUpperCase(), first + '=', ' ' + first,
    first.replace('lkr_', 'LKR_')
  ]
  for (const token of others) {
    t.match(await refresh(token), refused, token.slice(0, 12))
  }
  const refreshWith = async (token: unknown) =>
    await service.browser().post('/v1/auth/refresh', { refresh_token: token })
  for (const token of ['x'.repeat(8193), 1, null, [first], { $ne: '' }]) {
    t.match(await refreshWith(token), { status: 400, body: { code: 'validation_failed' } })
  }
  t.match(await session(), { end_reason: null })
  t.match(await refresh(first), { status: 200 })
})

t.test('delivery', async t => {
  const service = await build(t)

  t.test('a token that came in the cookie goes back into the cookie', async t => {
    const browser = service.browser()
    const { body } = await browser.post('/v1/auth/register', { ...newUser(), remember: true })
    for (const payload of [undefined, {}, '']) {
      const answer = await browser.post('/v1/auth/refresh', payload)
      t.match(answer, {
        status: 200,
        cookies: [/^refresh_token_3000=lkr_[\w-]{108}; Max-Age=604800; Path=\/; HttpOnly; SameSite=Strict$/],
        body: { session_id: body.session_id }
      })
      t.notOk('refresh_token' in answer.body)
    }
  })

  t.test('an empty body of any content type is no body', async t => {
    const browser = service.browser()
    await browser.post('/v1/auth/register', newUser())
    // `fetch` with an empty text or form, `sendBeacon`, and a generic client.
    for (const type of [
      'text/plain;charset=UTF-8', 'application/x-www-form-urlencoded;charset=UTF-8',
      'multipart/form-data; boundary=x', 'application/octet-stream', 'nonsense', ''
    ]) {
      const headers = { 'content-type': type }
      t.match(await browser.post('/v1/auth/refresh', '', headers), { status: 200 }, type)
      t.match(await service.browser().post('/v1/auth/logout', '', headers), { status: 204 }, type)
      t.match(await browser.post('/v1/auth/refresh', 'x', headers), { status: 415 }, type)
    }
    t.match(await browser.post('/v1/auth/logout', '', { 'content-type': 'text/plain' }), { status: 204 })
    t.match(await browser.post('/v1/auth/refresh'), { status: 401 }, 'the beacon ended the session')
  })

  t.test('a token that came in the body goes back in the body', async t => {
    const { first, refresh } = await signIn(service)
    const answer = await refresh(first)
    t.match(answer, { status: 200, cookies: [], body: { refresh_token: /^lkr_/ } })
    t.equal(answer.headers['cache-control'], 'no-store')
  })

  t.test('a request without a token, with two, or with two cookies is refused', async t => {
    const { first } = await signIn(service)
    const send = async (action: string, body?: object, cookie?: string) =>
      await service.browser().post(`/v1/auth/${action}`, body, cookie === undefined ? {} : { cookie })
    t.match(await send('refresh'), refused)
    t.match(await send('refresh', {}), refused)
    const invalid = { status: 400, body: { code: 'validation_failed' } }
    t.match(await send('refresh', { refresh_token: first }, 'refresh_token_3000=x'), invalid)
    t.match(await send('logout', { refresh_token: first }, 'refresh_token_3000=x'), invalid)
    t.match(
      await send('refresh', undefined, `refresh_token_3000=${first}; refresh_token_3000=${first}`),
      refused
    )
    const cookie = `other=1; refresh_token_3000=${first}; refresh_token2=x`
    t.match(await send('refresh', undefined, cookie), { status: 200 })
  })

  t.test('a foreign cookie beside the good one does no harm', async t => {
    const { first, next, session } = await signIn(service)
    const send = async (action: string, cookie: string) =>
      await service.browser().post(`/v1/auth/${action}`, undefined, { cookie })
    const foreign = `refresh_token_3000=${first.slice(0, -4)}AAAA`
    t.match(await send('refresh', `${foreign}; refresh_token_3000=${first}`), { status: 200 })
    const second = await next(first)
    t.match(await send('refresh', `refresh_token_3000=${second}; refresh_token_3000=`), { status: 200 })
    t.match(await send('logout', `${foreign}; refresh_token_3000=${second}`), { status: 204 })
    t.match(await session(), { end_reason: 'logout' })
  })

  t.test('services at two ports of a host do not share cookies over plain http', async t => {
    const other = await build(t, { PORT: '3001' }, { url: service.url })
    const browser = service.browser()
    await browser.post('/v1/auth/register', newUser())
    browser.app = other.app
    await browser.post('/v1/auth/register', newUser())
    t.match(await browser.post('/v1/auth/logout'), { status: 204 })
    const left = [
      'device_3000', 'device_3001', 'refresh_token_3000', 'registration_3000', 'registration_3001'
    ]
    t.strictSame([...browser.jar.keys()].sort(), left)
    browser.app = service.app
    t.match(await browser.post('/v1/auth/refresh'), { status: 200 })
    t.match((await build(t, { ISSUER_URL: 'http://localhost' }, { url: service.url })).app.swagger(), {
      components: { securitySchemes: { refreshCookie: { name: 'refresh_token_80' } } }
    })
  })

  t.test('a cookie with a similar name is another cookie', async t => {
    const { first } = await signIn(service)
    const send = async (cookie: string) =>
      await service.browser().post('/v1/auth/refresh', undefined, { cookie })
    const names = [
      '\u00a0refresh_token_3000', 'refresh_token_3000\u00a0', '\u2003refresh_token_3000',
      'REFRESH_TOKEN_3000', '__Host-refresh_token', 'refresh_token', '\vrefresh_token_3000'
    ]
    for (const name of names) t.match(await send(`${name}=${first}`), refused, JSON.stringify(name))
    t.match(await send(` \trefresh_token_3000 =${first}`), { status: 200 })
  })

  t.test('a page of another origin cannot use the cookie', async t => {
    const browser = service.browser()
    await browser.post('/v1/auth/register', newUser())
    const spa = await build(t, { CORS_ORIGINS: 'https://app.example.com' }, { url: service.url })
    const foreign: Array<Record<string, string>> = [
      { origin: 'https://evil.example' }, { origin: 'null' }, { origin: 'http://localhost:3001' },
      { origin: 'http://localhost' }, { 'sec-fetch-site': 'cross-site' }, { 'sec-fetch-site': 'same-site' }
    ]
    for (const path of ['/v1/auth/refresh', '/v1/auth/logout']) {
      for (const headers of foreign) {
        const answer = await browser.post(path, undefined, headers)
        const rejected = { status: 403, body: { code: 'cross_site_request' }, cookies: [] }
        t.match(answer, rejected, `${path} ${JSON.stringify(headers)}`)
      }
    }
    const allowed = { origin: 'https://app.example.com' }
    t.match(await browser.post('/v1/auth/refresh', undefined, allowed), { status: 403 })
    browser.app = spa.app
    t.match(await browser.post('/v1/auth/refresh', undefined, allowed), {
      status: 200,
      headers: {
        'access-control-allow-origin': 'https://app.example.com', 'access-control-allow-credentials': 'true'
      }
    })
    const own: Array<Record<string, string>> = [
      { origin: 'http://localhost:3000' }, { 'sec-fetch-site': 'same-origin' },
      { 'sec-fetch-site': 'none' }, {}
    ]
    for (const headers of own) {
      const { status } = await browser.post('/v1/auth/refresh', undefined, headers)
      t.equal(status, 200, JSON.stringify(headers))
    }
    const { first, refresh } = await signIn(service)
    const { status } = await service.browser()
      .post('/v1/auth/refresh', { refresh_token: first }, { origin: 'https://evil.example' })
    t.equal(status, 200, 'a token in the body is not a cookie')
    t.match(await refresh(first), { status: 200 })
  })
})

t.test('a logout', async t => {
  const service = await build(t)
  const expired = 'Max-Age=0; Path=\\/; Expires=Thu, 01 Jan 1970 00:00:00 GMT; HttpOnly; SameSite=Strict'
  const cleared = new RegExp(`^refresh_token_3000=; ${expired}$`)
  const logout = async (body?: object, headers?: Record<string, string>) =>
    await service.browser().post('/v1/auth/logout', body, headers)

  t.test('with the cookie ends the session and clears the cookie', async t => {
    const browser = service.browser()
    const { body } = await browser.post('/v1/auth/register', newUser())
    const cookie = `refresh_token_3000=${browser.jar.get('refresh_token_3000')}`
    t.match(await browser.post('/v1/auth/logout'), { status: 204, text: '', cookies: [cleared] })
    const left = [...browser.jar.keys()].sort()
    t.strictSame(left, ['device_3000', 'registration_3000'], 'and leaves the cookies that are no credentials')
    t.match(await service.browser().post('/v1/auth/refresh', undefined, { cookie }), refused)
    const authorization = `Bearer ${body.access_token}`
    const answer = await service.browser().get('/v1/me', { authorization })
    t.match(answer, { status: 401, body: { code: 'invalid_token' } })
  })

  t.test('with any token of the family, of any generation, ends the session', async t => {
    for (const which of [0, 1, 2, 3]) {
      const { first, next, session } = await signIn(service)
      const second = await next(first)
      const third = await next(second)
      const unused = await next(second)
      const token = [first, second, third, unused][which]
      t.match(await logout({ refresh_token: token }), { status: 204, cookies: [] })
      t.match(await session(), { end_reason: 'logout' })
    }
  })

  t.test('with a bearer token ends its session', async t => {
    const { accessToken, session, first, refresh } = await signIn(service)
    const answer = await logout(undefined, { authorization: `Bearer ${accessToken}` })
    t.match(answer, { status: 204, cookies: [cleared] })
    t.match(await session(), { end_reason: 'logout' })
    t.match(await refresh(first), refused)
  })

  t.test('ends two sessions if the cookie and the bearer token belong to different ones', async t => {
    const [one, other] = [await signIn(service), await signIn(service)]
    const [cookie, authorization] = [`refresh_token_3000=${one.first}`, `Bearer ${other.accessToken}`]
    t.match(await logout(undefined, { cookie, authorization }), { status: 204 })
    const ended = { end_reason: 'logout' }
    t.match([await one.session(), await other.session()], [ended, ended])
  })

  t.test('has the same response if there is nothing to end', async t => {
    const { first } = await signIn(service)
    const body = { refresh_token: first }
    const requests: Array<[body?: object | undefined, headers?: Record<string, string>]> = [
      [], [{}], [body], [body], [{ refresh_token: 'garbage' }],
      [undefined, { cookie: 'refresh_token_3000=garbage' }],
      [undefined, { authorization: 'Bearer garbage' }], [undefined, { authorization: 'Basic eDp5' }]
    ]
    for (const [body, headers] of requests) t.match(await logout(body, headers), { status: 204 })
  })

  t.test('keeps its reason if a reuse follows', async t => {
    const { first, next, session } = await signIn(service)
    await next(await next(first))
    await logout({ refresh_token: first })
    t.match(await refresh(service, first), refused)
    t.match(await session(), { end_reason: 'logout' })
  })
})

t.test('races', async t => {
  // Two instances on one database.
  const one = await build(t)
  const other = await build(t, {}, { url: one.url })
  const either = (index: number) => index % 2 === 0 ? one : other

  t.test('logouts and reuses do not deadlock', async t => {
    const strict = await build(t, { REFRESH_REPLAY_GRACE: '0s' }, { url: one.url })
    // A request that waits too long for a connection is answered 503, so all connections are opened first.
    for (const { app } of [one, other, strict]) {
      await Promise.all(Array.from({ length: 10 }, async () => await app.db.query('select 1')))
    }
    for (let round = 0; round < 15; round++) {
      const { first, next } = await signIn(strict)
      const current = await next(await next(first))
      const requests = Array.from({ length: 6 }, (_, index) => [
        refresh(strict, current),
        refresh(strict, first),
        either(index).browser().post('/v1/auth/logout', { refresh_token: first })
      ]).flat()
      const statuses = (await Promise.all(requests)).map(({ status }) => status)
      const lines = [one, other, strict].flatMap(({ logs }) => logs)
      const locks = lines.filter(line => /40P01|55P03/.test(JSON.stringify(line)))
      t.strictSame(locks, [], statuses.join(' '))
      t.notOk(statuses.includes(503), statuses.join(' '))
    }
  })

  t.test('a refresh that waited for a logout does not revive the session', async t => {
    const { first, refresh, sessionId } = await signIn(one)
    const pg = await import('pg')
    const client = new pg.default.Client({ connectionString: one.url })
    await client.connect()
    await client.query('begin')
    await client.query('delete from refresh_tokens where session_id = $1', [sessionId])
    const waiting = refresh(first)
    const blocked = async () => (await sql<{ count: number }>(one.url,
      "select count(*)::int as count from pg_stat_activity where wait_event_type = 'Lock'"))[0]?.count ?? 0
    while (await blocked() === 0) { /* the refresh does not wait yet */ }
    await client.query(
      "update sessions set ended_at = now(), end_reason = 'logout' where id = $1", [sessionId])
    await client.query('commit')
    await client.end()
    // It waits for a quarter of a second. If that was too short, the client is told to retry.
    const waited = await waiting
    t.match(waited.status === 503 ? await refresh(first) : waited, refused)
  })
})
