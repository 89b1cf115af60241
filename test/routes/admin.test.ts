import { randomUUID } from 'node:crypto'
import type { Test } from 'tap'
import { withDefaults } from '../../src/clients/metadata.ts'
import { bearer } from '../support/authorization-header.ts'
import type { Browser } from '../support/client.ts'
import { build, newUser } from '../support/app.ts'
import { waitUntil } from '../support/polling.ts'
import { registerUser } from '../support/registered-user.ts'
import { repeatUnavailable } from '../support/repetition.ts'
import { t } from '../support/test.ts'

const clientsPath = '/v1/admin/clients'
const clientPath = (id: string) => `${clientsPath}/${id}`
const keysPath = '/v1/admin/keys'
const rotatePath = '/v1/admin/keys/rotate'

const newClient = { name: 'Orders', scopes: ['orders:read', 'introspect'] }

t.test('the routes for service clients and keys', async t => {
  const service = await build(t)
  const visitor = service.browser()
  const { browser: admin } = await registerUser(service, 'admin')
  const { body: client } = await admin.post(clientsPath, newClient)
  const path = clientPath(client.client_id)
  const routes = [
    ['GET', clientsPath],
    ['POST', clientsPath, newClient],
    ['GET', path],
    ['PATCH', path, { name: 'Shop' }],
    ['POST', `${path}/secret`],
    ['DELETE', path],
    ['GET', keysPath],
    ['POST', rotatePath]
  ] as const
  const state = async () => await service.sql(`
    select
      (select count(*) from clients),
      (select count(*) from client_secrets),
      (select count(*) from keys),
      (select string_agg(name, ' ' order by id) from clients)`)
  const before = await state()

  const expectRefusal = async (t: Test, browser: Browser, expected: object, headers = {}) => {
    for (const [method, url, body] of routes) {
      t.match(await browser.send(method, url, body, headers), expected, `${method} ${url}`)
    }
    t.strictSame(await state(), before)
  }
  const forbidden = {
    status: 403, body: { code: 'forbidden' }, headers: { 'www-authenticate': /insufficient_scope/ }
  }
  const unauthorized = {
    status: 401, body: { code: 'invalid_token' }, headers: { 'www-authenticate': /^Bearer/ }
  }

  await t.test('refuse a request without a valid access token', async t => {
    await expectRefusal(t, visitor, unauthorized)
    await expectRefusal(t, visitor, unauthorized, bearer('x'))
  })

  await t.test('refuse it before they validate its body', async t => {
    t.match(await visitor.post(clientsPath, '{'), unauthorized)
    t.match(await visitor.post(`${clientPath('no-id')}/secret`, { odd: 1 }), unauthorized)
  })

  await t.test('refuse users without the role admin', async t => {
    await expectRefusal(t, (await registerUser(service)).browser, forbidden)
    await expectRefusal(t, (await registerUser(service, 'administrator', 'Admin')).browser, forbidden)
  })

  await t.test('refuse service clients with any scope', async t => {
    const { accessToken } = service.app.signClientToken({
      clientId: client.client_id, scope: 'admin account', audience: 'http://localhost:3000'
    })
    await expectRefusal(t, visitor, forbidden, bearer(accessToken))
  })

  await t.test('refuse a user who has just lost the role admin', async t => {
    const { browser, id: userId } = await registerUser(service, 'admin')
    await service.sql("update users set roles = '{user}' where id = $1", [userId])
    await expectRefusal(t, browser, forbidden)
  })

  await t.test('refuse a disabled administrator', async t => {
    const { browser, id: userId } = await registerUser(service, 'admin')
    await service.sql('update users set disabled_at = now() where id = $1', [userId])
    await expectRefusal(t, browser, unauthorized)
  })

  await t.test('refuse a session that another instance has ended, before they read of it', async t => {
    const { browser, sessionId } = await registerUser(service, 'admin')
    await service.sql(`
      with deleted as (delete from refresh_tokens where session_id = $1)
      update sessions set ended_at = now(), end_reason = 'logout' where id = $1`, [sessionId])
    await expectRefusal(t, browser, unauthorized)
  })

  await t.test('refuse a deleted account', async t => {
    const { browser, id: userId } = await registerUser(service, 'admin')
    await service.sql('delete from users where id = $1', [userId])
    await expectRefusal(t, browser, unauthorized)
  })

  await t.test('answer an administrator with responses that are never cached', async t => {
    const expected = { status: /^20/, headers: { 'cache-control': 'no-store' } }
    for (const [method, url, body] of routes) {
      t.match(await admin.send(method, url, body), expected, `${method} ${url}`)
    }
  })
})

