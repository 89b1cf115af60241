import { setTimeout as pause } from 'node:timers/promises'
import { connect, type Queryable } from '../../src/database/database.ts'
import { generateToken, hashToken } from '../../src/one-time-tokens/one-time-tokens.ts'
import { revokeUserTokens } from '../../src/tokens/revocations.ts'
import { createSession } from '../../src/sessions/creation.ts'
import { purgeEnded } from '../../src/sessions/expiry.ts'
import { endAll, endOwn } from '../../src/sessions/ending.ts'
import { list } from '../../src/sessions/listing.ts'
import { endSurplus } from '../../src/sessions/surplus.ts'
import { Browser, type Answer } from '../support/client.ts'
import { build, newUser, type Service } from '../support/app.ts'
import { firefox, isSignedIn, safari, signInDevices } from '../support/devices.ts'
import { scale } from '../support/soak.ts'
import { t } from '../support/test.ts'

interface InsertedSessions { count: number, ended?: boolean }

/** Inserts active or ended sessions of a user. */
async function insertSessions (service: Service, userId: string, { count, ended = false }: InsertedSessions) {
  await service.sql(`
    with added as (
      insert into sessions (id, user_id, methods, remembered, created_at, expires_at, ended_at, end_reason)
      select uuid_v7(), $1, '{pwd}', false, now() - interval '1 hour', now() + interval '30 days',
        case when $3 then now() end, case when $3 then 'logout' end
      from generate_series(1, $2) returning id
    )
    insert into refresh_tokens (session_id, access_expires_at)
    select id, now() - interval '30 minutes' from added where not $3`, [userId, count, ended])
}

async function countSessions (service: Service, userId: string, condition = 'true'): Promise<number> {
  const [row] = await service.sql<{ count: number }>(`
    select count(*)::int as count from sessions left join refresh_tokens on session_id = id
    where user_id = $1 and ${condition}`, [userId])
  return row?.count ?? 0
}
const countActive = async (service: Service, userId: string) =>
  await countSessions(service, userId, 'ended_at is null and session_id is not null')

t.test('a user with very many sessions', async t => {
  const service = await build(t)
  const { user, browsers: [first], ids: [firstId] } = await signInDevices(service, firefox)
  const id: string = (await first?.get('/v1/me'))?.body.id
  const { user: adminUser, browsers: [admin] } = await signInDevices(service, firefox)
  await service.sql("update users set roles = '{user,admin}' where email = $1", [adminUser.email])
  if (admin) admin.accessToken = (await admin.post('/v1/auth/refresh')).body.access_token
  await insertSessions(service, id, { count: scale(120_000, 12_000) })
  const login = async (password = user.password) => {
    const browser = service.browser()
    const { status, body } = await browser.post('/v1/auth/login', { email: user.email, password })
    t.equal(status, 200, 'signs in')
    browser.accessToken = body.access_token
    return browser
  }

  await t.test('signs in without a long wait, because a sign-in ends only a few sessions', async t => {
    const before = await countActive(service, id)
    const browser = await login()
    t.equal(await countActive(service, id), before + 1 - 51, 'a sign-in ends at most 51 sessions')
    t.equal((await browser.get('/v1/me')).status, 200)
    t.ok((await browser.get('/v1/me/sessions')).body.items.length > 0)
    const db = connect({ url: service.url, connections: 1 })
    t.teardown(async () => await db.end())
    await db.transaction(async tx => {
      await tx.query(`
        select from refresh_tokens join sessions on id = session_id where user_id = $1
        order by id desc limit 600 for update of refresh_tokens`, [id])
      await login()
    })
  })

  await t.test('is brought down to the limit after an instance starts', async t => {
    await build(t, {}, { url: service.url })
    while (await countActive(service, id) > 100) await pause(200)
    t.equal(await countActive(service, id), 100)
    t.equal((await first?.get('/v1/me'))?.status, 401, 'the oldest session has ended')
    t.match(
      await service.sql(
        "select detail from audit_events where type = 'session.ended' and session_id = $1", [firstId]
      ),
      [{ detail: { reason: 'session_limit' } }]
    )
  })

  await t.test('is signed out everywhere by each act that ends all sessions, and can be deleted', async t => {
    t.equal((await (await login()).delete('/v1/me/sessions?include_current=true')).status, 204)
    t.equal(await countActive(service, id), 0)
    const expectAllEnded = async (
      act: () => Promise<Answer | undefined>, status: number, password?: string
    ) => {
      const browser = await login(password)
      t.equal((await act())?.status, status)
      t.equal(await countActive(service, id), 0)
      t.equal((await browser.get('/v1/me')).status, 401)
      t.equal((await browser.post('/v1/auth/refresh')).status, 401)
    }
    await expectAllEnded(async () => await admin?.delete(`/v1/admin/users/${id}/sessions`), 204)
    const token = generateToken()
    await service.sql(`
      insert into one_time_tokens (token_hash, purpose, user_id, email_version, password_version, expires_at)
      select $1, 'password_reset', id, email_version, password_version, now() + interval '1 hour'
      from users where id = $2`, [hashToken(token), id])
    const password = 'another phrase of my own'
    await expectAllEnded(
      async () => await service.browser().post(
        '/v1/auth/password-reset/confirm', { token, new_password: password }
      ),
      204
    )
    await expectAllEnded(
      async () => await admin?.patch(`/v1/admin/users/${id}`, { status: 'disabled' }), 200, password
    )
    t.equal((await admin?.patch(`/v1/admin/users/${id}`, { status: 'active' }))?.status, 200)
    t.equal((await (await login(password)).send('DELETE', '/v1/me', { password })).status, 204)
    t.equal(await countSessions(service, id), 0)
  })

  await t.test('is deleted by an administrator', async t => {
    const { browsers: [browser] } = await signInDevices(service, firefox)
    const userId: string = (await browser?.get('/v1/me'))?.body.id
    await insertSessions(service, userId, { count: scale(20_000, 2_000), ended: true })
    t.equal((await admin?.delete(`/v1/admin/users/${userId}`))?.status, 204)
    t.equal(await countSessions(service, userId), 0)
  })
})

