import t from 'tap'
import { mint } from '../../src/sessions/refresh-token.ts'
import { build, newUser, type Service } from '../support/app.ts'
import { sql } from '../support/postgres.ts'

/** Signs somebody new in, and gives the refresh token in clear with what can be done with it. */
async function holder (service: Service) {
  const { body } = await service.browser().post('/v1/auth/register', { ...newUser(), refresh_token_delivery: 'body' })
  const sessionId: string = body.session_id
  return {
    sessionId,
    accessToken: body.access_token as string,
    first: body.refresh_token as string,
    refresh: async (token: string) => await refresh(service, token),
    /** The next token; the refresh must succeed. */
    next: async (token: string): Promise<string> => {
      const { status, body } = await refresh(service, token)
      if (status !== 200) throw new Error(`refreshing gave ${status}`)
      return body.refresh_token
    },
    row: async () => (await service.sql<Row>('select generation, encode(token_hash, \'hex\') as hash, confirmed_at, rotated_at from refresh_tokens where session_id = $1', [sessionId]))[0],
    session: async () => (await service.sql<{ end_reason: string | null }>('select end_reason from sessions where id = $1', [sessionId]))[0],
    /** Lets time pass for the session, as far as the database knows. */
    age: async (seconds: number) => {
      await service.sql('update refresh_tokens set confirmed_at = confirmed_at - make_interval(secs => $2), rotated_at = rotated_at - make_interval(secs => $2), milestone_at = milestone_at - make_interval(secs => $2) where session_id = $1', [sessionId, seconds])
    }
  }
}
interface Row { generation: number, hash: string, confirmed_at: Date, rotated_at: Date | null }

const refresh = async (service: Service, token: string) => await service.browser().post('/v1/auth/refresh', { refresh_token: token })
const refused = { status: 401, body: { code: 'invalid_refresh_token' }, cookies: [] }

