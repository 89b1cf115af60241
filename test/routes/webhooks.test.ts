import { randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import type { ServerResponse } from 'node:http'
import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { Webhook } from 'standardwebhooks'
import t, { type Test } from 'tap'
import { freePort } from '../../src/database/embedded/server.ts'
import type { Browser } from '../support/client.ts'
import { connect } from '../../src/database/database.ts'
import { seal } from '../../src/crypto/sealing.ts'
import { purge } from '../../src/webhooks/deliveries.ts'
import { build, keyEncryptionKey, newUser, type Service } from '../support/app.ts'
import { ready, start } from '../support/process.ts'
import { receiver, type Received, type Receiver } from '../support/webhook-receiver.ts'
import { waitUntil } from '../support/polling.ts'
import { temporaryFolder } from '../support/temporary-folder.ts'

const loopback = { WEBHOOK_PRIVATE_NETWORKS: '127.0.0.0/8' }
const routes = '/v1/admin/webhooks'

/** A signed-in administrator. */
async function administrator (service: Service): Promise<Browser> {
  const browser = service.browser()
  const { body } = await browser.post('/v1/auth/register', newUser())
  await service.sql("update users set roles = '{user,admin}' where id = $1", [body.user.id])
  browser.accessToken = (await browser.post('/v1/auth/refresh')).body.access_token
  return browser
}

/** The service, with an administrator, somewhere to send to, and a webhook there. */
async function surroundings (t: Test, events = ['user.*', 'session.*', 'login.succeeded']) {
  const service = await build(t, loopback)
  const admin = await administrator(service)
  const inbox = await receiver(t)
  const { status, body: webhook } = await admin.post(routes, { url: inbox.url, events })
  t.equal(status, 201)
  const path = `${routes}/${webhook.id}`
  const deliveries = async (query = '') => (await admin.get(`${path}/deliveries${query}`)).body.items
  // As if it were tried later.
  const later = async () => { await service.sql("update jobs set run_at = now() where kind = 'webhook'") }
  return { service, admin, inbox, webhook, path, deliveries, later }
}

const verify = ({ text, headers }: Received, secret: string) => new Webhook(secret).verify(text, headers as Record<string, string>)
const status = (code: number): Parameters<Receiver['answer']>[0] => (_request, response) => { response.writeHead(code).end() }

t.test('events of accounts and sessions', async t => {
  const { service, inbox, webhook, deliveries } = await surroundings(t)
  const ada = { ...newUser(), name: 'Ada Lovelace' }
  const browser = service.browser()
  const { body: { user, session_id: sessionId, access_token: accessToken } } = await browser.post('/v1/auth/register', ada)
  browser.accessToken = accessToken
  await browser.patch('/v1/me', { name: 'Augusta' })
  await browser.post('/v1/auth/login', { email: ada.email, password: 'wrong' })
  await browser.post('/v1/auth/logout')
  const requests = await inbox.received(4)

  await t.test('are each posted once', async t => {
    await waitUntil('all are delivered', async () => (await deliveries('?status=delivered')).length === 4)
    t.strictSame(requests.map(({ type }) => type).sort(), ['login.succeeded', 'session.ended', 'user.registered', 'user.updated'])
    t.equal(new Set(requests.map(({ id }) => id)).size, 4)
    t.equal(inbox.requests.length, 4, 'what was not asked for is not sent')
    t.strictSame(await service.sql("select 1 from jobs where kind = 'webhook'"), [])
  })

  await t.test('contain the ids of the audit event', async t => {
    const events = await service.sql<Record<string, unknown>>('select id, type, created_at, user_id, session_id, actor_id, client_id, detail from audit_events where user_id = $1 and type not like $2', [user.id, 'login.f%'])
    for (const { type, timestamp, data } of requests) {
      const { type: _, created_at: createdAt, ...event } = events.find(event => event['type'] === type) ?? {}
      t.strictSame(data, event, type)
      t.equal(timestamp, (createdAt as Date).toISOString())
    }
    t.match(requests.find(({ type }) => type === 'session.ended')?.data, { user_id: user.id, session_id: sessionId, detail: { reason: /./ } })
    const kept = JSON.stringify([requests, await service.sql('select * from webhook_deliveries')])
    for (const secret of [ada.email, ada.name, 'Augusta']) t.notOk(kept.includes(secret), secret)
  })

  await t.test('have signatures that the standardwebhooks package accepts', async t => {
    for (const request of requests) {
      t.match(verify(request, webhook.secret), { type: request.type })
      const other = `whsec_${Buffer.alloc(32).toString('base64')}`
      t.throws(() => verify(request, other), 'not with another secret')
      t.throws(() => verify({ ...request, text: request.text.replace(user.id, randomUUID()) }, webhook.secret), 'not when it was tampered with')
      t.throws(() => verify({ ...request, headers: { ...request.headers, 'webhook-id': randomUUID() } }, webhook.secret), 'nor as another one')
      t.throws(() => verify({ ...request, headers: { ...request.headers, 'webhook-timestamp': String(Number(request.headers['webhook-timestamp']) + 1) } }, webhook.secret), 'nor later')
    }
  })

  await t.test('are verified by the code in docs/webhooks.md', async t => {
    const [code = ''] = readFileSync('docs/webhooks.md', 'utf8').split('```js\n').filter(block => block.includes('isGenuine')).map(block => block.split('```')[0])
    const { isGenuine }: { isGenuine: (headers: object, body: string, secret: string) => boolean } = await import(`data:text/javascript,${encodeURIComponent(code)}`)
    for (const { headers, text } of requests) {
      t.equal(isGenuine(headers, text, webhook.secret), true)
      t.equal(isGenuine(headers, `${text} `, webhook.secret), false)
      t.equal(isGenuine({ ...headers, 'webhook-signature': 'v1,AAAA' }, text, webhook.secret), false)
    }
  })

  await t.test('are enqueued in the transaction of their event', async t => {
    await service.sql("begin; insert into audit_events (type, user_id) values ('user.updated', gen_random_uuid()); rollback")
    t.equal((await deliveries()).length, 4)
    await service.sql("insert into audit_events (type, user_id, detail) values ('session.replayed', gen_random_uuid(), $1)", [{ opened_ip: '203.0.113.9', opened_user_agent: 'Firefox', reason: 'replayed' }])
    const [request] = (await inbox.received(5)).slice(-1)
    t.strictSame(request?.data['detail'], { reason: 'replayed' }, 'without what is somebody\'s in the detail')
    await service.sql("insert into audit_events (type, user_id, detail) values ('user.email_changed', gen_random_uuid(), $1), ('user.roles_changed', gen_random_uuid(), $1)", [{ from: ['a'], to: ['b'] }])
    const both = (await inbox.received(7)).slice(5)
    t.strictSame(Object.fromEntries(both.map(({ type, data }) => [type, data['detail']])), { 'user.email_changed': {}, 'user.roles_changed': { from: ['a'], to: ['b'] } })
  })
})

t.test('a failing receiver', async t => {
  const { admin, inbox, path, deliveries, later, webhook, service } = await surroundings(t, ['user.registered'])
  inbox.answer(status(500))
  const { body: { user } } = await service.browser().post('/v1/auth/register', newUser())
  const [first] = await inbox.received(1)
  const failed = async (attempts: number) => await waitUntil(`${attempts} attempts`, async () => (await deliveries()).find((each: { attempts: number }) => each.attempts === attempts))

  await t.test('is tried again later', async t => {
    const delivery = await failed(1)
    t.match(delivery, { id: first?.id, type: 'user.registered', status: 'pending', response_status: 500, error: 'status', finished_at: null })
    const [attempt] = (await admin.get(`${path}/deliveries/${delivery.id}`)).body.log
    const wait = (Date.parse(delivery.next_attempt_at) - Date.parse(attempt.created_at)) / 1_000
    t.ok(wait > 4 && wait < 6, `in ${wait} seconds`)
    t.match((await admin.get(path)).body, { status: 'active', failing_since: /./ })
  })

  await t.test('cannot redirect a delivery', async t => {
    const elsewhere = await receiver(t)
    inbox.answer((_request, response) => { response.writeHead(307, { location: elsewhere.url }).end() })
    await later()
    t.match(await failed(2), { status: 'pending', response_status: 307, error: 'status' })
    t.equal(elsewhere.connections(), 0)
  })

  await t.test('need not finish its response', async t => {
    inbox.answer((_request, response) => {
      response.writeHead(200)
      const more = setInterval(() => response.write('x'.repeat(4_096)), 1)
      response.on('close', () => clearInterval(more))
    })
    await later()
    t.match(await waitUntil('delivered', async () => (await deliveries('?status=delivered'))[0]), { attempts: 3, response_status: 200, error: null, next_attempt_at: null })
    t.match((await admin.get(path)).body, { failing_since: null })
  })

  await t.test('gets the same message each time, with a new signature', async t => {
    const all = inbox.requests
    t.equal(all.length, 3)
    t.strictSame(new Set(all.map(({ id, text }) => id + text)).size, 1)
    t.equal(new Set(all.map(({ headers }) => headers['webhook-signature'])).size, new Set(all.map(({ headers }) => headers['webhook-timestamp'])).size)
    for (const request of all) t.ok(verify(request, webhook.secret))
    const { body } = await admin.get(`${path}/deliveries/${first?.id}`)
    t.match(body.data, { user_id: user.id })
    t.strictSame(body.log.map((attempt: { response_status: number, error: string | null }) => [attempt.response_status, attempt.error]), [[200, null], [307, 'status'], [500, 'status']])
  })

  await t.test('gets a redelivery on request', async t => {
    inbox.answer(status(204))
    t.match(await admin.post(`${path}/deliveries/${first?.id}/redeliver`), { status: 202, body: { id: first?.id, status: 'pending' } })
    await inbox.received(4)
    t.match(await waitUntil('delivered', async () => (await deliveries('?status=delivered'))[0]), { attempts: 4 })
    t.match(await service.sql("select detail from audit_events where type = 'webhook.redelivered'"), [{ detail: { delivery_id: first?.id } }])
    t.match(await admin.post(`${path}/deliveries/${randomUUID()}/redeliver`), { status: 404 })
    t.match(await admin.post(`${routes}/${randomUUID()}/deliveries/${first?.id}/redeliver`), { status: 404 })
  })

  await t.test('gets no more attempts after the lifetime of the delivery', async t => {
    inbox.answer(status(503))
    const { status: accepted, body } = await admin.post(`${path}/test`)
    t.match({ accepted, body }, { accepted: 202, body: { type: 'webhook.test', status: 'pending' } })
    t.strictSame(await service.sql("select actor_id, detail from audit_events where type = 'webhook.tested'"), [{ actor_id: (await admin.get('/v1/me')).body.id, detail: { webhook_id: webhook.id, delivery_id: body.id } }])
    await inbox.received(5)
    await failed(1)
    await service.sql("update jobs set run_at = now(), expires_at = now() where kind = 'webhook'")
    t.match(await waitUntil('failed', async () => (await deliveries('?status=failed'))[0]), { type: 'webhook.test', attempts: 2, response_status: 503, next_attempt_at: null, finished_at: /./ })
    t.strictSame(await service.sql("select 1 from jobs where kind = 'webhook'"), [])
    t.equal((await deliveries('?type=webhook.test')).length, 1)
  })
})

t.test('a redelivery requested during an attempt is sent', async t => {
  const { service, admin, inbox, path, deliveries } = await surroundings(t, ['user.deleted'])
  // Whatever ends a job takes its time, in which others may have begun it anew.
  await service.sql("create function late () returns trigger language plpgsql as 'begin perform pg_sleep(1); return null; end'")
  await service.sql('create trigger late before delete on jobs for each statement execute function late()')
  const { body: { id } } = await admin.post(`${path}/test`)
  await waitUntil('delivered', async () => (await deliveries('?status=delivered')).length === 1)
  inbox.answer(status(500))
  t.equal((await admin.post(`${path}/deliveries/${id}/redeliver`)).status, 202)
  await inbox.received(2)
  await waitUntil('it failed, and nothing is ended any more', async () => (await deliveries())[0].response_status === 500 && (await service.sql("select 1 from pg_stat_activity where datname = current_database() and wait_event = 'PgSleep'")).length === 0)
  t.match((await deliveries())[0], { status: 'pending', attempts: 2, next_attempt_at: /./ }, 'it is tried again')
  await service.sql('drop trigger late on jobs')
  inbox.answer(status(204))
  await service.sql("update jobs set run_at = now() where kind = 'webhook'")
  await waitUntil('delivered', async () => (await deliveries('?status=delivered')).length === 1)
  t.strictSame(await service.sql("select 1 from jobs where kind = 'webhook'"), [])
})

t.test('a pause', async t => {
  const { admin, inbox, path, later, service, deliveries } = await surroundings(t, ['user.registered'])
  const register = async () => await service.browser().post('/v1/auth/register', newUser())
  const paused = async (reason: string) => await waitUntil(`paused: ${reason}`, async () => {
    const { body } = await admin.get(path)
    return body.status === 'paused' && body.paused_reason === reason && body
  })

  await t.test('starts on request, and keeps the events for later', async t => {
    t.match(await admin.patch(path, { status: 'paused' }), { status: 200, body: { status: 'paused', paused_reason: 'asked', paused_at: /./ } })
    await register()
    await register()
    await later()
    // What another one gets was looked for at the same time.
    const other = await receiver(t)
    await admin.post(routes, { url: other.url, events: ['user.updated'] })
    await service.sql("insert into audit_events (type, user_id) values ('user.updated', gen_random_uuid())")
    await other.received(1)
    t.equal(inbox.requests.length, 0)
    t.match(await deliveries(), [{ status: 'pending', next_attempt_at: null }, { status: 'pending', attempts: 0 }])
    await service.sql("update jobs set expires_at = now() - interval '9 days' where kind = 'webhook'")
    t.match(await admin.patch(path, { status: 'active' }), { status: 200, body: { status: 'active', paused_reason: null, paused_at: null } })
    await inbox.received(2)
  })

  await t.test('starts when the receiver answers 410', async t => {
    inbox.answer(status(410))
    await register()
    await paused('gone')
    t.match(await deliveries('?status=pending'), [{ attempts: 1, response_status: 410 }])
    t.match(await service.sql("select detail from audit_events where type = 'webhook.paused'"), [{ detail: { reason: 'gone' } }])
    t.ok(service.logs.some(({ msg }) => String(msg).startsWith('webhook paused')))
    inbox.answer(status(200))
    await admin.patch(path, { status: 'active' })
    await waitUntil('delivered', async () => (await deliveries('?status=pending')).length === 0)
  })

  await t.test('starts when nothing was delivered for a day', async t => {
    inbox.answer(status(500))
    await register()
    await waitUntil('an attempt', async () => (await deliveries('?status=pending'))[0]?.attempts === 1)
    await service.sql("update webhooks set failures = 18, failing_since = now() - interval '25 hours'")
    await later()
    await waitUntil('an attempt', async () => (await deliveries('?status=pending'))[0]?.attempts === 2)
    t.match((await admin.get(path)).body, { status: 'active' }, 'and not before twenty attempts')
    await later()
    await paused('failing')
    inbox.answer(status(200))
    t.match((await admin.patch(path, { status: 'active' })).body, { failing_since: null })
    await waitUntil('delivered', async () => (await deliveries('?status=pending')).length === 0)
  })

  await t.test('is postponed by a new URL, but not by the same URL', async t => {
    await service.sql("update webhooks set failures = 19, failing_since = now() - interval '25 hours'")
    t.match((await admin.patch(path, { url: inbox.url })).body, { failing_since: /./ })
    t.match((await admin.patch(path, { url: `${inbox.url}/moved` })).body, { status: 'active', failing_since: null })
    t.strictSame(await service.sql('select failures from webhooks where id = $1', [path.split('/').at(-1)]), [{ failures: 0 }])
    t.match((await admin.patch(path, { url: inbox.url })).body, { status: 'active', failing_since: null })
  })
})

t.test('a receiver that never answers does not delay others', async t => {
  const { admin, inbox, service } = await surroundings(t, ['user.updated'])
  const slow = await receiver(t)
  slow.answer(() => {})
  for (const path of ['/1', '/2', '/3']) t.match(await admin.post(routes, { url: slow.url + path, events: ['user.updated'] }), { status: 201 })
  const news = async (count: number) => { await service.sql("insert into audit_events (type, user_id) select 'user.updated', gen_random_uuid() from generate_series(1, $1)", [count]) }
  await news(200)
  await inbox.received(200)
  t.ok(slow.requests.length < 40, `${slow.requests.length} of 600 went to the slow ones meanwhile`)
  await waitUntil('given up', async () => (await service.sql("select 1 from webhook_attempts where error = 'timeout'")).length > 0)
  t.equal(inbox.requests.length, 200)
})

t.test('an oversized or broken response is a failure, and ends', async t => {
  const { admin, service, path, deliveries } = await surroundings(t, ['session.*'])
  const answers = ['', 'nonsense\r\n\r\n', 'HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n', 'HTTP/1.1 100 Continue\r\n\r\n', `HTTP/1.1 200 OK\r\n${'a: b\r\n'.repeat(20_000)}\r\n`, 'HTTP/1.1 304 Not Modified\r\n\r\n', 'HTTP/1.1 999 Odd\r\n\r\n']
  let asked = 0
  const odd = createServer(socket => {
    socket.on('error', () => {}).once('data', () => { socket.end(answers[asked++] ?? 'nonsense') })
  }).listen(0, '127.0.0.1')
  t.teardown(() => odd.close())
  await waitUntil('listening', () => odd.listening)
  await admin.patch(path, { url: `http://127.0.0.1:${(odd.address() as AddressInfo).port}/` })
  const { body: { id } } = await admin.post(`${path}/test`)
  for (const answer of answers) {
    const before = asked
    await service.sql("update jobs set run_at = now() where kind = 'webhook'")
    const { attempts } = await waitUntil(answer.slice(0, 20), async () => { const [delivery] = await deliveries(); return delivery.attempts > before && delivery })
    t.match((await admin.get(`${path}/deliveries/${id}`)).body, { status: 'pending', attempts, error: /^(connection|status)$/ })
  }
  await admin.patch(path, { url: `https://127.0.0.1:${(odd.address() as AddressInfo).port}/` })
  await service.sql("update jobs set run_at = now() where kind = 'webhook'")
  t.match(await waitUntil('no TLS', async () => (await deliveries()).find(({ error }: { error: string }) => error === 'tls')), { response_status: null })
})

t.test('housekeeping purges old deliveries and those of deleted webhooks', async t => {
  const { admin, service, path, webhook, inbox } = await surroundings(t, ['user.updated'])
  await admin.patch(path, { status: 'paused' })
  const { body: other } = await admin.post(routes, { url: inbox.url, events: ['session.*'] })
  await admin.patch(`${routes}/${other.id}`, { status: 'paused' })
  await service.sql("insert into audit_events (type, user_id) select type, gen_random_uuid() from generate_series(1, 10), unnest(array['user.updated', 'session.ended']) as type")
  const db = connect({ url: service.url })
  t.teardown(() => db.end())
  const left = async () => (await service.sql<{ n: string }>(`
    select concat_ws(' ', status, count(*), count(jobs.id)) as n from webhook_deliveries left join jobs using (id) where webhook_id = $1 group by status order by status`, [webhook.id])).map(({ n }) => n)
  const clear = async (kept?: number) => { while (await purge(db, 3, kept) === 3); }

  await clear()
  t.strictSame(await left(), ['pending 10 10'], 'and nothing else')
  await clear(6)
  t.strictSame(await left(), ['failed 4 0', 'pending 6 6'], 'too many are given up, the oldest first')
  t.match((await admin.get(`${path}/deliveries?status=failed`)).body.items, [{ error: 'dropped' }])
  await service.sql("update webhook_deliveries set created_at = now() - interval '31 days' where id in (select id from webhook_deliveries where webhook_id = $1 order by id limit 5)", [webhook.id])
  await clear()
  t.strictSame(await left(), ['pending 5 5'])
  await admin.delete(path)
  await clear()
  t.strictSame(await left(), [])
  t.equal((await service.sql('select 1 from webhooks')).length, 2, 'for transactions that still see it')
  await service.sql("update webhooks set deleted_at = now() - interval '2 hours' where id = $1", [webhook.id])
  await clear()
  t.strictSame(await service.sql('select id from webhooks'), [{ id: other.id }])
  t.equal((await service.sql("select 1 from jobs where kind = 'webhook'")).length, 6, 'the other has its own')
})

t.test('registrations succeed while webhooks are created and deleted', async t => {
  const { admin, service, inbox } = await surroundings(t, ['user.*'])
  const changing = (async () => {
    for (let round = 0; round < 10; round++) {
      const { body } = await admin.post(routes, { url: inbox.url, events: ['user.registered'] })
      await admin.patch(`${routes}/${body.id}`, { status: 'paused' })
      t.match(await admin.delete(`${routes}/${body.id}`), { status: 204 })
    }
  })()
  const statuses = await Promise.all(Array.from({ length: 40 }, async () => (await service.browser().post('/v1/auth/register', newUser())).status))
  await changing
  t.strictSame([...new Set(statuses)], [201])
})

t.test('many slow receivers do not delay others for longer than one response', async t => {
  const { admin, inbox, service } = await surroundings(t, ['user.enabled'])
  const slow = await receiver(t)
  const asked: ServerResponse[] = []
  slow.answer((_request, response) => { asked.push(response) })
  for (let index = 0; index < 17; index++) t.match(await admin.post(routes, { url: `${slow.url}/${index}`, events: ['user.updated'] }), { status: 201 })
  const news = async (type: string, count: number) => { await service.sql('insert into audit_events (type, user_id) select $1, gen_random_uuid() from generate_series(1, $2)', [type, count]) }
  await news('user.updated', 12)
  await slow.received(64)
  await news('user.enabled', 1)
  // Whoever is asked from now on takes their time.
  for (const response of asked.splice(0)) response.writeHead(204).end()
  await inbox.received(1)
  t.ok(slow.requests.length <= 128, `${slow.requests.length} of 204 went before`)
})

t.test('two instances send each delivery once', async t => {
  const { inbox, service } = await surroundings(t, ['user.updated'])
  await build(t, loopback, { url: service.url })
  await service.sql("insert into audit_events (type, user_id) select 'user.updated', gen_random_uuid() from generate_series(1, 300)")
  await inbox.received(300)
  await waitUntil('all are done', async () => (await service.sql("select 1 from jobs where kind = 'webhook'")).length === 0)
  t.equal(new Set(inbox.requests.map(({ id }) => id)).size, 300)
  t.equal(inbox.requests.length, 300)
})

t.test('a kill -9 during deliveries loses nothing', async t => {
  const service = await build(t, loopback)
  const admin = await administrator(service)
  const inbox = await receiver(t)
  await admin.post(routes, { url: inbox.url, events: ['user.updated'] })
  await service.app.close()
  await service.sql("insert into audit_events (type, user_id) select 'user.updated', gen_random_uuid() from generate_series(1, 50)")
  // Slow enough to be in the middle of.
  inbox.answer((_request, response) => { setTimeout(() => response.writeHead(204).end(), 50) })
  const env = { ...loopback, DATABASE_URL: service.url, KEY_ENCRYPTION_KEY: keyEncryptionKey.toString('base64') }
  const first = start(t, temporaryFolder(t), env, await freePort())
  await inbox.received(10)
  first.child.kill('SIGKILL')
  await first.ended
  t.ok(inbox.requests.length < 50)
  await service.sql("update jobs set run_at = now() where kind = 'webhook'")
  await ready(start(t, temporaryFolder(t), env, await freePort()))
  await waitUntil('all are done', async () => (await service.sql("select 1 from webhook_deliveries where status = 'delivered'")).length === 50)
  t.equal(new Set(inbox.requests.map(({ id }) => id)).size, 50)
  t.ok(inbox.requests.length <= 54, 'only those that were under way came twice')
})

t.test('a secret is rotated without downtime', async t => {
  const { admin, inbox, path, webhook, service } = await surroundings(t, ['user.registered'])
  const next = async () => {
    await admin.post(`${path}/test`)
    const requests = await inbox.received(inbox.requests.length + 1)
    return requests.slice(-1)[0] as Received
  }
  const fits = (request: Received, secret: string) => { try { return Boolean(verify(request, secret)) } catch { return false } }
  const second = (await admin.post(`${path}/secret`)).body.secret
  t.match(second, /^whsec_[A-Za-z0-9+/]{43}=$/)
  const both = await next()
  t.strictSame([webhook.secret, second].map(secret => fits(both, secret)), [true, true])
  const third = (await admin.post(`${path}/secret`)).body.secret
  const later = await next()
  t.strictSame([webhook.secret, second, third].map(secret => fits(later, secret)), [false, true, true])
  const fourth = (await admin.post(`${path}/secret`, { immediately: true })).body.secret
  const last = await next()
  t.strictSame([second, third, fourth].map(secret => fits(last, secret)), [false, false, true])
  await Promise.all(Array.from({ length: 4 }, async () => await admin.post(`${path}/secret`)))
  t.equal((await service.sql('select 1 from webhook_secrets')).length, 2)

  const stored = JSON.stringify([await service.sql("select encode(sealed_secret, 'base64') from webhook_secrets"), await service.sql("select detail from audit_events where type like 'webhook.%'"), service.logs])
  for (const secret of [webhook.secret, second, third, fourth]) t.notOk(stored.includes(secret.slice(6)), 'it is kept nowhere in clear')
  for (const { body } of [await admin.get(path), await admin.get(routes)]) t.notOk(JSON.stringify(body).includes('whsec_'))

  await t.test('and survives the rotation of the key that seals it', async t => {
    const newKey = Buffer.alloc(32, 7)
    await build(t, { ...loopback, KEY_ENCRYPTION_KEY: `${newKey.toString('base64')},${keyEncryptionKey.toString('base64')}` }, { url: service.url })
    await service.app.close()
    const { browser } = await build(t, { ...loopback, KEY_ENCRYPTION_KEY: newKey.toString('base64') }, { url: service.url })
    inbox.requests.length = 0
    const { status } = await browser().post('/v1/auth/register', newUser())
    t.equal(status, 201)
    const [request] = await inbox.received(1)
    t.match(request?.headers['webhook-signature'], /^v1,\S+ v1,\S+$/)
  })
})

t.test('a webhook whose secret cannot be unsealed', async t => {
  const { admin, inbox, path, service, deliveries, later, webhook } = await surroundings(t, ['user.registered'])
  const lost = Buffer.alloc(32, 9)
  const lose = async () => await service.sql('update webhook_secrets set sealed_secret = $1', [seal([lost], 'webhook secret', lost)])
  await lose()
  await service.browser().post('/v1/auth/register', newUser())

  await t.test('gets nothing that is not signed, which the logs tell', async t => {
    const { id } = await waitUntil('an attempt', async () => (await deliveries()).find(({ attempts }: { attempts: number }) => attempts === 1))
    t.match((await admin.get(`${path}/deliveries/${id}`)).body, { status: 'pending', error: 'secret', next_attempt_at: /./, log: [{ response_status: null, error: 'secret' }] })
    t.match(service.logs.find(({ error }) => error === 'secret'), { level: 40, webhook: webhook.id, delivery: id })
    t.equal(inbox.connections(), 0)
  })

  await t.test('is paused like an unreachable webhook', async t => {
    await service.sql("update webhooks set failures = 19, failing_since = now() - interval '25 hours'")
    await later()
    t.match(await waitUntil('paused', async () => { const { body } = await admin.get(path); return body.status === 'paused' && body }), { paused_reason: 'failing' })
    t.match(await admin.patch(path, { status: 'active' }), { status: 200 })
    await waitUntil('an attempt', async () => (await deliveries()).find(({ attempts }: { attempts: number }) => attempts === 3))
  })

  await t.test('gets the waiting deliveries once its secret is rotated', async t => {
    const { body: { secret } } = await admin.post(`${path}/secret`)
    const [request] = await inbox.received(1)
    t.ok(request && verify(request, secret))
    await waitUntil('delivered', async () => (await deliveries('?status=delivered')).length === 1)
    t.match((await admin.get(path)).body, { failing_since: null })
  })

  await t.test('gets no more attempts after the lifetime of the delivery', async t => {
    await lose()
    await admin.post(`${path}/test`)
    await waitUntil('an attempt', async () => (await deliveries('?status=pending')).find(({ attempts }: { attempts: number }) => attempts === 1))
    await service.sql("update jobs set run_at = now(), expires_at = now() where kind = 'webhook'")
    t.match(await waitUntil('failed', async () => (await deliveries('?status=failed'))[0]), { error: 'secret', finished_at: /./ })
    t.equal(inbox.connections(), 1)
  })
})

t.test('the routes', async t => {
  const { admin, path, webhook, service, inbox } = await surroundings(t, ['user.registered', 'user.registered'])

  await t.test('are restricted to administrators', async t => {
    const user = service.browser()
    user.accessToken = (await user.post('/v1/auth/register', newUser())).body.access_token
    const [delivery] = await waitUntil('a delivery', async () => { const { items } = (await admin.get(`${path}/deliveries`)).body; return items.length > 0 && items })
    for (const [method, url, body] of [
      ['GET', routes], ['POST', routes, { url: inbox.url, events: ['user.*'] }], ['GET', path], ['PATCH', path, { events: ['user.*'] }], ['DELETE', path],
      ['POST', `${path}/secret`], ['POST', `${path}/test`], ['GET', `${path}/deliveries`], ['GET', `${path}/deliveries/${delivery.id}`], ['POST', `${path}/deliveries/${delivery.id}/redeliver`]
    ] as const) {
      t.match(await user.send(method, url, body), { status: 403, body: { code: 'forbidden' } }, `${method} ${url}`)
      t.match(await service.browser().send(method, url, body), { status: 401 })
    }
    t.equal((await service.sql('select 1 from webhooks')).length, 1)
  })

  await t.test('show and change webhooks', async t => {
    t.match(webhook, { events: ['user.registered'], description: null, status: 'active', secret: /^whsec_/ })
    const { body: second } = await admin.post(routes, { url: 'https://hooks.example.com/', events: ['session.*'], description: 'Orders' })
    const { secret, ...shown } = second
    t.match(secret, /^whsec_/)
    t.strictSame((await admin.get(`${routes}?limit=1`)).body, { items: [shown], next_cursor: second.id })
    t.match((await admin.get(`${routes}?limit=1&cursor=${second.id}`)).body, { items: [{ id: webhook.id }], next_cursor: null })
    t.match((await admin.patch(`${routes}/${second.id}`, { url: 'https://hooks.example.com/2', events: ['user.updated'], description: null })).body, { url: 'https://hooks.example.com/2', events: ['user.updated'], description: null })
    t.match(await service.sql("select detail from audit_events where type = 'webhook.updated'"), [{ detail: { webhook_id: second.id, changed: ['description', 'events', 'url'] } }], 'not the URL, which may be a secret')
    t.match(await admin.patch(`${routes}/${second.id}`, {}), { status: 200, body: { url: 'https://hooks.example.com/2' } })
    const { body: before } = await admin.get(`${routes}/${second.id}`)
    for (const same of [{ url: 'https://hooks.example.com/2' }, { events: ['user.updated', 'user.updated'] }, { description: null, status: 'active' }]) t.strictSame((await admin.patch(`${routes}/${second.id}`, same)).body, before, 'a change to what it is already is none')
    t.match(await admin.delete(`${routes}/${second.id}`), { status: 204 })
    for (const answer of [await admin.get(`${routes}/${second.id}`), await admin.delete(`${routes}/${second.id}`), await admin.patch(`${routes}/${second.id}`, { status: 'paused' }), await admin.post(`${routes}/${second.id}/secret`), await admin.post(`${routes}/${second.id}/test`), await admin.get(`${routes}/${second.id}/deliveries`)]) t.match(answer, { status: 404 })
    t.equal((await admin.get(routes)).body.items.length, 1)
    t.strictSame((await service.sql<{ type: string }>("select type from audit_events where type like 'webhook.%' order by id")).map(({ type }) => type), ['webhook.created', 'webhook.created', 'webhook.updated', 'webhook.deleted'])
  })

  await t.test('reject unknown events and settings', async t => {
    for (const [pointer, body] of [
      ['/events/0', { url: inbox.url, events: ['webhook.created'] }],
      ['/events/0', { url: inbox.url, events: ['login.failed'] }],
      ['/events', { url: inbox.url, events: [] }],
      ['/events', { url: inbox.url }],
      ['/secret', { url: inbox.url, events: ['user.*'], secret: 'whsec_AAAA' }],
      ['/url', { url: `${inbox.url}\0`, events: ['user.*'] }],
      ['/url', { url: inbox.url.replace('hook', 'ho\nok'), events: ['user.*'] }],
      ['/url', { url: ` ${inbox.url}`, events: ['user.*'] }]
    ] as const) t.match(await admin.post(routes, body), { status: 400, body: { code: 'validation_failed', errors: [{ pointer }] } })
    t.match(await admin.patch(path, { status: 'gone' }), { status: 400 })
    t.match(await admin.patch(path, { url: 'http://10.0.0.1/' }), { status: 400, body: { errors: [{ pointer: '/url' }] } })
  })

  await t.test('page through deliveries', async t => {
    for (const url of Array(3).fill(`${path}/test`)) await admin.post(url)
    const all = (await admin.get(`${path}/deliveries`)).body.items.map(({ id }: { id: string }) => id)
    const found: string[] = []
    for (let cursor: string | null = ''; cursor !== null;) {
      const { body }: { body: { items: Array<{ id: string }>, next_cursor: string | null } } = await admin.get(`${path}/deliveries?limit=2${cursor && `&cursor=${cursor}`}`)
      found.push(...body.items.map(({ id }) => id))
      cursor = body.next_cursor
    }
    t.strictSame(found, all)
    t.ok(all.length >= 4)
  })
})
