import { randomBytes } from 'node:crypto'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import type { Test } from 'tap'
import type { Environment } from '../../src/config/environment.ts'
import { readMigrations } from '../../src/database/migration-files.ts'
import { calibrate, recommend } from '../../src/calibration/calibration.ts'
import type { Browser } from '../support/client.ts'
import { closedPort, run, start } from '../support/command-line.ts'
import { build, keyEncryptionKey, newUser, type Service } from '../support/app.ts'
import { kidOf } from '../support/jwt.ts'
import { inSequence } from '../support/other-networks.ts'
import { createDatabase, sql } from '../support/postgres.ts'
import { temporaryFolder } from '../support/temporary-folder.ts'
import { waitFor } from '../support/polling.ts'
import { onlyInSoak } from '../support/soak.ts'
import { t } from '../support/test.ts'

const migrations = readMigrations().map(({ name }) => name)

// Most of the time is spent on starting processes.
t.jobs = 2

/** The configuration of a command that uses the database of a service. */
const configurationOf = ({ url }: Service, more: Environment = {}): Environment => ({
  DATABASE_URL: url,
  KEY_ENCRYPTION_KEY: keyEncryptionKey.toString('base64'),
  ...more
})

/** Runs a command with `--json`, and returns the parsed output. */
async function runJson (t: Test, args: string[], environment: Environment, cwd?: string) {
  const { code, stdout, stderr } = await run(t, [...args, '--json'], environment, cwd)
  t.strictSame({ code, stderr }, { code: 0, stderr: '' }, args.join(' '))
  return JSON.parse(stdout)
}

t.test('commands about the database', async t => {
  const commands = [
    ['keys', 'list'],
    ['keys', 'rotate'],
    ['clients', 'create', '--name', 'x', '--scope', 'y'],
    ['clients', 'list'],
    ['sessions', 'end', '--all']
  ]

  await t.test('need an up-to-date schema', async t => {
    const DATABASE_URL = await createDatabase(t)
    await sql(
      DATABASE_URL,
      'delete from schema_migrations where version = (select max(version) from schema_migrations)'
    )
    for (const args of commands) {
      t.strictSame(
        await run(t, args, { DATABASE_URL }),
        { code: 1, stdout: '', stderr: `the database lacks ${migrations.at(-1)}: run latchkey migrate\n` },
        args.join(' ')
      )
    }
  })

  await t.test('fail with one line if the database cannot be reached', async t => {
    const DATABASE_URL = `postgres://latchkey:hunter2@127.0.0.1:${await closedPort()}/latchkey`
    for (const args of commands) {
      const { code, stdout, stderr } = await run(t, args, { DATABASE_URL })
      t.strictSame({ code, stdout }, { code: 1, stdout: '' }, args.join(' '))
      t.match(stderr, /^the database at 127\.0\.0\.1:\d+ cannot be reached: .*ECONNREFUSED.*\n$/)
    }
  })

  await t.test('fail with the error that the database reports', async t => {
    const service = await build(t)
    await service.sql('alter table keys rename column kid to id')
    const { code, stdout, stderr } = await run(t, ['keys', 'list', '--json'], configurationOf(service))
    t.strictSame(
      { code, stdout, result: JSON.parse(stderr) },
      { code: 1, stdout: '', result: { error: 'column "kid" does not exist' } }
    )
  })

  await t.test('need a valid configuration', async t => {
    for (const args of commands) {
      t.match(await run(t, args, { DATABASE_URL: 'mysql://x' }), {
        code: 78,
        stdout: '',
        stderr: /DATABASE_URL must be/
      })
    }
  })
})

