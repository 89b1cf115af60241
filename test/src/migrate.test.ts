import { once } from 'node:events'
import { readdirSync } from 'node:fs'
import { createServer, type AddressInfo } from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'
import { join } from 'node:path'
import { connect } from '../../src/database/database.ts'
import { listPending, migrate } from '../../src/database/migrate.ts'
import { MigrationError, readMigrations, type Migration } from '../../src/database/migration-files.ts'
import { build } from '../support/app.ts'
import { packageFolder } from '../../src/package-folder.ts'
import { waitUntil } from '../support/polling.ts'
import { createDatabase, named, sql } from '../support/postgres.ts'
import { t } from '../support/test.ts'

const digits = (version: number) => String(version).padStart(3, '0')
const letter = (version: number) => String.fromCharCode(96 + version)

/**
 * The files of so many migrations, which record the order in which they are applied. `additions` are appended
 * to the migrations of these versions.
 */
function migrationFiles (count: number, additions: Record<number, string> = {}): Record<string, string> {
  const versions = Array.from({ length: count }, (_, index) => index + 1)
  return Object.fromEntries(versions.map(version => [`${digits(version)}-${letter(version)}.sql`, [
    version === 1 ? 'create table steps (place integer generated always as identity, version integer);' : '',
    `insert into steps (version) values (${version});`,
    additions[version] ?? ''
  ].join('\n')]))
}

const names = (count: number) => Object.keys(migrationFiles(count))

/** All that a migration could have changed: tables, columns, steps and the history. */
async function readState (url: string) {
  const columns = await sql(url, `
    select table_name, column_name from information_schema.columns
    where table_schema = 'public' order by 1, 2`)
  const history = await sql<{ name: string }>(url, `
    select version, name, checksum, applied_at from schema_migrations order by version`)
  const steps = await sql<{ version: number }>(url, 'select version from steps order by place')
  return { columns, history, steps: steps.map(({ version }) => version) }
}

const selectTables = "select table_name from information_schema.tables where table_schema = 'public'"

/** Reads until the result fits, and returns it. */
async function readUntil<T> (read: () => Promise<T>, fits: (result: T) => boolean): Promise<T> {
  let result: T
  return await waitUntil(() => `a result that fits instead of ${JSON.stringify(result)}`, async () => {
    result = await read()
    return fits(result) ? result : undefined
  })
}

t.test('the migrations of this version', async t => {
  const folder = join(packageFolder, 'migrations')
  const files = readdirSync(folder).filter(file => file.endsWith('.sql')).sort()

  t.test('bring an empty database up to date, once', async t => {
    const url = await createDatabase(t, { empty: true })
    t.strictSame(await listPending(url), files)
    t.strictSame(await migrate(url), files)
    const readHistory = async () => await sql(url, `
      select version, name, checksum, applied_at from schema_migrations order by version`)
    const history = await readHistory()
    t.match(history, readMigrations().map(({ version, name, checksum }) =>
      ({ version, name, checksum, applied_at: Date })))
    t.equal(history.length, files.length)
    t.strictSame(await migrate(url), [])
    t.strictSame(await listPending(url), [])
    t.strictSame(await readHistory(), history)
  })

  t.test('are applied by a service that starts on an empty database', async t => {
    const service = await build(t, {}, { url: await createDatabase(t, { empty: true }) })
    t.strictSame(await listPending(service.url), [])
    t.strictSame(service.logs.flatMap(({ migrations = [] }) => migrations), files)
  })

  t.test('say of each table what a row is', async t => {
    for (const { name, sql } of readMigrations()) {
      const tables = sql.match(/^create table /gm) ?? []
      const comments = sql.match(/^-- A row is .*\n(?:--.*\n)*create table /gm) ?? []
      t.equal(comments.length, tables.length, name)
    }
  })
})

t.test('a database of the migrations before the baseline is refused, and not changed', async t => {
  const url = await createDatabase(t, { empty: true })
  await sql(url, `
    create table schema_migrations (
      version integer primary key, name text not null, checksum text not null,
      applied_at timestamptz not null default now()
    )`)
  const oldNames = [
    '001-users.sql', '002-sessions.sql', '003-keys.sql', '004-audit-events.sql', '005-revocations.sql',
    '006-clients.sql', '007-key-lives.sql', '008-settled-hash.sql', '009-login-throttles.sql',
    '010-peppers.sql', '011-links-and-jobs.sql', '012-user-administration.sql', '013-token-versions.sql',
    '014-webhooks.sql', '015-leaving.sql', '016-finer-ids.sql', '017-database-roles.sql',
    '018-mail-buckets.sql', '019-leases.sql', '020-session-limit.sql'
  ]
  await sql(url, `
    insert into schema_migrations (version, name, checksum)
    select place, name, 'the checksum of ' || name
    from unnest($1::text[]) with ordinality as old (name, place)`,
  [oldNames])
  for (const attempt of [migrate, listPending]) {
    const error = await attempt(url).catch((error: unknown) => error)
    t.ok(error instanceof MigrationError)
    t.match(error, {
      message: /^001-users\.sql is not the file that was applied: .* a database that this version of Latchkey/
    })
  }
  t.strictSame(await sql(url, selectTables), [{ table_name: 'schema_migrations' }])
})

