import { setImmediate as turn } from 'node:timers/promises'
import t from 'tap'
import * as audit from '../../src/audit/events.ts'
import { generateToken } from '../../src/one-time-tokens/one-time-tokens.ts'
import { clearExpired } from '../../src/sessions/expiry.ts'
import { Browser, type Answer } from '../support/client.ts'
import { until } from '../support/concurrency.ts'
import { build, newUser, type Service } from '../support/app.ts'
import { mailTo } from '../support/inbox.ts'
import { named, sql } from '../support/postgres.ts'

const firefox = 'Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0'
const safari = 'Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Mobile/15E148 Safari/604.1'

/** A new person, signed in with a browser for each user agent. */
async function signedIn (service: Service, ...userAgents: string[]): Promise<{ somebody: { email: string, password: string }, browsers: Browser[], ids: string[] }> {
  const somebody = newUser()
  await service.browser().post('/v1/auth/register', somebody)
  await service.sql('delete from sessions where user_id = (select id from users where email = $1)', [somebody.email])
  const browsers: Browser[] = []
  const ids: string[] = []
  for (const userAgent of userAgents) {
    const browser = service.browser()
    const { body } = await browser.post('/v1/auth/login', somebody, { 'user-agent': userAgent })
    browser.accessToken = body.access_token
    browsers.push(browser)
    ids.push(body.session_id)
  }
  return { somebody, browsers, ids }
}

const lives = async (browser: Browser | undefined) => (await browser?.get('/v1/auth/verify'))?.status === 204
const listed = async (browser: Browser | undefined): Promise<string[]> => ((await browser?.get('/v1/me/sessions'))?.body.items as Array<{ id: string }>).map(({ id }) => id)

