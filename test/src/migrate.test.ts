import { once } from 'node:events'
import { readdirSync } from 'node:fs'
import { createServer, type AddressInfo } from 'node:net'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import t from 'tap'
import { connect } from '../../src/database/database.ts'
import { migrate, MigrationError, pending, read, type Migration } from '../../src/database/migrate.ts'
import { packageFolder } from '../../src/package-folder.ts'
import { build } from '../support/app.ts'
import { createDatabase, named, sql } from '../support/postgres.ts'

const digits = (version: number) => String(version).padStart(3, '0')
const letter = (version: number) => String.fromCharCode(96 + version)

/** Migrations that leave a trace of the order they were applied in; `texts` are added to those of the same place. */
function migrations (count: number, texts: Record<number, string> = {}): Record<string, string> {
  return Object.fromEntries(Array.from({ length: count }, (_, index) => index + 1).map(version => [
    `${digits(version)}-${letter(version)}.sql`,
    `${version === 1 ? 'create table steps (place integer generated always as identity, version integer);\n' : ''}insert into steps (version) values (${version});\n${texts[version] ?? ''}`
  ]))
}

const names = (count: number) => Object.keys(migrations(count))

/** What a migration could have changed: the tables and their columns, the steps and the history. */
async function state (url: string) {
  const columns = await sql(url, "select table_name, column_name from information_schema.columns where table_schema = 'public' order by 1, 2")
  const history = await sql<{ name: string }>(url, 'select version, name, checksum, applied_at from schema_migrations order by version')
  const steps = await sql<{ version: number }>(url, 'select version from steps order by place')
  return { columns, history, steps: steps.map(({ version }) => version) }
}

async function eventually<T> (what: () => Promise<T>, holds: (answer: T) => boolean): Promise<T> {
  for (const end = Date.now() + 15_000; ; await delay(20)) {
    const answer = await what()
    if (holds(answer) || Date.now() > end) return answer
  }
}

t.test('the program\'s own migrations', async t => {
  const files = readdirSync(join(packageFolder, 'migrations')).filter(file => file.endsWith('.sql')).sort()

  t.test('bring an empty database up to date, once', async t => {
    const url = await createDatabase(t, { empty: true })
    t.strictSame(await pending(url), files)
    t.strictSame(await migrate(url), files)
    const history = () => sql(url, 'select version, name, checksum, applied_at from schema_migrations order by version')
    const before = await history()
    t.match(before, read().map(({ version, name, checksum }) => ({ version, name, checksum, applied_at: Date })))
    t.equal(before.length, files.length)
    t.strictSame(await migrate(url), [])
    t.strictSame(await pending(url), [])
    t.strictSame(await history(), before)
  })

  t.test('are applied by a service that starts on an empty database', async t => {
    const service = await build(t, {}, { url: await createDatabase(t, { empty: true }) })
    t.strictSame(await pending(service.url), [])
    t.strictSame(service.logs.filter(({ migration }) => migration).map(({ migration }) => migration), files)
  })
})

t.test('are applied in order, and later ones when they come', async t => {
  const url = await createDatabase(t, { empty: true })
  const folders = t.testdir({ few: migrations(3), many: migrations(12) })
  t.strictSame(await migrate(url, read(`${folders}/few`)), names(3))
  t.strictSame(await pending(url, read(`${folders}/many`)), names(12).slice(3))
  t.strictSame(await migrate(url, read(`${folders}/many`)), names(12).slice(3))
  t.strictSame((await state(url)).steps, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12])
})

t.test('are each applied by one of ten instances that start at once', async t => {
  const url = await createDatabase(t, { empty: true })
  const known = read(t.testdir(migrations(5, { 2: 'select pg_sleep(0.05);', 4: 'create table late ();' })))
  const applied = await Promise.all(Array.from({ length: 10 }, () => migrate(url, known)))
  t.strictSame(applied.flat(), names(5))
  t.strictSame(applied.filter(some => some.length > 0).length, 1, 'by the first of them, while the others wait')
  t.strictSame((await state(url)).steps, [1, 2, 3, 4, 5])
})

t.test('wait for whoever reads a table, and nobody else has to wait for them', async t => {
  const url = await createDatabase(t, { empty: true })
  const known = read(t.testdir(migrations(2, { 2: 'alter table steps add column later text;' })))
  await migrate(url, known.slice(0, 1))
  const reader = connect({ url, connections: 1 })
  t.teardown(() => reader.end())
  let migrated: Promise<string[]> | undefined
  await reader.transaction(async tx => {
    await tx.query('select from steps')
    migrated = migrate(url, known)
    await eventually(() => sql<{ wait: string }>(url, "select wait_event as wait from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"), found => found.length > 0)
    const others = Promise.all(Array.from({ length: 3 }, () => sql(url, 'select from steps')))
    t.not(await Promise.race([others, delay(4_000, 'late')]), 'late')
  })
  t.strictSame(await migrated, names(2).slice(1))
})

