import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import * as embeddedPostgres from '../../src/database/embedded/embedded-postgres.ts'
import { mint } from '../../src/sessions/refresh-token.ts'
import { build, newUser, type Service } from '../support/app.ts'
import { createDatabase } from '../support/postgres.ts'
import { waitUntil } from '../support/polling.ts'
import { flakyProxy } from '../support/flaky-proxy.ts'

async function eventually (service: Service, within: number) {
  const started = performance.now()
  while ((await service.browser().get('/readyz')).status !== 200) {
    if (performance.now() - started > within) throw new Error(`not ready within ${within} ms`)
    await new Promise(resolve => setTimeout(resolve, 20))
  }
  return performance.now() - started
}

const unavailable = { status: 503, body: { code: 'database_unavailable' }, headers: { 'retry-after': '1', 'cache-control': 'no-store' }, cookies: [] }

t.test('with the database away nobody is told anything wrong', async t => {
  const { url, block, unblock } = await flakyProxy(t, await createDatabase(t))
  const service = await build(t, {}, { url })
  const ada = newUser()
  const browser = service.browser()
  const { body: { access_token: accessToken } } = await browser.post('/v1/auth/register', ada)
  const token = browser.jar.get('refresh_token')
  block()

  t.match(await browser.post('/v1/auth/refresh'), unavailable)
  t.match(await browser.post('/v1/auth/logout'), unavailable)
  t.equal(browser.jar.get('refresh_token'), token, 'no cookie is cleared')
  t.match(await service.browser().post('/v1/auth/login', ada), unavailable)
  t.match(await service.browser().post('/v1/auth/login', { ...ada, password: 'wrong' }), unavailable, 'nor is a wrong password called wrong')
  t.match(await service.browser().post('/v1/auth/register', newUser()), unavailable)
  t.match(await service.browser().get('/v1/me', { authorization: `Bearer ${accessToken}` }), unavailable)
  t.match(await service.browser().get('/readyz'), unavailable)

  t.match(await service.browser().get('/livez'), { status: 200 })
  t.match(await service.browser().get('/.well-known/jwks.json'), { status: 200, body: { keys: [{ alg: 'ES256' }] } })
  t.match(await service.browser().post('/v1/auth/refresh', { refresh_token: 'garbage' }), { status: 401 }, 'garbage is garbage')
  t.match(await service.browser().get('/v1/me', { authorization: 'Bearer garbage' }), { status: 401 })
  t.match(await service.browser().post('/v1/auth/login', {}), { status: 400 })
  t.match(await service.browser().post('/v1/auth/logout', { refresh_token: 'garbage' }), { status: 204 })

  unblock()
  t.ok(await eventually(service, 5_000) < 5_000)
  t.match(await browser.post('/v1/auth/refresh'), { status: 200 }, 'still signed in')
  t.match(await service.browser().post('/v1/auth/login', ada), { status: 200 })
})

t.test('an outage is logged once, and its end with the number of failed attempts', async t => {
  const { url, block, unblock } = await flakyProxy(t, await createDatabase(t))
  const service = await build(t, {}, { url })
  const ada = newUser()
  await service.browser().post('/v1/auth/register', ada)
  // A busy machine may have been slow to connect before.
  service.logs.length = 0
  const linesOf = (message: RegExp) => service.logs.filter(({ msg, level }) => message.test(String(msg)) && Number(level) >= 30)
  block()
  for (let i = 0; i < 20; i++) t.match(await service.browser().post('/v1/auth/login', ada), unavailable)
  while (linesOf(/^database not available/).length === 0) await new Promise(resolve => setTimeout(resolve, 10))
  // The reconnection is tried twice a second.
  await new Promise(resolve => setTimeout(resolve, 2_000))
  t.equal(linesOf(/^database not available/).length, 1)
  const others = service.logs.filter(({ level, msg }) => Number(level) >= 40 && !/^database not available/.test(String(msg)))
  t.strictSame(others, [], 'and nothing else warns of it')
  t.strictSame(linesOf(/^database is back/), [])
  unblock()
  while (linesOf(/^database is back/).length === 0) {
    await service.browser().get('/readyz')
    await new Promise(resolve => setTimeout(resolve, 10))
  }
  const [back] = linesOf(/^database is back/)
  t.ok(Number(back?.['failed_attempts']) >= 20, `${String(back?.['failed_attempts'])} attempts`)
  t.ok(Number(back?.['seconds']) >= 2)
})

t.test('a thousand requests wait for a connection, and further ones are refused at once', async t => {
  const service = await build(t)
  const browser = service.browser()
  const { body } = await browser.post('/v1/auth/register', newUser())
  browser.accessToken = body.access_token
  const { db } = service.app
  let release = () => {}
  const held = new Promise<void>(resolve => { release = resolve })
  const work: Array<Promise<unknown>> = Array.from({ length: 10 }, async () => await db.transaction(async () => await held))
  while (db.connections.waiting < 1_000) work.push(db.query('select 1'))
  const answer = await browser.get('/v1/me')
  t.match(answer, { status: 503, body: { code: 'overloaded' }, headers: { 'retry-after': '1' } })
  t.ok(db.connections.waiting <= 1_000)
  release()
  await Promise.allSettled(work)
  t.equal((await browser.get('/v1/me')).status, 200)
})