t.test('migrations are applied in order, and later ones when they are added', async t => {
  const url = await createDatabase(t, { empty: true })
  const folders = t.testdir({ few: migrationFiles(3), many: migrationFiles(12) })
  t.strictSame(await migrate(url, readMigrations(`${folders}/few`)), names(3))
  t.strictSame(await listPending(url, readMigrations(`${folders}/many`)), names(12).slice(3))
  t.strictSame(await migrate(url, readMigrations(`${folders}/many`)), names(12).slice(3))
  t.strictSame((await readState(url)).steps, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12])
})

t.test('each migration is applied by one of ten instances that start at once', async t => {
  const url = await createDatabase(t, { empty: true })
  const additions = { 2: 'select pg_sleep(0.05);', 4: 'create table late ();' }
  const migrations = readMigrations(t.testdir(migrationFiles(5, additions)))
  const applied = await Promise.all(Array.from({ length: 10 }, () => migrate(url, migrations)))
  t.strictSame(applied.flat(), names(5))
  const migrating = applied.filter(({ length }) => length > 0)
  t.equal(migrating.length, 1, 'by the first instance, while the others wait')
  t.strictSame((await readState(url)).steps, [1, 2, 3, 4, 5])
})

t.test('a migration waits for the reader of a table without blocking other readers', async t => {
  const url = await createDatabase(t, { empty: true })
  const additions = { 2: 'alter table steps add column later text;' }
  const migrations = readMigrations(t.testdir(migrationFiles(2, additions)))
  await migrate(url, migrations.slice(0, 1))
  const reader = connect({ url, connections: 1 })
  t.teardown(() => reader.end())
  let migrated: Promise<string[]> | undefined
  await reader.transaction(async tx => {
    await tx.query('select from steps')
    migrated = migrate(url, migrations)
    await readUntil(() => sql<{ wait: string }>(url, `
      select wait_event as wait from pg_stat_activity
      where datname = current_database() and wait_event_type = 'Lock'`), waits => waits.length > 0)
    const others = Promise.all(Array.from({ length: 3 }, () => sql(url, 'select from steps')))
    t.not(await Promise.race([others, pause(60_000, 'late', { ref: false })]), 'late')
  })
  t.strictSame(await migrated, names(2).slice(1))
})

t.test('listing pending migrations changes nothing', async t => {
  const url = await createDatabase(t, { empty: true })
  t.strictSame(await listPending(url, readMigrations(t.testdir(migrationFiles(2)))), names(2))
  t.strictSame(await sql(url, selectTables), [])
})

t.test('a history that does not fit the migrations is refused, and the database is not changed', async t => {
  const rename = ([name, text]: [string, string]): [string, string] => [name.replace('002-b', '002-z'), text]
  const folder = t.testdir({
    old: migrationFiles(3),
    edited: migrationFiles(4, { 2: '-- one more word\n' }),
    missing: {
      ...migrationFiles(1), '002-c.sql': 'select 1;\n', '003-d.sql': 'select 1;\n'
    },
    renamed: Object.fromEntries(Object.entries(migrationFiles(4)).map(rename)),
    fewer: migrationFiles(2),
    none: {}
  })
  const advice = 'restore the file, or use a database that this version of Latchkey has migrated'
  const newer = (name: string, last: string) =>
    `the database is newer than this program: it has ${name}, and the last one known here is ${last}`
  const other = (file: string) => `migration 2 was applied as 002-b.sql, but is ${file} here: ${advice}`
  const deleteVersion = (version: number) => `delete from schema_migrations where version = ${version}`
  const cases: Array<[what: string, folder: string, message: string, change?: string]> = [
    ['an edited migration', 'edited', `002-b.sql is not the file that was applied: ${advice}`],
    ['a missing migration', 'missing', other('002-c.sql')],
    ['a renamed migration', 'renamed', other('002-z.sql')],
    ['a gap', 'old', 'the database lacks 002-b.sql, but has 003-c.sql', deleteVersion(2)],
    ['no first migration', 'old', 'the database lacks 001-a.sql, but has 002-b.sql', deleteVersion(1)],
    ['a database that is newer than the program', 'fewer', newer('003-c.sql', '002-b.sql')],
    ['a program without migrations', 'none', newer('001-a.sql', 'none')]
  ]
  for (const [what, name, message, change] of cases) {
    t.test(what, async t => {
      const url = await createDatabase(t, { empty: true })
      await migrate(url, readMigrations(`${folder}/old`))
      if (change) await sql(url, change)
      const before = await readState(url)
      for (const attempt of [migrate, listPending]) {
        const error = await attempt(url, readMigrations(`${folder}/${name}`)).catch((error: unknown) => error)
        t.ok(error instanceof MigrationError)
        t.match(error, { message })
      }
      t.strictSame(await readState(url), before)
    })
  }
})