t.test('the own sessions', async t => {
  const service = await build(t)

  await t.test('are listed, the newest first and the current one marked, with what is known of them', async t => {
    const { browsers: [one], ids } = await signedIn(service, firefox, safari, 'curl/8.5.0', 'x\u00e9 (<script>)')
    const { status, body, headers } = await one?.get('/v1/me/sessions') as Answer
    t.match({ status, headers }, { status: 200, headers: { 'cache-control': 'no-store' } })
    t.strictSame(body.items.map(({ id }: { id: string }) => id), [...ids].reverse())
    t.match(body, {
      next_cursor: null,
      items: [
        { current: false, browser: null, system: null },
        { current: false, user_agent: 'curl/8.5.0' },
        { current: false, browser: 'Safari 17', system: 'iOS', user_agent: safari },
        { current: true, browser: 'Firefox 140', system: 'Linux', user_agent: firefox, ip: '127.0.0.1', methods: ['pwd'] }
      ]
    })
    t.ok(Date.parse(body.items[0].expires_at) - Date.parse(body.items[0].last_used_at) === 7 * 86_400_000, 'until the refresh token ends')
    await one?.post('/v1/auth/refresh')
    t.ok((await one?.get('/v1/me/sessions'))?.body.items[3].last_used_at > body.items[3].last_used_at)
  })

  await t.test('come in pages', async t => {
    const { browsers: [one], ids } = await signedIn(service, ...Array<string>(5).fill(firefox))
    const seen: string[] = []
    let path = '/v1/me/sessions?limit=2'
    for (let page = 0; page < 3; page++) {
      const { body } = await one?.get(path) as Answer
      seen.push(...body.items.map(({ id }: { id: string }) => id))
      path = `/v1/me/sessions?limit=2&cursor=${body.next_cursor}`
      t.equal(body.next_cursor === null, page === 2)
    }
    t.strictSame(seen, [...ids].reverse())
    for (const query of ['limit=0', 'limit=101', 'limit=x', 'limit=1.5', 'limit=', 'limit=1&limit=2', 'cursor=x', 'cursor=', `cursor=urn:uuid:${ids[0]}`, 'offset=1', 'include_current=true']) {
      t.match(await one?.get(`/v1/me/sessions?${query}`), { status: 400, body: { code: 'validation_failed' } }, query)
    }
  })

  await t.test('leave out those that ended, expired, or can be refreshed no more', async t => {
    const { browsers: [one], ids } = await signedIn(service, firefox, firefox, firefox, firefox)
    await one?.delete(`/v1/me/sessions/${ids[1]}`)
    await service.sql('update sessions set expires_at = now() where id = $1', [ids[2]])
    await service.sql("update refresh_tokens set last_used_at = now() - interval '7 days' where session_id = $1", [ids[3]])
    t.strictSame(await listed(one), [ids[0]])
  })

  await t.test('are ended one by one, for good', async t => {
    const { browsers: [one, other], ids } = await signedIn(service, firefox, safari)
    t.match(await one?.delete(`/v1/me/sessions/${ids[1]}`), { status: 204, text: '', cookies: [] })
    t.notOk(await lives(other))
    t.match(await other?.post('/v1/auth/refresh'), { status: 401, body: { code: 'invalid_refresh_token' } })
    t.match(await one?.delete(`/v1/me/sessions/${ids[1]}`), { status: 404, body: { code: 'not_found' } }, 'once')
    t.ok(await lives(one))
    t.match(await one?.delete(`/v1/me/sessions/${ids[0]}`), { status: 204, cookies: [/^refresh_token=; Max-Age=0/] }, 'the own one, with its cookie')
    t.match(await one?.get('/v1/me'), { status: 401 })
  })

  await t.test('have their roles told to a gateway whatever they are called', async t => {
    const { somebody, browsers: [one] } = await signedIn(service, firefox)
    await service.sql("update users set roles = '{user,\"a,b\",\u0440\u043e\u043b\u044c,100%}' where email = $1", [somebody.email])
    const { body } = await one?.post('/v1/auth/refresh') as Answer
    t.match(await one?.get('/v1/auth/verify', { authorization: `Bearer ${body.access_token}` }), { status: 204, headers: { 'x-auth-roles': 'user,a%2Cb,%D1%80%D0%BE%D0%BB%D1%8C,100%25' } })
  })

  await t.test('are nobody else\'s to end', async t => {
    const [mine, theirs] = [await signedIn(service, firefox), await signedIn(service, firefox)]
    const { browsers: [one] } = mine
    for (const id of [theirs.ids[0], '00000000-0000-7000-8000-000000000000']) t.match(await one?.delete(`/v1/me/sessions/${id}`), { status: 404, body: { code: 'not_found' } })
    for (const id of ['x', '1', "'", `urn:uuid:${mine.ids[0]}`, mine.ids[0]?.toUpperCase()]) t.match(await one?.delete(`/v1/me/sessions/${id}`), { status: 400 })
    t.ok(await lives(theirs.browsers[0]))
    t.match(await service.browser().delete(`/v1/me/sessions/${theirs.ids[0]}`), { status: 401 })
    t.match(await service.browser().get('/v1/me/sessions'), { status: 401 })
  })

  await t.test('are ended all but this one, or all', async t => {
    const { browsers: [one, two, three] } = await signedIn(service, firefox, safari, firefox)
    const bystander = await signedIn(service, firefox)
    t.match(await one?.delete('/v1/me/sessions'), { status: 204, cookies: [] })
    t.strictSame(await Promise.all([one, two, three].map(lives)), [true, false, false])
    t.match(await one?.delete('/v1/me/sessions?include_current=no'), { status: 400 })
    t.match(await one?.delete('/v1/me/sessions?include_current=true'), { status: 204, cookies: [/^refresh_token=; Max-Age=0/] })
    t.notOk(await lives(one))
    t.ok(await lives(bystander.browsers[0]))
  })

  await t.test('are not to be managed with a session that has ended elsewhere, or by a disabled user', async t => {
    const { browsers: [one, two], ids } = await signedIn(service, firefox, firefox)
    await service.sql('delete from refresh_tokens where session_id = $1', [ids[0]])
    await service.sql("update sessions set ended_at = now(), end_reason = 'logout' where id = $1", [ids[0]])
    t.match(await one?.delete('/v1/me/sessions'), { status: 401 })
    t.match(await one?.get('/v1/me/sessions'), { status: 401 })
    t.ok(await lives(two))
    await service.sql('update users set disabled_at = now() where id = (select user_id from sessions where id = $1)', [ids[1]])
    t.match(await two?.get('/v1/me/sessions'), { status: 401 })
  })

  await t.test('ended by many at once end once, and nobody waits for another for ever', async t => {
    const { browsers, ids } = await signedIn(service, ...Array<string>(8).fill(firefox))
    const answers = await Promise.all(browsers.map(async browser => await browser.delete('/v1/me/sessions')))
    // One that waits for a lock for too long is told to come back.
    t.ok(answers.every(({ status }) => [204, 401, 503].includes(status)), answers.map(({ status }) => status).join(' '))
    const events = await service.sql<{ n: number }>("select count(*)::int as n from audit_events where type = 'session.ended' and session_id = any($1::uuid[]) group by session_id", [ids])
    t.ok(events.every(({ n }) => n === 1))
  })
})

