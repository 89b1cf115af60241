import { once } from 'node:events'
import { cpSync, readFileSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { join } from 'node:path'
import t from 'tap'
import { freePort } from '../../src/embedded-postgres/server.ts'
import { person } from '../helper.ts'
import { createDatabase } from '../postgres.ts'
import { folder, ready, start } from '../process.ts'

async function post (url: string, body: object) {
  const answer = await fetch(url, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) })
  // What a route answers is what the tests find out.
  const text = await answer.text()
  return { status: answer.status, headers: answer.headers, body: text === '' ? {} : JSON.parse(text) }
}

t.test('SIGTERM: what was accepted is answered, and the process ends with 0', async t => {
  const port = await freePort()
  // Slow enough to be under way.
  const service = start(t, folder(t), { DATABASE_URL: await createDatabase(t), DRAIN_DELAY: '1s', ARGON2_MEMORY_KIB: '65536', ARGON2_TIME_COST: '3', ARGON2_CONCURRENCY: '1' }, port)
  await ready(service)
  const ada = { ...person(), refresh_token_delivery: 'body' }
  await post(`${service.base}/v1/auth/register`, ada)
  const logins = Array.from({ length: 8 }, async () => await post(`${service.base}/v1/auth/login`, ada))
  const idle = connect(port, '127.0.0.1')
  await once(idle, 'connect')
  // Under way before the signal: the first is answered, the others wait.
  await Promise.race(logins)
  service.child.kill('SIGTERM')
  let draining
  do draining = await fetch(`${service.base}/readyz`); while (draining.status === 200)
  t.equal(draining.status, 503)
  t.match(await draining.json(), { code: 'shutting_down' })
  t.equal(draining.headers.get('retry-after'), '5')
  const live = await fetch(`${service.base}/livez`)
  t.equal(live.status, 200, 'while it drains it serves')
  t.equal(live.headers.get('connection'), 'close', 'but keeps no connection')
  t.strictSame((await Promise.all(logins)).map(({ status }) => status), Array(8).fill(200))
  t.strictSame(await service.ended, { code: 0, signal: null })
  t.match(service.output(), /stopping on SIGTERM/)
  idle.destroy()
})

t.test('a second signal does not wait', async t => {
  const service = start(t, folder(t), { DATABASE_URL: await createDatabase(t), DRAIN_DELAY: '1m', SHUTDOWN_TIMEOUT: '2m' }, await freePort())
  await ready(service)
  service.child.kill('SIGINT')
  service.child.kill('SIGINT')
  while (!service.output().includes('stopping on SIGINT')) await new Promise(resolve => setTimeout(resolve, 10))
  await new Promise(resolve => setTimeout(resolve, 1_100))
  t.equal(service.child.exitCode, null, 'a Ctrl-C that comes twice at once is one')
  service.child.kill('SIGINT')
  t.match(await service.ended, { code: 1 })
})

t.test('what hangs at the end is cut off', async t => {
  const service = start(t, folder(t), { DATABASE_URL: await createDatabase(t), SHUTDOWN_TIMEOUT: '1s', REQUEST_TIMEOUT: '1m' }, await freePort())
  await ready(service)
  const socket = connect(Number(new URL(service.base).port), '127.0.0.1')
  socket.on('error', () => {})
  socket.write('POST /v1/auth/login HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{')
  await new Promise(resolve => setTimeout(resolve, 100))
  service.child.kill('SIGTERM')
  t.match(await service.ended, { code: 1 })
})

t.test('started before its database, it waits for it', async t => {
  const url = new URL(await createDatabase(t))
  const { port } = url
  const [there, here] = [Number(port), await freePort()]
  url.port = String(here)
  const service = start(t, folder(t), { DATABASE_URL: url.href }, await freePort())
  while ((await fetch(`${service.base}/livez`).catch(() => undefined))?.status !== 200) {
    if (service.child.exitCode !== null) throw new Error(service.output())
    await new Promise(resolve => setTimeout(resolve, 20))
  }
  t.equal((await fetch(`${service.base}/readyz`)).status, 503)
  const way = createServer(near => { near.pipe(connect(there, '127.0.0.1').on('error', () => {})).pipe(near.on('error', () => {})) }).listen(here, '127.0.0.1')
  t.teardown(() => way.close())
  await ready(service)
  t.pass('and serves when it is there')
})