/** The number of rows of sessions that this transaction has read. */
const countRowsRead = async (tx: Queryable) => (await tx.query<{ read: number }>(`
  select sum(coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0))::int as read
  from pg_stat_xact_user_tables where relname in ('sessions', 'refresh_tokens')`))[0]?.read ?? 0

t.test('the number of rows that a statement reads does not grow with ended sessions', async t => {
  const service = await build(t)
  const user = newUser()
  const { body } = await service.browser().post('/v1/auth/register', user)
  const [id, sessionId]: [string, string] = [body.user.id, body.session_id]
  await insertSessions(service, id, { count: scale(50_000, 10_000), ended: true })
  await insertSessions(service, id, { count: 20 })
  // Without the sessions of others, the planner's statistics would know only one user.
  await service.sql(`
    with added as (
      insert into users (id, email, canonical_email)
      select gen_random_uuid(), i || '@many.example', i || '@many.example' from generate_series(1, 2000) as i
      returning id
    ), opened as (
      insert into sessions (id, user_id, methods, remembered, expires_at)
      select uuid_v7(), id, '{pwd}', false, now() + interval '30 days' from added returning id
    )
    insert into refresh_tokens (session_id) select id from opened`)
  await service.sql('analyze sessions, refresh_tokens, users')
  const db = connect({ url: service.url, connections: 1 })
  t.teardown(async () => await db.end())
  const lifetimes = {
    accessTokenSeconds: 900,
    refreshTokenSeconds: 604_800,
    sessionSeconds: 2_592_000,
    rememberedSessionSeconds: 7_776_000,
    replayGraceSeconds: 10,
    retryWindowSeconds: undefined
  }
  const credential = { userId: id, passwordVersion: 1 }
  const request = { methods: ['pwd'], isRemembered: false, lifetimes, sessionLimit: 10 }
  const operations: Record<string, (tx: Queryable) => Promise<unknown>> = {
    'a list': async tx => await list(tx, id, { refreshTokenSeconds: 604_800, before: undefined, limit: 21 }),
    'the end of one': async tx => await endOwn(tx, { userId: id, sessionId }, 'ended_by_user', {}),
    'the end of all': async tx => await endAll(tx, { userId: id }, 'ended_by_user', {}),
    'a new session': async tx => await createSession(tx, credential, request, {}),
    'the end of the surplus': async tx => await endSurplus(tx, id, 10, 1_000),
    'the revocation of all access tokens': async tx => await revokeUserTokens(
      tx, id, { reason: 'roles_changed', accessTokenSeconds: 900 }
    )
  }
  for (const [name, operation] of Object.entries(operations)) {
    // PostgreSQL may choose a generic plan from the sixth execution on.
    for (let round = 0; round < 7; round++) {
      const rollback = new Error('roll back')
      let rowCount = 0
      await db.transaction(async tx => {
        const before = await countRowsRead(tx)
        await operation(tx)
        rowCount = await countRowsRead(tx) - before
        throw rollback
      }).catch((error: unknown) => { if (error !== rollback) throw error })
      t.ok(rowCount > 0 && rowCount <= 500, `${name} reads ${rowCount} rows`)
    }
  }

  await t.test('few ended sessions are kept, because each sign-in purges the oldest', async t => {
    const { user, browsers: [browser] } = await signInDevices(service, firefox)
    const userId = (await service.sql<{ id: string }>(
      'select id from users where email = $1', [user.email]
    ))[0]?.id ?? ''
    await insertSessions(service, userId, { count: 130, ended: true })
    for (let round = 0; round < 3; round++) await browser?.post('/v1/auth/login', user)
    t.equal(await countSessions(service, userId, 'ended_at is not null'), 100)
    t.equal(await countActive(service, userId), 1)
  })

  await t.test('the remaining ones are purged before their user is deleted', async t => {
    await purgeEnded(service.app.db, id)
    t.equal(await countSessions(service, id), 21)
  })
})

