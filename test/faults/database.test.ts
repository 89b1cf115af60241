import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { connect as connectTo, createServer, type AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect } from '../../src/database/database.ts'
import * as embeddedPostgres from '../../src/database/embedded/embedded-postgres.ts'
import { freePort } from '../../src/database/embedded/server.ts'
import { migrate } from '../../src/database/migrate.ts'
import { mint } from '../../src/sessions/refresh-token.ts'
import { build, environment, newUser, type Service } from '../support/app.ts'
import { createDatabase } from '../support/postgres.ts'
import { waitFor, waitUntil } from '../support/polling.ts'
import { flakyProxy } from '../support/flaky-proxy.ts'
import { ready, run } from '../support/process.ts'
import { commandOf, threadPool } from '../support/program.ts'
import { temporaryFolder } from '../support/temporary-folder.ts'
import { t } from '../support/test.ts'

async function waitUntilReady (service: Service, timeoutMs: number) {
  const startedAt = performance.now()
  while ((await service.browser().get('/readyz')).status !== 200) {
    if (performance.now() - startedAt > timeoutMs) throw new Error(`not ready within ${timeoutMs} ms`)
    await new Promise(resolve => setTimeout(resolve, 20))
  }
  return performance.now() - startedAt
}

const unavailable = {
  status: 503,
  body: { code: 'database_unavailable' },
  headers: { 'retry-after': '1', 'cache-control': 'no-store' },
  cookies: []
}

t.test('without the database, requests get 503 and no wrong answer', async t => {
  const { url, block, unblock } = await flakyProxy(t, await createDatabase(t))
  const service = await build(t, {}, { url })
  const ada = newUser()
  const browser = service.browser()
  const { body: { access_token: accessToken } } = await browser.post('/v1/auth/register', ada)
  const token = browser.jar.get('refresh_token_3000')
  block()

  t.match(await browser.post('/v1/auth/refresh'), unavailable)
  t.match(await browser.post('/v1/auth/logout'), unavailable)
  t.equal(browser.jar.get('refresh_token_3000'), token, 'no cookie is cleared')
  t.match(await service.browser().post('/v1/auth/login', ada), unavailable)
  t.match(
    await service.browser().post('/v1/auth/login', { ...ada, password: 'wrong' }),
    unavailable,
    'a wrong password gets the same response'
  )
  t.match(await service.browser().post('/v1/auth/register', newUser()), unavailable)
  t.match(await service.browser().get('/v1/me', { authorization: `Bearer ${accessToken}` }), unavailable)
  t.match(await service.browser().get('/readyz'), unavailable)

  t.match(await service.browser().get('/livez'), { status: 200 })
  t.match(await service.browser().get('/.well-known/jwks.json'), {
    status: 200,
    body: { keys: [{ alg: 'ES256' }] }
  })
  t.match(
    await service.browser().post('/v1/auth/refresh', { refresh_token: 'garbage' }),
    { status: 401 },
    'malformed tokens are rejected without the database'
  )
  t.match(await service.browser().get('/v1/me', { authorization: 'Bearer garbage' }), { status: 401 })
  t.match(await service.browser().post('/v1/auth/login', {}), { status: 400 })
  t.match(await service.browser().post('/v1/auth/logout', { refresh_token: 'garbage' }), { status: 204 })

  unblock()
  t.ok(await waitUntilReady(service, 5_000) < 5_000)
  t.match(await browser.post('/v1/auth/refresh'), { status: 200 }, 'the session continues')
  t.match(await service.browser().post('/v1/auth/login', ada), { status: 200 })
})