t.test('each case of the rotation', async t => {
  const service = await build(t)

  t.test('a child that is used for the first time is confirmed, and its parent is dead', async t => {
    const { first, next, refresh, row, age } = await holder(service)
    t.match(await row(), { generation: 0, hash: '' }, 'nothing is stored before it is used')
    const second = await next(first)
    t.match(await row(), { generation: 1, hash: /^[0-9a-f]{64}$/ })
    const third = await next(second)
    t.match(await row(), { generation: 2 })
    t.match(await refresh(first), refused)
    t.match(await refresh(third), { status: 200 })
    await age(11)
    t.match(await refresh(second), refused)
    t.match(await refresh(third), refused, 'the replay ended the session')
  })

  t.test('the confirmed token may be presented again until a child of it is used: after lost responses, from two tabs', async t => {
    const { first, next, row, age } = await holder(service)
    const siblings = [await next(first), await next(first), await next(first)]
    await age(100_000)
    siblings.push(await next(first))
    t.equal(new Set(siblings).size, 4)
    t.match(await row(), { generation: 1 })
    await next(siblings[2] ?? '')
    t.match(await row(), { generation: 2 })
  })

  t.test('a sibling of a confirmed token is a replay', async t => {
    const { first, next, refresh, session, row, age } = await holder(service)
    const [mine, stolen] = [await next(first), await next(first)]
    const current = await next(mine)
    await age(11)
    t.match(await refresh(stolen), refused)
    t.match(await session(), { end_reason: 'replayed' })
    t.equal(await row(), undefined)
    t.match(await refresh(current), refused)
    t.ok(service.logs.some(({ cause }) => (cause as { replayed?: boolean } | undefined)?.replayed), 'and stands in the log')
  })

  t.test('an ancestor is a replay, however old', async t => {
    const { first, next, refresh, session, age } = await holder(service)
    let token = first
    for (let i = 0; i < 5; i++) token = await next(token)
    await age(11)
    t.match(await refresh(first), refused)
    t.match(await session(), { end_reason: 'replayed' })
    t.match(await refresh(token), refused)
  })

  t.test('a thief who keeps refreshing is found out all the same', async t => {
    const { first, next, refresh, session, age } = await holder(service)
    const [mine, stolen] = [await next(first), await next(first)]
    let token = await next(stolen)
    // Never is the last confirmation older than the grace.
    for (let i = 0; i < 5; i++) {
      await age(7)
      token = await next(token)
    }
    t.match(await refresh(mine), refused)
    t.match(await session(), { end_reason: 'replayed' })
    t.match(await refresh(token), refused)
  })

  t.test('a token dead for an hour is a replay, also right after another was confirmed', async t => {
    for (const holds of ['the sibling', 'the parent']) {
      const { first, next, refresh, session, age } = await holder(service)
      const [mine, stolen] = [await next(first), await next(first)]
      const token = await next(stolen)
      await age(3600)
      await next(token)
      t.match(await refresh(holds === 'the parent' ? first : mine), refused)
      t.match(await session(), { end_reason: 'replayed' }, holds)
    }
  })

  t.test('one who uses many tokens within the grace is not taken for a thief by a late duplicate of the first', async t => {
    const { first, next, refresh, session } = await holder(service)
    let token = first
    for (let i = 0; i < 8; i++) token = await next(token)
    t.match(await refresh(first), refused)
    t.match(await session(), { end_reason: null })
    t.match(await refresh(token), { status: 200 })
  })

  t.test('within the grace a dead token is refused and nothing more', async t => {
    const { first, next, refresh, session, age } = await holder(service)
    const sibling = await next(first)
    const second = await next(first)
    const third = await next(second)
    for (const dead of [first, sibling]) t.match(await refresh(dead), refused)
    await age(9)
    for (const dead of [first, sibling]) t.match(await refresh(dead), refused)
    t.match(await session(), { end_reason: null })
    t.match(await refresh(third), { status: 200 })
  })

  t.test('with no grace a replay is one at once', async t => {
    const strict = await build(t, { REFRESH_REPLAY_GRACE: '0s' }, { url: service.url })
    const { first, next, refresh, session } = await holder(strict)
    await next(await next(first))
    t.match(await refresh(first), refused)
    t.match(await session(), { end_reason: 'replayed' })
  })

  t.test('with a retry window the parent is dead when it is over', async t => {
    const windowed = await build(t, { REFRESH_RETRY_WINDOW: '1m' }, { url: service.url })
    const { first, next, refresh, session, age } = await holder(windowed)
    await next(first)
    await age(59)
    await next(first)
    await age(2)
    t.match(await refresh(first), refused, 'the window counts from the first use')
    t.match(await session(), { end_reason: 'replayed' })
  })

  t.test('a generation that cannot be is refused, told in the log, and ends nothing', async t => {
    const { first, sessionId, refresh, session } = await holder(service)
    const forged = mint(service.app.keyring.getMacKey(), { sessionId, generation: 3, issuedAt: new Date() })
    t.match(await refresh(forged), refused)
    t.ok(service.logs.some(({ cause }) => (cause as { impossible?: boolean } | undefined)?.impossible))
    t.match(await session(), { end_reason: null })
    t.match(await refresh(first), { status: 200 })
  })

  t.test('a session that ended, expired, or belongs to a disabled user is not refreshed', async t => {
    const changes = [
      'update sessions set expires_at = now() where id = $1',
      'update users set disabled_at = now() where id = (select user_id from sessions where id = $1)',
      "with gone as (delete from refresh_tokens where session_id = $1) update sessions set ended_at = now(), end_reason = 'logout' where id = $1",
      'delete from users where id = (select user_id from sessions where id = $1)'
    ]
    for (const change of changes) {
      const { first, sessionId, refresh } = await holder(service)
      await service.sql(change, [sessionId])
      t.match(await refresh(first), refused, change)
    }
  })

  t.test('a token lives its time from its issue, and never past the end of the session', async t => {
    const { sessionId, refresh } = await holder(service)
    const aged = (seconds: number) => mint(service.app.keyring.getMacKey(), { sessionId, generation: 1, issuedAt: new Date(Date.now() - seconds * 1000) })
    t.match(await refresh(aged(7 * 86400 + 1)), refused)
    t.match(await refresh(aged(7 * 86400 - 60)), { status: 200, body: { refresh_token_expires_in: 604800 } })
    const confirmed = await holder(service)
    await service.sql("update sessions set expires_at = now() + interval '90 seconds' where id = $1", [confirmed.sessionId])
    const short = await confirmed.refresh(confirmed.first)
    t.ok(short.body.refresh_token_expires_in <= 90 && short.body.refresh_token_expires_in > 80)
    t.ok(short.body.expires_in <= 90, 'and so does the access token')
  })
})

