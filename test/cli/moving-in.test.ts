import { execFileSync, spawnSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Test } from 'tap'
import { parsePage } from '../../scripts/documentation.ts'
import { start } from '../support/command-line.ts'
import { importedHashes } from '../support/imported-hashes.ts'
import { createDatabase, sql } from '../support/postgres.ts'
import { temporaryFolder } from '../support/temporary-folder.ts'
import { t } from '../support/test.ts'

// The commands of docs/moving-in-from.md run on tables and files as the other systems have them.

t.jobs = 2

const { blocks } = parsePage('.', 'docs/moving-in-from.md')
const commandWith = (words: string) => blocks.find(({ text }) => text.includes(words))?.text ?? ''
/** The statement that a command gives to psql. */
const statementWith = (words: string) => /<<'SQL'\n([^]*)\nSQL\n/.exec(commandWith(words))?.[1] ?? ''
const hashOf = (name: string) => importedHashes[name]?.[0] ?? ''

/** Imports lines into a new database; none is refused. Returns the users in the order of their addresses. */
async function importLines (t: Test, lines: string) {
  const DATABASE_URL = await createDatabase(t)
  const { child, end } = start(t, ['users', 'import', '-'], { DATABASE_URL })
  child.stdin.end(lines)
  t.match(await end(), { code: 0, stderr: '', stdout: /refused 0\.\n/ })
  return await sql<Record<string, unknown>>(DATABASE_URL, `
    select id, external_id, email, email_verified_at is not null as email_verified, username, name,
      password_hash, disabled_at is not null as disabled, created_at from users order by email`)
}

/** Makes the tables of another system, and imports what the statement with these words reads from them. */
async function importTables (t: Test, tables: string, words: string, edit = (text: string) => text) {
  const url = await createDatabase(t)
  await sql(url, tables)
  const rows = await sql<{ json_build_object: object }>(url, edit(statementWith(words)))
  return await importLines(t, rows.map(row => `${JSON.stringify(row.json_build_object)}\n`).join(''))
}

/** Runs the command with these words on a file, and imports what it writes. */
async function importFile (t: Test, [name, content]: [name: string, content: string], words: string) {
  const folder = temporaryFolder(t)
  writeFileSync(join(folder, name), content)
  execFileSync('sh', ['-euc', commandWith(words)], { cwd: folder })
  return await importLines(t, readFileSync(join(folder, 'users.jsonl'), 'utf8'))
}

const id = 'b5d5e0f0-3b1c-4f1e-9c2a-0123456789ab'
const otherId = 'b5d5e0f0-3b1c-4f1e-9c2a-0123456789ac'
const createdAt = new Date('2021-02-03T04:05:06.789Z')

t.test('Supabase', async t => {
  const users = await importTables(t, `
    create schema auth;
    create table auth.users (
      id uuid, email varchar(255), encrypted_password varchar(255), email_confirmed_at timestamptz,
      raw_user_meta_data jsonb, created_at timestamptz, banned_until timestamptz, deleted_at timestamptz
    );
    insert into auth.users values
      ('${id}', 'a@example.com', '${hashOf('bcrypt, $2a$')}', now(), '{"full_name": "Ada"}',
        '2021-02-03 04:05:06.789+00', null, null),
      ('${otherId}', 'b@example.com', '', null, '{}', now(), now() + interval '1 day', null),
      (gen_random_uuid(), null, '', null, '{}', now(), null, null),
      (gen_random_uuid(), 'c@example.com', '', null, '{}', now(), null, now())`, 'auth.users')
  t.match(users, [
    {
      id,
      external_id: null,
      email: 'a@example.com',
      email_verified: true,
      name: 'Ada',
      password_hash: hashOf('bcrypt, $2a$'),
      disabled: false,
      created_at: createdAt
    },
    { id: otherId, email: 'b@example.com', email_verified: false, password_hash: null, disabled: true }
  ])
  t.equal(users.length, 2)
})