t.test('a database that hangs is given up in time', async t => {
  const { url, freeze, thaw } = await flakyProxy(t, await createDatabase(t))
  const service = await build(t, {}, { url })
  const browser = service.browser()
  await browser.post('/v1/auth/register', newUser())
  freeze()
  const started = performance.now()
  const [ready, refreshed] = await Promise.all([service.browser().get('/readyz').then(answer => ({ answer, took: performance.now() - started })), browser.post('/v1/auth/refresh')])
  t.match(ready.answer, unavailable)
  t.ok(ready.took < 2_000, `/readyz took ${ready.took} ms`)
  t.match(refreshed, unavailable)
  t.ok(performance.now() - started < 10_000)
  thaw()
  await eventually(service, 5_000)
  t.match(await browser.post('/v1/auth/refresh'), { status: 200 })
})

t.test('a lost answer of the database', async t => {
  const { url, loseAnswers } = await flakyProxy(t, await createDatabase(t))
  const service = await build(t, {}, { url })

  t.test('to a refresh loses no session', async t => {
    const { body } = await service.browser().post('/v1/auth/register', { ...newUser(), refresh_token_delivery: 'body' })
    let token: string = body.refresh_token
    for (let round = 0; round < 5; round++) {
      loseAnswers(/sessions\.rotate/)
      t.match(await service.browser().post('/v1/auth/refresh', { refresh_token: token }), unavailable)
      loseAnswers(undefined)
      const again = await service.browser().post('/v1/auth/refresh', { refresh_token: token })
      t.match(again, { status: 200 })
      token = again.body.refresh_token
    }
  })

  t.test('to a registration leaves a whole account or none', async t => {
    for (const lost of [/insert into users/, /sessions\.create/, /commit/]) {
      const ada = newUser()
      loseAnswers(lost)
      t.match(await service.browser().post('/v1/auth/register', ada), unavailable, String(lost))
      loseAnswers(undefined)
      const again = await service.browser().post('/v1/auth/register', ada)
      t.ok(again.status === 201 || (again.status === 409 && again.body.code === 'email_taken'), `then ${again.status}`)
      t.match(await service.browser().post('/v1/auth/login', ada), { status: 200 })
      const [row] = await service.sql('select count(*)::int as accounts, count(*) filter (where password_hash is null)::int as broken from users where email = $1', [ada.email])
      t.strictSame(row, { accounts: 1, broken: 0 })
    }
  })

  t.test('to a sign-out is made good by doing it again', async t => {
    const { body } = await service.browser().post('/v1/auth/register', { ...newUser(), refresh_token_delivery: 'body' })
    loseAnswers(/sessions\.end/)
    t.match(await service.browser().post('/v1/auth/logout', { refresh_token: body.refresh_token }), unavailable)
    loseAnswers(undefined)
    t.match(await service.browser().post('/v1/auth/logout', { refresh_token: body.refresh_token }), { status: 204 })
    t.match(await service.browser().post('/v1/auth/refresh', { refresh_token: body.refresh_token }), { status: 401 })
  })
})

t.test('no judgement is passed on a token whose caller has gone', async t => {
  const { url, freeze, thaw } = await flakyProxy(t, await createDatabase(t))
  const service = await build(t, { REQUEST_TIMEOUT: '1s', REFRESH_REPLAY_GRACE: '0s' }, { url })
  const { body } = await service.browser().post('/v1/auth/register', { ...newUser(), refresh_token_delivery: 'body' })
  const second = (await service.browser().post('/v1/auth/refresh', { refresh_token: body.refresh_token })).body.refresh_token
  // The duplicate of a request is held up until the original and its successor are through.
  freeze()
  const late = service.browser().post('/v1/auth/refresh', { refresh_token: body.refresh_token })
  t.match(await late, { status: 503 })
  thaw()
  await eventually(service, 5_000)
  t.match(await service.browser().post('/v1/auth/refresh', { refresh_token: second }), { status: 200 })
  t.match(await service.sql('select end_reason from sessions where id = $1', [body.session_id]), [{ end_reason: null }])
})

t.test('started without its database, the service waits for it', async t => {
  const { url, block, unblock } = await flakyProxy(t, await createDatabase(t, { empty: true }))
  block()
  const service = await build(t, {}, { url, ready: false })
  t.match(await service.browser().get('/livez'), { status: 200 })
  t.match(await service.browser().get('/readyz'), unavailable)
  t.match(await service.browser().get('/.well-known/jwks.json'), unavailable)
  t.match(await service.browser().post('/v1/auth/login', newUser()), unavailable)
  t.match(await service.browser().post('/v1/auth/refresh', { refresh_token: 'lkr_garbage' }), { status: 401 })
  t.match(await service.browser().get('/v1/me', { authorization: 'Bearer a.b.c' }), { status: 401 })
  const authentic = mint({ kid: 'AAAAAAAA', secret: Buffer.alloc(32) }, { sessionId: '0199e8f2-6c1b-7000-8000-0a1b2c3d4e5f', generation: 1, issuedAt: new Date() })
  t.match(await service.browser().post('/v1/auth/refresh', { refresh_token: authentic }), unavailable, 'what may be authentic is not refused')
  unblock()
  await eventually(service, 5_000)
  t.match(await service.browser().post('/v1/auth/register', newUser()), { status: 201 })
})

