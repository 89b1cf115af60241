import { randomBytes } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import pg from 'pg'
import type { Test } from 'tap'
import * as embeddedPostgres from '../src/database/embedded/embedded-postgres.ts'
import { connect } from '../src/database/database.ts'
import { checkPrivileges, listPending, migrate } from '../src/database/migrate.ts'
import { MigrationError, readMigrations } from '../src/database/migration-files.ts'
import type { PrivilegeReport } from '../src/database/privileges/repair.ts'
import { importLines } from '../src/transfer/import.ts'
import { build, newUser, type Service } from './support/app.ts'
import { waitFor, waitUntil } from './support/polling.ts'
import { named, sql } from './support/postgres.ts'
import { temporaryFolder } from './support/temporary-folder.ts'
import { t } from './support/test.ts'

/** The address of the same database, for another role. */
const asRole = (url: string, username: string, password: string) =>
  Object.assign(new URL(url), { username, password: encodeURIComponent(password) }).href
const insufficientPrivilege = '42501'

/** Migrates, and returns the report on privileges. */
async function migrateAndReport (url: string, ownerUrl?: string): Promise<PrivilegeReport> {
  let report: PrivilegeReport | undefined
  await migrate(url, undefined, { ownerUrl, onPrivileges: given => { report = given } })
  if (!report) throw new Error('there is no report on privileges')
  return report
}

/** Asserts that the role of an address may execute none of these statements. */
async function assertRefused (t: Test, url: string, statements: string[]) {
  await withConnection(url, async run => {
    for (const statement of statements) {
      await t.rejects(run(statement), { code: insufficientPrivilege }, statement)
    }
  })
}

type RunStatement = (text: string) => Promise<pg.QueryResult>

/** Executes statements on one connection. */
async function withConnection (url: string, work: (run: RunStatement) => Promise<void>) {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  try {
    await work(async text => await client.query(text))
  } finally {
    await client.end()
  }
}

const changes = [
  "update audit_events set type = 'user.verified'", 'delete from audit_events', 'truncate audit_events'
]
const insertEvents = `insert into audit_events (type, created_at) values
  ('user.registered', now() - interval '2 years'), ('login.failed', now() - interval '23 hours'),
  ('user.deleted', now())`
const selectTypes = 'select type from audit_events order by created_at'
const privilegeLines = ({ logs }: Service) =>
  logs.filter(({ msg }) => /^database privileges|^the database role/.test(String(msg)))

