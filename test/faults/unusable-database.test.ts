import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import pg from 'pg'
import { connect } from '../../src/database/database.ts'
import { PermanentDatabaseError } from '../../src/database/connection-error.ts'
import * as embeddedPostgres from '../../src/database/embedded/embedded-postgres.ts'
import { freePort } from '../../src/database/embedded/server.ts'
import { listPending, migrate } from '../../src/database/migrate.ts'
import { build, environment, newUser, type Service } from '../support/app.ts'
import { authority } from '../support/certificates.ts'
import { run } from '../support/command-line.ts'
import { waitFor } from '../support/polling.ts'
import { named, sql } from '../support/postgres.ts'
import { temporaryFolder } from '../support/temporary-folder.ts'
import { t } from '../support/test.ts'

const password = 'pass/word'
const settingsOf = (url: string) => ({ ...environment, DATABASE_URL: url })
const asRole = (url: string, username: string) =>
  Object.assign(new URL(url), { username, password: encodeURIComponent(password) }).href

/** Executes statements on one connection. */
async function runAll (url: string, statements: string[]) {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  try {
    for (const statement of statements) await client.query(statement)
  } finally {
    await client.end()
  }
}

t.test('a server with TLS and a Unix socket', async t => {
  const folder = temporaryFolder(t)
  const privateAuthority = authority(t)
  const { cert, key } = privateAuthority.issue('IP:127.0.0.1')
  writeFileSync(join(folder, 'server.pem'), cert)
  writeFileSync(join(folder, 'server.key'), key, { mode: 0o600 })
  const settings = [
    'fsync=off', `unix_socket_directories=${folder}`, 'ssl=on', `ssl_cert_file=${folder}/server.pem`,
    `ssl_key_file=${folder}/server.key`
  ]
  const server = await embeddedPostgres.start(join(folder, 'data'), { settings })
  t.teardown(server.stop)
  const superuser = named(server.url, 'postgres')
  const { port } = new URL(superuser)

  let count = 0
  /** Creates a role and a database that belongs to a superuser. Returns the role's URL. */
  async function create (options = '') {
    const name = `app_${++count}`
    await sql(superuser, `create role ${name} login password '${password}'`)
    await sql(superuser, `create database ${name} ${options}`)
    const url = asRole(named(superuser, name), name)
    return { name, url, admin: named(superuser, name) }
  }

  const endConnections = async (name: string) => await sql(
    superuser, 'select pg_terminate_backend(pid) from pg_stat_activity where usename = $1', [name])

  await t.test('names the role and the grant that is missing, and works once it is given', async t => {
    const cases: Array<[what: string, statements: (name: string) => string[], messages: RegExp[]]> = [
      ['no right to create tables', () => [], [/role app_\d may not create tables in the schema public/]],
      ['no right to use the schema', () => ['revoke usage on schema public from public'], [
        /role app_\d may use no schema of its search_path/, /may not create tables in the schema public/
      ]],
      ['a search_path to nowhere', name => [
        `alter role ${name} set search_path = nowhere`, `grant create on schema public to ${name}`
      ], [/no schema of the search_path of role app_\d \(nowhere\) exists/]],
      ['a role that is read-only by default', name => [
        `alter role ${name} set default_transaction_read_only = on`,
        `grant create on schema public to ${name}`
      ], [/role app_\d may not write .* default_transaction_read_only/]],
      ['a database that is read-only by default', name => [
        `alter database ${name} set default_transaction_read_only = on`,
        `grant create on schema public to ${name}`
      ], [/role app_\d may not write .*alter database "app_\d" reset/]],
      ['no right to connect', name => [
        `revoke connect on database ${name} from public`, `grant create on schema public to ${name}`
      ], [/role app_\d may not connect to the database "app_\d"/]],
      ['no database', name => [`drop database ${name}`], [/database "app_\d" does not exist/]]
    ]
    for (const [what, statements, messages] of cases) {
      const { name, url, admin } = await create()
      const fault = statements(name)
      await runAll(fault.some(each => /^drop/.test(each)) ? superuser : admin, fault)
      for (const message of messages) {
        const error = await migrate(url).catch((error: unknown) => error)
        t.ok(error instanceof PermanentDatabaseError, what)
        const text = error instanceof Error ? error.message : ''
        t.match(text, message, what)
        const [, advice = ''] = /run as a superuser "(.*?)"(?:,|$)/.exec(text) ?? []
        await runAll(/^create database/.test(advice) ? superuser : admin, advice.split('; '))
      }
      t.ok((await migrate(url)).length > 0, `${what}: the advice helps`)
    }
  })

  await t.test('a wrong password ends the program with one message, without the password', async t => {
    const { url, name } = await create()
    const wrong = Object.assign(new URL(url), { password: 'hunter2' }).href
    for (const command of ['serve', 'migrate']) {
      const { code, stdout, stderr } = await run(t, [command], { ...settingsOf(wrong), PORT: '0' })
      t.equal(code, 1, command)
      t.match(stderr, new RegExp(`refuses role ${name} .*: correct the role or the password in DATABASE_URL`))
      t.equal((stdout + stderr).match(/refuses role/g)?.length, 1)
      t.notMatch(stdout + stderr, 'hunter2')
    }
    const none = Object.assign(new URL(url), { password: '' }).href
    await t.rejects(migrate(none), { message: /asks for the password .* or set DATABASE_PASSWORD$/ })
  })

  await t.test('a database that is not in UTF-8 is refused', async t => {
    const { url } = await create("encoding 'LATIN1' locale 'C' template template0")
    const message = /^the database "app_\d+" has the encoding LATIN1: use one in UTF-8/
    await t.rejects(migrate(url), { message })
    await t.rejects(listPending(url), { message })
  })

  await t.test('faults that come later are answered with 503 and logged once', async t => {
    const { name, url, admin } = await create()
    await sql(admin, `grant create on schema public to ${name}`)
    await migrate(admin)
    for (const objects of ['select, insert, update, delete on all tables', 'execute on all functions']) {
      await sql(admin, `grant ${objects} in schema public to ${name}`)
    }
    const service = await build(t, {}, { url })
    for (const [fault, mend, reason] of [
      [
        `revoke select on users from ${name}`, `grant select on users to ${name}`,
        /permission denied for table users/
      ],
      [
        `alter role ${name} password 'other'`, `alter role ${name} password '${password}'`,
        /password authentication failed/
      ],
      [
        `alter role ${name} set default_transaction_read_only = on`,
        `alter role ${name} reset default_transaction_read_only`, /read-only transaction/
      ]
    ] as const) {
      service.logs.length = 0
      await sql(admin, fault)
      await endConnections(name)
      const signIn = async () => await service.browser().post('/v1/auth/login', newUser())
      await waitFor(async () => (await signIn()).status === 503)
      for (let i = 0; i < 5; i++) t.match(await signIn(), { status: 503 }, fault)
      const isFault = ({ msg, err }: Service['logs'][number]) =>
        /^database not available/.test(String(msg)) && reason.test(String(Object(err).message))
      t.equal(service.logs.filter(isFault).length, 1, fault)
      await runAll(admin, ['set default_transaction_read_only = off', mend])
      await endConnections(name)
      await waitFor(async () => (await signIn()).status === 401)
    }
  })

  await t.test('defaults of the role and the database do not matter', async t => {
    const { name, url, admin } = await create()
    await sql(admin, `grant create on schema public to ${name}`)
    for (const setting of [
      "datestyle = 'German'", "default_transaction_isolation = 'serializable'", "client_encoding = 'LATIN1'",
      "timezone = 'Asia/Kathmandu'", "intervalstyle = 'sql_standard'"
    ]) await sql(admin, `alter role ${name} set ${setting}`)
    const service = await build(t, {}, { url })
    const refresh = async (token: string) =>
      (await service.browser().post('/v1/auth/refresh', { refresh_token: token })).status
    for (let i = 0; i < 5; i++) {
      const who = { ...newUser(), refresh_token_delivery: 'body' }
      const { status, body } = await service.browser().post('/v1/auth/register', who)
      t.equal(status, 201)
      t.match(body.user.created_at, /^20\d\d-\d\d-\d\dT/)
      const token: string = body.refresh_token
      const refreshes = await Promise.all(Array.from({ length: 20 }, async () => await refresh(token)))
      t.strictSame(refreshes, Array(20).fill(200))
    }
    const level = await service.app.db.query("select current_setting('transaction_isolation') as level")
    t.strictSame(level, [{ level: 'read committed' }])
  })

  await t.test('Unix sockets and several hosts', async t => {
    const { name, url, admin } = await create()
    await sql(admin, `grant create on schema public to ${name}`)
    const encoded = encodeURIComponent(password)
    const closed = await freePort()
    for (const address of [
      `postgres://${name}:${encoded}@/${name}?host=${folder}&port=${port}`,
      `postgres://${name}:${encoded}@${encodeURIComponent(folder)}:${port}/${name}`,
      `postgres:///${name}?host=${folder}&port=${port}&user=${name}&password=${encoded}`,
      `postgres://${name}:${encoded}@127.0.0.1:${closed},127.0.0.1:${port}/${name}?target_session_attrs=any`,
      `postgres://${name}:${encoded}@/${name}?host=127.0.0.1,${folder}&port=${closed},${port}`
    ]) {
      await migrate(address)
      const db = connect({ url: address })
      t.teardown(() => db.end())
      t.strictSame(await db.query('select current_user::text as name'), [{ name }], address)
    }
    t.ok(url)
  })

  await t.test('of several hosts, one that accepts writes is used, and another after a failover', async t => {
    const other = await embeddedPostgres.start(temporaryFolder(t), { settings: ['fsync=off'] })
    t.teardown(other.stop)
    const { name } = await create()
    await sql(named(other.url, 'postgres'), `create role ${name} login password '${password}'`)
    await sql(named(other.url, 'postgres'), `create database ${name}`)
    const otherPort = new URL(other.url).port
    await t.rejects(migrate(`${asRole(named(other.url, name), name)}?sslmode=verify-full`), {
      message: /it does not offer the TLS that DATABASE_URL asks for: enable ssl on the server/
    })
    const setReadOnly = async (address: string, isReadOnly: boolean) => {
      const target = named(address, 'postgres')
      const expected = isReadOnly ? 'on' : 'off'
      await runAll(target, [
        'set default_transaction_read_only = off',
        `alter system set default_transaction_read_only = ${expected}`, 'select pg_reload_conf()'
      ])
      await waitFor(async () => {
        const [row] = await sql<{ value: string }>(
          target, "select current_setting('default_transaction_read_only') as value")
        return row?.value === expected
      })
    }
    const hosts = `127.0.0.1:${port},127.0.0.1:${otherPort}`
    const address = `postgres://${name}:${encodeURIComponent(password)}@${hosts}/${name}`
    const db = connect({ url: `${address}?target_session_attrs=read-write`, connections: 2 })
    t.teardown(() => db.end())
    const usedPort = async () => {
      const [row] = await db.query<{ port: number }>('select inet_server_port() as port, lo_create(0)')
      return String(row?.port)
    }
    t.equal(await usedPort(), port)
    await setReadOnly(server.url, true)
    t.equal(await waitFor(async () => await usedPort().catch(() => undefined)), otherPort)
    await setReadOnly(server.url, false)
    await setReadOnly(other.url, true)
    t.equal(await waitFor(async () => await usedPort().catch(() => undefined)), port)
  })

  await t.test('TLS', async t => {
    const { name, url, admin } = await create()
    await sql(admin, `grant create on schema public to ${name}`)
    const isEncrypted = async (query: string) => {
      const db = connect({ url: `${url}?${query}` })
      t.teardown(() => db.end())
      return await db.query('select ssl from pg_stat_ssl where pid = pg_backend_pid()')
    }
    for (const mode of ['require', 'verify-ca', 'verify-full']) {
      t.strictSame(await isEncrypted(`sslmode=${mode}&sslrootcert=${privateAuthority.file}`), [{ ssl: true }])
    }
    const untrusted = /its certificate is refused \(.*\): no authority .* has issued it; put .*sslrootcert=/
    for (const query of ['sslmode=require', 'sslrootcert=system', 'sslmode=prefer']) {
      await t.rejects(migrate(`${url}?${query}`), { message: untrusted }, query)
    }
    const { code, stdout, stderr } = await run(t, ['migrate'], { DATABASE_URL: `${url}?sslmode=require` })
    t.strictSame({ code, stdout }, { code: 1, stdout: '' })
    t.match(stderr, new RegExp(`^the database at 127.0.0.1:${port} cannot be reached: its certificate.*\n$`))
    const otherName = Object.assign(new URL(url), { hostname: 'localhost' }).href
    await t.rejects(migrate(`${otherName}?sslmode=verify-full&sslrootcert=${privateAuthority.file}`),
      { message: /it is for another name; use a host that it names in DATABASE_URL/ })
    const missing = await run(t, ['migrate'], { DATABASE_URL: `${url}?sslrootcert=${folder}/missing.pem` })
    t.match(missing, {
      code: 78,
      stderr: /DATABASE_URL names the file .*missing.pem in sslrootcert, which cannot be read \(ENOENT\)/
    })
  })
})