t.test('a signal ends it while it waits for its database', async t => {
  const service = start(t, folder(t), { DATABASE_URL: `postgres://127.0.0.1:${await freePort()}/none` }, await freePort())
  while ((await fetch(`${service.base}/livez`).catch(() => undefined))?.status !== 200) {
    if (service.child.exitCode !== null) throw new Error(service.output())
    await new Promise(resolve => setTimeout(resolve, 20))
  }
  service.child.kill('SIGTERM')
  t.strictSame(await service.ended, { code: 0, signal: null }, 'by itself, and not by the time it has')
})

t.test('a signal at any moment of the start ends it', async t => {
  const DATABASE_URL = await createDatabase(t)
  for (const after of [0, 100, 150, 200, 250, 300, 350, 400, 500, 600, 900]) {
    const service = start(t, folder(t), { DATABASE_URL }, await freePort())
    await new Promise(resolve => setTimeout(resolve, after))
    service.child.kill('SIGTERM')
    const { code, signal } = await service.ended
    t.ok(code === 0 || code === 143 || signal === 'SIGTERM', `after ${after} ms: ${code ?? signal}`)
  }
})

t.test('with no configuration at all', async t => {
  const cwd = folder(t)
  const port = await freePort()
  const ada = { ...person(), refresh_token_delivery: 'body' }
  let token = ''

  t.test('the first start makes a database and keys, and says where everything is', async t => {
    const service = start(t, cwd, {}, port)
    await ready(service)
    t.match(service.output(), new RegExp(`http://localhost:${port}/docs`))
    t.match(service.output(), /embedded PostgreSQL 18/)
    t.ok(service.output().trim().split('\n').every(line => JSON.parse(line).msg), 'in JSON lines')
    const { status, body } = await post(`${service.base}/v1/auth/register`, ada)
    t.equal(status, 201)
    token = body.refresh_token
    service.child.kill('SIGTERM')
    t.match(await service.ended, { code: 0 })
  })

  t.test('the second start still knows who is signed in', async t => {
    const service = start(t, cwd, { DOCS: 'off' }, port)
    await ready(service)
    t.match(service.output(), new RegExp(`is at http://localhost:${port}"`))
    t.notMatch(service.output(), new RegExp(`:${port}/docs`), 'nothing points to the page')
    const { status, body } = await post(`${service.base}/v1/auth/refresh`, { refresh_token: token })
    t.equal(status, 200)
    token = body.refresh_token

    await t.test('another in the same folder is told so, and harms nothing', async t => {
      const second = start(t, cwd, {}, await freePort())
      t.match(await second.ended, { code: 1 })
      t.match(second.output(), /another Latchkey is (already )?using/)
      t.notMatch(second.output(), /\n\s+at |lock file/)
    })

    await t.test('another on the same port is told so, and leaves nothing behind', async t => {
      const elsewhere = folder(t)
      const second = start(t, elsewhere, {}, port)
      t.match(await second.ended, { code: 1 })
      t.match(second.output(), new RegExp(`Port ${port} of 127.0.0.1 is in use`))
      t.throws(() => readFileSync(join(elsewhere, '.data/pg/postmaster.pid')), { code: 'ENOENT' }, 'its database server is stopped')
    })

    t.equal((await fetch(`${service.base}/readyz`)).status, 200)
    service.child.kill('SIGKILL')
    await service.ended
  })

  t.test('after a kill -9 the next start takes the database over, and nobody is signed out', async t => {
    const service = start(t, cwd, {}, port)
    await ready(service)
    const { status, body } = await post(`${service.base}/v1/auth/refresh`, { refresh_token: token })
    t.equal(status, 200)
    token = body.refresh_token
    service.child.kill('SIGTERM')
    t.match(await service.ended, { code: 0 })
  })

  t.test('with another key-encryption key it does not start, and says why', async t => {
    const other = folder(t)
    cpSync(join(cwd, '.data'), join(other, '.data'), { recursive: true })
    const service = start(t, other, { KEY_ENCRYPTION_KEY: Buffer.alloc(32, 1).toString('base64') }, await freePort())
    t.match(await service.ended, { code: 78 })
    t.match(service.output(), /KEY_ENCRYPTION_KEY does not open the keys/)
  })
})