t.test('a service client', async t => {
  const service = await build(t)
  const { browser: admin, id: userId } = await registerUser(service, 'admin')
  const create = async (client: object = newClient) => (await admin.post(clientsPath, client)).body
  const postSecret = async (id: string, body?: object) => await admin.post(`${clientPath(id)}/secret`, body)
  const postSecretWithRetry = async (id: string, body?: object) =>
    await repeatUnavailable(async () => await postSecret(id, body))
  const isValidSecret = async (id: string, secret: string) =>
    await service.app.clients.authenticate({ id, secret, method: 'client_secret_post' }) !== undefined
  const areValidSecrets = async (id: string, secrets: string[]) =>
    await Promise.all(secrets.map(async secret => await isValidSecret(id, secret)))
  const secretsOf = async (id: string) =>
    await service.sql('select 1 from client_secrets where client_id = $1', [id])

  await t.test('is created with a secret that is returned once and stored nowhere', async t => {
    const redirectUris = ['https://orders.example.com/callback?x=1', 'http://localhost:8080']
    const { status, body } = await admin.post(clientsPath, { ...newClient, redirect_uris: redirectUris })
    t.equal(status, 201)
    const { client_secret: secret, ...client } = body
    t.match(client, {
      ...newClient,
      redirect_uris: redirectUris,
      client_id: /^[0-9a-f-]{36}$/,
      created_at: /^\d{4}-.*Z$/
    })
    t.match(secret, /^lks_[\w-]{43}$/)
    t.ok(await isValidSecret(client.client_id, secret))
    t.strictSame((await admin.get(clientPath(client.client_id))).body, client)
    t.strictSame((await admin.get(clientsPath)).body, { items: [client], next_cursor: null })
    const [row] = await service.sql<{ dump: string }>(`
      select
        (select string_agg(t::text, '') from client_secrets t) ||
        (select string_agg(t::text, '') from clients t) ||
        (select string_agg(t::text, '') from audit_events t) as dump`)
    t.equal(row?.dump.includes(secret), false)
    t.equal(row?.dump.includes(Buffer.from(secret).toString('hex')), false)
    t.notOk(JSON.stringify(service.logs).includes('lks_'), 'the secret is not logged')
  })

  await t.test('has each scope and redirect URI once', async t => {
    const uris = ['https://a.example/', 'https://a.example/']
    t.match(await create({ name: 'Twice', scopes: ['b', 'a', 'b'], redirect_uris: uris }), {
      scopes: ['b', 'a'], redirect_uris: ['https://a.example/']
    })
    const { client_id: id } = await create({ name: 'None', scopes: [] })
    const { body } = await admin.patch(clientPath(id), { scopes: ['x', 'x'], redirect_uris: uris })
    t.strictSame([body.scopes, body.redirect_uris], [['x'], ['https://a.example/']])
  })

  await t.test('is rejected with invalid properties', async t => {
    const { client_id: id } = await create()
    const many = (count: number, item: (index: number) => string) =>
      Array.from({ length: count }, (_, index) => item(index))
    const invalidNames = ['', 'x'.repeat(101), 'a\nb', 1, null]
    const invalidScopeLists = ['a b', null, many(51, index => `s${index}`)]
    const invalidScopes = [
      '', 'a b', 'a"b', 'a\\b', 'a\u0000', 'a\n', 'é', 'a\u007f', 'x'.repeat(101)
    ]
    const invalidUriLists = ['https://a.example/', many(21, index => `https://a.example/${index}`)]
    const invalidUris = [
      '', '/callback', 'a.example', '//a.example/', 'javascript:alert(1)', 'ftp://a.example/',
      'https:a.example', 'https:///a', 'https://', 'https://?a', 'https://a.example/#x',
      'https://a.example/#', 'https://u:p@a.example/', 'https://a.example/ x', 'https://a.example/\n',
      `https://a.example/${'x'.repeat(2048)}`
    ]
    const invalidChanges: Array<[pointer: string, change: Record<string, unknown>]> = [
      ...invalidNames.map((name): [string, object] => ['/name', { name }]),
      ...invalidScopeLists.map((scopes): [string, object] => ['/scopes', { scopes }]),
      ...invalidScopes.map((scope): [string, object] => ['/scopes/0', { scopes: [scope] }]),
      ['/scopes/1', { scopes: ['a', 1] }],
      ...invalidUriLists.map((uris): [string, object] => ['/redirect_uris', { redirect_uris: uris }]),
      ...invalidUris.map((uri): [string, object] => ['/redirect_uris/0', { redirect_uris: [uri] }]),
      ['/client_id', { client_id: randomUUID() }],
      ['/client_secret', { client_secret: 'lks_x' }],
      ['/roles', { roles: ['admin'] }]
    ].map(([pointer, change]) => [pointer as string, change as Record<string, unknown>])
    for (const [pointer, change] of invalidChanges) {
      const answers = [
        await admin.post(clientsPath, { ...newClient, ...change }), await admin.patch(clientPath(id), change)
      ]
      for (const answer of answers) {
        const description = `${JSON.stringify(change)} at ${pointer}`
        t.match(answer, { status: 400, body: { code: 'validation_failed' } }, description)
        const pointers = answer.body.errors.map((error: { pointer: string }) => error.pointer)
        t.ok(pointers.includes(pointer), description)
      }
    }
    t.match(await admin.post(clientsPath, { ...newClient, name: undefined }), {
      status: 400, body: { errors: [{ pointer: '/name', detail: 'is required' }] }
    })
    for (const body of ['[]', 'null', '"x"', '{', '']) {
      t.match(await admin.post(clientsPath, body), { status: 400 }, body)
    }
    t.match(await admin.post(`${clientsPath}?x=1`, newClient), { status: 400 })
    t.match(await admin.post(clientsPath, newClient, { 'content-type': 'text/plain' }), { status: 415 })
    t.match((await admin.get(clientPath(id))).body, newClient, 'a rejected change changes nothing')
    const longest = {
      name: 'x'.repeat(100),
      scopes: many(50, index => `${'!#[]~'.repeat(19)}${index}`),
      redirect_uris: many(20, index => `https://a.example/${index}`)
    }
    t.match(await create(longest), { client_id: /./ }, 'the limits themselves are accepted')
  })

  await t.test('is not found by an unknown id, and a malformed id is rejected', async t => {
    const expectEverywhere = async (id: string, expected: object) => {
      t.match(await admin.get(clientPath(id)), expected)
      t.match(await admin.patch(clientPath(id), { name: 'x' }), expected)
      t.match(await admin.patch(clientPath(id), {}), expected)
      t.match(await admin.delete(clientPath(id)), expected)
      t.match(await postSecret(id), expected)
    }
    await expectEverywhere(randomUUID(), { status: 404, body: { code: 'not_found' } })
    await expectEverywhere(userId, { status: 404 })
    const malformedIds = [
      '1', 'x'.repeat(36), `urn:uuid:${randomUUID()}`, `%7B${randomUUID()}%7D`, `${randomUUID()}%00`
    ]
    for (const id of malformedIds) {
      await expectEverywhere(id, { status: 400, body: { code: 'validation_failed' } })
    }
    t.match(await admin.get(`${clientsPath}?cursor=urn:uuid:${randomUUID()}`), { status: 400 })
    t.match(await admin.delete(`/v1/me/sessions/urn:uuid:${randomUUID()}`), { status: 400 })
  })

  await t.test('is changed in the given properties only', async t => {
    const registration = { ...newClient, redirect_uris: ['https://a.example/'] }
    const { client_secret: secret, ...client } = await create(registration)
    const path = clientPath(client.client_id)
    t.strictSame((await admin.patch(path, {})).body, client)
    const { status, body } = await admin.patch(path, { name: 'Shop' })
    t.equal(status, 200)
    t.strictSame(body, { ...client, name: 'Shop' })
    t.strictSame((await admin.patch(path, { scopes: [] })).body, { ...client, name: 'Shop', scopes: [] })
    const withoutUsers = { redirect_uris: [], grant_types: ['client_credentials'] }
    const changed = { ...client, name: 'Shop', scopes: [], ...withoutUsers }
    t.strictSame((await admin.patch(path, withoutUsers)).body, changed)
    const updates = async () => await service.sql(`
      select
        (select updated_at from clients where id = $1),
        (select count(*)::int from audit_events where type = 'client.updated' and client_id = $1)`,
    [client.client_id])
    const before = await updates()
    t.match(before, [{ count: 3 }])
    for (const values of [{ name: 'Shop' }, { scopes: [] }, { name: 'Shop', redirect_uris: [] }]) {
      t.strictSame((await admin.patch(path, values)).body, changed)
    }
    t.strictSame(await updates(), before, 'current values change nothing')
    await Promise.all(Array.from({ length: 8 }, async () =>
      await repeatUnavailable(async () => await admin.patch(path, { name: 'Market' }))))
    t.match(await updates(), [{ count: 4 }])
    t.ok(await isValidSecret(client.client_id, secret))
  })

  await t.test('is listed in pages, the newest first', async t => {
    const otherService = await build(t)
    const { browser } = await registerUser(otherService, 'admin')
    t.strictSame((await browser.get(clientsPath)).body, { items: [], next_cursor: null })
    const ids: string[] = []
    for (let index = 0; index < 25; index++) {
      const { body } = await browser.post(clientsPath, { name: `Client ${index}`, scopes: [] })
      ids.unshift(body.client_id)
    }
    interface Page { body: { items: Array<{ client_id: string }>, next_cursor: string | null } }
    const listedIds: string[] = []
    const sizes: number[] = []
    for (let cursor: string | null = ''; cursor !== null;) {
      const url = `${clientsPath}?limit=10${cursor && `&cursor=${cursor}`}`
      const { body }: Page = await browser.get(url)
      listedIds.push(...body.items.map(({ client_id: id }) => id))
      sizes.push(body.items.length)
      cursor = body.next_cursor
    }
    t.strictSame(listedIds, ids)
    t.strictSame(sizes, [10, 10, 5])
    t.match(await browser.get(clientsPath), { body: { items: { length: 20 }, next_cursor: ids[19] } })
    const all = await browser.get(`${clientsPath}?limit=25`)
    t.match(all, { body: { items: { length: 25 }, next_cursor: null } })
    for (const query of ['limit=0', 'limit=101', 'limit=x', 'cursor=x', 'before=x', 'limit=1&limit=2']) {
      t.match(await browser.get(`${clientsPath}?${query}`), { status: 400 }, query)
    }
  })

  await t.test('has two valid secrets during a rotation, and a third replaces the oldest', async t => {
    const { client_id: id, client_secret: first, ...client } = await create()
    const { status, body: { client_secret: second, ...unchanged } } = await postSecret(id)
    t.equal(status, 201)
    t.strictSame(unchanged, { client_id: id, ...client })
    t.strictSame(await areValidSecrets(id, [first, second]), [true, true])
    const { body: { client_secret: third } } = await postSecret(id, {})
    t.strictSame(await areValidSecrets(id, [first, second, third]), [false, true, true])
    const { body: { client_secret: fourth } } = await postSecret(id, { immediately: true })
    t.strictSame(await areValidSecrets(id, [first, second, third, fourth]), [false, false, false, true])
    for (const body of [{ immediately: 'true' }, { immediately: 1 }, { replace: true }, []]) {
      t.match(await postSecret(id, body), { status: 400 })
    }
    t.equal(await isValidSecret(id, fourth), true)
    t.equal(await isValidSecret(randomUUID(), fourth), false)
    t.equal(await isValidSecret('no id', fourth), false)
    t.equal(await isValidSecret(id, ''), false)
  })

  await t.test('never has more than two secrets, also if many are created at once', async t => {
    const { client_id: id } = await create()
    const answers = await Promise.all(Array.from({ length: 12 }, async () => await postSecretWithRetry(id)))
    t.strictSame(answers.map(({ status }) => status), Array(12).fill(201))
    const valid = await areValidSecrets(id, answers.map(({ body }) => body.client_secret))
    t.equal(valid.filter(Boolean).length, 2)
    t.equal((await secretsOf(id)).length, 2)
    const mixed = await Promise.all(Array.from({ length: 12 }, async (_, index) =>
      await postSecretWithRetry(id, { immediately: index % 2 === 0 })))
    t.strictSame(mixed.map(({ status }) => status), Array(12).fill(201))
    t.ok((await secretsOf(id)).length <= 2)
  })

  await t.test('can no longer authenticate after it is deleted', async t => {
    const { client_id: id, client_secret: first } = await create()
    const { body: { client_secret: second } } = await postSecret(id)
    t.match(await admin.delete(clientPath(id)), { status: 204, text: '' })
    t.strictSame(await areValidSecrets(id, [first, second]), [false, false])
    t.match(await admin.get(clientPath(id)), { status: 404 })
    t.match(await admin.delete(clientPath(id)), { status: 404 })
    t.strictSame(await secretsOf(id), [])
    const { items } = (await admin.get(`${clientsPath}?limit=100`)).body
    t.notOk(items.some((client: { client_id: string }) => client.client_id === id))
  })

  await t.test('leaves no secret if it is deleted while one is created', async t => {
    for (let round = 0; round < 5; round++) {
      const { client_id: id } = await create()
      const [creation, deletion] = await Promise.all([
        postSecretWithRetry(id), repeatUnavailable(async () => await admin.delete(clientPath(id)))
      ])
      t.ok([201, 404].includes(creation.status), String(creation.status))
      t.equal(deletion.status, 204)
      t.strictSame(await secretsOf(id), [])
    }
  })

  await t.test('has audit events with the administrator, and without secrets', async t => {
    await service.sql('delete from clients')
    const eventsOf = async () => await service.sql(`
      select actor_id, client_id, user_id, ip, user_agent, request_id, detail
      from audit_events where type like 'client.%' order by id`)
    const previousCount = (await eventsOf()).length
    const headers = (step: string) => ({ 'x-request-id': `audit-${step}`, 'user-agent': 'Audit/1.0' })
    const { body: { client_id: id } } = await admin.post(clientsPath, newClient, headers('create'))
    const path = clientPath(id)
    await admin.patch(path, { name: 'Shop' }, headers('update'))
    await admin.patch(path, {}, headers('nothing'))
    await admin.post(`${path}/secret`, undefined, headers('secret'))
    await admin.post(`${path}/secret`, { immediately: true }, headers('replace'))
    await admin.delete(path, headers('delete'))
    await admin.delete(path, headers('again'))
    await admin.post(clientsPath, {}, headers('invalid'))
    const common = {
      actor_id: userId, client_id: id, user_id: null, ip: '127.0.0.1', user_agent: 'Audit/1.0'
    }
    t.strictSame((await eventsOf()).slice(previousCount), [
      { ...common, request_id: 'audit-create', detail: withDefaults(newClient) },
      { ...common, request_id: 'audit-update', detail: { ...newClient, name: 'Shop', changed: ['name'] } },
      { ...common, request_id: 'audit-secret', detail: { replaced: false } },
      { ...common, request_id: 'audit-replace', detail: { replaced: true } },
      { ...common, request_id: 'audit-delete', detail: { name: 'Shop' } }
    ])
    const rows = await service.sql<{ type: string }>(
      "select type from audit_events where request_id like 'audit-%' order by id")
    t.strictSame(rows.map(({ type }) => type), [
      'client.created', 'client.updated', 'client.secret_rotated', 'client.secret_rotated', 'client.deleted'
    ])
  })
})