t.test('an outage is logged once, and its end with the number of failed attempts', async t => {
  const { url, block, unblock } = await flakyProxy(t, await createDatabase(t))
  const service = await build(t, {}, { url })
  const ada = newUser()
  await service.browser().post('/v1/auth/register', ada)
  // On a busy machine, connecting may have been slow before.
  service.logs.length = 0
  const linesOf = (message: RegExp) =>
    service.logs.filter(({ msg, level }) => message.test(String(msg)) && Number(level) >= 30)
  block()
  for (let i = 0; i < 20; i++) t.match(await service.browser().post('/v1/auth/login', ada), unavailable)
  await waitFor(() => linesOf(/^database not available/).length > 0)
  // Meanwhile the service tries to reconnect by itself.
  const { databaseOutage } = service.app
  const failures = t.captureFn(databaseOutage.recordFailure.bind(databaseOutage))
  databaseOutage.recordFailure = failures
  await waitFor(() => failures.calls.length >= 3)
  t.equal(linesOf(/^database not available/).length, 1)
  const others = service.logs.filter(
    ({ level, msg }) => Number(level) >= 40 && !/^database not available/.test(String(msg))
  )
  t.strictSame(others, [], 'no other line warns of the outage')
  t.strictSame(linesOf(/^database is back/), [])
  unblock()
  await waitFor(async () => {
    await service.browser().get('/readyz')
    return linesOf(/^database is back/).length > 0
  })
  const [recovery] = linesOf(/^database is back/)
  t.ok(Number(recovery?.['failed_attempts']) >= 20, `${String(recovery?.['failed_attempts'])} attempts`)
  t.ok(Number(recovery?.['seconds']) > 0)
})

t.test('a thousand requests wait for a connection, and further ones are refused at once', async t => {
  const service = await build(t)
  const browser = service.browser()
  const { body } = await browser.post('/v1/auth/register', newUser())
  browser.accessToken = body.access_token
  const { db } = service.app
  let release = () => {}
  const released = new Promise<void>(resolve => { release = resolve })
  const work: Array<Promise<unknown>> = Array.from(
    { length: 10 },
    async () => await db.transaction(async () => await released)
  )
  while (db.connections.waiting < 1_000) work.push(db.query('select 1'))
  const answer = await browser.get('/v1/me')
  t.match(answer, { status: 503, body: { code: 'overloaded' }, headers: { 'retry-after': '1' } })
  t.ok(db.connections.waiting <= 1_000)
  release()
  await Promise.allSettled(work)
  t.equal((await browser.get('/v1/me')).status, 200)
})

t.test('a hanging database leads to a timeout', async t => {
  const { url, freeze, thaw } = await flakyProxy(t, await createDatabase(t))
  const service = await build(t, {}, { url })
  const browser = service.browser()
  await browser.post('/v1/auth/register', newUser())
  freeze()
  let isRefreshWaiting = true
  const refreshed = browser.post('/v1/auth/refresh').finally(() => { isRefreshWaiting = false })
  t.match(await service.browser().get('/readyz'), unavailable)
  t.ok(isRefreshWaiting, '/readyz waits less than other requests')
  // The database still hangs when the answer comes.
  t.match(await refreshed, unavailable)
  thaw()
  await waitUntilReady(service, 5_000)
  t.match(await browser.post('/v1/auth/refresh'), { status: 200 })
})

t.test('a lost response of the database', async t => {
  const { url, loseAnswers } = await flakyProxy(t, await createDatabase(t))
  const service = await build(t, {}, { url })

  t.test('to a refresh loses no session', async t => {
    const { body } = await service
      .browser()
      .post('/v1/auth/register', { ...newUser(), refresh_token_delivery: 'body' })
    let token: string = body.refresh_token
    for (let round = 0; round < 5; round++) {
      loseAnswers(/sessions\.rotate/)
      t.match(await service.browser().post('/v1/auth/refresh', { refresh_token: token }), unavailable)
      loseAnswers(undefined)
      const retried = await service.browser().post('/v1/auth/refresh', { refresh_token: token })
      t.match(retried, { status: 200 })
      token = retried.body.refresh_token
    }
  })

  t.test('to a registration leaves a complete account or none', async t => {
    for (const lost of [/insert into users/, /sessions\.create/, /commit/]) {
      const ada = newUser()
      loseAnswers(lost)
      t.match(await service.browser().post('/v1/auth/register', ada), unavailable, String(lost))
      loseAnswers(undefined)
      const retried = await service.browser().post('/v1/auth/register', ada)
      t.ok(
        retried.status === 201 || (retried.status === 409 && retried.body.code === 'email_taken'),
        `then ${retried.status}`
      )
      t.match(await service.browser().post('/v1/auth/login', ada), { status: 200 })
      const [row] = await service.sql(
        `select count(*)::int as accounts, count(*) filter (where password_hash is null)::int as broken
        from users where email = $1`,
        [ada.email]
      )
      t.strictSame(row, { accounts: 1, broken: 0 })
    }
  })

  t.test('to a sign-out is repaired by a second sign-out', async t => {
    const { body } = await service
      .browser()
      .post('/v1/auth/register', { ...newUser(), refresh_token_delivery: 'body' })
    loseAnswers(/sessions\.end/)
    t.match(
      await service.browser().post('/v1/auth/logout', { refresh_token: body.refresh_token }),
      unavailable
    )
    loseAnswers(undefined)
    t.match(await service.browser().post('/v1/auth/logout', { refresh_token: body.refresh_token }), {
      status: 204
    })
    t.match(await service.browser().post('/v1/auth/refresh', { refresh_token: body.refresh_token }), {
      status: 401
    })
  })
})