t.test('a key that cannot be looked up is not an unknown one', async t => {
  const { url, block } = await flakyProxy(t, await createDatabase(t))
  const service = await build(t, { JWKS_MAX_AGE: '1s' }, { url })
  const { body: { access_token: token } } = await service.browser().post('/v1/auth/register', newUser())
  const [, payload, signature] = token.split('.')
  const other = `${Buffer.from(JSON.stringify({ alg: 'ES256', typ: 'at+jwt', kid: 'made-elsewhere' })).toString('base64url')}.${payload}.${signature}`
  t.match(await service.browser().get('/v1/me', { authorization: `Bearer ${other}` }), { status: 401 })
  block()
  // Until the next look the key was unknown a moment ago.
  await waitUntil('the keys are looked up again', async () =>
    (await service.browser().get('/v1/me', { authorization: `Bearer ${other}` })).status !== 401)
  for (let i = 0; i < 3; i++) {
    t.match(await service.browser().get('/v1/me', { authorization: `Bearer ${other}` }), unavailable)
    t.match(await service.browser().post('/v1/auth/logout', undefined, { authorization: `Bearer ${other}` }), unavailable)
  }
})

t.test('a statement that a schema change invalidated is prepared again', async t => {
  const service = await build(t)
  const ada = newUser()
  await service.browser().post('/v1/auth/register', ada)
  await service.browser().post('/v1/auth/login', ada)
  for (const change of ['alter column name type varchar(500)', 'add column nickname text']) {
    await service.sql(`alter table users ${change}`)
    const statuses = []
    for (let i = 0; i < 30; i++) statuses.push((await service.browser().post('/v1/auth/login', ada)).status)
    t.notOk(statuses.includes(500), change)
    t.equal(statuses.at(-1), 200, change)
  }
})

t.test('a missing schema is answered like a database that is away', async t => {
  const service = await build(t, { MIGRATE_ON_START: 'false' }, { url: await createDatabase(t, { empty: true }), ready: false })
  t.match(await service.browser().get('/readyz'), unavailable)
  t.match(await service.browser().post('/v1/auth/login', newUser()), unavailable)
})

t.test('when Postgres is killed under load, no confirmed change is lost, and the service recovers', async t => {
  const folder = mkdtempSync(join(tmpdir(), 'latchkey-crash-'))
  const postgres = await embeddedPostgres.start(folder)
  t.teardown(async () => {
    await postgres.stop()
    rmSync(folder, { recursive: true })
  })
  const service = await build(t, {}, { url: postgres.url })
  const people: Array<{ email: string, password: string, token: string, gone: boolean }> = []
  const load = { on: true }
  let outages = 0
  const live = async () => {
    while (load.on) {
      const ada = newUser()
      const { status, body } = await service.browser().post('/v1/auth/register', { ...ada, refresh_token_delivery: 'body' })
      if (status !== 201) { outages++; continue }
      const known = { ...ada, token: body.refresh_token as string, gone: false }
      people.push(known)
      const refreshed = await service.browser().post('/v1/auth/refresh', { refresh_token: known.token })
      if (refreshed.status === 200) known.token = refreshed.body.refresh_token
      else outages++
      if (people.length % 3 === 0) known.gone = (await service.browser().post('/v1/auth/logout', { refresh_token: known.token })).status === 204
    }
  }
  const lives = [live(), live(), live(), live()]
  const enough = async (count: number) => { while (people.length < count) await new Promise(resolve => setTimeout(resolve, 10)) }
  const { readFileSync } = await import('node:fs')
  for (const round of [1, 2]) {
    await enough(round * 40)
    process.kill(Number(readFileSync(join(postgres.dataDir, 'postmaster.pid'), 'utf8').split('\n')[0]), 'SIGKILL')
    const before = people.length
    await enough(before + 20)
  }
  load.on = false
  await Promise.all(lives)
  await eventually(service, 5_000)
  t.ok(outages > 0, `${outages} requests were told to come back`)
  let kept = 0
  for (const { email, password, token, gone } of people) {
    const refreshed = await service.browser().post('/v1/auth/refresh', { refresh_token: token })
    const login = await service.browser().post('/v1/auth/login', { email, password })
    if (refreshed.status === (gone ? 401 : 200) && login.status === 200) kept++
  }
  t.equal(kept, people.length, `${people.length} accounts, their sessions and their sign-outs`)
})