t.test('keys', async t => {
  await t.test('are listed with their states, in columns, without the key-encryption key', async t => {
    const service = await build(t)
    await runJson(t, ['keys', 'rotate', '--now'], configurationOf(service))
    const { kid: dropped } = await runJson(t, ['keys', 'rotate', '--now'], configurationOf(service))
    await runJson(t, ['keys', 'rotate', `--drop=${dropped}`], configurationOf(service))
    const { kid: published } = await runJson(t, ['keys', 'rotate'], configurationOf(service))
    const cwd = temporaryFolder(t)
    const { code, stdout, stderr } = await run(t, ['keys', 'list'], { DATABASE_URL: service.url }, cwd)
    t.strictSame({ code, stderr }, { code: 0, stderr: '' })
    t.notOk(existsSync(join(cwd, '.data')), 'no key-encryption key is created')
    const [headings = '', ...lines] = stdout.trimEnd().split('\n')
    t.strictSame(headings.split(/ {2,}/), [
      'KID', 'PURPOSE', 'ALG', 'STATE', 'PUBLISHED', 'SIGNS FROM', 'RETIRES', 'GONE'
    ])
    const cells = lines.map(line => line.split(/ {2,}/))
    t.strictSame(
      cells
        .filter(([, purpose]) => purpose === 'access_token')
        .map(([, , , state]) => state)
        .sort(),
      ['active', 'gone', 'published', 'retired', 'retired']
    )
    t.strictSame(
      cells
        .filter(([, purpose]) => purpose === 'refresh_token')
        .map(([, , alg, state, , , retires, gone]) => [alg, state, retires, gone]),
      [['HS256', 'active', '-', '-']]
    )
    t.equal(cells.find(([kid]) => kid === dropped)?.[3], 'gone')
    t.equal(cells.find(([kid]) => kid === published)?.[3], 'published')
    for (const line of lines) {
      t.match(
        line.slice(headings.indexOf('PUBLISHED')),
        /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ {2}\d{4}/,
        'aligned'
      )
    }
    const { items } = await runJson(t, ['keys', 'list'], { DATABASE_URL: service.url }, cwd)
    t.strictSame(items.map(({ kid }: { kid: string }) => kid), cells.map(([kid]) => kid))
    t.match(
      items.find(({ kid }: { kid: string }) => kid === published),
      {
        purpose: 'access_token',
        alg: 'ES256',
        state: 'published',
        published_at: /Z$/,
        signs_from: /Z$/,
        retires_at: null,
        gone_at: null
      }
    )
    t.notMatch(stdout + JSON.stringify(items), /sealed|public_key/)
  })

  await t.test(
    'are rotated while the service runs, which signs with the new key without a restart',
    async t => {
      const service = await build(t)
      const browser = service.browser()
      const {
        body: { access_token: oldToken }
      } = await browser.post('/v1/auth/register', newUser())
      const { code, stdout } = await run(t, ['keys', 'rotate', '--now'], configurationOf(service))
      t.equal(code, 0)
      const [, kid = ''] =
        /^Key ([\w-]{43}) \(access_token, ES256\) signs from \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ\.\n$/.exec(
          stdout
        ) ?? []
      await waitFor(() => service.app.keyring.getSigningKey().kid === kid)
      const {
        body: { access_token: newToken }
      } = await browser.post('/v1/auth/refresh')
      t.equal(kidOf(newToken), kid)
      t.not(kidOf(oldToken), kid)
      for (const token of [oldToken, newToken]) {
        t.match(await browser.get('/v1/me', { authorization: `Bearer ${token}` }), { status: 200 })
      }

      const nextKey = await runJson(t, ['keys', 'rotate'], configurationOf(service))
      t.ok(Date.parse(nextKey.signs_from) - Date.parse(nextKey.published_at) >= 599_000)
      await waitFor(() => service.app.keyring.getPublishedKeys().some(key => key.kid === nextKey.kid))
      t.equal(service.app.keyring.getSigningKey().kid, kid)
    }
  )

  await t.test('can be dropped while the service runs, which then rejects their tokens', async t => {
    const service = await build(t)
    const { body: { access_token: token } } = await service.browser().post('/v1/auth/register', newUser())
    const getProfile = async () => await service.browser().get('/v1/me', { authorization: `Bearer ${token}` })
    t.match(await getProfile(), { status: 200 })
    const { code, stdout } = await run(
      t,
      ['keys', 'rotate', `--drop=${kidOf(token)}`],
      configurationOf(service)
    )
    t.equal(code, 0)
    t.ok(stdout.startsWith(`Dropped ${kidOf(token)}. Key `))
    await waitFor(async () => (await getProfile()).status === 401)
    t.strictSame(await run(t, ['keys', 'rotate', `--drop=${kidOf(token)}`], configurationOf(service)), {
      code: 1,
      stdout: '',
      stderr: `there is no key ${kidOf(token)}, or it is already gone: see latchkey keys list\n`
    })
    t.match(await run(t, ['keys', 'rotate', '--drop=nonsense', '--json'], configurationOf(service)), {
      code: 1,
      stdout: '',
      stderr: /^\{"error":"there is no key nonsense, .*"\}\n$/
    })
    t.match(
      await service.sql("select type, actor_id, request_id from audit_events where type = 'key.dropped'"),
      [{ actor_id: null, request_id: null }]
    )
  })

  await t.test('are not created if the key-encryption key cannot decrypt the existing keys', async t => {
    const service = await build(t)
    const before = await service.sql('select * from keys order by kid')
    for (const args of [
      ['keys', 'rotate', '--now'],
      ['keys', 'rotate', `--drop=${service.app.keyring.getSigningKey().kid}`]
    ]) {
      const { code, stdout, stderr } = await run(
        t,
        args,
        configurationOf(service, { KEY_ENCRYPTION_KEY: randomBytes(32).toString('base64') })
      )
      t.strictSame({ code, stdout }, { code: 78, stdout: '' })
      t.equal(
        stderr,
        'The configuration is not valid:\n' +
          '  - KEY_ENCRYPTION_KEY does not decrypt the keys in the database: ' +
          'it was sealed with another KEY_ENCRYPTION_KEY\n'
      )
    }
    t.strictSame(await service.sql('select * from keys order by kid'), before)
  })

  await t.test('that are created before the first start can be used at once', async t => {
    const DATABASE_URL = await createDatabase(t)
    const environment = { DATABASE_URL, KEY_ENCRYPTION_KEY: keyEncryptionKey.toString('base64') }
    await runJson(t, ['keys', 'rotate'], environment)
    const service = await build(t, {}, { url: DATABASE_URL })
    t.match(await service.browser().post('/v1/auth/register', newUser()), { status: 201 })
  })
})