t.test('what is pending is told without a trace', async t => {
  const url = await createDatabase(t, { empty: true })
  t.strictSame(await pending(url, read(t.testdir(migrations(2)))), names(2))
  t.strictSame(await sql(url, "select table_name from information_schema.tables where table_schema = 'public'"), [])
})

t.test('a history that does not fit is refused, and nothing is changed', async t => {
  const folder = t.testdir({
    old: migrations(3),
    edited: migrations(4, { 2: '-- a word more\n' }),
    missing: { '001-a.sql': migrations(1)['001-a.sql'] ?? '', '002-c.sql': 'select 1;\n', '003-d.sql': 'select 1;\n' },
    renamed: Object.fromEntries(Object.entries(migrations(4)).map(([name, text]) => [name.replace('002-b', '002-z'), text])),
    fewer: migrations(2),
    none: {}
  })
  const cases: Array<[what: string, folder: string, message: string, change?: string]> = [
    ['an edited migration', 'edited', '002-b.sql was edited after it was applied: put it back, and write a new migration'],
    ['one that is gone, the next in its place', 'missing', 'migration 2 was applied as 002-b.sql, but is 002-c.sql here'],
    ['a renamed one', 'renamed', 'migration 2 was applied as 002-b.sql, but is 002-z.sql here'],
    ['a hole', 'old', 'the database lacks 002-b.sql, but has 003-c.sql', 'delete from schema_migrations where version = 2'],
    ['no beginning', 'old', 'the database lacks 001-a.sql, but has 002-b.sql', 'delete from schema_migrations where version = 1'],
    ['a database that is newer than the program', 'fewer', 'the database is newer than this program: it has 003-c.sql, and the last one known here is 002-b.sql'],
    ['a database of a program that knew migrations', 'none', 'the database is newer than this program: it has 001-a.sql, and the last one known here is none']
  ]
  for (const [what, name, message, change] of cases) {
    t.test(what, async t => {
      const url = await createDatabase(t, { empty: true })
      await migrate(url, read(`${folder}/old`))
      if (change) await sql(url, change)
      const before = await state(url)
      for (const attempt of [migrate, pending]) {
        const error = await attempt(url, read(`${folder}/${name}`)).catch((error: unknown) => error)
        t.ok(error instanceof MigrationError)
        t.match(error, { message })
      }
      t.strictSame(await state(url), before)
    })
  }
})

t.test('a migration that fails', async t => {
  const works = migrations(4, { 3: 'create table half (id integer primary key);\n' })
  const failures: Record<string, [text: string, message: string]> = {
    'in a statement': ['create table half (id integer primary key);\nselect 1 / 0;\n', '003-c.sql failed: division by zero'],
    'in its syntax': ['create table half (id integer primary key);\ncreate tabel other ();\n', '003-c.sql failed: syntax error at or near "tabel"'],
    'when it is recorded': ['create table half (id integer primary key);\nalter table schema_migrations add constraint two check (version <= 2);\n', '003-c.sql failed: new row for relation "schema_migrations" violates check constraint "two"'],
    'when it is committed': ['create table half (id integer primary key, other integer references half deferrable initially deferred);\ninsert into half values (1, 2);\n', '003-c.sql failed: insert or update on table "half" violates foreign key constraint "half_other_fkey"']
  }
  for (const [where, [text, message]] of Object.entries(failures)) {
    t.test(`${where} leaves nothing of itself behind, and those before it stay`, async t => {
      const folder = t.testdir({ fails: migrations(4, { 3: text }), works })
      const url = await createDatabase(t, { empty: true })
      const error = await migrate(url, read(`${folder}/fails`)).catch((error: unknown) => error)
      t.ok(error instanceof MigrationError)
      t.match(error, { message, cause: { severity: 'ERROR' } })
      const { steps, history } = await state(url)
      t.strictSame(steps, [1, 2])
      t.strictSame(history.map(({ name }) => name), names(2))
      t.strictSame(await sql(url, "select to_regclass('half') as half"), [{ half: null }])
      t.strictSame(await migrate(url, read(`${folder}/works`)), names(4).slice(2), 'once it is put right the rest is applied')
    })
  }

  t.test('because the connection is lost is tried again', async t => {
    const folder = t.testdir({ fails: migrations(4, { 3: 'create table half (id integer primary key);\nselect pg_terminate_backend(pg_backend_pid());\n' }), works })
    const url = await createDatabase(t, { empty: true })
    const error = await migrate(url, read(`${folder}/fails`)).catch((error: unknown) => error)
    t.ok(error instanceof Error && !(error instanceof MigrationError))
    t.strictSame((await state(url)).steps, [1, 2])
    t.strictSame(await migrate(url, read(`${folder}/works`)), names(4).slice(2))
  })
})