t.test('Keycloak', async t => {
  const argon2 = '{"hashIterations": 5, "algorithm": "argon2", "additionalParameters": ' +
    '{"hashLength": ["32"], "memory": ["7168"], "type": ["id"], "version": ["1.3"], "parallelism": ["1"]}}'
  const pbkdf2 = '{"hashIterations": 27500, "algorithm": "pbkdf2-sha256", "additionalParameters": {}}'
  const secret = (bytes: number) => JSON.stringify({
    value: Buffer.alloc(bytes, 7).toString('base64'), salt: Buffer.alloc(16, 9).toString('base64')
  })
  const users = await importTables(t, `
    create table realm (id varchar(36), name varchar(255));
    create table user_entity (
      id varchar(36), email varchar(255), email_verified boolean, enabled boolean, first_name varchar(255),
      last_name varchar(255), realm_id varchar(255), username varchar(255), created_timestamp bigint,
      service_account_client_link varchar(255)
    );
    create table credential (
      id varchar(36), type varchar(255), user_id varchar(36), secret_data text, credential_data text,
      priority integer
    );
    insert into realm values ('r', 'my-realm'), ('m', 'master');
    insert into user_entity values
      ('${id}', 'a@example.com', true, true, 'Ada', 'Lovelace', 'r', 'ada', 1612325106789, null),
      ('${otherId}', 'b@example.com', false, false, null, null, 'r', 'b@example.com', 1612325106789, null),
      (gen_random_uuid(), 'c@example.com', false, true, null, null, 'r', 'carol', 1612325106789, null),
      (gen_random_uuid(), null, false, true, null, null, 'r', 'service-account-x', 1612325106789, 'x'),
      (gen_random_uuid(), 'admin@example.com', false, true, null, null, 'm', 'admin', 1612325106789, null);
    insert into credential values
      ('1', 'password', '${id}', '${secret(32)}', '${argon2}', 10),
      ('2', 'otp', '${id}', '{}', '{}', 5),
      ('3', 'password', '${otherId}', '${secret(64)}', '${pbkdf2}', 10)`, 'user_entity')
  t.match(users, [
    {
      id,
      email_verified: true,
      username: 'ada',
      name: 'Ada Lovelace',
      password_hash: /^\$argon2id\$v=19\$m=7168,t=5,p=1\$CQkJ\w+\$Bwc\w+$/,
      created_at: createdAt
    },
    {
      id: otherId, username: null, password_hash: /^\$pbkdf2-sha256\$27500\$CQk.+==\$Bwc.+==$/, disabled: true
    },
    { email: 'c@example.com', username: 'carol', name: null, password_hash: null }
  ])
  t.equal(users.length, 3)
})

t.test('Django', async t => {
  const users = await importTables(t, `
    create table auth_user (
      id integer, password varchar(128), username varchar(150), first_name varchar(150),
      last_name varchar(150), email varchar(254), is_active boolean, date_joined timestamptz
    );
    insert into auth_user values
      (7, '${hashOf('PBKDF2, of Django')}', 'ada', 'Ada', '',
        'a@example.com', true, '2021-02-03 04:05:06.789Z'),
      (8, '!Jh8tP2', 'b@example.com', '', '', 'b@example.com', false, now()),
      (9, '', 'nobody', '', '', '', true, now())`, 'auth_user')
  t.match(users, [
    {
      external_id: '7',
      username: 'ada',
      name: 'Ada',
      password_hash: hashOf('PBKDF2, of Django'),
      created_at: createdAt
    },
    { external_id: '8', username: null, name: null, password_hash: null, disabled: true }
  ])
  t.equal(users.length, 2)
})

t.test('WordPress', async t => {
  // PostgreSQL stands in for MySQL, with functions of the same names.
  const users = await importTables(t, `
    create function if (boolean, text, text) returns text language sql
      as 'select case when $1 then $2 else $3 end';
    create function year (timestamp) returns numeric language sql as 'select extract(year from $1)';
    create table wp_users (
      "ID" bigint, user_login varchar(60), user_pass varchar(255), user_email varchar(100),
      user_registered timestamp, display_name varchar(250)
    );
    insert into wp_users values
      (7, 'ada', '${hashOf('phpass of WordPress')}', 'a@example.com', '2021-02-03 04:05:06.789', 'Ada'),
      (8, 'bob', '${hashOf('bcrypt of WordPress')}', 'b@example.com', '0001-01-01', '')`,
  'wp_users', text => text.replace('json_object(', 'json_build_object(').replaceAll(/\bID\b/g, '"ID"'))
  t.match(users, [
    {
      external_id: '7',
      username: 'ada',
      name: 'Ada',
      password_hash: hashOf('phpass of WordPress'),
      created_at: createdAt
    },
    { external_id: '8', username: 'bob', name: null, password_hash: hashOf('bcrypt of WordPress') }
  ])
})