t.test('roles of the database', async t => {
  const dir = temporaryFolder(t)
  const { url: first, stop } = await embeddedPostgres.start(dir, { settings: ['fsync=off'] })
  t.teardown(stop)

  // The state that the PostgreSQL image leaves: a superuser "postgres" with a password, and nothing else.
  const password = `a password's \\ ${randomBytes(6).toString('base64')}`
  const ownerPassword = `another's ${randomBytes(6).toString('base64')}`
  const files = { database_password: password, database_owner_password: ownerPassword }
  for (const [name, text] of Object.entries(files)) writeFileSync(join(dir, name), `${text}\n`)
  await sql(named(first, 'postgres'), "create role other superuser login password 'other'")
  const other = asRole(named(first, 'postgres'), 'other', 'other')
  await sql(other, 'drop database latchkey')
  await sql(other, 'alter role latchkey rename to postgres')
  const superuser = asRole(named(first, 'postgres'), 'postgres', decodeURIComponent(new URL(first).password))

  const script = readFileSync('docker/postgres.sql', 'utf8')
    .replace(/\/run\/secrets\/(\w+)/g, (_text, name: string) => join(dir, name))
    .replace(/^--.*$/gm, '')
  const statements = script.split(/;\n/).filter(text => text.trim() !== '')
  for (const statement of statements) await sql(superuser, statement)
  const url = asRole(named(first, 'latchkey'), 'latchkey', password)
  const ownerUrl = asRole(named(first, 'latchkey'), 'latchkey_migrator', ownerPassword)

  /** Creates a database. Returns its addresses for the service's role, the migrating role and a superuser. */
  async function createDatabase (name: string, owner: string) {
    await sql(other, `create database ${name} owner ${owner}`)
    return { url: named(url, name), ownerUrl: named(ownerUrl, name), superuser: named(other, name) }
  }

  await t.test('that Compose creates are no superusers, and the service\'s role owns nothing', async t => {
    t.strictSame(await sql(url, `
      select rolname::text as name, rolcanlogin as "canLogin",
        pg_has_role(oid, 'latchkey_owner', 'member') as "isOwner",
        rolsuper or rolcreaterole or rolcreatedb or rolreplication or rolbypassrls as "isPrivileged"
      from pg_roles where rolname like 'latchkey%' order by 1`), [
      { name: 'latchkey', canLogin: true, isOwner: false, isPrivileged: false },
      { name: 'latchkey_migrator', canLogin: true, isOwner: true, isPrivileged: false },
      { name: 'latchkey_owner', canLogin: false, isOwner: true, isPrivileged: false }
    ])
    t.strictSame(await sql(url, `
      select pg_get_userbyid(datdba)::text as owner from pg_database where datname = current_database()`),
    [{ owner: 'latchkey_owner' }])
    const refused = { code: '28P01' }
    await t.rejects(sql(superuser, 'select 1'), refused, 'the superuser cannot log in over the network')
    for (const known of [password, ownerPassword]) {
      await t.rejects(sql(asRole(superuser, 'postgres', known), 'select 1'), refused, 'with neither password')
    }
  })

  await t.test('that are separate', async t => {
    const complete = { separation: 'separate', repaired: [], remaining: [] }
    const first = await migrateAndReport(url, ownerUrl)
    t.match(first, { ...complete, runtime: 'latchkey' }, 'the first migration leaves nothing to repair')
    t.match(await migrateAndReport(url, ownerUrl), complete)
    t.strictSame(await migrate(url), [], 'the service may check without the owner\'s address')
    t.strictSame(await listPending(url), [])
    t.strictSame(await sql(url, `
      select pg_get_userbyid(relowner)::text as owner from pg_class
      where relnamespace = 'public'::regnamespace
      union select pg_get_userbyid(proowner) from pg_proc where pronamespace = 'public'::regnamespace`),
    [{ owner: 'latchkey_owner' }])
    await sql(url, insertEvents)
    await sql(url, `
      insert into users (id, email, canonical_email)
      values (gen_random_uuid(), 'a@b.example', 'a@b.example')`)

    await t.test('keep the service\'s role from changing the audit log in any way', async t => {
      await assertRefused(t, url, [
        ...changes,
        'select from audit_events for update',
        'alter table audit_events disable trigger all',
        'alter table audit_events disable trigger audit_events_enqueue_webhook_deliveries',
        'alter table audit_events add column extra text',
        'alter table audit_events owner to latchkey',
        'drop table audit_events',
        'drop table audit_events cascade',
        `create trigger mine before insert on audit_events
          for each row execute function suppress_redundant_updates_trigger()`,
        'create rule mine as on insert to audit_events do instead nothing',
        'create index on audit_events (type)',
        'create policy mine on audit_events for select using (false)',
        'do $$ begin lock table audit_events in access exclusive mode; end $$',
        `create or replace function public.purge_audit_events (before timestamptz, batch_size integer)
          returns integer language sql as $$ select 1 $$`,
        'create function public.mine () returns integer language sql as $$ select 1 $$',
        'alter function purge_audit_events (timestamptz, integer) set search_path = pg_temp',
        'drop function erase_audit_events (integer, uuid)',
        'create table public.mine ()',
        'set role latchkey_owner',
        'set role latchkey_migrator',
        'grant latchkey_owner to latchkey',
        'drop schema public cascade',
        'alter schema public rename to mine',
        'alter database latchkey owner to latchkey',
        'drop owned by latchkey_owner',
        'reassign owned by latchkey_owner to latchkey',
        'insert into schema_migrations (version, name, checksum) values (999, \'999-mine.sql\', \'\')',
        'delete from schema_migrations',
        'alter role latchkey superuser'
      ])
      // To a grant that the role may not make, PostgreSQL responds with a warning, and changes nothing.
      const grants = [
        'grant delete on audit_events to latchkey', 'grant all on audit_events to public',
        'grant execute on function purge_audit_events to public'
      ]
      for (const grant of grants) await sql(url, grant).catch(() => {})
      await assertRefused(t, url, changes)
      t.strictSame(await sql(url, selectTypes),
        [{ type: 'user.registered' }, { type: 'login.failed' }, { type: 'user.deleted' }])
    })

    await t.test('keep a role without grants from everything', async t => {
      await sql(other, "create role stranger login password 'stranger'")
      const outsiderUrl = asRole(url, 'stranger', 'stranger')
      await assertRefused(t, outsiderUrl, [
        'select purge_audit_events(now(), 1000)', 'select erase_audit_events(1000)',
        'select uuid_v7()', 'select transaction_history()', "select username_skeleton('a')",
        "select record_event('user.deleted', '{}')", "select enqueue_job('mail', now())",
        "select enqueue_mail(null, '', 1)", "select count_login_attempt('{}', '{}', '{}')",
        "select refund_login_attempt(null, '{}')", "select keep_login_failure('{}')",
        "select login_wait('{}', '{}', now())", "select count_mail('{}', '{}', 1)",
        "select end_sessions('{}', 'logout', '{}')",
        "insert into audit_events (type) values ('user.deleted')",
        'select from users', 'select from audit_events', 'select from schema_migrations',
        'select from refresh_tokens'
      ])
    })

    await t.test('purge no event of the last day, with any parameters', async t => {
      for (const before of ["now() + interval '1 year'", 'now()', "'infinity'"]) {
        await sql(url, `select purge_audit_events(${before}, 1000)`)
      }
      t.strictSame(await sql(url, selectTypes), [{ type: 'login.failed' }, { type: 'user.deleted' }])
      t.strictSame(await sql(ownerUrl, 'select purge_audit_events(now(), 1000) as purged'), [{ purged: 0 }])
    })

    await t.test('are not deceived by temporary tables of the same names', async t => {
      await sql(url, `
        insert into audit_events (type, created_at, ip)
        values ('login.failed', now() - interval '3 days', '192.0.2.1')`)
      await withConnection(url, async run => {
        await run('create temporary table audit_events (like public.audit_events including defaults)')
        await run(`
          insert into pg_temp.audit_events (id, type, created_at)
          values (gen_random_uuid(), 'user.verified', now() - interval '3 days')`)
        await run('create temporary table users (id uuid)')
        await run('create temporary table erasures (like public.erasures)')
        await run(`
          insert into pg_temp.erasures
          values ((select id from public.users limit 1), now(), now() - interval '1 minute')`)
        t.match((await run('select purge_audit_events(now(), 1000) as purged')).rows, [{ purged: 1 }])
        t.equal((await run('select from pg_temp.audit_events')).rowCount, 1, 'the temporary one stays')
        t.match((await run('select erase_audit_events(1000) as done')).rows, [{ done: false }])
      })
      t.strictSame(await sql(url, selectTypes), [{ type: 'login.failed' }, { type: 'user.deleted' }])
    })

    await t.test('erase nothing about a user who still exists', async t => {
      const [user] = await sql<{ id: string }>(url, 'select id from users')
      await sql(url, `
        insert into audit_events (type, user_id, ip) values ('login.failed', $1, '192.0.2.1')`, [user?.id])
      await sql(url, 'insert into erasures (user_id) values ($1)', [user?.id])
      const erased = await sql(url, 'select erase_audit_events(1000, $1) as done', [user?.id])
      t.strictSame(erased, [{ done: false }])
      t.strictSame(
        await sql(url, 'select host(ip) as ip from audit_events where user_id = $1', [user?.id]),
        [{ ip: '192.0.2.1' }]
      )
    })

    await t.test('suffice for the service, from sign-up to deletion', async t => {
      await runLifecycle(t, url)
      t.match(await checkPrivileges(url), { separation: 'separate', repaired: [], remaining: [] })
    })

    await t.test('import ten thousand accounts', async t => {
      const db = connect({ url, connections: 1 })
      t.teardown(() => db.end())
      async function * lines () {
        for (let from = 0; from < 10_000; from += 500) {
          const records = Array.from({ length: 500 }, (_, index) =>
            `{"email":"imported-${from + index}@example.com"}\n`)
          yield Buffer.from(records.join(''))
        }
      }
      const counts = await importLines(db, lines(), {
        argon2: { memoryKib: 1_024, timeCost: 1, parallelism: 1 },
        withoutUnknownHashes: false,
        dryRun: false,
        onReport: async () => {},
        onProgress: () => {}
      }, {})
      t.match(counts, { imported: 10_000, refused: 0 })
    })
  })

  await t.test('a service in production does not warn about separate roles', async t => {
    const service = await build(t, production, { url })
    t.strictSame(privilegeLines(service), [])
  })

  await t.test('one role that owns the tables and runs the service', async t => {
    await sql(other, "create role alone login password 'alone'")
    const database = await createDatabase('single', 'alone')
    const single = asRole(database.url, 'alone', 'alone')
    t.match(await migrateAndReport(single),
      { separation: 'single', runtime: 'alone', repaired: [], remaining: [] })

    await t.test('may add to the audit log, but not change it by a plain statement', async t => {
      await sql(single, insertEvents)
      await assertRefused(t, single, changes)
      const purge = async (before: string) =>
        await sql(single, `select purge_audit_events(${before}, 100) as purged`)
      t.strictSame(await purge("now() - interval '1 year'"), [{ purged: 1 }])
      t.strictSame(await purge('now()'), [{ purged: 0 }], 'nor events of the last day by the function')
      t.strictSame(await sql(single, selectTypes), [{ type: 'login.failed' }, { type: 'user.deleted' }])
      await assertRefused(t, single, changes)
    })

    await t.test('suffices for the service, and production warns once what it does not protect', async t => {
      const service = await runLifecycle(t, single)
      const msg = /^the database role alone owns the audit log, .*DATABASE_OWNER_URL/
      t.match(privilegeLines(service), [{ level: 40, role: 'alone', msg }])
      t.equal(privilegeLines(service).length, 1)
    })

    await t.test('is replaced by two, with its data, while the service runs', async t => {
      const service = await build(t, {}, { url: single })
      const ada = service.browser()
      const who = newUser()
      t.equal((await ada.post('/v1/auth/register', who)).status, 201)
      const before = await sql(single, 'select * from audit_events order by id')

      const migrateAsOwner = async () =>
        await migrate(single, undefined, { ownerUrl: database.ownerUrl }).catch((error: unknown) => error)
      const refused = await migrateAsOwner()
      t.ok(refused instanceof MigrationError)
      const grantSchema = 'grant usage, create on schema "public" to "latchkey_owner"'
      t.match(refused, { message: new RegExp(`run as a superuser "${grantSchema}"$`) })
      await sql(database.superuser, grantSchema)
      const refusedAgain = await migrateAsOwner()
      t.ok(refusedAgain instanceof MigrationError)
      t.match(refusedAgain, {
        message: new RegExp('may not take over what role "alone" owns .*' +
        'run as a superuser "grant "alone" to "latchkey_migrator"", migrate again')
      })
      t.strictSame(await sql(single, `
        select pg_get_userbyid(relowner)::text as owner from pg_class where oid = 'users'::regclass`),
      [{ owner: 'alone' }], 'nothing was changed')

      await sql(database.superuser, 'grant alone to latchkey_migrator')
      const moving = new AbortController()
      const traffic = (async () => {
        const statuses = new Set<number>()
        while (!moving.signal.aborted) {
          statuses.add((await ada.post('/v1/auth/refresh')).status)
          statuses.add((await service.browser().post('/v1/auth/register', newUser())).status)
        }
        return statuses
      })()
      const { separation, remaining } = await migrateAndReport(single, database.ownerUrl)
      moving.abort()
      t.strictSame([...await traffic].sort(), [200, 201], 'requests succeed during the migration')
      t.equal(separation, 'separate')
      const alterDatabase = 'alter database "single" owner to "latchkey_owner"'
      const finding = { kind: 'database', sql: [alterDatabase] }
      t.match(remaining, [finding], 'a superuser must move the database itself')
      t.equal(remaining.length, 1)
      await sql(database.superuser, alterDatabase)
      await sql(database.superuser, 'revoke alone from latchkey_migrator')
      t.match(await migrateAndReport(single, database.ownerUrl),
        { separation: 'separate', remaining: [] })

      const after = await sql(single, 'select * from audit_events order by id')
      t.strictSame(after.slice(0, before.length), before)
      const others = ['drop table audit_events', 'set role latchkey_owner', 'create table mine ()']
      await assertRefused(t, single, [...changes, ...others])
      t.equal((await ada.post('/v1/auth/refresh')).status, 200, 'the service still runs')
      await runLifecycle(t, single)
    })
  })

  await t.test('a superuser', async t => {
    const database = await createDatabase('powerful', 'other')
    const service = await build(t, production, { url: database.superuser })
    t.match(privilegeLines(service), [{ level: 40, msg: /^the database role other is a superuser/ }])
    t.equal(privilegeLines(service).length, 1)
    const inDevelopment = await build(t, {}, { url: database.superuser })
    t.strictSame(privilegeLines(inDevelopment), [], 'development does not warn')

    await t.test('as the role of DATABASE_OWNER_URL takes everything over at once', async t => {
      await sql(database.superuser, insertEvents)
      t.match(await migrateAndReport(database.url, database.superuser),
        { separation: 'separate', remaining: [] })
      await assertRefused(t, database.url, [...changes, 'drop table audit_events', 'set role latchkey_owner'])
      t.match(await migrateAndReport(database.url, database.ownerUrl),
        { separation: 'separate', repaired: [], remaining: [] })
    })
  })

  await t.test('two addresses that do not fit together are refused', async t => {
    const database = await createDatabase('elsewhere', 'latchkey_owner')
    for (const [serviceUrl, ownerAddress, message] of [
      [url, database.ownerUrl, /^DATABASE_OWNER_URL and DATABASE_URL lead to different databases$/],
      [ownerUrl, ownerUrl, /^DATABASE_OWNER_URL and DATABASE_URL name the same role, latchkey_migrator/]
    ] as const) {
      const error = await migrate(serviceUrl, undefined, { ownerUrl: ownerAddress })
        .catch((error: unknown) => error)
      t.ok(error instanceof MigrationError)
      t.match(error, { message })
    }
    t.strictSame(await sql(database.url, "select from pg_tables where schemaname = 'public'"), [])
  })

  await t.test('a backup that was restored without owners and privileges', async t => {
    await t.test('by the service\'s role is repaired on start, and the log says so', async t => {
      const database = await createDatabase('restored', 'alone')
      const restored = asRole(database.url, 'alone', 'alone')
      await migrate(restored)
      await sql(restored, insertEvents)
      await resetPrivileges(database.superuser, 'alone')
      const outsiderUrl = asRole(restored, 'stranger', 'stranger')
      const purged = await sql(outsiderUrl, 'select purge_audit_events(now(), 1000) as purged')
      t.strictSame(purged, [{ purged: 1 }], 'every role could call it')
      for (const MIGRATE_ON_START of ['false', 'true']) {
        await resetPrivileges(database.superuser, 'alone')
        const service = await build(t, { MIGRATE_ON_START }, { url: restored })
        const lines = privilegeLines(service)
        const objects = [
          'function public.purge_audit_events(before timestamp with time zone, batch_size integer)',
          'table "public"."audit_events"'
        ]
        for (const name of objects) {
          const line = lines.find(({ object }) => object === name)
          t.match(line, { level: 30, msg: 'database privileges repaired', sql: /revoke/ }, name)
        }
        t.strictSame(lines.filter(({ level }) => level !== 30), [])
        await assertRefused(t, outsiderUrl,
          ['select purge_audit_events(now(), 1000)', 'select erase_audit_events(1000)'])
        await assertRefused(t, restored, changes)
      }
    })

    await t.test('by a superuser is logged with the SQL to run, and ends the start', async t => {
      const database = await createDatabase('restored_by_another', 'postgres')
      await migrate(database.superuser)
      await resetPrivileges(database.superuser, 'other')
      for (const MIGRATE_ON_START of ['false', 'true']) {
        const service = await build(t, { MIGRATE_ON_START }, { url: database.url, ready: false })
        const lines = await waitForLines(() => privilegeLines(service).filter(({ level }) => level === 40))
        const grant = 'grant select, insert on "public"\\."audit_events" to "latchkey"'
        t.match(lines.find(({ object }) => object === 'table "public"."audit_events"'), {
          msg: new RegExp(
          `role latchkey lacks select, insert; run as its owner or as a superuser: ${grant}$`)
        })
        await t.rejects(service.app.migrated, {
          message: new RegExp(`^role latchkey lacks privileges in the database .*${grant}`)
        }, 'and the start ends')
        const { status, body } = await service.browser().post('/v1/auth/register', newUser())
        t.match({ status, body }, { status: 503, body: { code: 'database_unavailable' } })
        if (MIGRATE_ON_START === 'true') {
          for (const { sql: statement } of lines) await sql(database.superuser, String(statement))
          await runLifecycle(t, database.url)
        }
      }
    })
  })

  await t.test('a missing privilege is logged with its grant, and ends the start', async t => {
    const database = await createDatabase('lacking', 'latchkey_owner')
    await migrateAndReport(database.url, database.ownerUrl)
    const countLoginAttempt = 'function public.count_login_attempt(keys bytea[], limits integer[], ' +
      'windows integer[], OUT wait_seconds integer, OUT is_first_refusal boolean, OUT may_end boolean)'
    for (const [statement, object, expected] of [
      [
        'revoke insert on audit_events from latchkey', 'table "public"."audit_events"',
        'grant insert on "public"."audit_events" to "latchkey"'
      ],
      [
        'revoke all on users from latchkey', 'table "public"."users"',
        'grant select, insert, update, delete on "public"."users" to "latchkey"'
      ],
      ['revoke execute on function count_login_attempt from latchkey', countLoginAttempt, undefined]
    ] as const) {
      await sql(database.superuser, statement)
      const service = await build(t, { MIGRATE_ON_START: 'false' }, { url: database.url, ready: false })
      const [line] = await waitForLines(() => privilegeLines(service))
      t.match(line, { level: 40, object, msg: /role latchkey (lacks|may not call it)/ })
      await t.rejects(service.app.migrated, { message: /^role latchkey lacks privileges in the database/ })
      if (expected !== undefined) t.equal(line?.['sql'], expected)
      const { status, body } = await service.browser()
        .post('/v1/auth/login', { email: 'nobody@example.com', password: 'not the password' })
      t.match({ status, body }, { status: 503, body: { code: 'database_unavailable' } }, statement)
      await sql(database.superuser, String(line?.['sql']))
    }
    const report = await checkPrivileges(database.url)
    t.match(report, { repaired: [], remaining: [] }, 'the logged SQL repairs it')
  })

  await t.test('excess privileges, foreign owners and missing triggers are found and repaired', async t => {
    const database = await createDatabase('damaged', 'latchkey_owner')
    await migrateAndReport(database.url, database.ownerUrl)
    await sql(database.superuser, `
      insert into users (id, email, canonical_email, roles)
      values (gen_random_uuid(), 'a@b.example', 'a@b.example', '{admin}')`)
    const damages: Array<[statement: string, problem: RegExp]> = [
      ['grant delete, truncate on audit_events to latchkey', /role latchkey has delete, truncate/],
      ['grant select on refresh_tokens to public', /every role has select/],
      ['grant create on schema public to public', /role latchkey may create objects in it/],
      ['alter database damaged owner to latchkey', /role latchkey owns it/],
      ['alter table audit_events owner to latchkey', /belongs to role latchkey instead of latchkey_owner/],
      [
        'alter function purge_audit_events (timestamptz, integer) owner to latchkey',
        /belongs to role latchkey instead of latchkey_owner/
      ],
      ['alter function erase_audit_events (integer, uuid) reset search_path', /search_path/],
      ['grant execute on function erase_audit_events to public', /every role may call it/],
      ['revoke delete on audit_events from latchkey_owner', /its owner latchkey_owner lacks delete/],
      ['alter table audit_events disable trigger audit_events_enqueue_webhook_deliveries', /it is disabled/],
      ['drop trigger audit_events_enqueue_webhook_deliveries on audit_events', /it is missing/],
      ["drop trigger users_replace_roles on users; update users set roles = '{user}'", /it is missing/]
    ]
    for (const [statement, problem] of damages) {
      await sql(database.superuser, statement)
      const found = (await checkPrivileges(database.url)).remaining.find(each => problem.test(each.problem))
      t.match(found, { sql: [String] }, `${statement} is found by the service's role`)
      const { remaining } = await migrateAndReport(database.url, database.superuser)
      t.strictSame(remaining, [], `${statement} is repaired`)
      t.strictSame((await checkPrivileges(database.url)).remaining, [])
    }
    const roles = await sql(database.superuser, 'select role from user_roles')
    t.strictSame(roles, [{ role: 'user' }], 'with what the trigger would have written')
    await assertRefused(t, database.url, changes)
  })

  await t.test('a new migration grants the service\'s role what it creates, in one transaction', async t => {
    const database = await createDatabase('newer', 'latchkey_owner')
    const present = readMigrations()
    const version = present.length + 1
    const later = `${String(version).padStart(3, '0')}-notes.sql`
    await migrate(database.url, present, { ownerUrl: database.ownerUrl })
    const migrations = [...present, {
      version,
      name: later,
      checksum: 'x',
      sql: `
        create table notes (text text);
        create function note (text text) returns void language sql
        begin atomic insert into notes values (text); end;`
    }]
    await t.rejects(migrate(database.url, migrations), {
      message: new RegExp(
      `lacks ${later}, and its tables belong to the role latchkey_owner: ` +
      'run latchkey migrate with DATABASE_OWNER_URL')
    })
    t.strictSame(await migrate(database.url, migrations, { ownerUrl: database.ownerUrl }), [later])
    await sql(database.url, "select note('one')")
    t.strictSame(await sql(database.url, 'select text from notes'), [{ text: 'one' }])
    const outsiderUrl = asRole(database.url, 'stranger', 'stranger')
    await assertRefused(t, outsiderUrl, ["select note('two')", 'select from notes'])
  })
})

