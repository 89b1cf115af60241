import * as audit from '../../src/audit/events.ts'
import { generateToken } from '../../src/one-time-tokens/one-time-tokens.ts'
import { purgeExpired, type PurgedPage } from '../../src/sessions/expiry.ts'
import { Browser, type Answer } from '../support/client.ts'
import { build, newUser, type Service } from '../support/app.ts'
import { firefox, isSignedIn, safari, signInDevices } from '../support/devices.ts'
import { mailTo } from '../support/inbox.ts'
import { named, sql } from '../support/postgres.ts'
import { t } from '../support/test.ts'
import { ageTokenFamily } from '../support/token-family.ts'
import { waitUntil } from '../support/polling.ts'
import { repeatUnavailable } from '../support/repetition.ts'

const listedIds = async (browser: Browser | undefined): Promise<string[]> => {
  const { body } = await browser?.get('/v1/me/sessions') ?? {}
  return (body.items as Array<{ id: string }>).map(({ id }) => id)
}

t.test('the sessions of a user', async t => {
  const service = await build(t)

  await t.test('are listed, the newest first, with the current one marked', async t => {
    const { browsers: [browser], ids } = await signInDevices(
      service, firefox, safari, 'curl/8.5.0', 'x\u00e9 (<script>)'
    )
    const { status, body, headers } = await browser?.get('/v1/me/sessions') as Answer
    t.match({ status, headers }, { status: 200, headers: { 'cache-control': 'no-store' } })
    t.strictSame(body.items.map(({ id }: { id: string }) => id), [...ids].reverse())
    t.match(body, {
      next_cursor: null,
      items: [
        { current: false, browser: null, system: null },
        { current: false, user_agent: 'curl/8.5.0' },
        { current: false, browser: 'Safari 17', system: 'iOS', user_agent: safari },
        {
          current: true,
          browser: 'Firefox 140',
          system: 'Linux',
          user_agent: firefox,
          ip: '127.0.0.1',
          methods: ['pwd']
        }
      ]
    })
    t.ok(
      Date.parse(body.items[0].expires_at) - Date.parse(body.items[0].last_used_at) === 7 * 86_400_000,
      'a session expires with its refresh token'
    )
    await browser?.post('/v1/auth/refresh')
    t.ok((await browser?.get('/v1/me/sessions'))?.body.items[3].last_used_at > body.items[3].last_used_at)
  })

  await t.test('are listed in pages', async t => {
    const { browsers: [browser], ids } = await signInDevices(service, ...Array<string>(5).fill(firefox))
    const listed: string[] = []
    let path = '/v1/me/sessions?limit=2'
    for (let page = 0; page < 3; page++) {
      const { body } = await browser?.get(path) as Answer
      listed.push(...body.items.map(({ id }: { id: string }) => id))
      path = `/v1/me/sessions?limit=2&cursor=${body.next_cursor}`
      t.equal(body.next_cursor === null, page === 2)
    }
    t.strictSame(listed, [...ids].reverse())
    for (const query of [
      'limit=0', 'limit=101', 'limit=x', 'limit=1.5', 'limit=', 'limit=1&limit=2', 'cursor=x', 'cursor=',
      `cursor=urn:uuid:${ids[0]}`, 'offset=1', 'include_current=true'
    ]) {
      t.match(
        await browser?.get(`/v1/me/sessions?${query}`), { status: 400, body: { code: 'validation_failed' } },
        query
      )
    }
  })

  await t.test('are not listed if they ended, expired, or can no longer be refreshed', async t => {
    const { browsers: [browser], ids } = await signInDevices(service, firefox, firefox, firefox, firefox)
    await browser?.delete(`/v1/me/sessions/${ids[1]}`)
    await service.sql('update sessions set expires_at = now() where id = $1', [ids[2]])
    await service.sql(
      "update refresh_tokens set last_used_at = now() - interval '7 days' where session_id = $1", [ids[3]]
    )
    t.strictSame(await listedIds(browser), [ids[0]])
  })

  await t.test('are ended one by one, for good', async t => {
    const { browsers: [browser, otherBrowser], ids } = await signInDevices(service, firefox, safari)
    t.match(await browser?.delete(`/v1/me/sessions/${ids[1]}`), { status: 204, text: '', cookies: [] })
    t.notOk(await isSignedIn(otherBrowser))
    t.match(await otherBrowser?.post('/v1/auth/refresh'), {
      status: 401, body: { code: 'invalid_refresh_token' }
    })
    const repeated = await browser?.delete(`/v1/me/sessions/${ids[1]}`)
    t.match(repeated, { status: 404, body: { code: 'not_found' } })
    t.ok(await isSignedIn(browser))
    t.match(
      await browser?.delete(`/v1/me/sessions/${ids[0]}`),
      { status: 204, cookies: [/^refresh_token_3000=; Max-Age=0/] },
      'the current session ends with its cookie'
    )
    t.match(await browser?.get('/v1/me'), { status: 401 })
  })

  await t.test('have roles that a gateway can read, with any characters', async t => {
    const { user, browsers: [browser] } = await signInDevices(service, firefox)
    await service.sql(
      "update users set roles = '{user,\"a,b\",\u0440\u043e\u043b\u044c,100%}' where email = $1", [user.email]
    )
    const { body } = await browser?.post('/v1/auth/refresh') as Answer
    t.match(
      await browser?.get('/v1/auth/verify', { authorization: `Bearer ${body.access_token}` }),
      { status: 204, headers: { 'x-auth-roles': 'user,a%2Cb,%D1%80%D0%BE%D0%BB%D1%8C,100%25' } }
    )
  })

  await t.test('cannot be ended by another user', async t => {
    const [mine, theirs] = [await signInDevices(service, firefox), await signInDevices(service, firefox)]
    const { browsers: [browser] } = mine
    for (const id of [theirs.ids[0], '00000000-0000-7000-8000-000000000000']) {
      t.match(
        await browser?.delete(`/v1/me/sessions/${id}`), { status: 404, body: { code: 'not_found' } }
      )
    }
    for (const id of [
      'x', '1', "'", `urn:uuid:${mine.ids[0]}`, mine.ids[0]?.toUpperCase()
    ]) t.match(await browser?.delete(`/v1/me/sessions/${id}`), { status: 400 })
    t.ok(await isSignedIn(theirs.browsers[0]))
    t.match(await service.browser().delete(`/v1/me/sessions/${theirs.ids[0]}`), { status: 401 })
    t.match(await service.browser().get('/v1/me/sessions'), { status: 401 })
  })

  await t.test('are ended all at once, with or without the current one', async t => {
    const { browsers } = await signInDevices(service, firefox, safari, firefox)
    const [browser] = browsers
    const otherUser = await signInDevices(service, firefox)
    t.match(await browser?.delete('/v1/me/sessions'), { status: 204, cookies: [] })
    t.strictSame(await Promise.all(browsers.map(isSignedIn)), [true, false, false])
    t.match(await browser?.delete('/v1/me/sessions?include_current=no'), { status: 400 })
    t.match(
      await browser?.delete('/v1/me/sessions?include_current=true'),
      { status: 204, cookies: [/^refresh_token_3000=; Max-Age=0/] }
    )
    t.notOk(await isSignedIn(browser))
    t.ok(await isSignedIn(otherUser.browsers[0]))
  })

  await t.test('cannot be managed with an ended session, or by a disabled user', async t => {
    const { browsers: [browser, secondBrowser], ids } = await signInDevices(service, firefox, firefox)
    await service.sql('delete from refresh_tokens where session_id = $1', [ids[0]])
    await service.sql("update sessions set ended_at = now(), end_reason = 'logout' where id = $1", [ids[0]])
    t.match(await browser?.delete('/v1/me/sessions'), { status: 401 })
    t.match(await browser?.get('/v1/me/sessions'), { status: 401 })
    t.ok(await isSignedIn(secondBrowser))
    await service.sql(
      'update users set disabled_at = now() where id = (select user_id from sessions where id = $1)', [ids[1]]
    )
    t.match(await secondBrowser?.get('/v1/me/sessions'), { status: 401 })
  })

  await t.test('end once if many requests end them at the same time', async t => {
    const { browsers, ids } = await signInDevices(service, ...Array<string>(8).fill(firefox))
    const answers = await Promise.all(browsers.map(async browser => await browser.delete('/v1/me/sessions')))
    // A request that waits too long for a lock is told to retry.
    t.ok(
      answers.every(({ status }) => [204, 401, 503].includes(status)),
      answers.map(({ status }) => status).join(' ')
    )
    const events = await service.sql<{ count: number }>(`
      select count(*)::int as count from audit_events where type = 'session.ended'
      and session_id = any($1::uuid[]) group by session_id`, [ids])
    t.ok(events.every(({ count }) => count === 1))
  })
})