t.test('a request that waits for a lock does not hold a connection for long', async t => {
  const service = await build(t)
  const [ada, grace] = [await signInDevices(service, firefox), await signInDevices(service, firefox)]
  const { default: pg } = await import('pg')
  const client = new pg.Client({ connectionString: service.url })
  await client.connect()
  await client.query('begin')
  await client.query('select from users where email = $1 for update', [ada.user.email])
  await client.query('select from refresh_tokens where session_id = any($1::uuid[]) for update', [ada.ids])
  const blocked = Array.from({ length: 30 }, async (_, index) => index % 2
    ? await service.browser().post('/v1/auth/login', ada.user)
    : await ada.browsers[0]?.delete('/v1/me/sessions?include_current=true'))
  const others = Array.from(
    { length: 10 }, async () => await service.browser().post('/v1/auth/login', grace.user)
  )
  for (const { status } of await Promise.all(others)) t.equal(status, 200, 'other users are served')
  t.equal((await service.browser().get('/readyz')).status, 200)
  const before = service.app.db.connections.total
  for (const answer of await Promise.all(blocked)) {
    t.match(answer, { status: 503, headers: { 'retry-after': '1' }, body: { code: 'database_unavailable' } })
  }
  t.equal(service.app.db.connections.total, before, 'the connections stay open')
  await client.query('rollback')
  await client.end()
  t.equal(await isSignedIn(ada.browsers[0]), true, 'the session has not changed')
  t.equal((await ada.browsers[0]?.delete('/v1/me/sessions?include_current=true'))?.status, 204)
})

t.test('concurrent sign-ins, refreshes and endings do not deadlock', async t => {
  const overrides = { MAX_SESSIONS_PER_USER: '3', LOG_LEVEL: 'info' }
  const instances = [await build(t, overrides)]
  const [service] = instances as [Service]
  instances.push(await build(t, overrides, { url: service.url }))
  const { user: adminUser, browsers: [admin = service.browser()] } = await signInDevices(service, firefox)
  await service.sql("update users set roles = '{user,admin}' where email = $1", [adminUser.email])
  admin.accessToken = (await admin.post('/v1/auth/refresh')).body.access_token
  const users = await Promise.all(
    Array.from({ length: 3 }, async () => await signInDevices(service, firefox, safari, firefox))
  )
  const ids = await Promise.all(
    users.map(
      async ({ user }) => (await service.sql<{ id: string }>(
        'select id from users where email = $1', [user.email]
      ))[0]?.id ?? ''
    )
  )
  const statuses: string[] = []
  let picks = 0
  const pick = <Item>(items: readonly Item[]): Item => items[picks++ * 7 % items.length] as Item
  const pickCookie = () => `refresh_token_3000=${pick(pick(users).browsers).jar.get('refresh_token_3000')}`

  const requests: Array<(browser: Browser, headers: Record<string, string>) => Promise<Answer>> = [
    async (browser, headers) => await browser.post('/v1/auth/login', pick(users).user, headers),
    async (browser, headers) => await browser.post(
      '/v1/auth/login', { ...pick(users).user, refresh_token_delivery: 'body' }, headers
    ),
    async (browser, headers) => await browser.post('/v1/auth/logout', undefined, headers),
    async browser => await browser.post(
      '/v1/auth/refresh', undefined,
      { cookie: pickCookie() }
    ),
    async () => await pick(pick(users).browsers).delete('/v1/me/sessions'),
    async () => await admin.delete(`/v1/admin/users/${pick(ids)}/sessions`),
    async () => await admin.patch(
      `/v1/admin/users/${pick(ids)}`, { status: picks % 3 ? 'active' : 'disabled' }
    ),
    async browser => {
      const token = generateToken()
      const { user: { email, password } } = pick(users)
      await service.sql(`
        insert into one_time_tokens
          (token_hash, purpose, user_id, email_version, password_version, expires_at)
        select $1, 'password_reset', id, email_version, password_version, now() + interval '1 hour'
        from users where email = $2`, [hashToken(token), email])
      return await browser.post('/v1/auth/password-reset/confirm', { token, new_password: password })
    }
  ]
  await Promise.all(Array.from({ length: 16 }, async (_, worker) => {
    for (let round = 0; round < 12; round++) {
      const { app } = instances[(worker + round) % 2] as Service
      const headers = { cookie: `${pickCookie()}; ${pickCookie()}` }
      const { status } = await pick(requests)(new Browser(app), headers)
      statuses.push(String(status))
    }
  }))
  t.notOk(statuses.includes('500'), statuses.join(' '))
  t.ok(statuses.includes('200') && statuses.includes('204'), statuses.join(' '))
  t.notMatch(JSON.stringify(service.allLogs()), /40P01|deadlock/)
  for (const id of ids) t.ok(await countActive(service, id) <= 3)
})