t.test('a delayed duplicate of a refresh whose client has disconnected does not end the session', async t => {
  const { url, freeze, thaw } = await flakyProxy(t, await createDatabase(t))
  const service = await build(t, { REQUEST_TIMEOUT: '1s', REFRESH_REPLAY_GRACE: '0s' }, { url })
  const { body } = await service
    .browser()
    .post('/v1/auth/register', { ...newUser(), refresh_token_delivery: 'body' })
  const successor = (await service.browser().post('/v1/auth/refresh', { refresh_token: body.refresh_token }))
    .body.refresh_token
  // The duplicate arrives after the original has been superseded.
  freeze()
  const duplicate = service.browser().post('/v1/auth/refresh', { refresh_token: body.refresh_token })
  t.match(await duplicate, { status: 503 })
  thaw()
  await waitUntilReady(service, 5_000)
  t.match(await service.browser().post('/v1/auth/refresh', { refresh_token: successor }), { status: 200 })
  t.match(await service.sql('select end_reason from sessions where id = $1', [body.session_id]), [
    { end_reason: null }
  ])
})

t.test('if the service starts without its database, it waits for it', async t => {
  const { url, block, unblock } = await flakyProxy(t, await createDatabase(t, { empty: true }))
  block()
  const service = await build(t, {}, { url, ready: false })
  t.match(await service.browser().get('/livez'), { status: 200 })
  t.match(await service.browser().get('/readyz'), unavailable)
  t.match(await service.browser().get('/.well-known/jwks.json'), unavailable)
  t.match(await service.browser().post('/v1/auth/login', newUser()), unavailable)
  t.match(await service.browser().post('/v1/auth/refresh', { refresh_token: 'lkr_garbage' }), { status: 401 })
  t.match(await service.browser().get('/v1/me', { authorization: 'Bearer a.b.c' }), { status: 401 })
  const wellFormedToken = mint(
    { kid: 'AAAAAAAA', secret: Buffer.alloc(32) },
    { sessionId: '0199e8f2-6c1b-7000-8000-0a1b2c3d4e5f', generation: 1, issuedAt: new Date() }
  )
  t.match(
    await service.browser().post('/v1/auth/refresh', { refresh_token: wellFormedToken }),
    unavailable,
    'a token that may be authentic is not rejected'
  )
  unblock()
  await waitUntilReady(service, 5_000)
  t.match(await service.browser().post('/v1/auth/register', newUser()), { status: 201 })
})

