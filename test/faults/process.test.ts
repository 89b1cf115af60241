import { once } from 'node:events'
import { connect } from 'node:net'
import type { Test } from 'tap'
import * as clients from '../../src/clients/clients.ts'
import { connect as connectDatabase } from '../../src/database/database.ts'
import { freePort } from '../../src/database/embedded/server.ts'
import { newUser } from '../support/app.ts'
import { createDatabase } from '../support/postgres.ts'
import * as nginx from '../support/nginx.ts'
import { post, ready, start, type Running } from '../support/process.ts'
import { onlyInSoak } from '../support/soak.ts'
import { t } from '../support/test.ts'
import { ask, dial, requestText, type RawConnection } from '../support/wire.ts'
import { temporaryFolder } from '../support/temporary-folder.ts'

t.test('after SIGTERM, accepted requests are served, and the exit code is 0', async t => {
  const port = await freePort()
  // Hashing is slow, so sign-ins are still running when the signal arrives.
  const service = start(
    t,
    temporaryFolder(t),
    {
      DATABASE_URL: await createDatabase(t),
      DRAIN_DELAY: '1s',
      ARGON2_MEMORY_KIB: '32768',
      ARGON2_TIME_COST: '2',
      ARGON2_CONCURRENCY: '1'
    },
    port
  )
  await ready(service)
  const users = Array.from({ length: 5 }, () => ({ ...newUser(), refresh_token_delivery: 'body' }))
  for (const user of users) await post(`${service.base}/v1/auth/register`, user)
  const logins = users.map(async user => await post(`${service.base}/v1/auth/login`, user))
  const idle = connect(port, '127.0.0.1')
  await once(idle, 'connect')
  // After the first response, the others wait in the queue.
  await Promise.race(logins)
  service.child.kill('SIGTERM')
  let draining
  do draining = await fetch(`${service.base}/readyz`); while (draining.status === 200)
  t.equal(draining.status, 503)
  t.match(await draining.json(), { code: 'shutting_down' })
  t.equal(draining.headers.get('retry-after'), '5')
  const live = await fetch(`${service.base}/livez`)
  t.equal(live.status, 200, 'requests are served during the drain delay')
  t.equal(live.headers.get('connection'), 'close', 'connections are closed during the drain delay')
  t.strictSame((await Promise.all(logins)).map(({ status }) => status), Array(5).fill(200))
  t.strictSame(await service.ended, { code: 0, signal: null })
  t.match(service.output(), /stopping on SIGTERM/)
  idle.destroy()
})

/** A running service with one account, and the text of a sign-in to it. */
async function withAccount (t: Test, env: Record<string, string> & { DATABASE_URL: string }) {
  const port = await freePort()
  const service = start(t, temporaryFolder(t), env, port)
  await ready(service)
  const ada = { ...newUser(), refresh_token_delivery: 'body' }
  const { status } = await post(`${service.base}/v1/auth/register`, ada)
  t.equal(status, 201)
  return { port, service, ada, login: requestText('POST', '/v1/auth/login', ada) }
}

/** The header line of a client that may follow the feed. */
async function feedClient (url: string): Promise<string> {
  const db = connectDatabase({ url, onError: () => {} })
  try {
    const { client_id: id, client_secret: secret } = await clients.create(
      db,
      { name: 'follower', scopes: ['revocations'] },
      {}
    )
    return `authorization: Basic ${Buffer.from(`${id}:${secret}`).toString('base64')}`
  } finally {
    await db.end()
  }
}

async function waitForLog ({ child, output }: Running, text: string) {
  while (!output().includes(text) && child.exitCode === null) {
    await new Promise(resolve => setTimeout(resolve, 5))
  }
}

const dialMany = async (port: number, count: number): Promise<RawConnection[]> =>
  await Promise.all(Array.from({ length: count }, async () => await dial(port)))

const live = requestText('GET', '/livez')
// Long timeouts, so that these tests do not depend on the speed of the machine.
const longTimeouts = { REQUEST_TIMEOUT: '30s', SHUTDOWN_TIMEOUT: '1m' }

t.test('SIGTERM resets no sign-in that was sent just before it', async t => {
  // All cores hash passwords, so the process reads new requests late.
  const env = {
    DATABASE_URL: await createDatabase(t),
    KEY_ENCRYPTION_KEY: Buffer.alloc(32, 1).toString('base64'),
    ARGON2_MEMORY_KIB: '19456',
    ARGON2_TIME_COST: '2',
    ...longTimeouts
  }
  for (const round of [1, 2]) {
    const { port, service, login } = await withAccount(t, env)
    const connections = await dialMany(port, 16)
    const [earlySenders, lateSenders] = [connections.slice(0, 8), connections.slice(8)]
    for (const connection of earlySenders) connection.send(login)
    await new Promise(resolve => setTimeout(resolve, 5))
    service.child.kill('SIGTERM')
    for (const connection of lateSenders) connection.send(login)
    const answers = await Promise.all(connections.map(async ({ answered }) => (await answered())[0]?.status))
    // A slow machine rejects the last ones with 503.
    t.strictSame(
      answers.filter(status => status !== 200 && status !== 503),
      [],
      `each gets a response in round ${round}`
    )
    const ends = await Promise.all(connections.map(({ ended }) => ended))
    t.strictSame(ends.filter(end => end !== 'end'), [], 'no connection is reset')
    t.strictSame(await service.ended, { code: 0, signal: null })
  }
})

