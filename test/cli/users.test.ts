import { spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import pg from 'pg'
import type { Test } from 'tap'
import { run, start } from '../support/command-line.ts'
import { excessiveHashes, importedHashes, unknownHashes } from '../support/imported-hashes.ts'
import { build } from '../support/app.ts'
import { createDatabase, sql } from '../support/postgres.ts'
import { temporaryFolder } from '../support/temporary-folder.ts'
import { scale } from '../support/soak.ts'
import { commandOf } from '../support/program.ts'
import { t } from '../support/test.ts'

// Most of the time is the start of a process.
t.jobs = 2

const hash = importedHashes['bcrypt, $2b$']?.[0] ?? ''
const json = (...lines: unknown[]) => lines.map(line => `${JSON.stringify(line)}\n`).join('')

/** Imports this content from standard input, and returns the result. */
async function runImport (t: Test, DATABASE_URL: string, content: string | Buffer, ...options: string[]) {
  const { child, end } = start(t, ['users', 'import', '-', '--json', ...options], { DATABASE_URL })
  child.stdin.end(content)
  const { code, stdout, stderr } = await end()
  return { code, stderr, result: JSON.parse(stdout) }
}

/** As `runImport`, with the report of the rejected lines. */
async function runImportWithReport (t: Test, DATABASE_URL: string, content: string | Buffer) {
  const report = join(temporaryFolder(t), 'refused.jsonl')
  const { code, result, stderr } = await runImport(t, DATABASE_URL, content, '--report', report)
  t.equal(stderr, '')
  const lines = readFileSync(report, 'utf8')
    .trimEnd()
    .split('\n')
    .filter(line => line !== '')
    .map(line => JSON.parse(line))
  t.equal(code, lines.length > 0 ? 1 : 0)
  t.equal(lines.length, result.refused)
  return { result, lines, text: readFileSync(report, 'utf8') }
}

async function runExport (t: Test, DATABASE_URL: string): Promise<string> {
  const { code, stdout, stderr } = await run(t, ['users', 'export'], { DATABASE_URL })
  t.match({ code, stderr }, { code: 0, stderr: /^Exported \d+ accounts?\.\n$/ })
  return stdout
}

t.test('users import', async t => {
  await t.test('creates accounts from lines, with their audit events, and prints how many', async t => {
    const DATABASE_URL = await createDatabase(t)
    const path = join(temporaryFolder(t), 'users.jsonl')
    const id = 'B5D5E0F0-3B1C-4F1E-9C2A-0123456789AB'
    writeFileSync(
      path,
      json(
        { email: 'Ada@Example.COM', password_hash: hash },
        {
          id,
          email: 'bob@example.com',
          email_verified: true,
          name: 'Bob',
          username: 'Bob.B',
          roles: ['user', 'admin'],
          status: 'disabled',
          password_hash: null,
          created_at: '2020-02-29T12:00:00.123456+02:00'
        }
      )
    )
    t.strictSame(await run(t, ['users', 'import', path], { DATABASE_URL }), {
      code: 0,
      stdout: 'Imported 2, already there 0, refused 0.\n',
      stderr: ''
    })
    const [ada, bob] = await sql<Record<string, unknown>>(
      DATABASE_URL, 'select *, created_at::text as created_text from users order by canonical_email'
    )
    t.match(ada, {
      email: 'Ada@example.com',
      canonical_email: 'ada@example.com',
      name: null,
      username: null,
      roles: ['user'],
      password_hash: hash,
      password_version: 1,
      email_verified_at: null,
      disabled_at: null,
      created_at: Date
    })
    t.match(bob, {
      id: id.toLowerCase(),
      name: 'Bob',
      username: 'bob.b',
      roles: ['user', 'admin'],
      password_hash: null,
      email_verified_at: Date,
      disabled_at: Date
    })
    t.equal(new Date(String(bob?.['created_text'])).toISOString(), '2020-02-29T10:00:00.123Z')
    t.match(String(bob?.['created_text']), /\.123456/)
    const events = await sql<{ user_id: string, actor_id: null }>(
      DATABASE_URL,
      "select user_id, actor_id, detail from audit_events where type = 'user.imported'"
    )
    t.strictSame(events.map(event => event.user_id).sort(), [ada?.['id'], bob?.['id']].sort())
    t.notOk(JSON.stringify(events).includes(hash))
  })

  await t.test('of many accounts leaves the database with current row counts', async t => {
    const DATABASE_URL = await createDatabase(t)
    const known = async () =>
      await sql(
        DATABASE_URL,
        'select relname::text as name, greatest(reltuples, 0)::int as rows from pg_class where oid in ' +
          "('users'::regclass, 'user_roles'::regclass) order by 1"
      )
    const lines = json(
      ...Array.from({ length: 10_000 }, (_, index) => ({
        email: `user-${index}@example.com`,
        roles: ['user', 'editor']
      }))
    )
    t.match(await runImport(t, DATABASE_URL, lines, '--dry-run'), { code: 0, result: { imported: 10_000 } })
    t.strictSame(await known(), [{ name: 'user_roles', rows: 0 }, { name: 'users', rows: 0 }])
    t.match(await runImport(t, DATABASE_URL, lines), { code: 0, stderr: '', result: { imported: 10_000 } })
    t.strictSame(await known(), [{ name: 'user_roles', rows: 20_000 }, { name: 'users', rows: 10_000 }])
  })

  await t.test('rejects a line that is not a valid record, and never prints a hash', async t => {
    const DATABASE_URL = await createDatabase(t)
    const email = (line: number) => `line-${line}@example.com`
    const wrong: Array<[unknown, reason: string, pointer: string]> = [
      ['text', 'invalid_json', ''],
      [[], 'invalid_json', ''],
      [null, 'invalid_json', ''], [{}, 'invalid_email', '/email'],
      [{ email: 7 }, 'invalid_email', '/email'], [{ email: 'ada' }, 'invalid_email', '/email'],
      [{ email: `${'a'.repeat(400)}@example.com` }, 'invalid_email', '/email'],
      [{ email: 'a\0b@example.com' }, 'invalid_email', '/email'],
      ...[{ admin: true }, { [hash]: 1 }, { __proto__x: {} }, { passwordHash: hash }].map(
        (more): [unknown, string, string] => [more, 'unknown_property', '']
      ),
      ...['', 1.5, true, ['7'], 'a\0b', 'x'.repeat(256)].map(
        (id): [unknown, string, string] => [{ id }, 'invalid_value', '/id']
      ),
      ...['', 7, 'a\nb', 'x'.repeat(256)].map((id): [unknown, string, string] => [
        { external_id: id },
        'invalid_value', '/external_id'
      ]),
      [{ id: 'auth0|5f7c8ec7', external_id: 'another' }, 'invalid_value', '/external_id'],
      ...['true', 1].map((value): [unknown, string, string] => [
        { email_verified: value },
        'invalid_value', '/email_verified'
      ]),
      ...[7, 'a\0b', 'a\nb', '\ud800', 'x'.repeat(201)].map((name): [unknown, string, string] => [
        { name },
        'invalid_value', '/name'
      ]),
      [{ username: 7 }, 'invalid_value', '/username'],
      ...['user', [7], [''], [['user']], ['a\0'], Array(101).fill('x')].map(
        (roles): [unknown, string, string] => [{ roles }, 'invalid_value', '/roles']
      ),
      ...['banned', true].map((status): [unknown, string, string] => [
        { status },
        'invalid_value', '/status'
      ]),
      ...[
        7, '2020-01-01', '2020-01-01T00:00:00', '2021-02-29T00:00:00Z', '2020-13-01T00:00:00Z',
        '2020-01-01T24:00:00Z', '2020-01-01T00:00:00+15:00', '1969-12-31T23:59:59Z',
        '2020-01-01T00:00:00.1234567Z', 'infinity'
      ].map((time): [unknown, string, string] => [{ created_at: time }, 'invalid_value', '/created_at']),
      [{ password_hash: 7 }, 'invalid_value', '/password_hash'],
      ...unknownHashes.map((hash): [unknown, string, string] => [
        { password_hash: hash },
        'unknown_hash_format', '/password_hash'
      ]),
      ...excessiveHashes.map((hash): [unknown, string, string] => [
        { password_hash: hash },
        'hash_too_expensive', '/password_hash'
      ])
    ]
    const good = { email: 'good@example.com', password_hash: hash }
    const bad = wrong.map(([value, reason], index) =>
      reason === 'invalid_json' || reason === 'invalid_email'
        ? value
        : { email: email(index + 1), ...Object(value) }
    )
    const { result, lines, text } = await runImportWithReport(t, DATABASE_URL, json(...bad, good))
    t.strictSame(
      lines.map(({ line, reason, pointer }) => ({ line, reason, pointer })),
      wrong.map(([, reason, pointer], index) => ({ line: index + 1, reason, pointer }))
    )
    t.match(result, {
      imported: 1,
      refused: wrong.length,
      reasons: { hash_too_expensive: excessiveHashes.length, unknown_hash_format: unknownHashes.length }
    })
    for (const secret of [hash, ...excessiveHashes, ...unknownHashes.filter(each => each.length > 20)]) {
      t.notOk(text.includes(secret))
    }
    t.strictSame(
      await sql(DATABASE_URL, 'select email from users'),
      [{ email: 'good@example.com' }], 'the other lines are imported'
    )
  })

  await t.test('accepts any bytes as input', async t => {
    const DATABASE_URL = await createDatabase(t)
    const line = (name: string) => JSON.stringify({ email: `${name}@example.com` })
    const content = Buffer.concat([
      Buffer.from(`\uFEFF${line('bom')}\r\n\r\n   \n${line('crlf')}\r\n`),
      Buffer.from([0x7b, 0xff, 0xfe, 0x7d, 0x0a]), Buffer.from('{"email": "nul\0@example.com"}\n'),
      Buffer.from(`{"name": "${'x'.repeat(65_536)}", "email": "long@example.com"}\n`),
      Buffer.from(`${line('after')}\n`), Buffer.alloc(10_000_000, 'garbage'), Buffer.from(`\n${line('last')}`)
    ])
    const { result, lines } = await runImportWithReport(t, DATABASE_URL, content)
    t.strictSame(
      lines.map(({ line, reason }) => [line, reason]),
      [
        [5, 'invalid_utf8'], [6, 'invalid_json'], [7, 'line_too_long'], [9, 'line_too_long']
      ]
    )
    t.match(result, { imported: 4 })
    t.strictSame(
      await sql(DATABASE_URL, 'select email from users order by email'),
      ['after', 'bom', 'crlf', 'last'].map(name => ({ email: `${name}@example.com` }))
    )

    const random = Buffer.concat(
      Array.from({ length: 200 }, () => Buffer.concat([randomBytes(500), Buffer.from('\n')]))
    )
    t.match(await runImportWithReport(t, DATABASE_URL, random), { result: { imported: 0 } })
    t.strictSame((await runImport(t, DATABASE_URL, '')).result, {
      imported: 0,
      already_there: 0,
      refused: 0,
      reasons: {},
      left_out: {},
      dry_run: false
    })
  })

  await t.test('that is repeated changes nothing, and counts the existing accounts', async t => {
    const DATABASE_URL = await createDatabase(t)
    const id = '0199e8f2-6c1a-7b3e-9d5f-0a1b2c3d4e5f'
    const lines = [
      { email: 'ada@example.com', username: 'ada', password_hash: hash },
      { id, email: 'bob@example.com', name: 'Bob' },
      { email: 'eve@example.com', roles: [] }
    ]
    await runImport(t, DATABASE_URL, json(...lines))
    const rows = async () => await sql(DATABASE_URL, 'select * from users order by email')
    // As after a sign-in, and after a change by the user.
    await sql(
      DATABASE_URL,
      "update users set password_hash = '$argon2id$v=19$m=1024,t=1,p=1$x$y', name = 'Ada' where email " +
        "= 'ada@example.com'"
    )
    const before = await rows()
    t.match(await runImport(t, DATABASE_URL, json(...lines)), {
      code: 0,
      stderr: '',
      result: { imported: 0, already_there: 3, refused: 0 }
    })

    const { lines: found, result } = await runImportWithReport(
      t, DATABASE_URL,
      json(
        { email: 'ADA@example.com', password_hash: importedHashes['scrypt']?.[0] },
        { id, email: 'bob@example.com', name: 'Robert' },
        { id, email: 'new@example.com' },
        { id: '0199e8f2-6c1a-7b3e-9d5f-000000000000', email: 'bob@example.com', name: 'Bob' },
        { email: 'eve@example.com', roles: ['admin'] }
      )
    )
    t.strictSame(
      found.map(({ reason, pointer, email }) => [reason, pointer, email]),
      [
        ['email_taken', '/email', 'ADA@example.com'], ['id_taken', '/id', 'bob@example.com'],
        ['id_taken', '/id', 'new@example.com'],
        ['email_taken', '/email', 'bob@example.com'], ['email_taken', '/email', 'eve@example.com']
      ]
    )
    t.match(result, { imported: 0, reasons: { email_taken: 3, id_taken: 2 } })
    t.strictSame(await rows(), before)
  })

  await t.test('keeps the first of two lines with the same address or id', async t => {
    const DATABASE_URL = await createDatabase(t)
    const id = '0199e8f2-6c1a-7b3e-9d5f-0a1b2c3d4e5f'
    const { result, lines } = await runImportWithReport(
      t, DATABASE_URL,
      json(
        { email: 'ada@example.com', name: 'first' },
        { email: 'Ada@example.com', name: 'second' },
        { email: 'ada@example.com', name: 'first' },
        { id, email: 'bob@example.com' },
        { id, email: 'other@example.com' },
        { external_id: 'user_1', email: 'c@example.com' },
        { external_id: 'user_1', email: 'd@example.com' }
      )
    )
    t.strictSame(
      lines.map(({ line, reason }) => [line, reason]),
      [
        [2, 'email_taken'], [5, 'id_taken'], [7, 'external_id_taken']
      ]
    )
    t.match(result, { imported: 3, already_there: 1 })
  })

  await t.test('keeps an id that is no UUID as the external id', async t => {
    const DATABASE_URL = await createDatabase(t)
    const ids = [
      'auth0|5f7c8ec7c33c6c004bbafe82', 'XbpOvnVs8dTBMLbmPmsSxMQmPtv2', 'user_2NNEqL2nrIRdJ194ndJqAHwEfxC',
      '507f1f77bcf86cd799439011', '01ARZ3NDEKTSV4RRFFQ69G5FAV', '00000000-0000-0000-0000-000000000000', 42
    ]
    const uuid = '0199e8f2-6c1a-7b3e-9d5f-0a1b2c3d4e5f'
    const lines = json(
      ...ids.map((id, index) => ({ id, email: `user-${index}@example.com` })),
      { id: uuid, external_id: 'both', email: 'user-7@example.com' }
    )
    t.match(await runImport(t, DATABASE_URL, lines), { code: 0, stderr: '', result: { imported: 8 } })
    const users = await sql<{ id: string, external_id: string }>(
      DATABASE_URL, 'select id, external_id from users order by email'
    )
    t.strictSame(users.map(user => user.external_id), [...ids.map(String), 'both'])
    t.equal(users.at(-1)?.id, uuid)
    t.match((await runImport(t, DATABASE_URL, lines)).result, { imported: 0, already_there: 8, refused: 0 })
    const { lines: refused } = await runImportWithReport(t, DATABASE_URL, json(
      { id: 42, email: 'user-0@example.com' },
      { external_id: 'new', email: 'user-0@example.com' },
      { id: 42, email: 'new@example.com' }
    ))
    t.strictSame(
      refused.map(({ reason, pointer }) => [reason, pointer]),
      [
        ['external_id_taken', '/external_id'],
        ['email_taken', '/email'],
        ['external_id_taken', '/external_id']
      ]
    )
  })

  await t.test('leaves out a username that does not fit, and reports it', async t => {
    const DATABASE_URL = await createDatabase(t)
    const lines = json(
      { email: 'a@example.com', username: 'johndoe', password_hash: hash },
      { email: 'b@example.com', username: 'john.doe' },
      { email: 'c@example.com', username: 'JohnDoe', password_hash: hash },
      { email: 'd@example.com', username: 'd@example.com' },
      { email: 'e@example.com', username: 'ab' },
      { email: 'f@example.com', username: '' }
    )
    const report = join(temporaryFolder(t), 'report.jsonl')
    const expected = { imported: 6, refused: 0, left_out: { username_taken: 2, invalid_username: 2 } }
    t.match(await runImport(t, DATABASE_URL, lines, '--dry-run'), { code: 0, result: expected })
    t.match(await runImport(t, DATABASE_URL, lines, '--report', report), { code: 0, result: expected })
    t.strictSame(
      readFileSync(report, 'utf8').trimEnd().split('\n').map(line => {
        const { line: number, reason, pointer, email, left_out: leftOut } = JSON.parse(line)
        return [number, reason, pointer, email, leftOut]
      }),
      [
        [2, 'username_taken', '/username', 'b@example.com', true],
        [3, 'username_taken', '/username', 'c@example.com', true],
        [4, 'invalid_username', '/username', 'd@example.com', true],
        [5, 'invalid_username', '/username', 'e@example.com', true]
      ]
    )
    t.strictSame(
      (await sql<{ username: string | null }>(DATABASE_URL, 'select username from users order by email'))
        .map(({ username }) => username),
      ['johndoe', null, null, null, null, null]
    )
    t.match((await runImport(t, DATABASE_URL, lines)).result, {
      imported: 0, already_there: 6, refused: 0, left_out: {}
    })
    const path = join(temporaryFolder(t), 'users.jsonl')
    writeFileSync(path, lines)
    const { stdout, stderr } = await run(
      t, ['users', 'import', path], { DATABASE_URL: await createDatabase(t) }
    )
    t.match(
      stdout,
      /^Imported 6, already there 0, refused 0\.\nImported without a value:\n {2}username_taken: 2\n/
    )
    t.match(stderr, /^line 2: username belongs to another account, /)
    t.match(stderr, / \(username_taken: b@example\.com\); imported without it\n/)
  })

  await t.test('--without-unknown-hashes imports accounts without hashes that it cannot verify', async t => {
    const DATABASE_URL = await createDatabase(t)
    const [unknown = '', expensive = ''] = [unknownHashes[0], excessiveHashes[0]]
    const lines = json(
      { email: 'a@example.com', password_hash: hash },
      { email: 'b@example.com', password_hash: unknown },
      { email: 'c@example.com', password_hash: expensive }
    )
    t.match(await runImport(t, DATABASE_URL, lines), { code: 1, result: { imported: 1, refused: 2 } })
    const expected = { refused: 0, left_out: { unknown_hash_format: 1, hash_too_expensive: 1 } }
    const first = await runImport(t, DATABASE_URL, lines, '--without-unknown-hashes')
    t.match(first, { code: 0, result: { imported: 2, already_there: 1, ...expected } })
    t.notOk(first.stderr.includes(expensive))
    t.strictSame(
      (await sql<{ password_hash: string | null }>(
        DATABASE_URL, 'select password_hash from users order by email'
      )).map(user => user.password_hash),
      [hash, null, null]
    )
    // As after a password reset.
    await sql(DATABASE_URL, "update users set password_hash = 'x' where email = 'b@example.com'")
    t.match((await runImport(t, DATABASE_URL, lines, '--without-unknown-hashes')).result, {
      imported: 0, already_there: 3, refused: 0
    })
  })

  await t.test('takes the rows of a database as they are', async t => {
    const DATABASE_URL = await createDatabase(t)
    const lines = json(
      {
        id: 'B5D5E0F0-3B1C-4F1E-9C2A-0123456789AB',
        email: 'a@example.com',
        password_hash: '',
        created_at: '2021-02-03 04:05:06.789+00',
        roles: null,
        name: '',
        username: null,
        status: null
      },
      { id: null, email: 'b@example.com', created_at: '2021-02-03 04:05:06.789+0530', email_verified: null },
      { external_id: null, email: 'c@example.com', created_at: null, password_hash: null, name: null }
    )
    t.match(await runImport(t, DATABASE_URL, lines), { code: 0, stderr: '', result: { imported: 3 } })
    const users = await sql(
      DATABASE_URL, 'select password_hash, roles, name, external_id, created_at from users order by email'
    )
    const empty = { password_hash: null, roles: ['user'], name: null, external_id: null }
    t.match(users, [
      { ...empty, created_at: new Date('2021-02-03T04:05:06.789Z') },
      { ...empty, created_at: new Date('2021-02-02T22:35:06.789Z') },
      empty
    ])
    t.match((await runImport(t, DATABASE_URL, lines)).result, { imported: 0, already_there: 3 })
  })

  await t.test('--dry-run prints the same, and changes nothing', async t => {
    const DATABASE_URL = await createDatabase(t)
    await runImport(t, DATABASE_URL, json({ email: 'ada@example.com' }))
    const content = json(
      { email: 'ada@example.com' },
      { email: 'ADA@example.com', name: 'x' },
      { email: 'bob@example.com' },
      {}
    )
    const { result } = await runImport(t, DATABASE_URL, content, '--dry-run')
    t.match(result, { imported: 1, already_there: 1, refused: 2, dry_run: true })
    t.strictSame(
      await sql(
        DATABASE_URL,
        'select (select count(*)::int from users) as users, (select count(*)::int from audit_events ' +
          "where type = 'user.imported') as events"
      ),
      [{ users: 1, events: 1 }]
    )
    t.match((await runImport(t, DATABASE_URL, content)).result, { ...result, dry_run: false })
  })

  await t.test('that was interrupted has imported whole batches, and can be continued', async t => {
    const DATABASE_URL = await createDatabase(t)
    const all = Array.from({ length: 12_000 }, (_, n) => ({
      email: `person-${n}@example.com`,
      password_hash: hash
    }))
    const counts = async () =>
      (
        await sql<{ users: number, events: number }>(
          DATABASE_URL,
          'select (select count(*)::int from users) as users, (select count(distinct user_id)::int ' +
            "from audit_events where type = 'user.imported') as events"
        )
      )[0] ?? { users: 0, events: 0 }
    const untilImported = async (minimum: number) => {
      while ((await counts()).users < minimum) await new Promise(resolve => setTimeout(resolve, 10))
    }

    const first = start(t, ['users', 'import', '-'], { DATABASE_URL })
    first.child.stdin.write(json(...all.slice(0, 5_250)))
    await untilImported(5_000)
    first.child.kill('SIGKILL')
    await first.end()
    t.strictSame(await counts(), { users: 5_000, events: 5_000 })

    // The database connection breaks during a batch, which waits for a registration with one of its
    // addresses.
    const registration = new pg.Client({ connectionString: DATABASE_URL })
    await registration.connect()
    await registration.query(
      'begin; insert into users (id, email, canonical_email) values (gen_random_uuid(), ' +
        "'person-8100@example.com', 'person-8100@example.com')"
    )
    const second = start(t, ['users', 'import', '-'], { DATABASE_URL })
    second.child.stdin.on('error', () => {})
    second.child.stdin.end(json(...all))
    while (
      (
        await sql(
          DATABASE_URL,
          'select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() ' +
            "and wait_event_type = 'Lock' and query ~ 'insert into users'"
        )
      ).length === 0
    ) {
      await new Promise(resolve => setTimeout(resolve, 10))
    }
    t.match(await second.end(), { code: 1, stdout: '', stderr: /./ })
    await registration.query('rollback')
    await registration.end()
    t.strictSame(await counts(), { users: 8_000, events: 8_000 })

    t.match(await runImport(t, DATABASE_URL, json(...all)), {
      code: 0,
      stderr: '',
      result: { imported: 4_000, already_there: 8_000 }
    })
    t.strictSame(await counts(), { users: 12_000, events: 12_000 })
  })

  await t.test('beside another import creates each account once', async t => {
    const DATABASE_URL = await createDatabase(t)
    const all = Array.from({ length: 3_000 }, (_, n) => ({
      email: `person-${n}@example.com`,
      password_hash: hash
    }))
    const both = await Promise.all([
      runImport(t, DATABASE_URL, json(...all)),
      runImport(t, DATABASE_URL, json(...all))
    ])
    t.strictSame(both.map(({ code, result }) => [code, result.refused]), [[0, 0], [0, 0]])
    t.equal(both.reduce((sum, { result }) => sum + result.imported, 0), 3_000)
  })

  await t.test('prints the first refused lines and a summary', async t => {
    const DATABASE_URL = await createDatabase(t)
    const path = join(temporaryFolder(t), 'users.jsonl')
    writeFileSync(path, json(...Array(150).fill({}), { email: 'ada@example.com' }))
    const { code, stdout, stderr } = await run(t, ['users', 'import', path], { DATABASE_URL })
    t.strictSame(
      { code, stdout },
      { code: 1, stdout: 'Imported 1, already there 0, refused 150:\n  invalid_email: 150\n' }
    )
    t.equal(stderr.split('\n')[0], 'line 1: email is missing (invalid_email)')
    t.equal(stderr.split('\n').length, 102)
    t.match(stderr, /\nand 50 more: use --report FILE for all of them\n$/)
  })

  await t.test('needs one existing file', async t => {
    for (const args of [[], ['a', 'b']]) {
      t.match(await run(t, ['users', 'import', ...args]), {
        code: 2,
        stdout: '',
        stderr: /\n\nThe command needs FILE\.jsonl, but .*\n$/
      })
    }
    const DATABASE_URL = await createDatabase(t)
    t.match(await run(t, ['users', 'import', 'missing.jsonl'], { DATABASE_URL }), {
      code: 1,
      stdout: '',
      stderr: 'The file missing.jsonl does not exist.\n'
    })
    t.match(await run(t, ['users', 'import', '.'], { DATABASE_URL }), {
      code: 1,
      stdout: '',
      stderr: /^EISDIR/
    })
  })
})

const script = '/usr/bin/script'
t.test('on a terminal', { skip: !existsSync(script) && 'script(1) is not installed' }, async t => {
  const DATABASE_URL = await createDatabase(t)
  const path = join(temporaryFolder(t), 'users.jsonl')
  writeFileSync(
    path,
    json(
      ...Array.from({ length: 1_000 }, (_, n) => ({ email: `person-${n}@example.com`, password_hash: hash }))
    )
  )
  const cli = commandOf('src/cli.ts').join(' ')
  const typed = (args: string) =>
    spawnSync(script, ['-qec', `${process.execPath} ${cli} ${args}`, '/dev/null'], {
      cwd: temporaryFolder(t),
      env: { DATABASE_URL },
      encoding: 'utf8'
    })

  t.match(
    typed(`users import ${path}`).stdout.replaceAll('\x1b', ''),
    new RegExp(
      '\r\\[2K\\[#+\\.*\\] +\\d+ % {2}\\d+ imported, 0 already there, 0 refused[^]*' +
      '\r\\[2KImported 1000, already there 0, refused 0\\.\r\n$'
    ),
    'a bar tells how far the import is'
  )
  const { status, stdout } = typed('users export')
  t.equal(status, 2)
  t.match(stdout, /\r\nThe lines contain password hashes, and standard output is a terminal/)
  t.notOk(stdout.includes('person-'), 'hashes are not shown there')
  t.ok(typed('users export --output -').stdout.includes('person-'), 'unless one asks for it')
})

t.test('users export', async t => {
  await t.test('returns what was imported, byte for byte', async t => {
    const text = (most: number) =>
      fc
        .string({ unit: 'binary', minLength: 1, maxLength: most })
        .filter(text => !/[\p{Cc}\p{Cs}]/u.test(text))
    const account = fc.record({
      id: fc.uuid({ version: [1, 4, 7] }),
      external_id: fc.constant<string | null>(null),
      email: fc.tuple(
        fc.string({ unit: fc.constantFrom(...'aZ09!#%&\'*+/=?^_`{|}~-äßΣ漢'), minLength: 1, maxLength: 12 }),
        fc.constantFrom('example.com', 'xn--bcher-kva.example', 'a.b.example')
      ).map(([local, host]) => `${local}@${host}`),
      email_verified: fc.boolean(),
      name: fc.option(text(200)),
      username: fc.option(fc.stringMatching(/^[a-z0-9_.-]{3,32}$/)),
      roles: fc.array(text(30), { maxLength: 5 }),
      status: fc.constantFrom('active', 'disabled'),
      password_hash: fc.option(fc.constantFrom(...Object.values(importedHashes).map(([hash]) => hash))),
      created_at: fc.tuple(
        fc.date({
          min: new Date('1970-01-01T00:00:00Z'), max: new Date('9999-12-31T00:00:00Z'), noInvalidDate: true
        }),
        fc.nat(999)
      ).map(([date, micro]) => date.toISOString().replace('Z', `${String(micro).padStart(3, '0')}Z`))
    })
    const skeleton = (username: string | null) =>
      username
        ?.replaceAll(/[_.-]/g, '')
        .replaceAll('0', 'o')
        .replaceAll(/[1i]/g, 'l')
        .replaceAll('m', 'rn')
        .replaceAll('w', 'vv')
    const accounts = fc
      .uniqueArray(account, {
        maxLength: 150,
        minLength: 100,
        selector: ({ email }) => email.normalize('NFKC').toLowerCase().normalize('NFKC')
      })
      .map(all =>
        all.map((account, index) =>
          all.findIndex(({ username }) => skeleton(username) === skeleton(account.username)) === index
            ? { ...account, external_id: index % 3 === 0 ? null : `auth0|${index}` }
            : { ...account, username: null }
        )
      )
    await fc.assert(fc.asyncProperty(accounts, async all => {
      const [from, to] = [await createDatabase(t), await createDatabase(t)]
      const { result, stderr } = await runImport(t, from, json(...all))
      if (result.imported !== all.length) throw new Error(stderr)
      const first = await runExport(t, from)
      const expected = all
        .map(account => ({ ...account, email: account.email.normalize('NFKC') }))
        .sort((a, b) => (a.id < b.id ? -1 : 1))
      t.strictSame(first.trimEnd().split('\n').map(line => JSON.parse(line)), expected)
      await runImport(t, to, first)
      t.equal(await runExport(t, to), first)
      t.match((await runImport(t, to, first)).result, { imported: 0, already_there: all.length, refused: 0 })
    }), { numRuns: scale(3, 1) })
  })

  await t.test('exports all accounts as of one moment, and is in the audit log', async t => {
    const DATABASE_URL = await createDatabase(t)
    await sql(
      DATABASE_URL,
      "insert into users (id, email, canonical_email) select gen_random_uuid(), n || '@example.com', n " +
        "|| '@example.com' from generate_series(1, 20000) as n"
    )
    const { child, end } = start(t, ['users', 'export'], { DATABASE_URL })
    await once(child.stdout, 'readable')
    // It waits for who reads, and what changes meanwhile is not of that moment.
    await sql(DATABASE_URL, "update users set name = 'changed'")
    const { code, stdout } = await end()
    const lines = stdout.trimEnd().split('\n').map(line => JSON.parse(line))
    t.equal(code, 0)
    t.equal(new Set(lines.map(({ id }) => id)).size, 20_000)
    t.ok(lines.every(({ name }) => name === null))
    t.match(
      await sql(DATABASE_URL, "select user_id, actor_id from audit_events where type = 'users.exported'"),
      [{ user_id: null, actor_id: null }]
    )
  })

  await t.test('--output creates a new file that only its owner can read, or no file at all', async t => {
    const DATABASE_URL = await createDatabase(t)
    await runImport(t, DATABASE_URL, json({ email: 'ada@example.com', password_hash: hash }))
    const dir = temporaryFolder(t)
    const path = join(dir, 'users.jsonl')
    t.strictSame(await run(t, ['users', 'export', '--output', path], { DATABASE_URL }), {
      code: 0,
      stdout: `Exported 1 account to ${path}.\n`,
      stderr: ''
    })
    t.equal(statSync(path).mode & 0o777, 0o600)
    t.equal(readFileSync(path, 'utf8'), await runExport(t, DATABASE_URL))
    t.match(await run(t, ['users', 'export', '--output', path], { DATABASE_URL }), {
      code: 2,
      stderr: /exists already/
    })
    t.strictSame(
      (await run(t, ['users', 'export', '--output', '-'], { DATABASE_URL })).stdout,
      readFileSync(path, 'utf8')
    )
    t.strictSame(
      JSON.parse(
        (await run(t, ['users', 'export', '--output', join(dir, 'again.jsonl'), '--json'], { DATABASE_URL }))
          .stdout
      ),
      { exported: 1 }
    )
    await sql(DATABASE_URL, 'alter table users rename column name to title')
    const half = join(dir, 'half.jsonl')
    t.match(await run(t, ['users', 'export', '--output', half], { DATABASE_URL }), { code: 1 })
    t.notOk(existsSync(half))
  })

  await t.test('ends when its reader has gone', async t => {
    const DATABASE_URL = await createDatabase(t)
    await sql(
      DATABASE_URL,
      "insert into users (id, email, canonical_email) select gen_random_uuid(), n || '@example.com', n " +
        "|| '@example.com' from generate_series(1, 5000) as n"
    )
    const { child, end } = start(t, ['users', 'export'], { DATABASE_URL })
    end().catch(() => {})
    child.stdout.destroy()
    t.strictSame(await once(child, 'exit'), [1, null])
  })
})

t.test('latchkey users create', async t => {
  const DATABASE_URL = await createDatabase(t)
  const environment = {
    DATABASE_URL,
    KEY_ENCRYPTION_KEY: randomBytes(32).toString('base64'),
    ARGON2_MEMORY_KIB: '1024',
    ARGON2_TIME_COST: '1',
    PASSWORD_PEPPER: 'true',
    ROLES: 'support'
  }
  const created = async (password: string, ...args: string[]) => {
    const { child, end } = start(t, ['users', 'create', '--json', ...args], environment)
    child.stdin.on('error', () => {}).end(password)
    const { code, stdout, stderr } = await end()
    return { code, result: JSON.parse(stdout || stderr.slice(stderr.indexOf('{'))) }
  }
  const service = await build(
    t,
    { ...environment, LINKS_URL: 'http://localhost:3000' },
    { url: DATABASE_URL }
  )

  await t.test('creates the first administrator, who can sign in and administer', async t => {
    const { code, result } = await created(
      'a phrase of my own\n', '--email', 'Ada@Example.com', '--role', 'user,admin', '--name', 'Ada',
      '--username', 'Ada', '--password-stdin'
    )
    t.equal(code, 0)
    t.match(result, {
      email: 'Ada@example.com',
      name: 'Ada',
      username: 'ada',
      roles: ['user', 'admin'],
      status: 'active',
      email_verified: true
    })
    t.notOk('link' in result)
    const browser = service.browser()
    const { body } = await browser.post('/v1/auth/login', {
      email: 'ada@example.com',
      password: 'a phrase of my own'
    })
    browser.accessToken = body.access_token
    t.strictSame((await browser.get(`/v1/admin/users/${result.id}`)).body, result)
    const [user] = await sql<{ password_hash: string }>(
      DATABASE_URL,
      "select password_hash from users where username = 'ada'"
    )
    t.match(user?.password_hash, /keyid=/, 'with the pepper')
    t.match(
      await sql(DATABASE_URL, 'select type, actor_id from audit_events where user_id = $1 order by id', [
        result.id
      ]),
      [
        { type: 'user.registered', actor_id: null },
        { type: 'user.verified', actor_id: null },
        { type: 'user.roles_changed', actor_id: null }
      ]
    )
  })

  await t.test('prints a link to set a password if none is given', async t => {
    const { code, result } = await created(
      '', '--email', 'bob@example.com', '--role', 'admin', '--role', 'support', '--email-verified'
    )
    t.equal(code, 0)
    t.match(result, {
      roles: ['admin', 'support'],
      email_verified: true,
      link: /^http:\/\/localhost:3000\/password-reset#token=lkl_[\w-]{43}$/
    })
    const visitor = service.browser()
    t.equal(
      (
        await visitor.post('/v1/auth/password-reset/confirm', {
          token: result.link.split('=')[1],
          new_password: 'a phrase of his own'
        })
      ).status,
      204
    )
    t.equal(
      (await visitor.post('/v1/auth/login', { email: 'bob@example.com', password: 'a phrase of his own' }))
        .status,
      200
    )
    const { stdout } = await run(t, ['users', 'create', '--email', 'eve@example.com'], environment)
    t.match(
      stdout,
      new RegExp([
        '^User id: {2}[0-9a-f-]{36}',
        'Open this link within 24 hours to set the password\\. It works once:',
        'http.*#token=lkl_[\\w-]{43}\n$'
      ].join('\n'))
    )
  })

  await t.test('names the command that gives an existing account its roles', async t => {
    const signedIn = { email: 'zoe@example.com', password: 'a phrase of hers' }
    await service.browser().post('/v1/auth/register', signedIn)
    t.match(
      await run(t, ['users', 'create', '--email', 'zoe@example.com', '--role', 'admin'], environment),
      { code: 1, stderr: /latchkey users set-roles/ })
    const setRoles = async (...args: string[]) => await run(t, ['users', 'set-roles', ...args], environment)
    t.match(await setRoles('--email', 'zoe@example.com', '--role', 'user,admin'), {
      code: 1, stderr: /is not verified, so the account may be another person's/
    })
    t.match(await setRoles('--email', 'Zoe@example.com', '--role', 'user,admin', '--email-verified'), {
      code: 0, stdout: /^The account [0-9a-f-]{36} has the roles user, admin\.\n$/
    })
    const administrator = service.browser()
    administrator.accessToken = (await administrator.post('/v1/auth/login', signedIn)).body.access_token
    t.match(await administrator.get('/v1/admin/users'), { status: 200 })
    t.match(await sql(DATABASE_URL, `
      select detail, actor_id from audit_events join users on users.id = user_id
      where type = 'user.roles_changed' and email = 'zoe@example.com'`), [{ actor_id: null }])
    t.match(await setRoles('--email', 'nobody@example.com', '--role', 'admin'), {
      code: 1, stderr: 'There is no account with this email address.\n'
    })
    for (const [args, message] of [
      [['--role', 'admin'], /--email/],
      [['--email', 'zoe@example.com'], /--role/],
      [['--email', 'zoe@example.com', '--role', 'No'], /--role must be one of/]
    ] as const) t.match(await setRoles(...args), { code: 2, stderr: message })
  })

  await t.test('refuses what a registration refuses', async t => {
    const refused = async (expected: object, password: string, ...args: string[]) => {
      t.match(await created(password, ...args), expected, args.join(' '))
    }
    await refused(
      { code: 1, result: { error: /^The password is one of the most common passwords\. Choose/ } },
      'password1234', '--email', 'new@example.com', '--password-stdin'
    )
    await refused(
      { code: 1, result: { error: /^The password is too short\. Choose/ } },
      '', '--email', 'new@example.com', '--password-stdin'
    )
    await refused(
      { code: 1, result: { error: /email address exists/ } },
      'a phrase of my own', '--email', 'ADA@example.com', '--password-stdin'
    )
    await refused(
      { code: 1, result: { error: /has this username/ } },
      '', '--email', 'new@example.com', '--username', 'ADA'
    )
    for (const [args, message] of [
      [[], /--email/],
      [['--email', 'x'], /--email/],
      [['--email', 'new@example.com', '--role', 'No'], /role/],
      [['--email', 'new@example.com', '--username', 'a b'], /--username/],
      [['--email', 'new@example.com', '--name', ''], /--name/]
    ] as const) {
      t.match(
        await run(t, ['users', 'create', ...args], environment),
        { code: 2, stderr: message },
        args.join(' ')
      )
    }
    t.strictSame(await sql(DATABASE_URL, "select 1 from users where canonical_email = 'new@example.com'"), [])
  })
})