t.test('the session limit', async t => {
  const service = await build(t, { MAX_SESSIONS_PER_USER: '3' })
  const secondInstance = await build(t, { MAX_SESSIONS_PER_USER: '3' }, { url: service.url })

  await t.test('ends the oldest session at a further sign-in', async t => {
    const { browsers, ids } = await signInDevices(service, ...Array<string>(5).fill(firefox))
    t.strictSame(await listedIds(browsers[4]), [...ids].reverse().slice(0, 3))
    t.match(await browsers[0]?.get('/v1/me'), { status: 401 })
    t.match(await browsers[0]?.post('/v1/auth/refresh'), { status: 401 })
    t.match(
      await service.sql(
        "select detail from audit_events where session_id = $1 and type = 'session.ended'", [ids[0]]
      ),
      [{ detail: { reason: 'session_limit' } }]
    )
  })

  await t.test('holds if many sign in at once on several instances', async t => {
    const user = newUser()
    await service.browser().post('/v1/auth/register', user)
    const signIn = async (at: Service): Promise<Answer> => {
      const answer = await at.browser().post('/v1/auth/login', user)
      const isBusy = answer.status === 503 && answer.headers['retry-after'] === '1'
      return isBusy ? await signIn(at) : answer
    }
    const answers = await Promise.all(
      Array.from({ length: 50 }, async (_, index) => await signIn(index % 2 ? service : secondInstance))
    )
    t.ok(answers.every(({ status }) => status === 200), answers.map(({ status }) => status).join(' '))
    t.match(await service.sql(`
      select count(*)::int as count from refresh_tokens join sessions on id = session_id
      join users on users.id = user_id where email = $1`, [user.email]), [{ count: 3 }])
  })

  await t.test('holds for every way to sign in', async t => {
    const limited = await build(t, { MAX_SESSIONS_PER_USER: '1', LOG_LEVEL: 'info' }, { url: service.url })
    const user = newUser()
    const registered = await limited.browser().post('/v1/auth/register', user)
    const activeIds = async () => (await limited.sql<{ id: string }>(
      'select id from sessions where ended_at is null and user_id = $1', [registered.body.user.id]
    )).map(({ id }) => id)
    t.strictSame(await activeIds(), [registered.body.session_id])
    const signedIn = await limited.browser().post('/v1/auth/login', user)
    t.strictSame(await activeIds(), [signedIn.body.session_id])
    const mailedToken = async () => {
      await limited.browser().post('/v1/auth/magic-link', { email: user.email })
      return (await mailTo(limited, user.email, 'magic_link')).token
    }
    const linked = await limited.browser().post('/v1/auth/magic-link/confirm', { token: await mailedToken() })
    t.strictSame(await activeIds(), [linked.body.session_id])
    const page = await limited.browser().send(
      'POST', '/magic-link', new URLSearchParams({ token: await mailedToken() }).toString(),
      { 'content-type': 'application/x-www-form-urlencoded' }
    )
    t.equal(page.status, 303)
    t.equal((await activeIds()).length, 1)
    t.not((await activeIds())[0], linked.body.session_id)
  })

  await t.test('ends an expired session before an active one', async t => {
    const { browsers, ids } = await signInDevices(service, firefox, firefox, firefox)
    await service.sql('update sessions set expires_at = now() where id = $1', [ids[2]])
    const { user } = await signInDevices(service)
    await service.sql(
      'update sessions set user_id = (select id from users where email = $1) where id = any($2::uuid[])',
      [user.email, ids]
    )
    t.equal((await service.browser().post('/v1/auth/login', user)).status, 200)
    t.strictSame(
      await Promise.all(
        browsers.slice(0, 2).map(async browser => (await browser.post('/v1/auth/refresh')).status)
      ),
      [200, 200]
    )
  })
})