t.test('a migration that fails', async t => {
  const createHalf = 'create table half (id integer primary key);\n'
  const works = migrationFiles(4, { 3: createHalf })
  const failures: Record<string, [text: string, message: string]> = {
    'in a statement': [`${createHalf}select 1 / 0;\n`, '003-c.sql failed: division by zero'],
    'in its syntax': [
      `${createHalf}create tabel other ();\n`, '003-c.sql failed: syntax error at or near "tabel"'
    ],
    'when it is recorded': [
      `${createHalf}alter table schema_migrations add constraint two check (version <= 2);\n`,
      '003-c.sql failed: new row for relation "schema_migrations" violates check constraint "two"'
    ],
    'when it is committed': [
      `create table half (
        id integer primary key, other integer references half deferrable initially deferred
      );
      insert into half values (1, 2);\n`,
      '003-c.sql failed: insert or update on table "half" violates foreign key constraint "half_other_fkey"'
    ]
  }
  for (const [when, [text, message]] of Object.entries(failures)) {
    t.test(`${when} is rolled back, and the migrations before it stay`, async t => {
      const folder = t.testdir({ fails: migrationFiles(4, { 3: text }), works })
      const url = await createDatabase(t, { empty: true })
      const error = await migrate(url, readMigrations(`${folder}/fails`)).catch((error: unknown) => error)
      t.ok(error instanceof MigrationError)
      t.match(error, { message, cause: { severity: 'ERROR' } })
      const { steps, history } = await readState(url)
      t.strictSame(steps, [1, 2])
      t.strictSame(history.map(({ name }) => name), names(2))
      t.strictSame(await sql(url, "select to_regclass('half') as half"), [{ half: null }])
      const applied = await migrate(url, readMigrations(`${folder}/works`))
      t.strictSame(applied, names(4).slice(2), 'once it is corrected, it and the next one are applied')
    })
  }

  t.test('because the connection is lost may be retried', async t => {
    const text = `${createHalf}select pg_terminate_backend(pg_backend_pid());\n`
    const folder = t.testdir({ fails: migrationFiles(4, { 3: text }), works })
    const url = await createDatabase(t, { empty: true })
    const error = await migrate(url, readMigrations(`${folder}/fails`)).catch((error: unknown) => error)
    t.ok(error instanceof Error && !(error instanceof MigrationError))
    t.strictSame((await readState(url)).steps, [1, 2])
    t.strictSame(await migrate(url, readMigrations(`${folder}/works`)), names(4).slice(2))
  })
})

t.test('the line ends of a checkout do not change its migrations', async t => {
  const text = 'create table notes (text text default $$one\ntwo$$);\n-- and no more\n'
  const folder = t.testdir({
    unix: { '001-notes.sql': text }, windows: { '001-notes.sql': text.replaceAll('\n', '\r\n') }
  })
  t.strictSame(readMigrations(`${folder}/windows`), readMigrations(`${folder}/unix`))
  const url = await createDatabase(t, { empty: true })
  await migrate(url, readMigrations(`${folder}/windows`))
  t.strictSame(await sql(url, 'insert into notes default values returning text'), [{ text: 'one\ntwo' }])
  t.strictSame(await migrate(url, readMigrations(`${folder}/unix`)), [])
})