t.test('a checkout with other line ends has the same migrations', async t => {
  const text = 'create table notes (text text default $$one\ntwo$$);\n-- and no more\n'
  const folder = t.testdir({ unix: { '001-notes.sql': text }, windows: { '001-notes.sql': text.replaceAll('\n', '\r\n') } })
  t.strictSame(read(`${folder}/windows`), read(`${folder}/unix`))
  const url = await createDatabase(t, { empty: true })
  await migrate(url, read(`${folder}/windows`))
  t.strictSame(await sql(url, 'insert into notes default values returning text'), [{ text: 'one\ntwo' }])
  t.strictSame(await migrate(url, read(`${folder}/unix`)), [])
})

t.test('migrations are files with numbers and names, without gaps', async t => {
  const folder = (...files: string[]) => t.testdir(Object.fromEntries(files.map(file => [file, 'select 1'])))
  t.strictSame(read(folder('002-b-2.sql', '001-a.sql', 'README.md', '003.txt', '.gitkeep')).map(({ version, name }: Migration) => [version, name]), [[1, '001-a.sql'], [2, '002-b-2.sql']])
  t.strictSame(read(folder('README.md')), [])
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
    [['001-a.sql', '002-b.sql', 'copy of 002-b.sql'], 'copy of 002-b.sql should be migration 3, named NNN-name.sql']
  ]
  for (const [files, message] of refused) {
    const from = folder(...files)
    const error = t.throws(() => read(from), { message })
    t.ok(error instanceof MigrationError, message)
  }
})

t.test('a database that cannot be reached is not one that does not fit', async t => {
  const url = await createDatabase(t, { empty: true })
  const closed = createServer().listen(0, '127.0.0.1')
  await once(closed, 'listening')
  const nobody = new URL(url)
  nobody.port = String((closed.address() as AddressInfo).port)
  closed.close()
  await once(closed, 'close')
  const unknown = new URL(url)
  unknown.username = 'stranger'
  for (const [address, code] of [[nobody.href, 'ECONNREFUSED'], [named(url, 'missing'), '3D000'], [unknown.href, /^28/]] as const) {
    for (const attempt of [migrate, pending]) {
      const error = await attempt(address).catch((error: unknown) => error)
      t.ok(error instanceof Error && !(error instanceof MigrationError))
      t.match(error, { message: /^the database at 127\.0\.0\.1:\d+ cannot be reached: ./, cause: { code } })
    }
  }
})

t.test('a service that is not to migrate', async t => {
  const url = await createDatabase(t, { empty: true })
  const service = await build(t, { MIGRATE_ON_START: 'false' }, { url, ready: false })
  const address = await service.app.listen({ host: '127.0.0.1', port: 0 })
  const ready = async () => {
    const { status, body } = await service.browser().get('/readyz')
    return { status, code: body.code }
  }

  t.test('listens, but is not ready, before somebody else did', async t => {
    t.equal((await fetch(`${address}/livez`)).status, 200)
    t.strictSame(await ready(), { status: 503, code: 'database_unavailable' })
    const told = await eventually(async () => service.logs.find(({ msg, err }) => msg === 'database not available; retrying until it is' && /lacks/.test((err as Error).message)), line => line !== undefined)
    t.match(told, { level: 40, err: { message: /^the database lacks 001-.+\.sql.*: run latchkey migrate$/ } }, 'and tells its operator why')
    t.strictSame(await sql(url, "select table_name from information_schema.tables where table_schema = 'public'"), [])
  })

  t.test('serves as soon as it is done, without a restart', async t => {
    await migrate(url)
    t.strictSame(await eventually(ready, ({ status }) => status === 200), { status: 200, code: undefined })
    t.equal((await service.browser().post('/v1/auth/register', { email: 'ada@example.com', password: 'a phrase of my own' })).status, 201)
  })
})

t.test('a service on a database newer than it does not wait', async t => {
  const url = await createDatabase(t)
  await sql(url, "insert into schema_migrations (version, name, checksum) select max(version) + 1, '999-future.sql', 'unknown' from schema_migrations")
  for (const MIGRATE_ON_START of ['true', 'false']) {
    const { app } = await build(t, { MIGRATE_ON_START }, { url, ready: false })
    const error = await app.keyring.loaded.catch((error: unknown) => error)
    t.ok(error instanceof MigrationError)
    t.match(error, { message: /^the database is newer than this program: it has 999-future\.sql/ })
  }
})