t.test('a new sign-in in a browser ends the session of its old cookie', async t => {
  const service = await build(t, { LOG_LEVEL: 'info' })
  const secondInstance = await build(t, { LOG_LEVEL: 'info' }, { url: service.url })
  const endReasonOf = async (id: string) => (await service.sql<{ end_reason: string | null }>(
    'select end_reason from sessions where id = $1', [id]
  ))[0]?.end_reason
  const login = async (browser: Browser, user: object, headers?: Record<string, string>): Promise<Answer> => {
    const answer = await browser.post('/v1/auth/login', user, headers)
    if (answer.status === 200) browser.accessToken = answer.body.access_token
    return answer
  }
  const signInOnce = async () => {
    const { user, browsers, ids: [id = ''] } = await signInDevices(service, firefox)
    const [browser = service.browser()] = browsers
    return {
      user, browser, id, token: browser.accessToken ?? '', cookie: browser.jar.get('refresh_token_3000') ?? ''
    }
  }
  /** Why a session ended, and the statuses with which its tokens are answered. */
  const endState = async ({ id, token, cookie }: { id: string, token: string, cookie: string }) => {
    const [verified, refreshed] = [
      await service.browser().get('/v1/auth/verify', { authorization: `Bearer ${token}` }),
      await service.browser().post('/v1/auth/refresh', { refresh_token: cookie })
    ]
    return { reason: await endReasonOf(id), access: verified.status, refresh: refreshed.status }
  }
  const endedBySignIn = { reason: 'signed_in_again', access: 401, refresh: 401 }

  await t.test('its access tokens are revoked, and its end is logged and published', async t => {
    const previous = await signInOnce()
    const { status, body } = await login(previous.browser, previous.user)
    t.equal(status, 200)
    t.strictSame(await endState(previous), endedBySignIn)
    t.ok(await isSignedIn(previous.browser))
    t.equal((await previous.browser.post('/v1/auth/refresh')).status, 200, 'the new session works')
    t.not(body.session_id, previous.id)
    t.match(
      await service.sql(
        "select user_id, actor_id, detail from audit_events where type = 'session.ended' and session_id = $1",
        [previous.id]
      ),
      [{ user_id: body.user.id, actor_id: body.user.id, detail: { reason: 'signed_in_again' } }]
    )
    t.match(
      await service.sql('select kind, subject, reason from revocations where id = $1', [previous.id]),
      [{ kind: 'session', subject: body.user.id, reason: 'signed_in_again' }]
    )
    await waitUntil(
      'the second instance has read the revocation',
      async () => (await secondInstance.browser().get(
        '/v1/auth/verify', { authorization: `Bearer ${previous.token}` }
      )).status === 401
    )
  })

  await t.test('with either delivery, every way to sign in, and a token of any generation', async t => {
    const inBody = await signInOnce()
    t.equal((await login(inBody.browser, { ...inBody.user, refresh_token_delivery: 'body' })).status, 200)
    t.strictSame(await endState(inBody), endedBySignIn)

    const rotated = await signInOnce()
    await rotated.browser.post('/v1/auth/refresh')
    await rotated.browser.post('/v1/auth/refresh')
    rotated.browser.jar.set('refresh_token_3000', rotated.cookie)
    t.equal((await login(rotated.browser, rotated.user)).status, 200)
    t.equal(await endReasonOf(rotated.id), 'signed_in_again', 'an older token in the cookie is not a reuse')

    const linked = await signInOnce()
    const mailedToken = async () => {
      await service.browser().post('/v1/auth/magic-link', { email: linked.user.email })
      return (await mailTo(service, linked.user.email, 'magic_link')).token
    }
    const answer = await linked.browser.post('/v1/auth/magic-link/confirm', { token: await mailedToken() })
    t.equal(answer.status, 200)
    // The first link verified the address, which ended all earlier sessions.
    t.equal(await endReasonOf(linked.id), 'email_verified')
    const second = await linked.browser.post('/v1/auth/magic-link/confirm', { token: await mailedToken() })
    t.equal(second.status, 200)
    t.equal(await endReasonOf(answer.body.session_id), 'signed_in_again')
    const [{ id: latest } = { id: '' }] = await service.sql<{ id: string }>(
      'select id from sessions where ended_at is null and user_id = $1', [answer.body.user.id]
    )
    const page = await linked.browser.send(
      'POST', '/magic-link', new URLSearchParams({ token: await mailedToken() }).toString(),
      { 'content-type': 'application/x-www-form-urlencoded' }
    )
    t.equal(page.status, 303)
    t.equal(await endReasonOf(latest), 'signed_in_again')

    const registering = await signInOnce()
    t.equal((await registering.browser.post('/v1/auth/register', newUser())).status, 201)
    t.strictSame(await endState(registering), endedBySignIn)
  })

  await t.test('also of another user, if the new cookie replaces the old one', async t => {
    const [ada, grace] = [await signInOnce(), await signInOnce()]
    t.equal((await login(ada.browser, { ...grace.user, refresh_token_delivery: 'body' })).status, 200)
    t.equal(await endReasonOf(ada.id), null)
    const { body } = await login(ada.browser, grace.user)
    t.strictSame(await endState(ada), endedBySignIn)
    t.match(
      await service.sql(
        "select actor_id from audit_events where type = 'session.ended' and session_id = $1", [ada.id]
      ),
      [{ actor_id: body.user.id }]
    )
    t.equal(await endReasonOf(grace.id), null, 'the session of the other browser goes on')

    const unverified = await signInOnce()
    await service.browser().post('/v1/auth/magic-link', { email: unverified.user.email })
    t.equal(
      (await grace.browser.post(
        '/v1/auth/magic-link/confirm',
        { token: (await mailTo(service, unverified.user.email, 'magic_link')).token }
      )).status,
      200
    )
    t.equal(await endReasonOf(unverified.id), 'email_verified')
    t.equal(await endReasonOf(grace.id), 'signed_in_again')
  })

  await t.test('not with a forged cookie, or from a page of another origin', async t => {
    const { user, browser, id, cookie } = await signInOnce()
    browser.jar.set('refresh_token_3000', `${cookie.slice(0, -4)}AAAA`)
    t.equal((await login(browser, user)).status, 200)
    t.equal(await endReasonOf(id), null)
    browser.jar.set('refresh_token_3000', cookie)
    t.equal((await login(browser, user, { origin: 'https://evil.example' })).status, 200)
    t.equal(await endReasonOf(id), null)
  })

  await t.test('not if the sign-in fails', async t => {
    const { user, browser, id } = await signInOnce()
    t.equal((await login(browser, { ...user, password: 'wrong' })).status, 401)
    t.equal((await browser.post('/v1/auth/magic-link/confirm', { token: generateToken() })).status, 410)
    t.equal((await browser.post('/v1/auth/register', user)).status, 409)
    t.equal(await endReasonOf(id), null)
    t.ok(await isSignedIn(browser))
  })

  await t.test('once if two sign-ins race, and for good if a refresh races them', async t => {
    for (let round = 0; round < 5; round++) {
      const { user, browser, id, cookie } = await signInOnce()
      const headers = { cookie: `refresh_token_3000=${cookie}` }
      const [first, second, refreshed] = await Promise.all([
        repeatUnavailable(async () => await service.browser().post('/v1/auth/login', user, headers)),
        repeatUnavailable(async () => await secondInstance.browser().post('/v1/auth/login', user, headers)),
        secondInstance.browser().post('/v1/auth/refresh', undefined, headers)
      ])
      t.strictSame([first.status, second.status], [200, 200])
      t.ok([200, 401].includes(refreshed.status))
      t.equal(await endReasonOf(id), 'signed_in_again')
      if (refreshed.status === 200) {
        t.equal(
          (await service.browser().post(
            '/v1/auth/refresh', undefined, { cookie: refreshed.cookies.join('; ') }
          )).status,
          401, 'the new refresh token is refused too'
        )
      }
      t.equal(
        (await service.sql(
          "select from audit_events where type = 'session.ended' and session_id = $1", [id]
        )).length,
        1
      )
      for (const { body } of [first, second]) t.equal(await endReasonOf(body.session_id), null)
      t.notOk(await isSignedIn(browser))
    }
  })
})