const authenticate = async (service: Service, id: string, secret: string) =>
  await service.app.clients.authenticate({ id, secret, method: 'client_secret_basic' })

t.test('clients', async t => {
  const service = await build(t)

  await t.test('are created with a secret that is shown once', async t => {
    const { code, stdout, stderr } = await run(
      t,
      [
        'clients', 'create', '--name', 'Orders', '--scope', 'orders:read,introspect', '--scope', 'revocations'
      ],
      configurationOf(service)
    )
    t.strictSame({ code, stderr }, { code: 0, stderr: '' })
    const output = new RegExp('^Client id: {6}([0-9a-f-]{36})\\nClient secret: {2}(lks_[\\w-]{43})\\n' +
      'The secret is not shown again\\.\\n$')
    const [, id = '', secret = ''] = output.exec(stdout) ?? []
    t.match(await authenticate(service, id, secret), {
      name: 'Orders',
      scopes: ['orders:read', 'introspect', 'revocations']
    })
    t.match(await service.sql("select actor_id, client_id from audit_events where type = 'client.created'"), [
      { actor_id: null, client_id: id }
    ])
  })

  await t.test('are printed as JSON like in the API', async t => {
    const client = await runJson(
      t,
      ['clients', 'create', '--name', 'Shop -- 1', '--scope=a'],
      configurationOf(service)
    )
    t.match(client, {
      client_id: /./,
      client_secret: /^lks_/,
      name: 'Shop -- 1',
      scopes: ['a'],
      redirect_uris: [],
      created_at: /Z$/
    })
    t.ok(await authenticate(service, client.client_id, client.client_secret))
  })

  await t.test('can be applications that users sign in to', async t => {
    const environment = { ...configurationOf(service), REDIRECT_SCHEMES: 'myapp' }
    const shop = await runJson(t, [
      'clients', 'create', '--name', 'Shop', '--redirect-uri', 'https://shop.example.com/cb',
      '--redirect-uri', 'https://shop.example.com/cb2',
      '--post-logout-redirect-uri', 'https://shop.example.com/',
      '--backchannel-logout-uri', 'https://shop.example.com/bye', '--first-party', '--userinfo-in-id-token',
      '--audience', 'https://api.example.com', '--scope', 'openid,offline_access'
    ], environment)
    const { client_id: id, client_secret: secret, created_at: createdAt, ...metadata } = shop
    t.strictSame(metadata, {
      name: 'Shop',
      application_type: 'web',
      grant_types: ['authorization_code', 'refresh_token'],
      redirect_uris: ['https://shop.example.com/cb', 'https://shop.example.com/cb2'],
      post_logout_redirect_uris: ['https://shop.example.com/'],
      token_endpoint_auth_method: 'client_secret_basic',
      backchannel_logout_uri: 'https://shop.example.com/bye',
      id_token_signed_response_alg: 'RS256',
      userinfo_in_id_token: true,
      first_party: true,
      audiences: ['https://api.example.com'],
      permissions: [],
      scopes: ['openid', 'offline_access']
    })
    t.match(secret, /^lks_/)
    const native = [
      'clients', 'create', '--name', 'App', '--public', '--native', '--redirect-uri', 'myapp:/cb',
      '--grant', 'authorization_code'
    ]
    const { code, stdout } = await run(t, native, environment)
    t.equal(code, 0)
    t.match(stdout, /^Client id: {6}[0-9a-f-]{36}\nThe client is public: it has no secret\.\n$/)
    t.match(await runJson(t, native, environment), {
      application_type: 'native',
      token_endpoint_auth_method: 'none',
      grant_types: ['authorization_code'],
      userinfo_in_id_token: false,
      scopes: ['openid', 'profile', 'email'],
      client_secret: undefined
    })
    const invalid: Array<[args: string[], message: RegExp]> = [
      [['--redirect-uri', 'http://shop.example.com/'], /redirect_uris\/0 must use https:/],
      [['--redirect-uri', 'javascript:alert(1)'], /redirect_uris\/0 must not have the scheme javascript:/],
      [
        ['--redirect-uri', 'https://a.example/', '--audience', 'http://localhost:3000'],
        /audiences\/0 must not be/
      ],
      [['--scope', 'a', '--public'], /grant_types must not have client_credentials/],
      [['--scope', 'a', '--grant', 'authorization_code'], /redirect_uris must not be empty/],
      [['--scope', 'a', '--grant', 'implicit'], /--grant must be one of/],
      [['--scope', 'a', '--backchannel-logout-uri', 'https://10.0.0.1/'], /backchannel_logout_uri .*private/],
      [[], /--scope must name a scope/]
    ]
    for (const [args, message] of invalid) {
      const { code, stderr } = await run(t, ['clients', 'create', '--name', 'x', ...args], environment)
      t.match({ code, stderr }, { code: 2, stderr: message }, args.join(' '))
    }
    await service.sql("delete from clients where name in ('Shop', 'App')")
  })

  await t.test('are all listed, without their secrets', async t => {
    await service.sql(`
      insert into clients (id, name, scopes)
      select gen_random_uuid(), 'Client ' || n, '{x}' from generate_series(1, 250) as n`)
    const { code, stdout } = await run(t, ['clients', 'list'], { DATABASE_URL: service.url })
    t.equal(code, 0)
    const [headings = '', ...lines] = stdout.trimEnd().split('\n')
    t.strictSame(headings.split(/ {2,}/), ['ID', 'NAME', 'GRANTS', 'SCOPES', 'REDIRECT URIS', 'CREATED'])
    t.equal(lines.length, 252)
    t.ok(lines.every(line => /^\d{4}-.*Z$/.test(line.slice(headings.indexOf('CREATED')))))
    const { items } = await runJson(t, ['clients', 'list'], { DATABASE_URL: service.url })
    t.equal(new Set(items.map(({ client_id: id }: { client_id: string }) => id)).size, 252)
    t.match(
      items.find(({ name }: { name: string }) => name === 'Orders'),
      { scopes: ['orders:read', 'introspect', 'revocations'], redirect_uris: [], created_at: /Z$/ }
    )
    t.notMatch(stdout + JSON.stringify(items), /lks_|client_secret"/)
  })
})

t.test('sessions end', async t => {
  const register = async (service: Service): Promise<{ browser: Browser, userId: string, email: string }> => {
    const browser = service.browser()
    const user = newUser()
    const { status, body } = await browser.post('/v1/auth/register', user)
    if (status !== 201) throw new Error(`the registration was answered ${status}`)
    browser.accessToken = body.access_token
    return { browser, userId: body.user.id, email: user.email }
  }

  await t.test(
    '--user ends the sessions of one user, and a running service rejects their tokens',
    async t => {
      const service = await build(t)
      const [ada, bob] = [await register(service), await register(service)]
      t.strictSame(await run(t, ['sessions', 'end', '--user', ada.userId], { DATABASE_URL: service.url }), {
        code: 0,
        stdout: 'Ended 1 session.\n',
        stderr: ''
      })
      t.match(await ada.browser.post('/v1/auth/refresh'), { status: 401 })
      await waitFor(async () => (await ada.browser.get('/v1/auth/verify')).status === 401)
      t.match(await bob.browser.post('/v1/auth/refresh'), { status: 200 })
      t.match(await bob.browser.get('/v1/auth/verify'), { status: 204 })
      t.match(
        await service.sql("select user_id, actor_id, detail from audit_events where type = 'session.ended'"),
        [{ user_id: ada.userId, actor_id: null, detail: { reason: 'ended_by_operator' } }]
      )
      t.match(await service.sql('select subject, reason from revocations'), [
        { subject: ada.userId, reason: 'ended_by_operator' }
      ])
      t.strictSame(
        await runJson(t, ['sessions', 'end', '--user', ada.userId], { DATABASE_URL: service.url }),
        { ended: 0 }
      )
      const byEmail = ['sessions', 'end', '--user', bob.email.toUpperCase()]
      t.strictSame(await runJson(t, byEmail, { DATABASE_URL: service.url }), { ended: 1 })
      t.match(await run(t, ['sessions', 'end', '--user', 'no@example.com'], { DATABASE_URL: service.url }), {
        code: 1, stderr: 'there is no user no@example.com\n'
      })
      t.strictSame(
        await run(t, ['sessions', 'end', '--user', '0199e8f2-6c1a-7b3e-9d5f-0a1b2c3d4e5f'], {
          DATABASE_URL: service.url
        }),
        { code: 1, stdout: '', stderr: 'there is no user 0199e8f2-6c1a-7b3e-9d5f-0a1b2c3d4e5f\n' }
      )
    }
  )

  await t.test('--all ends the sessions of all users, in batches', async t => {
    const service = await build(t)
    const [ada, bob] = [await register(service), await register(service)]
    await service.sql(
      `with new_sessions as (
        insert into sessions (id, user_id, methods, remembered, expires_at)
        select gen_random_uuid(), $1, '{pwd}', false, now() + interval '1 day' from generate_series(1, 2500)
        returning id
      )
      insert into refresh_tokens (session_id) select id from new_sessions`,
      [ada.userId]
    )
    t.strictSame(await runJson(t, ['sessions', 'end', '--all'], { DATABASE_URL: service.url }), {
      ended: 2502
    })
    for (const { browser } of [ada, bob]) {
      t.match(await browser.post('/v1/auth/refresh'), { status: 401 })
      await waitFor(async () => (await browser.get('/v1/auth/verify')).status === 401)
    }
    t.match(
      await service.sql(`
        select
          count(*) filter (where ended_at is null)::int as live,
          count(distinct ended_at)::int as batches,
          (select count(*)::int from refresh_tokens) as refreshable,
          (select count(*)::int from audit_events where type = 'session.ended') as events,
          (select count(*)::int from revocations) as revocations
        from sessions`),
      [{ live: 0, batches: 3, refreshable: 0, events: 2502, revocations: 2502 }]
    )
    t.match(
      await ada.browser.post('/v1/auth/register', newUser()),
      { status: 201 },
      'users can sign in again'
    )
    t.match(await ada.browser.post('/v1/auth/refresh'), { status: 200 })
  })

  await t.test('--all ends all earlier sessions, even during refreshes and sign-ins', async t => {
    const service = await build(t)
    const users = await inSequence(8, async () => await register(service))
    const oldSessions = await service.sql<{ id: string }>('select id from sessions')
    const controller = new AbortController()
    const { signal } = controller
    const traffic = [
      ...users.map(async ({ browser }) => {
        while (!signal.aborted && (await browser.post('/v1/auth/refresh')).status !== 401) {
          await new Promise(resolve => setImmediate(resolve))
        }
      }),
      (async () => {
        while (!signal.aborted) await register(service)
      })()
    ]
    const { ended } = await runJson(t, ['sessions', 'end', '--all'], { DATABASE_URL: service.url })
    controller.abort()
    await Promise.all(traffic)
    t.ok(ended >= 8)
    t.strictSame(
      await service.sql('select 1 from sessions where ended_at is null and id = any($1)', [
        oldSessions.map(({ id }) => id)
      ]),
      []
    )
    for (const { browser } of users) {
      await waitFor(async () => (await browser.post('/v1/auth/refresh')).status === 401)
    }
  })
})

t.test('with the embedded database, commands work while the service runs', async t => {
  const cwd = temporaryFolder(t)
  const PORT = String(await closedPort())
  const base = `http://127.0.0.1:${PORT}`
  const environment = { PORT, ISSUER_URL: base }
  const { child, end } = start(t, ['serve'], environment, cwd)
  await waitFor(
    async () =>
      child.exitCode !== null || (await fetch(`${base}/readyz`).catch(() => undefined))?.status === 200
  )
  const { kid } = await runJson(t, ['keys', 'rotate', '--now'], environment, cwd)
  const post = async (path: string, body: object): Promise<any> =>
    await (
      await fetch(`${base}${path}`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(body)
      })
    ).json()
  const ada = { ...newUser(), refresh_token_delivery: 'body' }
  const { access_token: token, refresh_token: refreshToken, user } = await post('/v1/auth/register', ada)
  t.equal(kidOf(token), kid, 'the next token is signed with the new key')
  const { items: keys } = await runJson(t, ['keys', 'list'], environment, cwd)
  // The service makes the key of ID tokens after it has started.
  t.equal(keys.filter(({ purpose }: { purpose: string }) => purpose !== 'id_token').length, 3)
  t.match(await runJson(t, ['clients', 'create', '--name', 'Orders', '--scope', 'a'], environment, cwd), {
    client_secret: /^lks_/
  })
  t.strictSame(await runJson(t, ['sessions', 'end', '--user', user.id], environment, cwd), { ended: 1 })
  t.match(await post('/v1/auth/refresh', { refresh_token: refreshToken }), { code: 'invalid_refresh_token' })
  const create = ['users', 'create', '--email', newUser().email]
  const { link } = await runJson(t, create, {}, cwd)
  t.match(link, `${base}/password-reset#token=`, 'a link leads to the service without its PORT')
  t.equal((await fetch(`${base}/readyz`)).status, 200)
  // As when its terminal is closed.
  child.kill('SIGHUP')
  t.match(await end(), { code: 0 })
  t.notOk(existsSync(join(cwd, '.data/pg/postmaster.pid')), 'the embedded database ends with the service')
})