t.test('SIGTERM resets no connection that waits in the kernel', async t => {
  const { port, service } = await withAccount(t, { DATABASE_URL: await createDatabase(t), ...longTimeouts })
  const idle = await dialMany(port, 20)
  for (const connection of idle) connection.send(live)
  await Promise.all(idle.map(async ({ answered }) => await answered()))
  // While the process is stopped, the kernel accepts connections and keeps the signal.
  service.child.kill('SIGSTOP')
  service.child.kill('SIGTERM')
  const backlog = await dialMany(port, 200)
  for (const connection of [...idle, ...backlog]) connection.send(live)
  service.child.kill('SIGCONT')
  t.strictSame(
    await Promise.all(backlog.map(async ({ answered }) => (await answered())[0]?.status)),
    Array(200).fill(200),
    'requests in the backlog are served'
  )
  t.strictSame(
    await Promise.all(idle.map(async ({ answered }) => (await answered(2))[1]?.status)),
    Array(20).fill(200),
    'requests on idle connections are served'
  )
  t.strictSame(
    new Set(await Promise.all([...idle, ...backlog].map(({ ended }) => ended))),
    new Set(['end']),
    'no connection is reset'
  )
  t.strictSame(await service.ended, { code: 0, signal: null })
})

t.test('after SIGTERM a connection is closed when it is idle', async t => {
  const DATABASE_URL = await createDatabase(t)
  const slow = { ARGON2_MEMORY_KIB: '65536', ARGON2_TIME_COST: '3', ARGON2_CONCURRENCY: '1', ...longTimeouts }
  const { port, service, login } = await withAccount(t, { DATABASE_URL, ...slow })
  const client = await feedClient(DATABASE_URL)
  const feed = await dial(port)
  feed.send(requestText('GET', '/oauth/revocations', undefined, [client]))
  await feed.until(': synced')
  const [idle, reused, unused, slowHeader, slowBody, pipelined, refusedFeed] = await dialMany(port, 7)
  if (!idle || !reused || !unused || !slowHeader || !slowBody || !pipelined || !refusedFeed) {
    throw new Error('too few connections')
  }
  for (const connection of [idle, reused, pipelined]) {
    connection.send(live)
    await connection.answered()
  }
  const body = JSON.stringify({ refresh_token: 'none' })
  slowBody.send(
    'POST /v1/auth/refresh HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n' +
      `content-length: ${body.length}\r\n\r\n${body.slice(0, 9)}`
  )
  pipelined.send(login + live + login)
  const signalledAt = performance.now()
  service.child.kill('SIGTERM')
  await waitForLog(service, 'stopping on SIGTERM')
  slowHeader.send('GET /livez HTTP/1.1\r\nhost: loc')
  refusedFeed.send('GET /oauth/revocations HTTP/1.1\r\nhost: loc')
  // The process is stopped while a request waits on a connection that it considers idle.
  reused.send(live)
  service.child.kill('SIGSTOP')
  await new Promise(resolve => setTimeout(resolve, 1_200))
  service.child.kill('SIGCONT')
  const [, answer] = await reused.answered(2)
  t.equal(answer?.status, 200, 'a request on an idle connection is served')
  t.match(answer?.head, /\r\nconnection: close\r\n/i, 'the response closes the connection')

  t.equal(await idle.ended, 'end')
  t.ok(performance.now() - signalledAt >= 1_000, 'an idle connection lives for another second')
  // At once, because a header may take five seconds.
  slowHeader.send('alhost\r\n\r\n')
  refusedFeed.send(`alhost\r\n${client}\r\n\r\n`)
  t.equal((await slowHeader.answered())[0]?.status, 200, 'a request whose header was incomplete is served')
  const [refusal] = await refusedFeed.answered()
  t.equal(refusal?.status, 503, 'no new feed starts')
  t.match(refusal?.head, /retry-after: 5/)
  t.equal(await unused.ended, 'end', 'an unused connection ends, too')
  await t.rejects(dial(port), { code: 'ECONNREFUSED' }, 'new connections are refused')
  t.equal(await feed.ended, 'end', 'the feed ends')
  t.match(feed.received(), /\r\n0\r\n\r\n$/, 'the feed ends with its last chunk')

  const answers = await pipelined.answered(4)
  t.equal(answers.length, 4, 'all pipelined requests are served')
  t.strictSame(
    answers.map(({ head }) => /\r\nconnection: close\r\n/i.test(head)),
    [false, false, false, true],
    'only the last response closes the connection'
  )
  t.equal(await pipelined.ended, 'end')

  slowBody.send(body.slice(9))
  t.equal((await slowBody.answered())[0]?.status, 401, 'a request whose body was incomplete is served')
  t.strictSame(await Promise.all([slowHeader, slowBody, refusedFeed].map(({ ended }) => ended)), [
    'end',
    'end',
    'end'
  ])
  t.strictSame(await service.ended, { code: 0, signal: null })
})