t.test('connect_timeout counts, and a migration waits for a server that accepts slowly', async t => {
  const direct = new URL(await createDatabase(t, { empty: true }))
  const server = createServer(near => {
    const far = connectTo(Number(direct.port), direct.hostname)
    for (const [socket, other] of [[near, far], [far, near]] as const) {
      socket.on('error', () => {}).on('close', () => other.destroy())
    }
    far.pipe(near)
    setTimeout(() => near.pipe(far), 2_500)
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  const { port } = server.address() as AddressInfo
  const slow = Object.assign(new URL(direct), { port: String(port) }).href
  const [impatient, patient] = [connect({ url: slow }), connect({ url: `${slow}?connect_timeout=60` })]
  t.teardown(async () => { await Promise.all([impatient.end(), patient.end()]) })
  await Promise.all([
    t.rejects(impatient.query('select 1'), { code: 'database_unavailable' }),
    patient.query('select 1 as one').then(rows => { t.strictSame(rows, [{ one: 1 }]) }),
    migrate(slow).then(names => { t.ok(names.length > 0) })
  ])
})

t.test('with IDLE_POLL_INTERVAL, the database is left alone while no requests come', async t => {
  const url = await createDatabase(t)
  const idle = await build(t, { IDLE_POLL_INTERVAL: '1h' }, { url, idleAfterMs: 100 })
  const ada = idle.browser()
  const { body: { access_token: token } } = await ada.post('/v1/auth/register', newUser())
  const readActivity = async () => (await idle.sql<{ isQuiet: boolean, isListening: boolean }>(`
    select max(query_start) < now() - interval '3 s' as "isQuiet",
      bool_or(application_name = 'latchkey listen') as "isListening"
    from pg_stat_activity where datname = current_database() and application_name like 'latchkey%'`))[0]
  await waitUntil('the service is quiet', async () => (await readActivity())?.isQuiet)
  t.match(await idle.browser().get('/readyz'), { status: 200 })
  t.match(await idle.browser().get('/livez'), { status: 200 })
  t.match(await readActivity(), { isQuiet: true, isListening: false }, 'health checks do not wake it')

  const other = await build(t, {}, { url })
  const authorization = `Bearer ${token}`
  t.match(await other.browser().post('/v1/auth/logout', undefined, { authorization }), { status: 204 })
  const answer = await idle.browser().get('/v1/auth/verify', { authorization })
  t.match(answer, { status: 401 }, 'the first request after the pause knows of the revocation')
  await waitUntil('it listens again', async () => {
    // Without requests it would soon be idle again.
    await idle.browser().get('/v1/auth/verify', { authorization })
    return (await other.sql(`
      select from pg_stat_activity
      where datname = current_database() and application_name = 'latchkey listen'`)).length === 2
  })
})

t.test('after an idle time, no token is accepted until the revocations are known', async t => {
  const url = await createDatabase(t)
  const proxy = await flakyProxy(t, url)
  const idle = await build(t, { IDLE_POLL_INTERVAL: '1h' }, { url: proxy.url, idleAfterMs: 100 })
  const { body: { access_token: token } } = await idle.browser().post('/v1/auth/register', newUser())
  const authorization = `Bearer ${token}`
  await waitUntil('the service is idle', async () => idle.app.idleness.isIdle)
  const other = await build(t, {}, { url })
  t.match(await other.browser().post('/v1/auth/logout', undefined, { authorization }), { status: 204 })
  proxy.block()
  for (let i = 0; i < 2; i++) {
    t.match(await idle.browser().get('/v1/auth/verify', { authorization }), unavailable)
  }
  proxy.unblock()
  await waitUntil('the token is refused', async () =>
    (await idle.browser().get('/v1/auth/verify', { authorization })).status === 401)
})

t.test('a request waits for a busy pool once, however many hosts the URL has', async t => {
  const url = await createDatabase(t)
  const closedPorts = await Promise.all([1, 2].map(async () => await freePort()))
  const { host } = new URL(url)
  const hosts = [host, ...closedPorts.map(port => `127.0.0.1:${port}`)].join(',')
  const db = connect({ url: url.replace(host, hosts), connections: 1 })
  t.teardown(() => db.end())
  await db.transaction(async tx => {
    await tx.query('select 1')
    const startedAt = performance.now()
    await t.rejects(db.query('select 1'), { code: 'database_unavailable' })
    t.ok(performance.now() - startedAt < 5_000, 'it is answered after one waiting time')
  })
})

t.test('a key that cannot be looked up is not treated as unknown', async t => {
  const { url, block } = await flakyProxy(t, await createDatabase(t))
  const service = await build(t, { JWKS_MAX_AGE: '1s' }, { url })
  const { body: { access_token: token } } = await service.browser().post('/v1/auth/register', newUser())
  const [, payload, signature] = token.split('.')
  const foreignHeader = JSON.stringify({ alg: 'ES256', typ: 'at+jwt', kid: 'made-elsewhere' })
  const foreignToken = `${Buffer.from(foreignHeader).toString('base64url')}.${payload}.${signature}`
  t.match(await service.browser().get('/v1/me', { authorization: `Bearer ${foreignToken}` }), { status: 401 })
  block()
  // Until the next lookup, the key is known to be unknown.
  await waitUntil('the keys are looked up again', async () => {
    const { status } = await service.browser().get('/v1/me', { authorization: `Bearer ${foreignToken}` })
    return status !== 401
  })
  for (let i = 0; i < 3; i++) {
    t.match(await service.browser().get('/v1/me', { authorization: `Bearer ${foreignToken}` }), unavailable)
    t.match(
      await service.browser().post('/v1/auth/logout', undefined, { authorization: `Bearer ${foreignToken}` }),
      unavailable
    )
  }
})

t.test('a statement that a schema change invalidated is prepared again', async t => {
  const service = await build(t)
  const ada = newUser()
  await service.browser().post('/v1/auth/register', ada)
  await service.browser().post('/v1/auth/login', ada)
  for (const change of ['alter column name type varchar(500)', 'add column nickname text']) {
    const { total: connections } = service.app.db.connections
    await service.sql(`alter table users ${change}`)
    const statuses = []
    for (let i = 0; i < 30; i++) statuses.push((await service.browser().post('/v1/auth/login', ada)).status)
    t.notOk(statuses.includes(500), change)
    // Each connection from before fails once, whenever its turn comes.
    t.ok(statuses.filter(status => status !== 200).length <= connections, change)
  }
})

t.test('a missing schema leads to the same responses as an unavailable database', async t => {
  const service = await build(
    t,
    { MIGRATE_ON_START: 'false' },
    { url: await createDatabase(t, { empty: true }), ready: false }
  )
  t.match(await service.browser().get('/readyz'), unavailable)
  t.match(await service.browser().post('/v1/auth/login', newUser()), unavailable)
})

t.test(
  'when Postgres is killed under load, no confirmed change is lost, and the service recovers',
  async t => {
    const folder = mkdtempSync(join(tmpdir(), 'latchkey-crash-'))
    const postgres = await embeddedPostgres.start(folder)
    t.teardown(async () => {
      await postgres.stop()
      rmSync(folder, { recursive: true })
    })
    const service = await build(t, {}, { url: postgres.url })
    interface Account { email: string; password: string; token: string; logoutStatus?: number }
    const accounts: Account[] = []
    const load = { isRunning: true }
    let outages = 0
    const useService = async () => {
      while (load.isRunning) {
        const ada = newUser()
        const { status, body } = await service
          .browser()
          .post('/v1/auth/register', { ...ada, refresh_token_delivery: 'body' })
        if (status !== 201) {
          outages++
          await new Promise(resolve => setTimeout(resolve, 10))
          continue
        }
        const account: Account = { ...ada, token: body.refresh_token }
        accounts.push(account)
        const refreshed = await service.browser().post('/v1/auth/refresh', { refresh_token: account.token })
        if (refreshed.status === 200) {
          account.token = refreshed.body.refresh_token
        } else {
          outages++
        }
        if (accounts.length % 3 === 0) {
          const logout = await service.browser().post('/v1/auth/logout', { refresh_token: account.token })
          account.logoutStatus = logout.status
        }
      }
    }
    const clients = [useService(), useService(), useService(), useService()]
    const waitForAccounts = async (count: number) => {
      while (accounts.length < count) await new Promise(resolve => setTimeout(resolve, 10))
    }
    const { readFileSync } = await import('node:fs')
    for (const round of [1, 2]) {
      await waitForAccounts(round * 40)
      process.kill(
        Number(readFileSync(join(postgres.dataDir, 'postmaster.pid'), 'utf8').split('\n')[0]),
        'SIGKILL'
      )
      const before = accounts.length
      await waitForAccounts(before + 20)
    }
    load.isRunning = false
    await Promise.all(clients)
    await waitUntilReady(service, 5_000)
    t.ok(outages > 0, `${outages} requests got 503`)
    const lost = []
    for (const { email, password, token, logoutStatus } of accounts) {
      const refreshed = await service.browser().post('/v1/auth/refresh', { refresh_token: token })
      const login = await service.browser().post('/v1/auth/login', { email, password })
      // A logout that got 503 may have happened.
      const expected = logoutStatus === undefined ? [200] : logoutStatus === 204 ? [401] : [200, 401]
      if (!expected.includes(refreshed.status) || login.status !== 200) {
        lost.push({ logoutStatus, refreshed: refreshed.status, login: login.status })
      }
    }
    t.strictSame(lost, [], `${accounts.length} accounts, their sessions and their sign-outs`)
  }
)

// The library that `faketime` loads into a program. `faketime` itself does not pass signals on.
const faketime = spawnSync('faketime', ['-f', '+1s', 'printenv', 'LD_PRELOAD'], { encoding: 'utf8' })
const skipClocks = process.env['CI'] !== 'true' && faketime.error ? 'faketime is not installed' : false

t.test('an instance whose clock differs from that of the database', { skip: skipClocks }, async t => {
  const other = await build(t)
  for (const [name, offset, advice] of [
    ['a minute behind', '-60s', 'the clock of this machine is 60 s behind that of the database'],
    ['ten minutes ahead', '+600s', 'the clock of this machine is 600 s ahead of that of the database']
  ] as const) {
    await t.test(name, async t => {
      const port = await freePort()
      const folder = temporaryFolder(t)
      const service = run(t, [...commandOf('src/latchkey.cts'), 'serve'], {
        cwd: folder,
        port,
        env: {
          ...environment,
          ...threadPool,
          DATABASE_URL: other.url,
          PORT: String(port),
          METRICS: 'public',
          ISSUER_URL: 'http://localhost:3000',
          // Timers keep their pace: only the time of day is wrong.
          LD_PRELOAD: faketime.stdout.trim(),
          FAKETIME: offset,
          FAKETIME_DONT_FAKE_MONOTONIC: '1'
        }
      })
      await ready(service)
      const { email, password } = newUser()
      const post = async (path: string, body: object) => await fetch(`${service.base}${path}`, {
        method: 'POST', body: JSON.stringify(body), headers: { 'content-type': 'application/json' }
      })
      t.equal((await post('/v1/auth/register', { email, password })).status, 201)
      const signedIn = await post('/v1/auth/login', { email, password })
      t.equal(signedIn.status, 200)
      const { access_token: token } = await signedIn.json() as { access_token: string }
      const headers = { authorization: `Bearer ${token}` }
      t.equal((await fetch(`${service.base}/v1/me`, { headers })).status, 200, 'takes its own new token')
      const otherResponse = await other.app.inject({ url: '/v1/me', headers })
      t.equal(otherResponse.statusCode, 200, 'its token is valid on an instance whose clock is right')
      const browser = other.browser()
      const { body } = await browser.post('/v1/auth/login', { email, password })
      const theirs = { authorization: `Bearer ${body.access_token}` }
      const answer = await fetch(`${service.base}/v1/me`, { headers: theirs })
      t.equal(answer.status, 200, 'takes a new token of the other instance')
      const metrics = await (await fetch(`${service.base}/metrics`)).text()
      const [, seconds] = /^latchkey_clock_offset_seconds (\S+)$/m.exec(metrics) ?? []
      t.ok(Math.abs(Number(seconds) + parseFloat(offset)) < 3, `the metric has the offset: ${seconds}`)
      t.equal(service.output().split(advice).length, 2, 'the log says so once')
    })
  }
})