t.test('a user has as many sessions as the configuration allows', async t => {
  const one = await build(t, { MAX_SESSIONS_PER_USER: '3' })
  const other = await build(t, { MAX_SESSIONS_PER_USER: '3' }, { url: one.url })

  await t.test('and the oldest ends for one more', async t => {
    const { browsers, ids } = await signedIn(one, ...Array<string>(5).fill(firefox))
    t.strictSame(await listed(browsers[4]), [...ids].reverse().slice(0, 3))
    t.match(await browsers[0]?.get('/v1/me'), { status: 401 })
    t.match(await browsers[0]?.post('/v1/auth/refresh'), { status: 401 })
    t.match(await one.sql("select detail from audit_events where session_id = $1 and type = 'session.ended'", [ids[0]]), [{ detail: { reason: 'session_limit' } }])
  })

  await t.test('also when many sign in at once on several instances', async t => {
    const somebody = newUser()
    await one.browser().post('/v1/auth/register', somebody)
    // Who waits too long for the others is told to come back, and does so.
    const signIn = async (service: Service): Promise<Answer> => {
      const answer = await service.browser().post('/v1/auth/login', somebody)
      return answer.status === 503 && answer.headers['retry-after'] === '1' ? await signIn(service) : answer
    }
    const answers = await Promise.all(Array.from({ length: 50 }, async (_, index) => await signIn(index % 2 ? one : other)))
    t.ok(answers.every(({ status }) => status === 200), answers.map(({ status }) => status).join(' '))
    t.match(await one.sql('select count(*)::int as n from refresh_tokens join sessions on id = session_id join users on users.id = user_id where email = $1', [somebody.email]), [{ n: 3 }])
  })

  await t.test('whatever way in the one too many comes', async t => {
    const few = await build(t, { MAX_SESSIONS_PER_USER: '1', LOG_LEVEL: 'info' }, { url: one.url })
    const somebody = newUser()
    const registered = await few.browser().post('/v1/auth/register', somebody)
    const live = async () => (await few.sql<{ id: string }>('select id from sessions where ended_at is null and user_id = $1', [registered.body.user.id])).map(({ id }) => id)
    t.strictSame(await live(), [registered.body.session_id])
    const signedIn = await few.browser().post('/v1/auth/login', somebody)
    t.strictSame(await live(), [signedIn.body.session_id])
    const link = async () => {
      await few.browser().post('/v1/auth/magic-link', { email: somebody.email })
      return (await mailTo(few, somebody.email, 'magic_link')).token
    }
    const linked = await few.browser().post('/v1/auth/magic-link/confirm', { token: await link() })
    t.strictSame(await live(), [linked.body.session_id])
    const page = await few.browser().send('POST', '/magic-link', new URLSearchParams({ token: await link() }).toString(), { 'content-type': 'application/x-www-form-urlencoded' })
    t.equal(page.status, 200)
    t.equal((await live()).length, 1)
    t.not((await live())[0], linked.body.session_id)
  })

  await t.test('and an expired one goes before one that lives', async t => {
    const { browsers, ids } = await signedIn(one, firefox, firefox, firefox)
    await one.sql('update sessions set expires_at = now() where id = $1', [ids[2]])
    const { somebody } = await signedIn(one)
    await one.sql('update sessions set user_id = (select id from users where email = $1) where id = any($2::uuid[])', [somebody.email, ids])
    t.equal((await one.browser().post('/v1/auth/login', somebody)).status, 200)
    t.strictSame(await Promise.all(browsers.slice(0, 2).map(async browser => (await browser.post('/v1/auth/refresh')).status)), [200, 200])
  })
})