const production = {
  NODE_ENV: 'production',
  ISSUER_URL: 'https://auth.example.com',
  DATABASE_URL: 'postgres://localhost/x',
  ARGON2_MEMORY_KIB: '7168',
  ARGON2_TIME_COST: '5'
}

/** Waits until there are lines, and returns them. */
const waitForLines = async <T>(read: () => T[]): Promise<T[]> => await waitFor(() => {
  const lines = read()
  return lines.length > 0 && lines
})

/**
 * Leaves what `pg_restore --no-owner --no-privileges` leaves: one role owns everything, with the default
 * privileges of PostgreSQL.
 */
async function resetPrivileges (superuser: string, owner: string): Promise<void> {
  const reset = `
    do $$
    declare
      object text;
    begin
      for object in
        select format('table %I', relname) from pg_class
        where relnamespace = 'public'::regnamespace and relkind = 'r'
        union all
        select 'function ' || oid::regprocedure from pg_proc where pronamespace = 'public'::regnamespace
      loop
        execute format('alter %s owner to ${owner}', object);
        execute format('revoke all on %s from public, latchkey, ${owner}', object);
        execute format('grant all on %s to ${owner}', object);
        if object like 'function %' then
          execute format('grant execute on %s to public', object);
        end if;
      end loop;
    end $$`
  // A service on the database locks some of the tables, too. PostgreSQL then ends one of the transactions.
  await sql(superuser, reset).catch(async (error: unknown) => {
    if (Object(error).code !== '40P01') throw error
    await resetPrivileges(superuser, owner)
  })
}

