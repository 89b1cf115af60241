import { cpSync, mkdirSync, readFileSync, rmSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { join } from 'node:path'
import { freePort } from '../../src/database/embedded/server.ts'
import { newUser } from '../support/app.ts'
import { createDatabase } from '../support/postgres.ts'
import { post, ready, start } from '../support/process.ts'
import { onlyInSoak } from '../support/soak.ts'
import { temporaryFolder } from '../support/temporary-folder.ts'
import { t } from '../support/test.ts'

t.test('a process that starts before its database waits for it', async t => {
  const url = new URL(await createDatabase(t))
  const { port } = url
  const [databasePort, proxyPort] = [Number(port), await freePort()]
  url.port = String(proxyPort)
  const service = start(t, temporaryFolder(t), { DATABASE_URL: url.href }, await freePort())
  while ((await fetch(`${service.base}/livez`).catch(() => undefined))?.status !== 200) {
    if (service.child.exitCode !== null) throw new Error(service.output())
    await new Promise(resolve => setTimeout(resolve, 20))
  }
  t.equal((await fetch(`${service.base}/readyz`)).status, 503)
  const proxy = createServer(client => {
    const database = connect(databasePort, '127.0.0.1').on('error', () => {})
    client.pipe(database).pipe(client.on('error', () => {}))
  }).listen(proxyPort, '127.0.0.1')
  t.teardown(() => proxy.close())
  await ready(service)
  t.pass('it serves requests when the database is available')
})

t.test('a signal ends a process that waits for its database', async t => {
  const service = start(
    t,
    temporaryFolder(t),
    { DATABASE_URL: `postgres://127.0.0.1:${await freePort()}/none` },
    await freePort()
  )
  while ((await fetch(`${service.base}/livez`).catch(() => undefined))?.status !== 200) {
    if (service.child.exitCode !== null) throw new Error(service.output())
    await new Promise(resolve => setTimeout(resolve, 20))
  }
  service.child.kill('SIGTERM')
  t.strictSame(await service.ended, { code: 0, signal: null }, 'it ends by itself, and not by the timeout')
})

t.test('a signal at any time during the start ends the process', onlyInSoak, async t => {
  const DATABASE_URL = await createDatabase(t)
  for (const delayMs of [0, 100, 150, 200, 250, 300, 350, 400, 500, 600, 900]) {
    const service = start(t, temporaryFolder(t), { DATABASE_URL }, await freePort())
    await new Promise(resolve => setTimeout(resolve, delayMs))
    service.child.kill('SIGTERM')
    const { code, signal } = await service.ended
    t.ok(code === 0 || code === 143 || signal === 'SIGTERM', `after ${delayMs} ms: ${code ?? signal}`)
  }
})

t.test('without any configuration', async t => {
  const cwd = temporaryFolder(t)
  const port = await freePort()
  const ada = { ...newUser(), refresh_token_delivery: 'body' }
  let token = ''

  t.test('the first start creates a database and keys, and logs where they are', async t => {
    const service = start(t, cwd, {}, port)
    await ready(service)
    t.match(service.output(), new RegExp(`http://localhost:${port}/docs`))
    t.match(service.output(), /"version":"18\.[^\n]+"msg":"embedded PostgreSQL in use"/)
    t.ok(service.output().trim().split('\n').every(line => JSON.parse(line).msg), 'the log is JSON lines')
    const { status, body } = await post(`${service.base}/v1/auth/register`, ada)
    t.equal(status, 201)
    token = body.refresh_token
    service.child.kill('SIGTERM')
    t.match(await service.ended, { code: 0 })
  })

  t.test('sessions survive a restart', async t => {
    const service = start(t, cwd, { DOCS: 'off' }, port)
    await ready(service)
    t.match(service.output(), new RegExp(`"url":"http://localhost:${port}","msg":"service started"`))
    t.notMatch(service.output(), new RegExp(`:${port}/docs`), 'no line contains the URL of the page')
    const { status, body } = await post(`${service.base}/v1/auth/refresh`, { refresh_token: token })
    t.equal(status, 200)
    token = body.refresh_token

    await t.test(
      'a second service in the same folder does not start, and has no effect on the first',
      async t => {
        const second = start(t, cwd, {}, await freePort())
        t.match(await second.ended, { code: 1 })
        t.match(second.output(), /another Latchkey is (already )?using/)
        t.notMatch(second.output(), /\n\s+at |lock file/)
      }
    )

    await t.test(
      'a second service on the same port does not start, and stops its database server',
      onlyInSoak,
      async t => {
        const otherFolder = temporaryFolder(t)
        const second = start(t, otherFolder, {}, port)
        t.match(await second.ended, { code: 1 })
        t.match(second.output(), new RegExp(`Port ${port} of 127.0.0.1 is in use`))
        t.throws(
          () => readFileSync(join(otherFolder, '.data/pg/postmaster.pid')),
          { code: 'ENOENT' },
          'its database server is stopped'
        )
      }
    )

    t.equal((await fetch(`${service.base}/readyz`)).status, 200)
    service.child.kill('SIGKILL')
    await service.ended
  })

  t.test('after a kill -9 the next start adopts the database, and sessions survive', async t => {
    // What is only for the convenience of commands cannot prevent a start.
    rmSync(join(cwd, '.data/issuer'))
    mkdirSync(join(cwd, '.data/issuer'))
    const service = start(t, cwd, {}, port)
    await ready(service)
    const { status, body } = await post(`${service.base}/v1/auth/refresh`, { refresh_token: token })
    t.equal(status, 200)
    token = body.refresh_token
    service.child.kill('SIGTERM')
    t.match(await service.ended, { code: 0 })
  })

  t.test('with another key-encryption key the service does not start, and says why', async t => {
    const other = temporaryFolder(t)
    cpSync(join(cwd, '.data'), join(other, '.data'), { recursive: true })
    const service = start(
      t,
      other,
      { KEY_ENCRYPTION_KEY: Buffer.alloc(32, 1).toString('base64') },
      await freePort()
    )
    t.match(await service.ended, { code: 78 })
    t.match(service.output(), /KEY_ENCRYPTION_KEY does not decrypt the keys/)
  })
})