t.test('signing out of a session that the database has lost, after a failover', async t => {
  const service = await build(t)
  const other = await build(t, {}, { url: service.url })
  const revocationsOf = async (id: string) => await service.sql(`
    select kind, subject, reason from revocations where id = $1`, [id])
  for (const by of ['refresh token', 'access token']) {
    const browser = service.browser()
    const { body } = await browser.post('/v1/auth/register', newUser())
    const bearer = { authorization: `Bearer ${body.access_token}` }
    await service.sql('delete from sessions where id = $1', [body.session_id])
    t.equal((await other.browser().get('/v1/auth/verify', bearer)).status, 204, 'its access token is valid')
    const client = by === 'access token' ? service.browser() : browser
    const headers = by === 'access token' ? bearer : {}
    t.equal((await client.post('/v1/auth/logout', undefined, headers)).status, 204)
    for (const { browser } of [service, other]) {
      await waitUntil(
        'the instance refuses the access token',
        async () => (await browser().get('/v1/auth/verify', bearer)).status === 401
      )
    }
    const subject = by === 'access token' ? body.user.id : '00000000-0000-0000-0000-000000000000'
    t.strictSame(await revocationsOf(body.session_id), [{ kind: 'session', subject, reason: 'logout' }])
    t.match(service.logs.filter(({ sessionId }) => sessionId === body.session_id), [{ level: 40 }])
  }
  const browser = service.browser()
  const { body } = await browser.post('/v1/auth/register', newUser())
  await service.sql("update refresh_tokens set access_expires_at = now() - interval '1 hour'")
  const jar = new Map(browser.jar)
  for (let i = 0; i < 2; i++) {
    for (const [name, value] of jar) browser.jar.set(name, value)
    t.equal((await browser.post('/v1/auth/logout')).status, 204)
  }
  t.strictSame(await revocationsOf(body.session_id), [], 'a session that has ended is not lost')
})

