import { randomBytes } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import * as embeddedPostgres from '../src/embedded-postgres.ts'
import { migrate } from '../src/migrate.ts'
import { build, person } from './helper.ts'
import { named, sql } from './postgres.ts'
import { folder } from './process.ts'

const as = (url: string, user: string, password: string) => Object.assign(new URL(url), { username: user, password: encodeURIComponent(password) }).href

t.test('the role that Compose gives the service', async t => {
  const dir = folder(t)
  const { url: first, stop } = await embeddedPostgres.start(dir, { settings: ['fsync=off'] })
  t.teardown(stop)

  // As the image of PostgreSQL leaves it: a superuser "postgres" with that password, and nothing of Latchkey's.
  const password = `a password's \\ ${randomBytes(6).toString('base64')}`
  const file = join(dir, 'database_password')
  writeFileSync(file, `${password}\n`)
  await sql(named(first, 'postgres'), "create role other superuser login password 'other'")
  const other = as(named(first, 'postgres'), 'other', 'other')
  await sql(other, 'drop database latchkey')
  await sql(other, 'alter role latchkey rename to postgres')
  const superuser = as(named(first, 'postgres'), 'postgres', decodeURIComponent(new URL(first).password))

  const script = readFileSync('docker/postgres.sql', 'utf8').replace('/run/secrets/database_password', file)
  for (const statement of script.replace(/^--.*$/gm, '').split(/;\n/).filter(each => each.trim() !== '')) await sql(superuser, statement)
  const url = as(named(first, 'latchkey'), 'latchkey', password)

  await t.test('is no superuser, and owns its database', async t => {
    t.strictSame(await sql(url, `
      select current_user::text as name, rolsuper, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls, pg_get_userbyid(datdba)::text as owner
      from pg_roles, pg_database where rolname = current_user and datname = current_database()`), [
      { name: 'latchkey', rolsuper: false, rolcreaterole: false, rolcreatedb: false, rolreplication: false, rolbypassrls: false, owner: 'latchkey' }
    ])
    await t.rejects(sql(superuser, 'select 1'), { code: '28P01' }, 'nobody comes as the superuser from elsewhere')
    await t.rejects(sql(as(superuser, 'postgres', password), 'select 1'), { code: '28P01' }, 'with the service\'s password neither')
  })

  await t.test('migrates, and may add to the audit log but not change it', async t => {
    t.not((await migrate(url)).length, 0)
    t.strictSame(await migrate(url), [])
    await sql(url, "insert into audit_events (type, created_at) values ('user.registered', now() - interval '2 years'), ('user.deleted', now())")
    const types = async () => (await sql<{ type: string }>(url, 'select type from audit_events order by created_at')).map(({ type }) => type)
    t.strictSame(await types(), ['user.registered', 'user.deleted'])
    const changes = ["update audit_events set type = 'user.verified'", 'delete from audit_events', 'truncate audit_events']
    for (const change of changes) await t.rejects(sql(url, change), { code: '42501', message: 'permission denied for table audit_events' }, change)
    t.strictSame(await sql(url, "select purge_audit_events(now() - interval '1 year', 100) as purged"), [{ purged: 1 }])
    t.strictSame(await types(), ['user.deleted'], 'but for what is old')
    for (const change of changes) await t.rejects(sql(url, change), { code: '42501' }, change)
  })

  await t.test('is all that the service needs', async t => {
    const { browser } = await build(t, {}, { url })
    const ada = browser()
    const somebody = person()
    t.equal((await ada.post('/v1/auth/register', somebody)).status, 201)
    t.equal((await ada.post('/v1/auth/refresh')).status, 200)
    t.equal((await ada.post('/v1/auth/logout')).status, 204)
    t.equal((await ada.post('/v1/auth/login', somebody)).status, 200)
    t.strictSame((await sql<{ type: string }>(url, "select type from audit_events where created_at > now() - interval '1 minute' and type like 'session%'")).map(({ type }) => type), ['session.ended'])
  })
})