t.test('what is no token of ours is refused without the database', async t => {
  const service = await build(t)
  const { first, refresh, session } = await holder(service)
  const bytes = Buffer.from(first.slice(4), 'base64url')
  const flipped = (index: number) => {
    const copy = Buffer.from(bytes)
    copy[index] = (copy[index] ?? 0) ^ 1
    return 'lkr_' + copy.toString('base64url')
  }
  for (let index = 0; index < bytes.length; index++) t.match(await refresh(flipped(index)), refused, `a flipped bit in byte ${index}`)
  for (const token of ['', 'x', 'a.access.token', 'x'.repeat(8192), 'lkr_', first.slice(0, -1), first + 'A', first.slice(4), first.toUpperCase(), first + '=', ' ' + first, first.replace('lkr_', 'LKR_'), 'lkr_' + 'A'.repeat(108)]) {
    t.match(await refresh(token), refused, token.slice(0, 12))
  }
  for (const token of ['x'.repeat(8193), 1, null, [first], { $ne: '' }]) {
    t.match(await service.browser().post('/v1/auth/refresh', { refresh_token: token }), { status: 400, body: { code: 'validation_failed' } })
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
      t.match(answer, { status: 200, cookies: [/^refresh_token=lkr_[\w-]{108}; Max-Age=604800; Path=\/; HttpOnly; SameSite=Strict$/], body: { session_id: body.session_id } })
      t.notOk('refresh_token' in answer.body)
    }
  })

  t.test('a token that came in the body goes back in the body', async t => {
    const { first, refresh } = await holder(service)
    const answer = await refresh(first)
    t.match(answer, { status: 200, cookies: [], body: { refresh_token: /^lkr_/ } })
    t.equal(answer.headers['cache-control'], 'no-store')
  })

  t.test('neither is refused, and both, and two cookies', async t => {
    const { first } = await holder(service)
    t.match(await service.browser().post('/v1/auth/refresh'), refused)
    t.match(await service.browser().post('/v1/auth/refresh', {}), refused)
    const both = { status: 400, body: { code: 'validation_failed' } }
    t.match(await service.browser().post('/v1/auth/refresh', { refresh_token: first }, { cookie: 'refresh_token=x' }), both)
    t.match(await service.browser().post('/v1/auth/logout', { refresh_token: first }, { cookie: 'refresh_token=x' }), both)
    t.match(await service.browser().post('/v1/auth/refresh', undefined, { cookie: `refresh_token=${first}; refresh_token=${first}` }), refused)
    t.match(await service.browser().post('/v1/auth/refresh', undefined, { cookie: `other=1; refresh_token=${first}; refresh_token2=x` }), { status: 200 })
  })

  t.test('a cookie of nearly the name is another one', async t => {
    const { first } = await holder(service)
    for (const name of ['\u00a0refresh_token', 'refresh_token\u00a0', '\u2003refresh_token', 'REFRESH_TOKEN', '__Host-refresh_token', '\vrefresh_token']) {
      t.match(await service.browser().post('/v1/auth/refresh', undefined, { cookie: `${name}=${first}` }), refused, JSON.stringify(name))
    }
    t.match(await service.browser().post('/v1/auth/refresh', undefined, { cookie: ` \trefresh_token =${first}` }), { status: 200 })
  })

  t.test('a page of another origin cannot use the cookie', async t => {
    const browser = service.browser()
    await browser.post('/v1/auth/register', newUser())
    const spa = await build(t, { CORS_ORIGINS: 'https://app.example.com' }, { url: service.url })
    for (const path of ['/v1/auth/refresh', '/v1/auth/logout']) {
      for (const headers of [{ origin: 'https://evil.example' }, { origin: 'null' }, { origin: 'http://localhost:3001' }, { origin: 'http://localhost' }, { 'sec-fetch-site': 'cross-site' }, { 'sec-fetch-site': 'same-site' }]) {
        t.match(await browser.post(path, undefined, headers), { status: 403, body: { code: 'cross_site_request' }, cookies: [] }, `${path} ${JSON.stringify(headers)}`)
      }
    }
    t.match(await browser.post('/v1/auth/refresh', undefined, { origin: 'https://app.example.com' }), { status: 403 })
    browser.app = spa.app
    t.match(await browser.post('/v1/auth/refresh', undefined, { origin: 'https://app.example.com' }), { status: 200, headers: { 'access-control-allow-origin': 'https://app.example.com', 'access-control-allow-credentials': 'true' } })
    for (const headers of [{ origin: 'http://localhost:3000' }, { 'sec-fetch-site': 'same-origin' }, { 'sec-fetch-site': 'none' }, {}]) {
      t.match(await browser.post('/v1/auth/refresh', undefined, headers), { status: 200 }, JSON.stringify(headers))
    }
    const { first, refresh } = await holder(service)
    t.match(await service.browser().post('/v1/auth/refresh', { refresh_token: first }, { origin: 'https://evil.example' }), { status: 200 }, 'a token in the body is no cookie')
    t.match(await refresh(first), { status: 200 })
  })
})

