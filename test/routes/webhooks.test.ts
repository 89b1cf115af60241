import { randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import type { ServerResponse } from 'node:http'
import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { Webhook } from 'standardwebhooks'
import type { Test } from 'tap'
import { freePort } from '../../src/database/embedded/server.ts'
import type { Browser } from '../support/client.ts'
import { connect } from '../../src/database/database.ts'
import { seal } from '../../src/crypto/sealing.ts'
import { purge } from '../../src/webhooks/delivery-batches.ts'
import { build, keyEncryptionKey, newUser, type Service } from '../support/app.ts'
import { ready, start } from '../support/process.ts'
import { t } from '../support/test.ts'
import { receiver, type ReceivedWebhook, type Receiver } from '../support/webhook-receiver.ts'
import { waitUntil } from '../support/polling.ts'
import { repeatUnavailable } from '../support/repetition.ts'
import { temporaryFolder } from '../support/temporary-folder.ts'

const allowLoopback = { WEBHOOK_PRIVATE_NETWORKS: '127.0.0.0/8' }
const webhooksPath = '/v1/admin/webhooks'

interface DeliveryItem {
  id: string
  attempts: number
  status: string
  response_status: number | null
  error: string | null
  next_attempt_at: string
}

/** Signs an administrator in. */
async function signInAdmin (service: Service): Promise<Browser> {
  const browser = service.browser()
  const { body } = await browser.post('/v1/auth/register', newUser())
  await service.sql("update users set roles = '{user,admin}' where id = $1", [body.user.id])
  browser.accessToken = (await browser.post('/v1/auth/refresh')).body.access_token
  return browser
}

const register = async (service: Service) => await service.browser().post('/v1/auth/register', newUser())

/** Builds the service with an administrator, a receiver, and a webhook that sends these events there. */
async function setUp (t: Test, events = ['user.*', 'session.*', 'login.succeeded']) {
  const service = await build(t, allowLoopback)
  const admin = await signInAdmin(service)
  const inbox = await receiver(t)
  const { status, body: webhook } = await admin.post(webhooksPath, { url: inbox.url, events })
  t.equal(status, 201)
  const path = `${webhooksPath}/${webhook.id}`
  const deliveries = async (query = ''): Promise<DeliveryItem[]> =>
    (await admin.get(`${path}/deliveries${query}`)).body.items
  const waitForStatus = async (status: string) =>
    await waitUntil(`a ${status} delivery`, async () => (await deliveries(`?status=${status}`))[0])
  const waitForAttempts = async (attempts: number, query?: string) =>
    await waitUntil(`${attempts} attempts`, async () =>
      (await deliveries(query)).find(delivery => delivery.attempts === attempts))
  return { service, admin, inbox, webhook, path, deliveries, waitForStatus, waitForAttempts }
}

/** Makes all jobs of webhooks due now. */
const makeDue = async ({ sql }: Service) => {
  await sql("update jobs set run_at = now() where kind = 'webhook'")
}
/** Makes all jobs of webhooks due now, for the last time. */
const expire = async ({ sql }: Service) => {
  await sql("update jobs set run_at = now(), expires_at = now() where kind = 'webhook'")
}
const countJobs = async ({ sql }: Service) =>
  (await sql("select 1 from jobs where kind = 'webhook'")).length

/** Inserts events, each of another user. */
const insertEvents = async ({ sql }: Service, type: string, count: number) => {
  await sql(`
    insert into audit_events (type, user_id)
    select $1, gen_random_uuid() from generate_series(1, $2)`, [type, count])
}

const verify = ({ text, headers }: ReceivedWebhook, secret: string) =>
  new Webhook(secret).verify(text, headers as Record<string, string>)
const respondWith = (status: number): Parameters<Receiver['answer']>[0] =>
  (_request, response) => { response.writeHead(status).end() }

t.test('an event of an account or a session', async t => {
  const { service, inbox, webhook, deliveries } = await setUp(t)
  const ada = { ...newUser(), name: 'Ada Lovelace' }
  const browser = service.browser()
  const { body } = await browser.post('/v1/auth/register', ada)
  const { user, session_id: sessionId } = body
  browser.accessToken = body.access_token
  await browser.patch('/v1/me', { name: 'Augusta' })
  await browser.post('/v1/auth/login', { email: ada.email, password: 'wrong' })
  await browser.post('/v1/auth/logout')
  const requests = await inbox.received(4)

  await t.test('is sent once, if the webhook is subscribed to it', async t => {
    await waitUntil('all are delivered', async () => (await deliveries('?status=delivered')).length === 4)
    const types = ['login.succeeded', 'session.ended', 'user.registered', 'user.updated']
    t.strictSame(requests.map(({ type }) => type).sort(), types)
    t.equal(new Set(requests.map(({ id }) => id)).size, 4)
    t.equal(inbox.requests.length, 4, 'other events are not sent')
    t.equal(await countJobs(service), 0)
  })

  await t.test('has the ids of the audit event, and no personal data', async t => {
    const events = await service.sql<Record<string, unknown>>(`
      select id, type, created_at, user_id, session_id, actor_id, client_id, detail
      from audit_events where user_id = $1 and type not like $2`, [user.id, 'login.f%'])
    for (const { type, timestamp, data } of requests) {
      const { type: _, created_at: createdAt, ...event } = events.find(event => event['type'] === type) ?? {}
      t.strictSame(data, event, type)
      t.equal(timestamp, (createdAt as Date).toISOString())
    }
    const ended = requests.find(({ type }) => type === 'session.ended')
    t.match(ended?.data, { user_id: user.id, session_id: sessionId, detail: { reason: /./ } })
    const sentAndStored = JSON.stringify([requests, await service.sql('select * from webhook_deliveries')])
    for (const value of [ada.email, ada.name, 'Augusta']) t.notOk(sentAndStored.includes(value), value)
  })

  await t.test('has a signature that the standardwebhooks package accepts', async t => {
    const { secret } = webhook
    const otherSecret = `whsec_${Buffer.alloc(32).toString('base64')}`
    for (const request of requests) {
      const { text, headers } = request
      t.match(verify(request, secret), { type: request.type })
      t.throws(() => verify(request, otherSecret), 'another secret')
      const otherText = text.replace(user.id, randomUUID())
      t.throws(() => verify({ ...request, text: otherText }, secret), 'another body')
      const otherId = { ...headers, 'webhook-id': randomUUID() }
      t.throws(() => verify({ ...request, headers: otherId }, secret), 'another id')
      const otherTime = { ...headers, 'webhook-timestamp': String(Number(headers['webhook-timestamp']) + 1) }
      t.throws(() => verify({ ...request, headers: otherTime }, secret), 'another time')
    }
  })

  await t.test('has a signature that the code in docs/webhooks.md accepts', async t => {
    const blocks = readFileSync('docs/webhooks.md', 'utf8').split('```js\n').map(text => text.split('```')[0])
    const code = blocks.find(block => block?.includes('isGenuine')) ?? ''
    const { isGenuine }: { isGenuine: (headers: object, body: string, secret: string) => boolean } =
      await import(`data:text/javascript,${encodeURIComponent(code)}`)
    for (const { headers, text } of requests) {
      t.equal(isGenuine(headers, text, webhook.secret), true)
      t.equal(isGenuine(headers, `${text} `, webhook.secret), false)
      t.equal(isGenuine({ ...headers, 'webhook-signature': 'v1,AAAA' }, text, webhook.secret), false)
    }
  })

  await t.test('is enqueued in the transaction of the audit event', async t => {
    await service.sql(`
      begin;
      insert into audit_events (type, user_id) values ('user.updated', gen_random_uuid());
      rollback`)
    t.equal((await deliveries()).length, 4)
  })

  await t.test('has only those details that are not personal', async t => {
    await service.sql(`
      insert into audit_events (type, user_id, detail) values ('session.replayed', gen_random_uuid(), $1)`,
    [{ opened_ip: '203.0.113.9', opened_user_agent: 'Firefox', reason: 'replayed' }])
    const reuse = (await inbox.received(5)).at(-1)
    t.strictSame(reuse?.data['detail'], { reason: 'replayed' })
    await service.sql(`
      insert into audit_events (type, user_id, detail) values
        ('user.email_changed', gen_random_uuid(), $1), ('user.roles_changed', gen_random_uuid(), $1)`,
    [{ from: ['a'], to: ['b'] }])
    const changes = (await inbox.received(7)).slice(5)
    const details = Object.fromEntries(changes.map(({ type, data }) => [type, data['detail']]))
    t.strictSame(details, { 'user.email_changed': {}, 'user.roles_changed': { from: ['a'], to: ['b'] } })
  })
})

t.test('a failing receiver', async t => {
  const {
    admin, inbox, path, deliveries, waitForStatus, waitForAttempts, webhook, service
  } = await setUp(t, ['user.registered'])
  inbox.answer(respondWith(500))
  const { body: { user } } = await register(service)
  const [firstRequest] = await inbox.received(1)
  const deliveryPath = `${path}/deliveries/${firstRequest?.id}`

  await t.test('gets another attempt after a delay', async t => {
    const delivery = await waitForAttempts(1)
    t.match(delivery, {
      id: firstRequest?.id,
      type: 'user.registered',
      status: 'pending',
      response_status: 500,
      error: 'status',
      finished_at: null
    })
    const [attempt] = (await admin.get(deliveryPath)).body.log
    const delaySeconds = (Date.parse(delivery.next_attempt_at) - Date.parse(attempt.created_at)) / 1_000
    t.ok(delaySeconds > 4 && delaySeconds < 6, `in ${delaySeconds} seconds`)
    t.match((await admin.get(path)).body, { status: 'active', failing_since: /./ })
  })

  await t.test('cannot redirect a delivery', async t => {
    const redirectTarget = await receiver(t)
    inbox.answer((_request, response) => { response.writeHead(307, { location: redirectTarget.url }).end() })
    await makeDue(service)
    t.match(await waitForAttempts(2), { status: 'pending', response_status: 307, error: 'status' })
    t.equal(redirectTarget.connections(), 0)
  })

  await t.test('need not finish the body of its response', async t => {
    inbox.answer((_request, response) => {
      response.writeHead(200)
      const writing = setInterval(() => response.write('x'.repeat(4_096)), 1)
      response.on('close', () => clearInterval(writing))
    })
    await makeDue(service)
    t.match(await waitForStatus('delivered'), {
      attempts: 3, response_status: 200, error: null, next_attempt_at: null
    })
    t.match((await admin.get(path)).body, { failing_since: null })
  })

  await t.test('gets the same message each time, with a new signature', async t => {
    const { requests } = inbox
    t.equal(requests.length, 3)
    t.strictSame(new Set(requests.map(({ id, text }) => id + text)).size, 1)
    const distinct = (header: string) => new Set(requests.map(({ headers }) => headers[header])).size
    t.equal(distinct('webhook-signature'), distinct('webhook-timestamp'))
    for (const request of requests) t.ok(verify(request, webhook.secret))
    const { body } = await admin.get(deliveryPath)
    t.match(body.data, { user_id: user.id })
    const attempts = body.log.map((attempt: DeliveryItem) => [attempt.response_status, attempt.error])
    t.strictSame(attempts, [[200, null], [307, 'status'], [500, 'status']])
  })

  await t.test('gets a redelivery on request', async t => {
    inbox.answer(respondWith(204))
    t.match(await admin.post(`${deliveryPath}/redeliver`), {
      status: 202, body: { id: firstRequest?.id, status: 'pending' }
    })
    await inbox.received(4)
    t.match(await waitForStatus('delivered'), { attempts: 4 })
    const events = await service.sql("select detail from audit_events where type = 'webhook.redelivered'")
    t.match(events, [{ detail: { delivery_id: firstRequest?.id } }])
    const unknownDelivery = `${path}/deliveries/${randomUUID()}`
    const unknownWebhook = `${webhooksPath}/${randomUUID()}/deliveries/${firstRequest?.id}`
    for (const unknown of [unknownDelivery, unknownWebhook]) {
      t.match(await admin.post(`${unknown}/redeliver`), { status: 404 })
    }
  })

  await t.test('gets no more attempts after the lifetime of the delivery', async t => {
    inbox.answer(respondWith(503))
    const { status, body } = await admin.post(`${path}/test`)
    t.equal(status, 202)
    t.match(body, { type: 'webhook.test', status: 'pending' })
    const { id: adminId } = (await admin.get('/v1/me')).body
    const events = await service.sql(
      "select actor_id, detail from audit_events where type = 'webhook.tested'")
    const detail = { webhook_id: webhook.id, delivery_id: body.id }
    t.strictSame(events, [{ actor_id: adminId, detail }])
    await inbox.received(5)
    await waitForAttempts(1)
    await expire(service)
    t.match(await waitForStatus('failed'), {
      type: 'webhook.test', attempts: 2, response_status: 503, next_attempt_at: null, finished_at: /./
    })
    t.equal(await countJobs(service), 0)
    t.equal((await deliveries('?type=webhook.test')).length, 1)
  })
})

t.test('a redelivery requested during an attempt is sent', async t => {
  const { service, admin, inbox, path, deliveries, waitForStatus } = await setUp(t, ['user.deleted'])
  // The end of a job is slow, so that the redelivery is requested before the job is deleted.
  await service.sql(`create function delay () returns trigger language plpgsql as $$ begin
    perform pg_sleep(1);
    return null;
  end $$`)
  await service.sql('create trigger delay before delete on jobs for each statement execute function delay()')
  const { body: { id } } = await admin.post(`${path}/test`)
  await waitForStatus('delivered')
  inbox.answer(respondWith(500))
  t.equal((await admin.post(`${path}/deliveries/${id}/redeliver`)).status, 202)
  await inbox.received(2)
  await waitUntil('the redelivery has failed, and no job is being deleted', async () => {
    const [delivery] = await deliveries()
    const sleeping = await service.sql(
      "select 1 from pg_stat_activity where datname = current_database() and wait_event = 'PgSleep'")
    return delivery?.response_status === 500 && sleeping.length === 0
  })
  t.match((await deliveries())[0], { status: 'pending', attempts: 2, next_attempt_at: /./ })
  await service.sql('drop trigger delay on jobs')
  inbox.answer(respondWith(204))
  await makeDue(service)
  await waitForStatus('delivered')
  t.equal(await countJobs(service), 0)
})

t.test('a webhook is paused', async t => {
  const { admin, inbox, path, service, deliveries, waitForAttempts } = await setUp(t, ['user.registered'])
  const waitForPause = async (reason: string) => await waitUntil(`paused: ${reason}`, async () => {
    const { body } = await admin.get(path)
    return body.status === 'paused' && body.paused_reason === reason && body
  })
  const waitUntilDelivered = async () => await waitUntil('all are delivered', async () =>
    (await deliveries('?status=pending')).length === 0)

  await t.test('on request, and gets the events of the pause when it is resumed', async t => {
    t.match(await admin.patch(path, { status: 'paused' }), {
      status: 200, body: { status: 'paused', paused_reason: 'asked', paused_at: /./ }
    })
    await register(service)
    await register(service)
    await makeDue(service)
    // After a later event reached another webhook, the service has also checked this one.
    const otherInbox = await receiver(t)
    await admin.post(webhooksPath, { url: otherInbox.url, events: ['user.updated'] })
    await insertEvents(service, 'user.updated', 1)
    await otherInbox.received(1)
    t.equal(inbox.requests.length, 0)
    t.match(await deliveries(), [
      { status: 'pending', next_attempt_at: null }, { status: 'pending', attempts: 0 }
    ])
    await service.sql("update jobs set expires_at = now() - interval '9 days' where kind = 'webhook'")
    t.match(await admin.patch(path, { status: 'active' }), {
      status: 200, body: { status: 'active', paused_reason: null, paused_at: null }
    })
    await inbox.received(2)
  })

  await t.test('if the receiver answers 410', async t => {
    inbox.answer(respondWith(410))
    await register(service)
    await waitForPause('gone')
    t.match(await deliveries('?status=pending'), [{ attempts: 1, response_status: 410 }])
    const events = await service.sql("select detail from audit_events where type = 'webhook.paused'")
    t.match(events, [{ detail: { reason: 'gone' } }])
    t.ok(service.logs.some(({ msg }) => String(msg).startsWith('webhook paused')))
    inbox.answer(respondWith(200))
    await admin.patch(path, { status: 'active' })
    await waitUntilDelivered()
  })

  await t.test('if twenty attempts over a day have failed', async t => {
    inbox.answer(respondWith(500))
    await register(service)
    await waitForAttempts(1, '?status=pending')
    await service.sql("update webhooks set failures = 18, failing_since = now() - interval '25 hours'")
    await makeDue(service)
    await waitForAttempts(2, '?status=pending')
    t.match((await admin.get(path)).body, { status: 'active' }, 'after nineteen attempts')
    await makeDue(service)
    await waitForPause('failing')
    inbox.answer(respondWith(200))
    t.match((await admin.patch(path, { status: 'active' })).body, { failing_since: null })
    await waitUntilDelivered()
  })

  await t.test('later if it gets a new URL, but not if it gets the same URL again', async t => {
    await service.sql("update webhooks set failures = 19, failing_since = now() - interval '25 hours'")
    t.match((await admin.patch(path, { url: inbox.url })).body, { failing_since: /./ })
    const moved = await admin.patch(path, { url: `${inbox.url}/moved` })
    t.match(moved.body, { status: 'active', failing_since: null })
    const rows = await service.sql('select failures from webhooks where id = $1', [path.split('/').at(-1)])
    t.strictSame(rows, [{ failures: 0 }])
    t.match((await admin.patch(path, { url: inbox.url })).body, { status: 'active', failing_since: null })
  })
})

t.test('a receiver that never answers does not delay others', async t => {
  const { admin, inbox, service } = await setUp(t, ['user.updated'])
  const slow = await receiver(t)
  slow.answer(() => {})
  for (const path of ['/1', '/2', '/3']) {
    const webhook = { url: slow.url + path, events: ['user.updated'] }
    t.match(await admin.post(webhooksPath, webhook), { status: 201 })
  }
  await insertEvents(service, 'user.updated', 200)
  await inbox.received(200)
  const slowCount = slow.requests.length
  t.ok(slowCount < 40, `${slowCount} of 600 requests went to the slow receiver meanwhile`)
  await waitUntil('a request times out', async () =>
    (await service.sql("select 1 from webhook_attempts where error = 'timeout'")).length > 0)
  t.equal(inbox.requests.length, 200)
})

t.test('an oversized or malformed response fails the attempt', async t => {
  const { admin, service, path, deliveries } = await setUp(t, ['session.*'])
  const responses = [
    '',
    'nonsense\r\n\r\n',
    'HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n',
    'HTTP/1.1 100 Continue\r\n\r\n',
    `HTTP/1.1 200 OK\r\n${'a: b\r\n'.repeat(20_000)}\r\n`,
    'HTTP/1.1 304 Not Modified\r\n\r\n',
    'HTTP/1.1 999 Odd\r\n\r\n'
  ]
  let requestCount = 0
  const brokenServer = createServer(socket => {
    socket.on('error', () => {}).once('data', () => { socket.end(responses[requestCount++] ?? 'nonsense') })
  }).listen(0, '127.0.0.1')
  t.teardown(() => brokenServer.close())
  await waitUntil('the server listens', () => brokenServer.listening)
  const { port } = brokenServer.address() as AddressInfo
  await admin.patch(path, { url: `http://127.0.0.1:${port}/` })
  const { body: { id } } = await admin.post(`${path}/test`)
  for (const response of responses) {
    const previous = requestCount
    await makeDue(service)
    const { attempts } = await waitUntil(response.slice(0, 20), async () =>
      (await deliveries()).find(({ attempts }) => attempts > previous))
    t.match((await admin.get(`${path}/deliveries/${id}`)).body, {
      status: 'pending', attempts, error: /^(connection|status)$/
    })
  }
  await admin.patch(path, { url: `https://127.0.0.1:${port}/` })
  await makeDue(service)
  const withoutTls = await waitUntil('the TLS handshake fails', async () =>
    (await deliveries()).find(({ error }) => error === 'tls'))
  t.match(withoutTls, { response_status: null })
})

t.test('housekeeping purges old deliveries and those of deleted webhooks', async t => {
  const { admin, service, path, webhook, inbox } = await setUp(t, ['user.updated'])
  await admin.patch(path, { status: 'paused' })
  const { body: otherWebhook } = await admin.post(webhooksPath, { url: inbox.url, events: ['session.*'] })
  await admin.patch(`${webhooksPath}/${otherWebhook.id}`, { status: 'paused' })
  for (const type of ['user.updated', 'session.ended']) await insertEvents(service, type, 10)
  const db = connect({ url: service.url })
  t.teardown(() => db.end())
  /** For each status: the number of the webhook's deliveries, and how many of them have a job. */
  const remaining = async () => (await service.sql<{ summary: string }>(`
    select concat_ws(' ', status, count(*), count(jobs.id)) as summary
    from webhook_deliveries left join jobs using (id)
    where webhook_id = $1
    group by status order by status`, [webhook.id])).map(({ summary }) => summary)
  const purgeAll = async (maxPending?: number) => { while (await purge(db, 3, maxPending) === 3); }

  await purgeAll()
  t.strictSame(await remaining(), ['pending 10 10'])
  await purgeAll(6)
  t.strictSame(await remaining(), ['failed 4 0', 'pending 6 6'], 'the oldest beyond the limit fail')
  t.match((await admin.get(`${path}/deliveries?status=failed`)).body.items, [{ error: 'dropped' }])
  await service.sql(`
    update webhook_deliveries set created_at = now() - interval '31 days'
    where id in (select id from webhook_deliveries where webhook_id = $1 order by id limit 5)`, [webhook.id])
  await purgeAll()
  t.strictSame(await remaining(), ['pending 5 5'])
  await admin.delete(path)
  await purgeAll()
  t.strictSame(await remaining(), [])
  t.equal((await service.sql('select 1 from webhooks')).length, 2, 'the webhook stays for open transactions')
  await service.sql("update webhooks set deleted_at = now() - interval '2 hours' where id = $1", [webhook.id])
  await purgeAll()
  t.strictSame(await service.sql('select id from webhooks'), [{ id: otherWebhook.id }])
  t.equal(await countJobs(service), 6, 'the other webhook keeps its jobs')
})

t.test('registrations succeed while webhooks are created and deleted', async t => {
  const { admin, service, inbox } = await setUp(t, ['user.*'])
  const changes = (async () => {
    for (let round = 0; round < 10; round++) {
      const { body } = await admin.post(webhooksPath, { url: inbox.url, events: ['user.registered'] })
      await admin.patch(`${webhooksPath}/${body.id}`, { status: 'paused' })
      t.match(await admin.delete(`${webhooksPath}/${body.id}`), { status: 204 })
    }
  })()
  const answers = await Promise.all(Array.from({ length: 40 }, async () => await register(service)))
  await changes
  t.strictSame([...new Set(answers.map(({ status }) => status))], [201])
})

t.test('many slow receivers do not delay others for longer than one response', async t => {
  const { admin, inbox, service } = await setUp(t, ['user.enabled'])
  const slow = await receiver(t)
  const unanswered: ServerResponse[] = []
  slow.answer((_request, response) => { unanswered.push(response) })
  for (let index = 0; index < 17; index++) {
    const webhook = { url: `${slow.url}/${index}`, events: ['user.updated'] }
    t.match(await admin.post(webhooksPath, webhook), { status: 201 })
  }
  await insertEvents(service, 'user.updated', 12)
  await slow.received(64)
  await insertEvents(service, 'user.enabled', 1)
  // Only the requests so far are answered. Later ones take their place and are not.
  for (const response of unanswered.splice(0)) response.writeHead(204).end()
  await inbox.received(1)
  t.ok(slow.requests.length <= 128, `${slow.requests.length} of 204 slow requests were sent before`)
})

t.test('two instances send each delivery once', async t => {
  const { inbox, service } = await setUp(t, ['user.updated'])
  await build(t, allowLoopback, { url: service.url })
  await insertEvents(service, 'user.updated', 300)
  await inbox.received(300)
  await waitUntil('all jobs are done', async () => await countJobs(service) === 0)
  t.equal(new Set(inbox.requests.map(({ id }) => id)).size, 300)
  t.equal(inbox.requests.length, 300)
})

t.test('no delivery is lost if the process is killed with SIGKILL', async t => {
  const service = await build(t, allowLoopback)
  const admin = await signInAdmin(service)
  const inbox = await receiver(t)
  await admin.post(webhooksPath, { url: inbox.url, events: ['user.updated'] })
  await service.app.close()
  await insertEvents(service, 'user.updated', 50)
  // The receiver is slow, so that the kill comes during deliveries.
  inbox.answer((_request, response) => { setTimeout(() => response.writeHead(204).end(), 50) })
  const env = {
    ...allowLoopback, DATABASE_URL: service.url, KEY_ENCRYPTION_KEY: keyEncryptionKey.toString('base64')
  }
  const first = start(t, temporaryFolder(t), env, await freePort())
  await inbox.received(10)
  first.child.kill('SIGKILL')
  await first.ended
  t.ok(inbox.requests.length < 50)
  await makeDue(service)
  await ready(start(t, temporaryFolder(t), env, await freePort()))
  await waitUntil('all are delivered', async () =>
    (await service.sql("select 1 from webhook_deliveries where status = 'delivered'")).length === 50)
  t.equal(new Set(inbox.requests.map(({ id }) => id)).size, 50)
  t.ok(inbox.requests.length <= 54, 'only the interrupted attempts are repeated')
})

t.test('a secret is rotated without downtime', async t => {
  const { admin, inbox, path, webhook, service } = await setUp(t, ['user.registered'])
  const sendTest = async () => {
    await admin.post(`${path}/test`)
    const requests = await inbox.received(inbox.requests.length + 1)
    return requests.at(-1) as ReceivedWebhook
  }
  const isSignedWith = (request: ReceivedWebhook, secret: string) => {
    try {
      return Boolean(verify(request, secret))
    } catch {
      return false
    }
  }
  const first: string = webhook.secret
  const second: string = (await admin.post(`${path}/secret`)).body.secret
  t.match(second, /^whsec_[A-Za-z0-9+/]{43}=$/)
  const afterRotation = await sendTest()
  t.strictSame([first, second].map(secret => isSignedWith(afterRotation, secret)), [true, true])
  const third: string = (await admin.post(`${path}/secret`)).body.secret
  const afterSecondRotation = await sendTest()
  const signatures = [first, second, third].map(secret => isSignedWith(afterSecondRotation, secret))
  t.strictSame(signatures, [false, true, true])
  const fourth: string = (await admin.post(`${path}/secret`, { immediately: true })).body.secret
  const afterImmediateRotation = await sendTest()
  const lastSignatures = [second, third, fourth].map(secret => isSignedWith(afterImmediateRotation, secret))
  t.strictSame(lastSignatures, [false, false, true])
  await Promise.all(Array.from({ length: 4 }, async () =>
    await repeatUnavailable(async () => await admin.post(`${path}/secret`))))
  t.equal((await service.sql('select 1 from webhook_secrets')).length, 2)

  const storedAndLogged = JSON.stringify([
    await service.sql("select encode(sealed_secret, 'base64') from webhook_secrets"),
    await service.sql("select detail from audit_events where type like 'webhook.%'"),
    service.logs
  ])
  for (const secret of [first, second, third, fourth]) {
    t.notOk(storedAndLogged.includes(secret.slice(6)), 'no secret is stored or logged in clear')
  }
  for (const { body } of [await admin.get(path), await admin.get(webhooksPath)]) {
    t.notOk(JSON.stringify(body).includes('whsec_'))
  }

  await t.test('and survives the rotation of the key-encryption key', async t => {
    const newKey = Buffer.alloc(32, 7).toString('base64')
    const keys = `${newKey},${keyEncryptionKey.toString('base64')}`
    await build(t, { ...allowLoopback, KEY_ENCRYPTION_KEY: keys }, { url: service.url })
    await service.app.close()
    const rotated = await build(t, { ...allowLoopback, KEY_ENCRYPTION_KEY: newKey }, { url: service.url })
    inbox.requests.length = 0
    t.equal((await register(rotated)).status, 201)
    const [request] = await inbox.received(1)
    t.match(request?.headers['webhook-signature'], /^v1,\S+ v1,\S+$/)
  })
})

t.test('a webhook whose secret cannot be unsealed', async t => {
  const {
    admin, inbox, path, service, deliveries, waitForStatus, waitForAttempts, webhook
  } = await setUp(t, ['user.registered'])
  const lostKey = Buffer.alloc(32, 9)
  const sealWithLostKey = async () => await service.sql(
    'update webhook_secrets set sealed_secret = $1', [seal([lostKey], 'webhook secret', lostKey)])
  await sealWithLostKey()
  await register(service)

  await t.test('gets no unsigned request, and the failure is logged', async t => {
    const { id } = await waitForAttempts(1)
    t.match((await admin.get(`${path}/deliveries/${id}`)).body, {
      status: 'pending',
      error: 'secret',
      next_attempt_at: /./,
      log: [{ response_status: null, error: 'secret' }]
    })
    const line = service.logs.find(({ error }) => error === 'secret')
    t.match(line, { level: 40, webhook: webhook.id, delivery: id })
    t.equal(inbox.connections(), 0)
  })

  await t.test('is paused like an unreachable webhook', async t => {
    await service.sql("update webhooks set failures = 19, failing_since = now() - interval '25 hours'")
    await makeDue(service)
    const paused = await waitUntil('paused', async () => {
      const { body } = await admin.get(path)
      return body.status === 'paused' && body
    })
    t.match(paused, { paused_reason: 'failing' })
    t.match(await admin.patch(path, { status: 'active' }), { status: 200 })
    await waitForAttempts(3)
  })

  await t.test('gets the pending deliveries after its secret is rotated', async t => {
    const { body: { secret } } = await admin.post(`${path}/secret`)
    const [request] = await inbox.received(1)
    t.ok(request && verify(request, secret))
    await waitUntil('delivered', async () => (await deliveries('?status=delivered')).length === 1)
    t.match((await admin.get(path)).body, { failing_since: null })
  })

  await t.test('gets no more attempts after the lifetime of the delivery', async t => {
    await sealWithLostKey()
    await admin.post(`${path}/test`)
    await waitForAttempts(1, '?status=pending')
    await expire(service)
    t.match(await waitForStatus('failed'), { error: 'secret', finished_at: /./ })
    t.equal(inbox.connections(), 1)
  })
})

t.test('the routes for webhooks', async t => {
  const { admin, path, webhook, service, inbox, deliveries } =
    await setUp(t, ['user.registered', 'user.registered'])

  await t.test('are only for administrators', async t => {
    const user = service.browser()
    user.accessToken = (await user.post('/v1/auth/register', newUser())).body.access_token
    const delivery = await waitUntil('a delivery', async () => (await deliveries())[0])
    for (const [method, url, body] of [
      ['GET', webhooksPath],
      ['POST', webhooksPath, { url: inbox.url, events: ['user.*'] }],
      ['GET', path],
      ['PATCH', path, { events: ['user.*'] }],
      ['DELETE', path],
      ['POST', `${path}/secret`],
      ['POST', `${path}/test`],
      ['GET', `${path}/deliveries`],
      ['GET', `${path}/deliveries/${delivery.id}`],
      ['POST', `${path}/deliveries/${delivery.id}/redeliver`]
    ] as const) {
      const forbidden = { status: 403, body: { code: 'forbidden' } }
      t.match(await user.send(method, url, body), forbidden, `${method} ${url}`)
      t.match(await service.browser().send(method, url, body), { status: 401 })
    }
    t.equal((await service.sql('select 1 from webhooks')).length, 1)
  })

  await t.test('list, change and delete webhooks', async t => {
    t.match(webhook, { events: ['user.registered'], description: null, status: 'active', secret: /^whsec_/ })
    const firstUrl = 'https://hooks.example.com/'
    const secondUrl = 'https://hooks.example.com/2'
    const { body: second } = await admin.post(webhooksPath, {
      url: firstUrl, events: ['session.*'], description: 'Orders'
    })
    const secondPath = `${webhooksPath}/${second.id}`
    const { secret, ...withoutSecret } = second
    t.match(secret, /^whsec_/)
    t.strictSame((await admin.get(`${webhooksPath}?limit=1`)).body, {
      items: [withoutSecret], next_cursor: second.id
    })
    t.match((await admin.get(`${webhooksPath}?limit=1&cursor=${second.id}`)).body, {
      items: [{ id: webhook.id }], next_cursor: null
    })
    const change = { url: secondUrl, events: ['user.updated'], description: null }
    t.match((await admin.patch(secondPath, change)).body, change)
    const updates = await service.sql("select detail from audit_events where type = 'webhook.updated'")
    const detail = { webhook_id: second.id, changed: ['description', 'events', 'url'] }
    t.match(updates, [{ detail }], 'the URL may be a secret and is not recorded')
    t.match(await admin.patch(secondPath, {}), { status: 200, body: { url: secondUrl } })
    const { body: before } = await admin.get(secondPath)
    const unchanged = [
      { url: secondUrl },
      { events: ['user.updated', 'user.updated'] },
      { description: null, status: 'active' }
    ]
    for (const values of unchanged) {
      t.strictSame((await admin.patch(secondPath, values)).body, before, 'current values change nothing')
    }
    t.match(await admin.delete(secondPath), { status: 204 })
    const answers = [
      await admin.get(secondPath),
      await admin.delete(secondPath),
      await admin.patch(secondPath, { status: 'paused' }),
      await admin.post(`${secondPath}/secret`),
      await admin.post(`${secondPath}/test`),
      await admin.get(`${secondPath}/deliveries`)
    ]
    for (const answer of answers) t.match(answer, { status: 404 })
    t.equal((await admin.get(webhooksPath)).body.items.length, 1)
    const events = await service.sql<{ type: string }>(
      "select type from audit_events where type like 'webhook.%' order by id")
    const types = ['webhook.created', 'webhook.created', 'webhook.updated', 'webhook.deleted']
    t.strictSame(events.map(({ type }) => type), types)
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
    ] as const) {
      t.match(await admin.post(webhooksPath, body), {
        status: 400, body: { code: 'validation_failed', errors: [{ pointer }] }
      })
    }
    t.match(await admin.patch(path, { status: 'gone' }), { status: 400 })
    t.match(await admin.patch(path, { url: 'http://10.0.0.1/' }), {
      status: 400, body: { errors: [{ pointer: '/url' }] }
    })
  })

  await t.test('list deliveries in pages', async t => {
    for (let i = 0; i < 3; i++) await admin.post(`${path}/test`)
    const ids = (await deliveries()).map(({ id }) => id)
    const idsOfPages: string[] = []
    for (let cursor: string | null = ''; cursor !== null;) {
      const url = `${path}/deliveries?limit=2${cursor && `&cursor=${cursor}`}`
      const { body }: { body: { items: DeliveryItem[], next_cursor: string | null } } = await admin.get(url)
      idsOfPages.push(...body.items.map(({ id }) => id))
      cursor = body.next_cursor
    }
    t.strictSame(idsOfPages, ids)
    t.ok(ids.length >= 4)
  })
})