t.test('ASP.NET Core Identity', async t => {
  const users = await importTables(t, `
    create table "AspNetUsers" (
      "Id" text, "UserName" varchar(256), "Email" varchar(256), "EmailConfirmed" boolean, "PasswordHash" text
    );
    insert into "AspNetUsers" values
      ('${id}', 'a@example.com', 'a@example.com', true, '${hashOf('PBKDF2 of ASP.NET Core Identity 2')}'),
      ('not-a-uuid', 'bob', 'b@example.com', false, null)`, 'from "AspNetUsers"')
  t.match(users, [
    { id, username: null, email_verified: true, password_hash: hashOf('PBKDF2 of ASP.NET Core Identity 2') },
    { external_id: 'not-a-uuid', username: 'bob', email_verified: false, password_hash: null }
  ])
})

const hasJq = process.env['CI'] !== undefined || spawnSync('jq', ['--version']).status === 0
t.test('exports in JSON', { skip: !hasJq && 'jq is not installed' }, async t => {
  await t.test('Auth0, with hashes', async t => {
    const line = {
      _id: { $oid: '5f7c8ec7c33c6c004bbafe82' },
      email: 'a@example.com',
      email_verified: true,
      passwordHash: hashOf('bcrypt, $2b$'),
      password_set_date: { $date: '2021-02-03T04:05:06.789Z' },
      tenant: 'example',
      connection: 'Username-Password-Authentication',
      _tmp_is_unique: true
    }
    t.match(await importFile(t, ['auth0.ndjson', `${JSON.stringify(line)}\n`], 'auth0.ndjson'), [{
      external_id: 'auth0|5f7c8ec7c33c6c004bbafe82',
      email_verified: true,
      password_hash: hashOf('bcrypt, $2b$')
    }])
  })

  await t.test('Auth0, without hashes', async t => {
    const line = {
      user_id: 'google-oauth2|1234',
      email: 'a@example.com',
      email_verified: true,
      name: 'Ada',
      created_at: '2021-02-03T04:05:06.789Z',
      blocked: true
    }
    const content = `${JSON.stringify(line)}\n{"user_id": "sms|1"}\n`
    t.match(await importFile(t, ['auth0-users.ndjson', content], 'auth0-users.ndjson'), [
      { external_id: 'google-oauth2|1234', name: 'Ada', disabled: true, created_at: createdAt }
    ])
  })

  await t.test('Firebase', async t => {
    const users = [
      {
        localId: 'XbpOvnVs8dTBMLbmPmsSxMQmPtv2',
        email: 'a@example.com',
        emailVerified: true,
        displayName: 'Ada',
        passwordHash:
          'lSrfV15cpx95_sZS2W9c9Kp6i_LVgQNDNC_qzrCnh1SAyZvqmZqAjTdn3aoItz-VHjoZilo78198JAdRuid5lQ==',
        salt: '42xEC-ixf3L2lw==',
        createdAt: '1612325106789',
        disabled: false,
        providerUserInfo: []
      },
      { localId: 'yBpOvnVs8dTBMLbmPmsSxMQmPtv2', email: 'b@example.com', emailVerified: false },
      { localId: 'phone', phoneNumber: '+1', createdAt: '1612325106789' }
    ]
    const signerKey =
      'jxspr8Ki0RYycVU8zykbdLGjFQ3McFUH0uiiTvC8pVMXAn210wjLNmdZJzxUECKbm0QsEmYUSDzZvpjeJ9WmXA=='
    const command = commandWith('auth:export').replace("'jxspr8Ki…'", `'${signerKey}'`)
    const folder = temporaryFolder(t)
    writeFileSync(join(folder, 'firebase.json'), JSON.stringify({ users }))
    execFileSync('sh', ['-euc', command.replace(/^firebase .*$/m, '')], { cwd: folder })
    t.match(await importLines(t, readFileSync(join(folder, 'users.jsonl'), 'utf8')), [
      {
        external_id: 'XbpOvnVs8dTBMLbmPmsSxMQmPtv2',
        email_verified: true,
        name: 'Ada',
        password_hash: hashOf('scrypt of Firebase, in the letters of URLs')
      },
      { external_id: 'yBpOvnVs8dTBMLbmPmsSxMQmPtv2', password_hash: null }
    ])
  })
})