t.test('a new sign-in in a browser ends the session of its old cookie', async t => {
  const service = await build(t, { LOG_LEVEL: 'info' })
  const other = await build(t, { LOG_LEVEL: 'info' }, { url: service.url })
  const endOf = async (id: string) => (await service.sql<{ end_reason: string | null }>('select end_reason from sessions where id = $1', [id]))[0]?.end_reason
  const login = async (browser: Browser, somebody: object, headers?: Record<string, string>): Promise<Answer> => {
    const answer = await browser.post('/v1/auth/login', somebody, headers)
    if (answer.status === 200) browser.accessToken = answer.body.access_token
    return answer
  }
  const begin = async () => {
    const { somebody, browsers: [browser = service.browser()], ids: [id = ''] } = await signedIn(service, firefox)
    return { somebody, browser, id, token: browser.accessToken ?? '', cookie: browser.jar.get('refresh_token') ?? '' }
  }
  const isDead = async ({ id, token, cookie }: { id: string, token: string, cookie: string }) => {
    const [verified, refreshed] = [
      await service.browser().get('/v1/auth/verify', { authorization: `Bearer ${token}` }),
      await service.browser().post('/v1/auth/refresh', { refresh_token: cookie })
    ]
    return [await endOf(id), verified.status, refreshed.status]
  }
  const dead = ['signed_in_again', 401, 401]

  await t.test('with its access tokens, and says so in the audit log and the feed', async t => {
    const old = await begin()
    const { status, body } = await login(old.browser, old.somebody)
    t.equal(status, 200)
    t.strictSame(await isDead(old), dead)
    t.ok(await lives(old.browser))
    t.equal((await old.browser.post('/v1/auth/refresh')).status, 200, 'the new one lives')
    t.not(body.session_id, old.id)
    t.match(await service.sql("select user_id, actor_id, detail from audit_events where type = 'session.ended' and session_id = $1", [old.id]), [{ user_id: body.user.id, actor_id: body.user.id, detail: { reason: 'signed_in_again' } }])
    t.match(await service.sql('select kind, subject, reason from revocations where id = $1', [old.id]), [{ kind: 'session', subject: body.user.id, reason: 'signed_in_again' }])
    await until('another instance knows', async () => (await other.browser().get('/v1/auth/verify', { authorization: `Bearer ${old.token}` })).status === 401)
  })

  await t.test('in either delivery, for every way in, and for any generation of the cookie', async t => {
    const inBody = await begin()
    t.equal((await login(inBody.browser, { ...inBody.somebody, refresh_token_delivery: 'body' })).status, 200)
    t.strictSame(await isDead(inBody), dead)

    const spent = await begin()
    await spent.browser.post('/v1/auth/refresh')
    await spent.browser.post('/v1/auth/refresh')
    spent.browser.jar.set('refresh_token', spent.cookie)
    t.equal((await login(spent.browser, spent.somebody)).status, 200)
    t.equal(await endOf(spent.id), 'signed_in_again', 'it is no reuse of a token')

    const linked = await begin()
    const link = async () => {
      await service.browser().post('/v1/auth/magic-link', { email: linked.somebody.email })
      return (await mailTo(service, linked.somebody.email, 'magic_link')).token
    }
    const answer = await linked.browser.post('/v1/auth/magic-link/confirm', { token: await link() })
    t.equal(answer.status, 200)
    // It proved the address, and so ended what was there before.
    t.equal(await endOf(linked.id), 'email_verified')
    t.equal((await linked.browser.post('/v1/auth/magic-link/confirm', { token: await link() })).status, 200)
    t.equal(await endOf(answer.body.session_id), 'signed_in_again')
    const [{ id: latest } = { id: '' }] = await service.sql<{ id: string }>('select id from sessions where ended_at is null and user_id = $1', [answer.body.user.id])
    const page = await linked.browser.send('POST', '/magic-link', new URLSearchParams({ token: await link() }).toString(), { 'content-type': 'application/x-www-form-urlencoded' })
    t.equal(page.status, 200)
    t.equal(await endOf(latest), 'signed_in_again')

    const former = await begin()
    t.equal((await former.browser.post('/v1/auth/register', newUser())).status, 201)
    t.strictSame(await isDead(former), dead)
  })

  await t.test('of another user in cookie delivery, where nobody could sign out any more, and not in the body', async t => {
    const [ada, grace] = [await begin(), await begin()]
    t.equal((await login(ada.browser, { ...grace.somebody, refresh_token_delivery: 'body' })).status, 200)
    t.equal(await endOf(ada.id), null)
    const { body } = await login(ada.browser, grace.somebody)
    t.strictSame(await isDead(ada), dead)
    t.match(await service.sql("select actor_id from audit_events where type = 'session.ended' and session_id = $1", [ada.id]), [{ actor_id: body.user.id }])
    t.equal(await endOf(grace.id), null, 'that of the other browser lives')

    const proving = await begin()
    await service.browser().post('/v1/auth/magic-link', { email: proving.somebody.email })
    t.equal((await grace.browser.post('/v1/auth/magic-link/confirm', { token: (await mailTo(service, proving.somebody.email, 'magic_link')).token })).status, 200)
    t.strictSame([await endOf(proving.id), await endOf(grace.id)], ['email_verified', 'signed_in_again'])
  })

  await t.test('but not with a cookie that is not authentic, or that a foreign page sends', async t => {
    const { somebody, browser, id, cookie } = await begin()
    browser.jar.set('refresh_token', `${cookie.slice(0, -4)}AAAA`)
    t.equal((await login(browser, somebody)).status, 200)
    t.equal(await endOf(id), null)
    browser.jar.set('refresh_token', cookie)
    t.equal((await login(browser, somebody, { origin: 'https://evil.example' })).status, 200)
    t.equal(await endOf(id), null)
  })

  await t.test('and a sign-in that fails ends nothing', async t => {
    const { somebody, browser, id } = await begin()
    t.equal((await login(browser, { ...somebody, password: 'wrong' })).status, 401)
    t.equal((await browser.post('/v1/auth/magic-link/confirm', { token: generateToken() })).status, 410)
    t.equal((await browser.post('/v1/auth/register', somebody)).status, 409)
    t.equal(await endOf(id), null)
    t.ok(await lives(browser))
  })

  await t.test('once, where two sign in at the same time, and for good, where a refresh races with it', async t => {
    for (let round = 0; round < 5; round++) {
      const { somebody, browser, id, cookie } = await begin()
      const headers = { cookie: `refresh_token=${cookie}` }
      const [one, two, refreshed] = await Promise.all([
        service.browser().post('/v1/auth/login', somebody, headers),
        other.browser().post('/v1/auth/login', somebody, headers),
        other.browser().post('/v1/auth/refresh', undefined, headers)
      ])
      t.strictSame([one.status, two.status], [200, 200])
      t.ok([200, 401].includes(refreshed.status))
      t.equal(await endOf(id), 'signed_in_again')
      if (refreshed.status === 200) t.equal((await service.browser().post('/v1/auth/refresh', undefined, { cookie: refreshed.cookies.join('; ') })).status, 401, 'what the refresh gave is dead, too')
      t.equal((await service.sql("select from audit_events where type = 'session.ended' and session_id = $1", [id])).length, 1)
      t.strictSame([await endOf(one.body.session_id), await endOf(two.body.session_id)], [null, null])
      t.notOk(await lives(browser))
    }
  })
})