t.test('calibrate', async t => {
  const owasp = [[47_104, 1], [19_456, 2], [12_288, 3], [9_216, 4], [7_168, 5]]
  const unreachableDatabase = { DATABASE_URL: 'postgres://latchkey@127.0.0.1:1/none' }

  await t.test('measures the costs that OWASP accepts, with the build in use', onlyInSoak, async t => {
    const data = await runJson(t, ['calibrate', '--target', '1ms'], {
      ...unreachableDatabase,
      ARGON2_CONCURRENCY: '2',
      ARGON2_BUILD: 'prebuilt'
    })
    t.strictSame([data.build, data.concurrency, data.target_ms], ['prebuilt', 2, 1])
    t.strictSame(
      data.measured.map((cost: Record<string, unknown>) => [cost['memory_kib'], cost['time_cost']]),
      owasp
    )
    for (const cost of data.measured) {
      t.ok(cost.hash_ms > 1 && cost.owasp, 'a hash takes longer than the target')
      t.ok(
        cost.logins_per_second > 0 && cost.logins_per_second < 2 * 1_000,
        `${cost.logins_per_second} sign-ins per second`
      )
      t.equal(cost.memory_bytes, 2 * 1_024 * cost.memory_kib)
    }
    const { within_target: isWithinTarget, environment } = data.recommended
    t.notOk(isWithinTarget)
    t.ok(
      owasp.some(
        ([memory, passes]) =>
          environment.ARGON2_MEMORY_KIB === memory && environment.ARGON2_TIME_COST === passes
      ),
      'the recommended cost is one that OWASP accepts'
    )
    t.strictSame(data.warnings, ['even the fastest cost that OWASP accepts takes longer than 1ms here'])
  })

  await t.test(
    'prints a table and the variables to set, which make a valid configuration',
    onlyInSoak,
    async t => {
      const { code, stdout, stderr } = await run(t, ['calibrate', '--target=50ms'], {
        ...unreachableDatabase,
        ARGON2_CONCURRENCY: '2',
        ARGON2_PARALLELISM: '2',
        UV_THREADPOOL_SIZE: '2'
      })
      t.strictSame({ code, stderr }, { code: 0, stderr: '' })
      t.match(
        stdout,
        /^argon2id, the (avx512|avx2|prebuilt) build, 1 at a time:\n\nMEMORY KIB {2}PASSES {2}ONE HASH/
      )
      t.match(stdout, /^19456 +2 +[\d.]+ ms +[\d.]+ +19 MiB +OWASP$/m)
      t.match(
        stdout,
        /^Warning: ARGON2_CONCURRENCY is 2, but the thread pool has 2 threads, so only 1 password is .*\.$/m
      )
      const environment = Object.fromEntries(
        [...stdout.matchAll(/^(ARGON2_\w+)=(\d+)$/gm)].map(([, name, value]) => [name, value])
      )
      t.strictSame(Object.keys(environment), [
        'ARGON2_MEMORY_KIB', 'ARGON2_TIME_COST', 'ARGON2_PARALLELISM', 'ARGON2_CONCURRENCY'
      ])
      t.strictSame([environment['ARGON2_PARALLELISM'], environment['ARGON2_CONCURRENCY']], ['2', '2'])
      t.strictSame(
        await runJson(t, ['config', 'check'], {
          ...unreachableDatabase,
          ...environment,
          NODE_ENV: 'production',
          HOST: '127.0.0.1',
          ISSUER_URL: 'https://auth.example.com',
          KEY_ENCRYPTION_KEY: keyEncryptionKey.toString('base64')
        }),
        { ok: true }
      )
    }
  )

  await t.test('recommends the strongest cost within the target, or else the fastest', async t => {
    const measured = [
      { memoryKib: 47_104, timeCost: 1, hashMs: 60, loginsPerSecond: 30 },
      { memoryKib: 19_456, timeCost: 2, hashMs: 20, loginsPerSecond: 100 },
      { memoryKib: 7_168, timeCost: 5, hashMs: 10, loginsPerSecond: 150 },
      { memoryKib: 65_536, timeCost: 3, hashMs: 130, loginsPerSecond: 12 }
    ]
    for (const [targetMs, memoryKib] of [
      [9, 7_168],
      [10, 7_168],
      [30, 19_456],
      [60, 47_104],
      [129, 47_104],
      [130, 65_536],
      [9_999, 65_536]
    ] as const) {
      t.equal(recommend(measured, targetMs)?.memoryKib, memoryKib, `${targetMs} ms`)
    }
    t.equal(recommend([], 100), undefined)
  })

  await t.test('leaves out costs for which there is not enough memory', onlyInSoak, async t => {
    const measured = await calibrate(
      { concurrency: 2, parallelism: 1, targetMs: 10_000 },
      (128 + 19) * 1_024 ** 2
    )
    t.strictSame(measured.map(({ memoryKib }) => memoryKib), [9_216, 7_168])
  })
})