t.test('a signing key', async t => {
  const service = await build(t)
  const { keyring } = service.app
  const { browser: admin, id: userId } = await registerUser(service, 'admin')
  interface Key {
    kid: string
    purpose: string
    alg: string
    published_at: string
    signs_from: string
    retires_at: string | null
    gone_at: string | null
  }
  const listKeys = async (): Promise<Key[]> => (await admin.get(keysPath)).body.items
  const findKey = async (kid: string | undefined) => (await listKeys()).find(key => key.kid === kid)
  const rotate = async (body?: unknown) => await admin.post(rotatePath, body)
  const secondsBetween = (from: string, to: string | null | undefined) =>
    (Date.parse(to ?? '') - Date.parse(from)) / 1_000
  const isPublished = (kid: string) => keyring.getPublishedKeys().some(key => key.kid === kid)

  await t.test('is listed with its times, and without its material', async t => {
    const { body } = await admin.get(keysPath)
    t.equal(body.next_cursor, null)
    const expected = [['access_token', 'ES256'], ['refresh_token', 'HS256'], ['id_token', 'RS256']]
    t.equal(body.items.length, expected.length)
    for (const [purpose, alg] of expected) {
      const key = body.items.find((key: Key) => key.purpose === purpose)
      const properties = ['kid', 'purpose', 'alg', 'published_at', 'signs_from', 'retires_at', 'gone_at']
      t.strictSame(Object.keys(key), properties)
      t.match(key, { alg, published_at: /Z$/, signs_from: /Z$/, retires_at: null, gone_at: null })
    }
    t.match(await admin.get(`${keysPath}?limit=1`), { status: 400 })
  })

  await t.test('has a successor that is published at once, and signs when every cache has it', async t => {
    const previous = (await listKeys()).find(({ purpose }) => purpose === 'access_token')
    const { status, body: key } = await rotate()
    t.equal(status, 201)
    t.match(key, { purpose: 'access_token', alg: 'ES256', retires_at: null, gone_at: null })
    t.ok(Math.abs(secondsBetween(key.published_at, key.signs_from) - 600) < 1, 'twice JWKS_MAX_AGE')
    t.strictSame((await listKeys())[0], key)
    const retiring = await findKey(previous?.kid)
    t.match(retiring, { retires_at: key.signs_from })
    // Its tokens live for 900 seconds, and caches have the key set for 300 seconds.
    t.ok(secondsBetween(key.signs_from, retiring?.gone_at) >= 900 + 300)
    t.equal(keyring.getSigningKey().kid, previous?.kid)
    t.ok(isPublished(key.kid))
  })

  await t.test('signs at once on request, and tokens of its predecessor stay valid', async t => {
    const { body: key } = await rotate({ immediately: true })
    t.equal(key.signs_from, key.published_at)
    t.equal(keyring.getSigningKey().kid, key.kid)
    t.match(await admin.get('/v1/me'), { status: 200 })
  })

  await t.test('that does not exist cannot be dropped', async t => {
    const before = await listKeys()
    t.match(await rotate({ drop: 'unknown' }), { status: 404, body: { code: 'not_found' } })
    t.strictSame(await listKeys(), before, 'no key is created')
    const invalidBodies = [
      { drop: '' }, { drop: 'a b' }, { drop: 'a\u0000' }, { drop: 'x'.repeat(65) }, { drop: 1 },
      { drop: null }, { immediately: 'yes' }, { kid: 'x' }, [], '{', 'null'
    ]
    for (const body of invalidBodies) t.match(await rotate(body), { status: 400 }, JSON.stringify(body))
    t.match(await admin.post(`${rotatePath}?drop=x`), { status: 400 })
    t.strictSame(await listKeys(), before)
  })

  await t.test('that is dropped is replaced at once, and its tokens are refused', async t => {
    const { kid } = keyring.getSigningKey()
    const olderToken = admin.accessToken ?? ''
    const refresh = async () => {
      admin.accessToken = (await admin.post('/v1/auth/refresh')).body.access_token
    }
    await refresh()
    const forgeableToken = admin.accessToken ?? ''
    t.match(await admin.get('/v1/me'), { status: 200 })
    const { status, body: key } = await rotate({ drop: kid })
    t.equal(status, 201)
    t.equal(key.signs_from, key.published_at)
    t.equal(keyring.getSigningKey().kid, key.kid)
    t.notOk(isPublished(kid))
    const dropped = await service.browser().get('/v1/me', bearer(forgeableToken))
    t.match(dropped, { status: 401, body: { code: 'invalid_token' } }, 'although it was verified before')
    const older = await service.browser().get('/v1/me', bearer(olderToken))
    t.match(older, { status: 200 }, 'a token of another key')
    await refresh()
    t.match(await admin.get('/v1/me'), { status: 200 }, 'the session goes on')
    t.match(await rotate({ drop: kid }), { status: 404 }, 'a key is dropped once')
  })

  await t.test('has audit events with the administrator', async t => {
    const { body: key } = await admin.post(rotatePath, { immediately: true }, { 'x-request-id': 'rotate-1' })
    await admin.post(rotatePath, { drop: key.kid }, { 'x-request-id': 'rotate-2' })
    const events = await service.sql(`
      select type, actor_id, request_id, detail ->> 'kid' as kid from audit_events
      where type like 'key.%' and request_id like 'rotate-_' order by id`)
    t.match(events, [
      { type: 'key.rotated', actor_id: userId, request_id: 'rotate-1', kid: key.kid },
      { type: 'key.dropped', actor_id: userId, request_id: 'rotate-2', kid: key.kid },
      { type: 'key.rotated', actor_id: userId, request_id: 'rotate-2' }
    ])
    t.equal(events.length, 3)
  })

  await t.test('of refresh tokens can be dropped too, which signs every user out', async t => {
    const current = (await listKeys())
      .find(({ purpose, gone_at: goneAt }) => purpose === 'refresh_token' && goneAt === null)
    const { body: key } = await rotate({ drop: current?.kid })
    t.match(key, { purpose: 'refresh_token', alg: 'HS256' })
    t.match(await admin.post('/v1/auth/refresh'), { status: 401, body: { code: 'invalid_refresh_token' } })
    const browser = service.browser()
    t.match(await browser.post('/v1/auth/register', newUser()), { status: 201 })
    t.match(await browser.post('/v1/auth/refresh'), { status: 200 })
  })

  await t.test('is the same on two instances after concurrent rotations', async t => {
    const secondInstance = await build(t, {}, { url: service.url })
    const secondAdmin = secondInstance.browser()
    secondAdmin.accessToken = admin.accessToken
    const before = (await listKeys()).length
    const rotations = [admin, secondAdmin, admin, secondAdmin].map(async browser =>
      await repeatUnavailable(async () => await browser.post(rotatePath, { immediately: true })))
    const answers = await Promise.all(rotations)
    t.strictSame(answers.map(({ status }) => status), Array(4).fill(201))
    const keys = await listKeys()
    t.ok(keys.length >= before + 4)
    const current = keys.filter(({ purpose, retires_at: retiresAt }) =>
      purpose === 'access_token' && retiresAt === null)
    t.equal(current.length, 1)
    await waitUntil('both instances sign with the same key', () =>
      keyring.getSigningKey().kid === secondInstance.app.keyring.getSigningKey().kid)
    t.ok(answers.some(({ body }) => body.kid === keyring.getSigningKey().kid))
  })
})