t.test('signing out', async t => {
  const service = await build(t)
  const cleared = /^refresh_token=; Max-Age=0; Path=\/; Expires=Thu, 01 Jan 1970 00:00:00 GMT; HttpOnly; SameSite=Strict$/

  t.test('by cookie ends the session and clears the cookie', async t => {
    const browser = service.browser()
    const { body } = await browser.post('/v1/auth/register', newUser())
    const cookie = `refresh_token=${browser.jar.get('refresh_token')}`
    t.match(await browser.post('/v1/auth/logout'), { status: 204, text: '', cookies: [cleared] })
    t.strictSame([...browser.jar.keys()].sort(), ['device', 'registration_3000'], 'and leaves those that sign nobody in')
    t.match(await service.browser().post('/v1/auth/refresh', undefined, { cookie }), refused)
    t.match(await service.browser().get('/v1/me', { authorization: `Bearer ${body.access_token}` }), { status: 401, body: { code: 'invalid_token' } })
  })

  t.test('by any token of the session, of whatever generation, ends it', async t => {
    for (const which of [0, 1, 2, 3]) {
      const { first, next, session } = await holder(service)
      const second = await next(first)
      const third = await next(second)
      const sibling = await next(second)
      t.match(await service.browser().post('/v1/auth/logout', { refresh_token: [first, second, third, sibling][which] }), { status: 204, cookies: [] })
      t.match(await session(), { end_reason: 'logout' })
    }
  })

  t.test('by bearer token ends its session', async t => {
    const { accessToken, session, first, refresh } = await holder(service)
    t.match(await service.browser().post('/v1/auth/logout', undefined, { authorization: `Bearer ${accessToken}` }), { status: 204, cookies: [cleared] })
    t.match(await session(), { end_reason: 'logout' })
    t.match(await refresh(first), refused)
  })

  t.test('ends both where cookie and bearer token are of different sessions', async t => {
    const [one, other] = [await holder(service), await holder(service)]
    t.match(await service.browser().post('/v1/auth/logout', undefined, { cookie: `refresh_token=${one.first}`, authorization: `Bearer ${other.accessToken}` }), { status: 204 })
    t.match([await one.session(), await other.session()], [{ end_reason: 'logout' }, { end_reason: 'logout' }])
  })

  t.test('says the same where there is nothing to end', async t => {
    const { first } = await holder(service)
    const stale = { refresh_token: first }
    for (const [body, headers] of [[undefined, {}], [{}, {}], [stale, {}], [stale, {}], [{ refresh_token: 'garbage' }, {}], [undefined, { cookie: 'refresh_token=garbage' }], [undefined, { authorization: 'Bearer garbage' }], [undefined, { authorization: 'Basic eDp5' }]] as const) {
      t.match(await service.browser().post('/v1/auth/logout', body, headers), { status: 204 })
    }
  })

  t.test('a replay that follows does not change why the session ended', async t => {
    const { first, next, session } = await holder(service)
    await next(await next(first))
    await service.browser().post('/v1/auth/logout', { refresh_token: first })
    t.match(await refresh(service, first), refused)
    t.match(await session(), { end_reason: 'logout' })
  })
})

t.test('races', async t => {
  // Two instances on one database.
  const one = await build(t)
  const other = await build(t, {}, { url: one.url })
  const either = (index: number) => index % 2 === 0 ? one : other

  t.test('sign-outs and replays do not lock each other out', async t => {
    const strict = await build(t, { REFRESH_REPLAY_GRACE: '0s' }, { url: one.url })
    // A connection that is not had in time is a 503 too: have them all first.
    for (const { app } of [one, other, strict]) await Promise.all(Array.from({ length: 10 }, async () => await app.db.query('select 1')))
    for (let round = 0; round < 15; round++) {
      const { first, next } = await holder(strict)
      const current = await next(await next(first))
      const requests = Array.from({ length: 6 }, (_, index) => [
        refresh(strict, current),
        refresh(strict, first),
        either(index).browser().post('/v1/auth/logout', { refresh_token: first })
      ]).flat()
      const statuses = (await Promise.all(requests)).map(({ status }) => status)
      const locks = [one, other, strict].flatMap(({ logs }) => logs).filter(line => /40P01|55P03/.test(JSON.stringify(line)))
      t.strictSame(locks, [], statuses.join(' '))
      t.notOk(statuses.includes(503), statuses.join(' '))
    }
  })

  t.test('a refresh that waited for a sign-out does not bring the session back', async t => {
    const { first, refresh, sessionId } = await holder(one)
    const pg = await import('pg')
    const client = new pg.default.Client({ connectionString: one.url })
    await client.connect()
    await client.query('begin')
    await client.query('delete from refresh_tokens where session_id = $1', [sessionId])
    const waiting = refresh(first)
    const blocked = async () => (await sql<{ n: number }>(one.url, "select count(*)::int as n from pg_stat_activity where wait_event_type = 'Lock'"))[0]?.n ?? 0
    while (await blocked() === 0) { /* until it waits */ }
    await client.query("update sessions set ended_at = now(), end_reason = 'logout' where id = $1", [sessionId])
    await client.query('commit')
    await client.end()
    // It waits for a quarter of a second, and then it is told to come back.
    const waited = await waiting
    t.match(waited.status === 503 ? await refresh(first) : waited, refused)
  })
})