t.test('sessions that expired are cleared away', async t => {
  const service = await build(t)
  const clearAll = async (most: number) => {
    let [total, rounds, after]: [number, number, string | undefined] = [0, 0, undefined]
    do {
      const { cleared, last } = await clearExpired(service.app.db, after, most, 604_800)
      total += cleared
      rounds++
      after = last
    } while (after !== undefined)
    return { total, rounds }
  }

  await t.test('in batches, and no other', async t => {
    const { browsers, ids } = await signedIn(service, ...Array<string>(6).fill(firefox))
    await service.sql("update sessions set expires_at = now() - interval '1 minute' where id = $1", [ids[0]])
    await service.sql("update refresh_tokens set last_used_at = now() - interval '7 days 1 minute' where session_id = any($1::uuid[])", [[ids[1], ids[2]]])
    await browsers[3]?.post('/v1/auth/logout')
    await service.sql('update refresh_tokens set access_expires_at = now() where session_id <> $1', [ids[2]])
    t.match(await clearAll(2), { total: 2 }, 'not the one that has a live access token, nor the one that has just ended')
    t.strictSame((await service.sql<{ id: string }>('select id from sessions order by id')).map(({ id }) => id), ids.slice(2))
    await service.sql("update sessions set ended_at = now() - interval '25 hours' where id = $1", [ids[3]])
    t.match(await clearAll(100), { total: 1, rounds: 1 })
    t.match(await service.sql("select session_id, detail from audit_events where type = 'session.ended' and detail ->> 'reason' = 'expired' order by session_id"), [{ session_id: ids[0] }, { session_id: ids[1] }])
    t.ok(await lives(browsers[4]) && await lives(browsers[5]))
  })

  await t.test('without waiting for whoever uses one, and without making them wait', async t => {
    const { ids } = await signedIn(service, firefox, firefox)
    await service.sql('update sessions set expires_at = now() where id = any($1::uuid[])', [ids])
    await service.sql('update refresh_tokens set access_expires_at = now() where session_id = any($1::uuid[])', [ids])
    const { default: pg } = await import('pg')
    const client = new pg.Client({ connectionString: service.url })
    await client.connect()
    await client.query('begin')
    await client.query('update refresh_tokens set generation = 5 where session_id = $1', [ids[0]])
    const begun = performance.now()
    t.match(await clearAll(100), { total: 1 }, 'the one that nobody holds')
    t.ok(performance.now() - begun < 2_500, 'at once')
    await client.query('rollback')
    await client.end()
    t.match(await clearAll(100), { total: 1 })
  })

  await t.test('by the service itself', async t => {
    const { ids } = await signedIn(service, firefox)
    await service.sql('update sessions set expires_at = now() where id = $1', [ids[0]])
    await service.sql('update refresh_tokens set access_expires_at = now() where session_id = $1', [ids[0]])
    await service.sql("insert into revocations (id, kind, subject, reason, expires_at) values (gen_random_uuid(), 'session', gen_random_uuid(), 'logout', now() - interval '2 hours')")
    await build(t, {}, { url: service.url })
    const left = async () => (await service.sql<{ n: number }>('select (select count(*) from sessions where id = $1)::int + (select count(*) from revocations where expires_at < now())::int as n', [ids[0]]))[0]?.n
    while (await left() !== 0) await turn()
    t.pass('what expired is gone')
  })
})