const skip = nginx.skip || onlyInSoak.skip
t.test('a rolling restart behind nginx loses no request', { skip }, async t => {
  const env = {
    DATABASE_URL: await createDatabase(t),
    KEY_ENCRYPTION_KEY: Buffer.alloc(32, 1).toString('base64'),
    SHUTDOWN_TIMEOUT: '1m'
  }
  const ports = [await freePort(), await freePort()]
  const port = await freePort()
  const issuer = { ...env, ISSUER_URL: `http://localhost:${port}` }
  const instances = ports.map(instancePort => start(t, temporaryFolder(t), issuer, instancePort))
  for (const instance of instances) await ready(instance)
  // nginx keeps connections open, and does not retry a POST that may have reached an instance.
  const servers = ports.map(instancePort => `server 127.0.0.1:${instancePort} max_fails=0;`).join(' ')
  const { base, log } = await nginx.startServer(t, {
    port,
    http: `upstream latchkey { zone latchkey 64k; ${servers} keepalive 16; keepalive_timeout 60s; }`,
    locations: `
      location / {
        proxy_pass http://latchkey;
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_set_header Host localhost:${port};
      }`
  })
  const ada = { ...newUser(), refresh_token_delivery: 'body' }
  t.equal((await post(`${base}/v1/auth/register`, ada)).status, 201)

  const controller = new AbortController()
  const counts = new Map<number, number>()
  const body = Buffer.from(JSON.stringify(ada))
  const users = Array.from({ length: 4 }, async () => {
    while (!controller.signal.aborted) {
      const { status } = await ask('POST', `${base}/v1/auth/login`, {
        lines: ['content-type: application/json'], body
      })
      counts.set(status, (counts.get(status) ?? 0) + 1)
    }
  })
  for (const [index, instancePort] of ports.entries()) {
    const before = counts.get(200) ?? 0
    while ((counts.get(200) ?? 0) < before + 20) await new Promise(resolve => setTimeout(resolve, 10))
    const instance = instances[index]
    instance?.child.kill('SIGTERM')
    t.strictSame(await instance?.ended, { code: 0, signal: null })
    await ready(start(t, temporaryFolder(t), issuer, instancePort))
  }
  controller.abort()
  await Promise.all(users)
  t.strictSame(
    [...counts.keys()].filter(status => status !== 200 && status !== 503),
    [],
    'each POST got a response of an instance'
  )
  t.ok((counts.get(200) ?? 0) > 40)
  t.notMatch(log(), /prematurely closed|reset by peer/, 'no connection was closed under a request')
})

t.test('a second signal ends the process at once', async t => {
  const service = start(
    t,
    temporaryFolder(t),
    { DATABASE_URL: await createDatabase(t), DRAIN_DELAY: '1m', SHUTDOWN_TIMEOUT: '2m' },
    await freePort()
  )
  await ready(service)
  service.child.kill('SIGINT')
  service.child.kill('SIGINT')
  while (!service.output().includes('stopping on SIGINT')) {
    await new Promise(resolve => setTimeout(resolve, 10))
  }
  await new Promise(resolve => setTimeout(resolve, 1_100))
  t.equal(service.child.exitCode, null, 'two signals at once count as one')
  service.child.kill('SIGINT')
  t.match(await service.ended, { code: 1 })
})

t.test('a request that hangs is aborted after the shutdown timeout', async t => {
  const service = start(
    t,
    temporaryFolder(t),
    { DATABASE_URL: await createDatabase(t), SHUTDOWN_TIMEOUT: '1s', REQUEST_TIMEOUT: '1m' },
    await freePort()
  )
  await ready(service)
  const socket = connect(Number(new URL(service.base).port), '127.0.0.1')
  socket.on('error', () => {})
  socket.write(
    'POST /v1/auth/login HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 9\r\n' +
    'expect: 100-continue\r\n\r\n{'
  )
  // The service answers `100 Continue` once the request has begun.
  await once(socket, 'data')
  service.child.kill('SIGTERM')
  t.match(await service.ended, { code: 1 })
})