/**
 * Runs a service through the life of an account: sign-up, refresh, sign-out, sign-in, export, deletion and
 * housekeeping.
 */
async function runLifecycle (t: Test, url: string): Promise<Service> {
  await sql(url, `
    insert into audit_events (type, created_at) values ('client.created', now() - interval '2 years')`)
  const service = await build(t, production, { url })
  const ada = service.browser()
  const who = newUser()
  const registered = await ada.post('/v1/auth/register', who)
  t.equal(registered.status, 201)
  t.equal((await ada.post('/v1/auth/refresh')).status, 200)
  t.equal((await ada.post('/v1/auth/logout')).status, 204)
  const refused = await service.browser().post('/v1/auth/login', { ...who, password: 'not the password' })
  t.equal(refused.status, 401)
  const signedIn = await ada.post('/v1/auth/login', who)
  t.equal(signedIn.status, 200)
  ada.accessToken = signedIn.body.access_token
  t.equal((await ada.get('/v1/me/export')).status, 200)
  t.equal((await ada.send('DELETE', '/v1/me', { password: who.password })).status, 204)
  const { id } = registered.body.user
  const personal = await sql(url, `
    select from audit_events
    where user_id = $1 and (ip is not null or user_agent is not null or detail <> '{}')`, [id])
  t.strictSame(personal, [], 'its events are erased')
  const isPurged = async () =>
    (await sql(url, "select from audit_events where type = 'client.created'")).length === 0
  await waitUntil('the old event is purged', isPurged)
  return service
}