t.test('expired sessions are purged', async t => {
  const service = await build(t)
  const purgeAll = async (limit: number) => {
    let [total, rounds, after]: [number, number, string | undefined] = [0, 0, undefined]
    do {
      const range = { after, limit, refreshTokenSeconds: 604_800 }
      const page: PurgedPage = await purgeExpired(service.app.db, range)
      total += page.purged
      rounds++
      after = page.last
    } while (after !== undefined)
    return { total, rounds }
  }

  await t.test('in batches, and no other sessions', async t => {
    const { browsers, ids } = await signInDevices(service, ...Array<string>(6).fill(firefox))
    await service.sql("update sessions set expires_at = now() - interval '1 minute' where id = $1", [ids[0]])
    await service.sql(`
      update refresh_tokens set last_used_at = now() - interval '7 days 1 minute'
      where session_id = any($1::uuid[])`, [[ids[1], ids[2]]])
    await browsers[3]?.post('/v1/auth/logout')
    await service.sql('update refresh_tokens set access_expires_at = now() where session_id <> $1', [ids[2]])
    t.match(await purgeAll(2), { total: 2 }, 'one has a valid access token, and one has just ended')
    t.strictSame(
      (await service.sql<{ id: string }>('select id from sessions order by id')).map(({ id }) => id),
      ids.slice(2)
    )
    await service.sql("update sessions set ended_at = now() - interval '25 hours' where id = $1", [ids[3]])
    t.match(await purgeAll(100), { total: 1, rounds: 1 })
    t.match(await service.sql(`
      select session_id, detail from audit_events where type = 'session.ended'
      and detail ->> 'reason' = 'expired' order by session_id`), [
      { session_id: ids[0] }, { session_id: ids[1] }
    ])
    t.ok(await isSignedIn(browsers[4]) && await isSignedIn(browsers[5]))
  })

  await t.test('without waiting for a lock', async t => {
    const { ids } = await signInDevices(service, firefox, firefox)
    await service.sql('update sessions set expires_at = now() where id = any($1::uuid[])', [ids])
    await service.sql(
      'update refresh_tokens set access_expires_at = now() where session_id = any($1::uuid[])', [ids]
    )
    const { default: pg } = await import('pg')
    const client = new pg.Client({ connectionString: service.url })
    await client.connect()
    await client.query('begin')
    await client.query('update refresh_tokens set generation = 5 where session_id = $1', [ids[0]])
    // A purge that waited for the lock would fail at the lock timeout.
    t.match(await purgeAll(100), { total: 1 }, 'the session that is not locked')
    await client.query('rollback')
    await client.end()
    t.match(await purgeAll(100), { total: 1 })
  })

  await t.test('by the service itself', async t => {
    const { ids } = await signInDevices(service, firefox)
    await service.sql('update sessions set expires_at = now() where id = $1', [ids[0]])
    await service.sql('update refresh_tokens set access_expires_at = now() where session_id = $1', [ids[0]])
    await service.sql(`
      insert into revocations (id, kind, subject, reason, expires_at)
      values (gen_random_uuid(), 'session', gen_random_uuid(), 'logout', now() - interval '2 hours')`)
    await build(t, {}, { url: service.url })
    const countExpired = async () => (await service.sql<{ count: number }>(`
      select
        (select count(*) from sessions where id = $1)::int +
        (select count(*) from revocations where expires_at < now())::int as count`, [ids[0]]))[0]?.count
    await waitUntil('the expired rows are purged', async () => await countExpired() === 0)
  })
})