t.test('the audit log', async t => {
  const service = await build(t)
  const events = async (where: string, values: unknown[] = []) => await service.sql<Record<string, unknown>>(`select * from audit_events where ${where} order by id`, values)

  await t.test('tells who did what, when, from where and in which request', async t => {
    const somebody = newUser()
    const browser = service.browser()
    const headers = { 'user-agent': firefox, 'x-request-id': 'a-request' }
    const { body } = await browser.post('/v1/auth/register', { ...somebody, name: 'Ada' }, headers)
    const [userId, sessionId] = [body.user.id, body.session_id]
    browser.accessToken = body.access_token
    await browser.patch('/v1/me', { name: 'Ada King' }, headers)
    await browser.post('/v1/auth/refresh', undefined, headers)
    await browser.post('/v1/auth/logout', undefined, headers)
    const from = { user_id: userId, ip: '127.0.0.1', user_agent: firefox, request_id: 'a-request', created_at: Date }
    t.match(await events('user_id = $1', [userId]), [
      { type: 'user.registered', actor_id: userId, ...from },
      { type: 'login.succeeded', actor_id: userId, session_id: sessionId, detail: { methods: ['pwd'] }, ...from },
      { type: 'user.updated', actor_id: userId, detail: { changed: ['name'] }, ...from },
      { type: 'session.ended', session_id: sessionId, detail: { reason: 'logout' }, ...from }
    ])
    t.equal((await events('user_id = $1', [userId])).length, 4, 'a refresh is none')
  })

  await t.test('has failed sign-ins, with the account where there is one', async t => {
    const somebody = newUser()
    const { body } = await service.browser().post('/v1/auth/register', somebody)
    const fails = async (login: object) => {
      const before = new Date()
      await service.browser().post('/v1/auth/login', login, { 'x-request-id': 'failing' })
      return (await events("request_id = 'failing' and created_at >= $1", [before])).map(({ type, user_id: userId, detail }) => ({ type, userId, detail }))
    }
    t.strictSame(await fails({ ...somebody, password: 'wrong' }), [{ type: 'login.failed', userId: body.user.id, detail: { reason: 'wrong_password' } }])
    t.strictSame(await fails({ email: 'nobody@example.com', password: 'secret phrase' }), [{ type: 'login.failed', userId: null, detail: { reason: 'unknown_account' } }])
    t.strictSame(await fails({ email: somebody.password, password: 'x' }), [{ type: 'login.failed', userId: null, detail: { reason: 'unknown_account' } }])
    await service.sql('update users set disabled_at = now() where id = $1', [body.user.id])
    t.strictSame(await fails(somebody), [{ type: 'login.failed', userId: body.user.id, detail: { reason: 'account_disabled' } }])
  })

  await t.test('has a replay with what is known of both holders', async t => {
    const { body } = await service.browser().post('/v1/auth/register', { ...newUser(), refresh_token_delivery: 'body' }, { 'user-agent': firefox })
    const refresh = async (token: string, userAgent: string) => (await service.browser().post('/v1/auth/refresh', { refresh_token: token }, { 'user-agent': userAgent })).body.refresh_token
    await refresh(await refresh(body.refresh_token, firefox), firefox)
    await service.sql("update refresh_tokens set confirmed_at = now() - interval '1 hour', milestone_at = now() - interval '1 hour' where session_id = $1", [body.session_id])
    await refresh(body.refresh_token, 'a thief')
    const found = await events("session_id = $1 and type like 'session.%'", [body.session_id])
    t.strictSame(found.map(({ type }) => type).sort(), ['session.ended', 'session.replayed'])
    t.match(found.find(({ type }) => type === 'session.replayed'), { user_id: body.user.id, user_agent: 'a thief', detail: { presented: 1, confirmed: 2, opened_user_agent: firefox, opened_ip: '127.0.0.1', last_used_at: String } })
    t.match(found.find(({ type }) => type === 'session.ended'), { detail: { reason: 'replayed' } })
  })

  await t.test('never has a secret, nor what was typed', async t => {
    const somebody = newUser()
    const browser = service.browser()
    const { body } = await browser.post('/v1/auth/register', { ...somebody, refresh_token_delivery: 'body' })
    await service.browser().post('/v1/auth/login', { email: 'typed-the-secret-here', password: 'another secret phrase' })
    await service.browser().post('/v1/auth/logout', { refresh_token: body.refresh_token })
    const [row] = await service.sql<{ dump: string }>("select string_agg(audit_events::text, ' ') as dump from audit_events")
    for (const secret of [somebody.password, somebody.email, body.access_token, body.refresh_token, 'typed-the-secret-here', 'another secret phrase']) t.notOk(row?.dump.includes(secret), secret)
  })

  await t.test('is written with the fact, or neither is', async t => {
    const somebody = newUser()
    await service.sql("alter table audit_events add constraint refused check (type not in ('user.registered', 'session.ended')) not valid")
    const { body } = await service.browser().post('/v1/auth/login', newUser())
    t.match(body, { code: 'invalid_credentials' })
    t.match(await service.browser().post('/v1/auth/register', somebody), { status: 500 })
    t.strictSame(await service.sql('select 1 from users where email = $1', [somebody.email]), [])
    await service.sql('alter table audit_events drop constraint refused')
    const { browsers: [one] } = await signedIn(service, firefox)
    await service.sql("alter table audit_events add constraint refused check (type <> 'session.ended') not valid")
    t.match(await one?.post('/v1/auth/logout'), { status: 500 })
    t.ok(await lives(one), 'a session that could not be ended lives')
    await service.sql('alter table audit_events drop constraint refused')
  })

  await t.test('is only added to, by its own owner too, and forgets what is old enough', async t => {
    const name = new URL(service.url).pathname.slice(1)
    const role = `owner_${name}`
    const admin = async (text: string) => await sql(service.url, text)
    await admin(`create role ${role} login nosuperuser password '${role}'`)
    t.teardown(async () => {
      await admin(`reassign owned by ${role} to current_user`)
      await admin(`drop owned by ${role}`)
      await admin(`drop role ${role}`)
    })
    // As a deployment has it, the role that migrated owns the table.
    await admin(`create schema apart authorization ${role}`)
    const url = new URL(named(service.url, name))
    url.username = role
    url.password = role
    url.searchParams.set('options', '-c search_path=apart')
    const { migrate } = await import('../../src/database/migrate.ts')
    await migrate(url.href)
    const as = async <Row extends object>(text: string) => await sql<Row>(url.href, text)
    await as("insert into audit_events (type, created_at) values ('login.failed', now() - interval '2 days'), ('login.failed', now())")
    for (const text of ['update audit_events set type = null', 'delete from audit_events', 'truncate audit_events']) await t.rejects(as(text), /permission denied for table audit_events/, text)
    t.match(await as("select purge_audit_events(now() - interval '1 day', 100) as purged"), [{ purged: 1 }])
    t.match(await as('select count(*)::int as n from audit_events'), [{ n: 1 }])
    await t.rejects(as('delete from audit_events'), /permission denied/, 'nor after that')
  })

  await t.test('is cut to its retention in batches', async t => {
    await service.sql("insert into audit_events (type, created_at) select 'login.failed', now() - interval '400 days' from generate_series(1, 30)")
    t.equal(await audit.purge(service.app.db, 365 * 86_400, 20), 20)
    t.equal(await audit.purge(service.app.db, 365 * 86_400, 20), 10)
    t.equal(await audit.purge(service.app.db, 365 * 86_400, 20), 0)
  })
})