t.test('migrations are files with a number and a name, without gaps', async t => {
  const createFolder = (...files: string[]) =>
    t.testdir(Object.fromEntries(files.map(file => [file, 'select 1'])))
  const folder = createFolder('002-b-2.sql', '001-a.sql', 'README.md', '003.txt', '.gitkeep')
  const migrations = readMigrations(folder)
  const read = migrations.map(({ version, name }: Migration) => [version, name])
  t.strictSame(read, [[1, '001-a.sql'], [2, '002-b-2.sql']])
  t.strictSame(readMigrations(createFolder('README.md')), [])
  const refused: Array<[files: string[], message: string]> = [
    [['1-a.sql'], '1-a.sql should be migration 1, named NNN-name.sql'],
    [['0001-a.sql'], '0001-a.sql should be migration 1, named NNN-name.sql'],
    [['001_a.sql'], '001_a.sql should be migration 1, named NNN-name.sql'],
    [['001-A.sql'], '001-A.sql should be migration 1, named NNN-name.sql'],
    [['001-.sql'], '001-.sql should be migration 1, named NNN-name.sql'],
    [['001.sql'], '001.sql should be migration 1, named NNN-name.sql'],
    [['a.sql'], 'a.sql should be migration 1, named NNN-name.sql'],
    [['000-a.sql'], '000-a.sql should be migration 1, named NNN-name.sql'],
    [['002-a.sql'], '002-a.sql should be migration 1, named NNN-name.sql'],
    [['001-a.sql', '003-c.sql'], '003-c.sql should be migration 2, named NNN-name.sql'],
    [['001-a.sql', '001-b.sql'], '001-b.sql should be migration 2, named NNN-name.sql'],
    [
      ['001-a.sql', '002-b.sql', 'copy of 002-b.sql'],
      'copy of 002-b.sql should be migration 3, named NNN-name.sql'
    ]
  ]
  for (const [files, message] of refused) {
    const folder = createFolder(...files)
    const error = t.throws(() => readMigrations(folder), { message })
    t.ok(error instanceof MigrationError, message)
  }
})

t.test('an unreachable database is no MigrationError', async t => {
  const url = await createDatabase(t, { empty: true })
  const closed = createServer().listen(0, '127.0.0.1')
  await once(closed, 'listening')
  const closedPort = new URL(url)
  closedPort.port = String((closed.address() as AddressInfo).port)
  closed.close()
  await once(closed, 'close')
  const unknownRole = new URL(url)
  unknownRole.username = 'stranger'
  const cases = [
    [closedPort.href, 'ECONNREFUSED'], [named(url, 'missing'), '3D000'], [unknownRole.href, /^28/]
  ] as const
  for (const [address, code] of cases) {
    for (const attempt of [migrate, listPending]) {
      const error = await attempt(address).catch((error: unknown) => error)
      t.ok(error instanceof Error && !(error instanceof MigrationError))
      t.match(error, { message: /^the database at 127\.0\.0\.1:\d+ cannot be reached: ./, cause: { code } })
    }
  }
})

t.test('a service that does not migrate on start', async t => {
  const url = await createDatabase(t, { empty: true })
  const service = await build(t, { MIGRATE_ON_START: 'false' }, { url, ready: false })
  const address = await service.app.listen({ host: '127.0.0.1', port: 0 })
  const readReadiness = async () => {
    const { status, body } = await service.browser().get('/readyz')
    return { status, code: body.code }
  }

  t.test('listens, but is not ready, before the database is migrated', async t => {
    t.equal((await fetch(`${address}/livez`)).status, 200)
    t.strictSame(await readReadiness(), { status: 503, code: 'database_unavailable' })
    const isReason = ({ msg, err }: Record<string, unknown>) =>
      msg === 'database not available; retrying until it is' && /lacks/.test((err as Error).message)
    const line = await readUntil(async () => service.logs.find(isReason), found => found !== undefined)
    const message = /^the database lacks 001-.+\.sql.*: run latchkey migrate$/
    t.match(line, { level: 40, err: { message } }, 'and logs why')
    t.strictSame(await sql(url, selectTables), [])
  })

  t.test('becomes ready when the database is migrated, without a restart', async t => {
    await migrate(url)
    const readiness = await readUntil(readReadiness, ({ status }) => status === 200)
    t.strictSame(readiness, { status: 200, code: undefined })
    const account = { email: 'ada@example.com', password: 'a phrase of my own' }
    t.equal((await service.browser().post('/v1/auth/register', account)).status, 201)
  })
})

t.test('a service on a database that is newer than it does not retry', async t => {
  const url = await createDatabase(t)
  await sql(url, `
    insert into schema_migrations (version, name, checksum)
    select max(version) + 1, '999-future.sql', 'unknown' from schema_migrations`)
  for (const MIGRATE_ON_START of ['true', 'false']) {
    const { app } = await build(t, { MIGRATE_ON_START }, { url, ready: false })
    const error = await app.keyring.loaded.catch((error: unknown) => error)
    t.ok(error instanceof MigrationError)
    t.match(error, { message: /^the database is newer than this program: it has 999-future\.sql/ })
  }
})