t.test('the audit log', async t => {
  const service = await build(t)
  const events = async (where: string, values: unknown[] = []) => await service.sql<Record<string, unknown>>(
    `select * from audit_events where ${where} order by id`, values
  )

  await t.test('records who did what, when, from where and in which request', async t => {
    const user = newUser()
    const browser = service.browser()
    const headers = { 'user-agent': firefox, 'x-request-id': 'a-request' }
    const { body } = await browser.post('/v1/auth/register', { ...user, name: 'Ada' }, headers)
    const [userId, sessionId] = [body.user.id, body.session_id]
    browser.accessToken = body.access_token
    await browser.patch('/v1/me', { name: 'Ada King' }, headers)
    await browser.post('/v1/auth/refresh', undefined, headers)
    await browser.post('/v1/auth/logout', undefined, headers)
    const from = {
      user_id: userId, ip: '127.0.0.1', user_agent: firefox, request_id: 'a-request', created_at: Date
    }
    t.match(await events('user_id = $1', [userId]), [
      { type: 'user.registered', actor_id: userId, ...from },
      {
        type: 'login.succeeded',
        actor_id: userId,
        session_id: sessionId,
        detail: { methods: ['pwd'] },
        ...from
      },
      { type: 'user.updated', actor_id: userId, detail: { changed: ['name'] }, ...from },
      { type: 'session.ended', session_id: sessionId, detail: { reason: 'logout' }, ...from }
    ])
    t.equal((await events('user_id = $1', [userId])).length, 4, 'a refresh is not recorded')
  })

  await t.test('records failed sign-ins, with the account if there is one', async t => {
    const user = newUser()
    const { body } = await service.browser().post('/v1/auth/register', user)
    const failSignIn = async (login: object) => {
      const before = new Date()
      await service.browser().post('/v1/auth/login', login, { 'x-request-id': 'failing' })
      return (await events("request_id = 'failing' and created_at >= $1", [before])).map(
        ({ type, user_id: userId, detail }) => ({ type, userId, detail })
      )
    }
    t.strictSame(
      await failSignIn({ ...user, password: 'wrong' }),
      [{ type: 'login.failed', userId: body.user.id, detail: { reason: 'wrong_password' } }]
    )
    t.strictSame(
      await failSignIn({ email: 'nobody@example.com', password: 'secret phrase' }),
      [{ type: 'login.failed', userId: null, detail: { reason: 'unknown_account' } }]
    )
    t.strictSame(
      await failSignIn({ email: user.password, password: 'x' }),
      [{ type: 'login.failed', userId: null, detail: { reason: 'unknown_account' } }]
    )
    await service.sql('update users set disabled_at = now() where id = $1', [body.user.id])
    t.strictSame(
      await failSignIn(user),
      [{ type: 'login.failed', userId: body.user.id, detail: { reason: 'account_disabled' } }]
    )
  })

  await t.test('records a reuse with what is known of both holders', async t => {
    const { body } = await service.browser().post(
      '/v1/auth/register', { ...newUser(), refresh_token_delivery: 'body' }, { 'user-agent': firefox }
    )
    const refresh = async (token: string, userAgent: string) => (await service.browser().post(
      '/v1/auth/refresh', { refresh_token: token }, { 'user-agent': userAgent }
    )).body.refresh_token
    await refresh(await refresh(body.refresh_token, firefox), firefox)
    await ageTokenFamily(service, body.session_id, 3_600)
    await refresh(body.refresh_token, 'a thief')
    const found = await events("session_id = $1 and type like 'session.%'", [body.session_id])
    t.strictSame(found.map(({ type }) => type).sort(), ['session.ended', 'session.replayed'])
    t.match(
      found.find(({ type }) => type === 'session.replayed'),
      {
        user_id: body.user.id,
        user_agent: 'a thief',
        detail: {
          presented: 1, confirmed: 2, opened_user_agent: firefox, opened_ip: '127.0.0.1', last_used_at: String
        }
      }
    )
    t.match(found.find(({ type }) => type === 'session.ended'), { detail: { reason: 'replayed' } })
  })

  await t.test('never contains a secret or what a user typed', async t => {
    const user = newUser()
    const browser = service.browser()
    const { body } = await browser.post('/v1/auth/register', { ...user, refresh_token_delivery: 'body' })
    await service.browser().post(
      '/v1/auth/login', { email: 'typed-the-secret-here', password: 'another secret phrase' }
    )
    await service.browser().post('/v1/auth/logout', { refresh_token: body.refresh_token })
    const [row] = await service.sql<{ dump: string }>(
      "select string_agg(audit_events::text, ' ') as dump from audit_events"
    )
    for (const secret of [
      user.password, user.email, body.access_token, body.refresh_token, 'typed-the-secret-here',
      'another secret phrase'
    ]) t.notOk(row?.dump.includes(secret), secret)
  })

  await t.test('is written in the transaction of the event', async t => {
    const user = newUser()
    await service.sql(`
      alter table audit_events add constraint refused
      check (type not in ('user.registered', 'session.ended')) not valid`)
    const { body } = await service.browser().post('/v1/auth/login', newUser())
    t.match(body, { code: 'invalid_credentials' })
    t.match(await service.browser().post('/v1/auth/register', user), { status: 500 })
    t.strictSame(await service.sql('select 1 from users where email = $1', [user.email]), [])
    await service.sql('alter table audit_events drop constraint refused')
    const { browsers: [browser] } = await signInDevices(service, firefox)
    await service.sql(
      "alter table audit_events add constraint refused check (type <> 'session.ended') not valid"
    )
    t.match(await browser?.post('/v1/auth/logout'), { status: 500 })
    t.ok(await isSignedIn(browser), 'a session that could not be ended goes on')
    await service.sql('alter table audit_events drop constraint refused')
  })

  await t.test('can only be added to, even by its owner, and purges old events', async t => {
    const name = new URL(service.url).pathname.slice(1)
    const role = `owner_${name}`
    const queryAsAdmin = async (text: string) => await sql(service.url, text)
    await queryAsAdmin(`create role ${role} login nosuperuser password '${role}'`)
    t.teardown(async () => {
      await queryAsAdmin(`reassign owned by ${role} to current_user`)
      await queryAsAdmin(`drop owned by ${role}`)
      await queryAsAdmin(`drop role ${role}`)
    })
    // As in a deployment, the role that migrated owns the table.
    await queryAsAdmin(`create schema apart authorization ${role}`)
    const url = new URL(named(service.url, name))
    url.username = role
    url.password = role
    url.searchParams.set('options', '-c search_path=apart')
    const { migrate } = await import('../../src/database/migrate.ts')
    await migrate(url.href)
    const queryAsOwner = async <Row extends object>(text: string) => await sql<Row>(url.href, text)
    await queryAsOwner(`
      insert into audit_events (type, created_at)
      values ('login.failed', now() - interval '2 days'), ('login.failed', now())`)
    for (const text of [
      'update audit_events set type = null', 'delete from audit_events', 'truncate audit_events'
    ]) await t.rejects(queryAsOwner(text), /permission denied for table audit_events/, text)
    const purge = "select purge_audit_events(now() - interval '1 day', 100) as purged"
    t.match(await queryAsOwner(purge), [{ purged: 1 }])
    t.match(await queryAsOwner('select count(*)::int as count from audit_events'), [{ count: 1 }])
    await t.rejects(queryAsOwner('delete from audit_events'), /permission denied/, 'and not after the purge')
  })

  await t.test('is purged in batches after its retention', async t => {
    await service.sql(`
      insert into audit_events (type, created_at) select 'login.failed', now() - interval '400 days'
      from generate_series(1, 30)`)
    t.equal(await audit.purge(service.app.db, 365 * 86_400, 20), 20)
    t.equal(await audit.purge(service.app.db, 365 * 86_400, 20), 10)
    t.equal(await audit.purge(service.app.db, 365 * 86_400, 20), 0)
  })
})
