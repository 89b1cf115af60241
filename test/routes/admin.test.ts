import { randomUUID } from 'node:crypto'
import t, { type Test } from 'tap'
import { authenticate } from '../../src/clients/service-clients.ts'
import type { Browser } from '../support/client.ts'
import { build, newUser, type Service } from '../support/app.ts'
import { repeatUnavailable } from '../support/repetition.ts'

/** A signed-in user with these roles. */
async function signedIn (service: Service, ...roles: string[]): Promise<{ browser: Browser, userId: string, sessionId: string }> {
  const browser = service.browser()
  const { body } = await browser.post('/v1/auth/register', newUser())
  await service.sql('update users set roles = $2 where id = $1', [body.user.id, ['user', ...roles]])
  browser.accessToken = (await browser.post('/v1/auth/refresh')).body.access_token
  return { browser, userId: body.user.id, sessionId: body.session_id }
}

const bearer = (token: string) => ({ authorization: `Bearer ${token}` })
const newClient = { name: 'Orders', scopes: ['orders:read', 'introspect'] }
const events = async (service: Service, type: string) => await service.sql<Record<string, unknown>>('select actor_id, client_id, user_id, ip, user_agent, request_id, detail from audit_events where type like $1 order by id', [type])

t.test('the routes of administrators', async t => {
  const service = await build(t)
  const nobody = service.browser()
  const { browser: admin } = await signedIn(service, 'admin')
  const { body: client } = await admin.post('/v1/admin/clients', newClient)
  const routes = [
    ['GET', '/v1/admin/clients'],
    ['POST', '/v1/admin/clients', newClient],
    ['GET', `/v1/admin/clients/${client.client_id}`],
    ['PATCH', `/v1/admin/clients/${client.client_id}`, { name: 'Shop' }],
    ['POST', `/v1/admin/clients/${client.client_id}/secret`],
    ['DELETE', `/v1/admin/clients/${client.client_id}`],
    ['GET', '/v1/admin/keys'],
    ['POST', '/v1/admin/keys/rotate']
  ] as const
  const state = async () => await service.sql('select (select count(*) from clients), (select count(*) from client_secrets), (select count(*) from keys), (select string_agg(name, $1 order by id) from clients)', [' '])
  const before = await state()

  const refused = async (t: Test, browser: Browser, expected: object, headers = {}) => {
    for (const [method, url, body] of routes) t.match(await browser.send(method, url, body, headers), expected, `${method} ${url}`)
    t.strictSame(await state(), before)
  }
  const forbidden = { status: 403, body: { code: 'forbidden' }, headers: { 'www-authenticate': /insufficient_scope/ } }
  const unauthorised = { status: 401, body: { code: 'invalid_token' }, headers: { 'www-authenticate': /^Bearer/ } }

  await t.test('are not for anybody', async t => {
    await refused(t, nobody, unauthorised)
    await refused(t, nobody, unauthorised, bearer('x'))
  })

  await t.test('say so before they look at a body', async t => {
    t.match(await nobody.post('/v1/admin/clients', '{'), unauthorised)
    t.match(await nobody.post('/v1/admin/clients/no-id/secret', { odd: 1 }), unauthorised)
  })

  await t.test('are not for users', async t => {
    await refused(t, (await signedIn(service)).browser, forbidden)
    await refused(t, (await signedIn(service, 'administrator', 'Admin')).browser, forbidden)
  })

  await t.test('are not for clients, whatever their scope', async t => {
    const { accessToken } = service.app.signClientToken({ clientId: client.client_id, scope: 'admin account', audience: 'http://localhost:3000' })
    await refused(t, nobody, forbidden, bearer(accessToken))
  })

  await t.test('are not for who was an administrator a moment ago', async t => {
    const { browser, userId } = await signedIn(service, 'admin')
    await service.sql("update users set roles = '{user}' where id = $1", [userId])
    await refused(t, browser, forbidden)
  })

  await t.test('are not for one who is disabled', async t => {
    const { browser, userId } = await signedIn(service, 'admin')
    await service.sql('update users set disabled_at = now() where id = $1', [userId])
    await refused(t, browser, unauthorised)
  })

  await t.test('are not for a session that another instance has ended, before word of it is here', async t => {
    const { browser, sessionId } = await signedIn(service, 'admin')
    await service.sql("with dead as (delete from refresh_tokens where session_id = $1) update sessions set ended_at = now(), end_reason = 'logout' where id = $1", [sessionId])
    await refused(t, browser, unauthorised)
  })

  await t.test('are not for an account that is gone', async t => {
    const { browser, userId } = await signedIn(service, 'admin')
    await service.sql('delete from users where id = $1', [userId])
    await refused(t, browser, unauthorised)
  })

  await t.test('are for an administrator, and never cached', async t => {
    for (const [method, url, body] of routes) t.match(await admin.send(method, url, body), { status: /^20/, headers: { 'cache-control': 'no-store' } }, `${method} ${url}`)
  })
})

t.test('clients', async t => {
  const service = await build(t)
  const { browser: admin, userId } = await signedIn(service, 'admin')
  const create = async (client: object = newClient) => (await admin.post('/v1/admin/clients', client)).body
  const good = async (id: string, secret: string) => await authenticate(service.app.db, id, secret) !== undefined

  await t.test('are made with a secret that is shown once', async t => {
    const { status, body } = await admin.post('/v1/admin/clients', { ...newClient, redirect_uris: ['https://orders.example.com/callback?x=1', 'http://localhost:8080'] })
    t.equal(status, 201)
    const { client_secret: secret, ...client } = body
    t.match(client, { ...newClient, redirect_uris: ['https://orders.example.com/callback?x=1', 'http://localhost:8080'], client_id: /^[0-9a-f-]{36}$/, created_at: /^\d{4}-.*Z$/ })
    t.match(secret, /^lks_[\w-]{43}$/)
    t.ok(await good(client.client_id, secret))
    t.strictSame((await admin.get(`/v1/admin/clients/${client.client_id}`)).body, client)
    t.strictSame((await admin.get('/v1/admin/clients')).body, { items: [client], next_cursor: null })
    const [dump] = await service.sql<{ all: string }>("select (select string_agg(t::text, '') from client_secrets t) || (select string_agg(t::text, '') from clients t) || (select string_agg(t::text, '') from audit_events t) as all")
    t.notOk(dump?.all.includes(secret) || dump?.all.includes(Buffer.from(secret).toString('hex')), 'and is kept nowhere')
    t.notOk(JSON.stringify(service.logs).includes('lks_'), 'nor logged')
  })

  await t.test('have the scopes and addresses once that are named twice', async t => {
    t.match(await create({ name: 'Twice', scopes: ['b', 'a', 'b'], redirect_uris: ['https://a.example/', 'https://a.example/'] }), { scopes: ['b', 'a'], redirect_uris: ['https://a.example/'] })
    const { client_id: id } = await create({ name: 'None', scopes: [] })
    const { body } = await admin.patch(`/v1/admin/clients/${id}`, { scopes: ['x', 'x'], redirect_uris: ['https://a.example/', 'https://a.example/'] })
    t.strictSame([body.scopes, body.redirect_uris], [['x'], ['https://a.example/']])
  })

  await t.test('are refused where they are not well formed', async t => {
    const { client_id: id } = await create()
    const many = (count: number, item: (index: number) => string) => Array.from({ length: count }, (_, index) => item(index))
    const bad: Array<[pointer: string, change: Record<string, unknown>]> = [
      ['/name', { name: '' }], ['/name', { name: 'x'.repeat(101) }], ['/name', { name: 'a\nb' }], ['/name', { name: 1 }], ['/name', { name: null }],
      ['/scopes', { scopes: 'a b' }], ['/scopes', { scopes: null }], ['/scopes', { scopes: many(51, index => `s${index}`) }],
      ['/scopes/0', { scopes: [''] }], ['/scopes/0', { scopes: ['a b'] }], ['/scopes/0', { scopes: ['a"b'] }], ['/scopes/0', { scopes: ['a\\b'] }],
      ['/scopes/0', { scopes: ['a\u0000'] }], ['/scopes/0', { scopes: ['a\n'] }], ['/scopes/0', { scopes: ['é'] }], ['/scopes/0', { scopes: ['a\u007f'] }],
      ['/scopes/0', { scopes: ['x'.repeat(101)] }], ['/scopes/1', { scopes: ['a', 1] }],
      ['/redirect_uris', { redirect_uris: 'https://a.example/' }], ['/redirect_uris', { redirect_uris: many(21, index => `https://a.example/${index}`) }],
      ...['', '/callback', 'a.example', '//a.example/', 'javascript:alert(1)', 'ftp://a.example/', 'https:a.example', 'https:///a', 'https://', 'https://?a', 'https://a.example/#x', 'https://a.example/#', 'https://u:p@a.example/', 'https://a.example/ x', 'https://a.example/\n', `https://a.example/${'x'.repeat(2048)}`]
        .map((uri): [string, Record<string, unknown>] => ['/redirect_uris/0', { redirect_uris: [uri] }]),
      ['/client_id', { client_id: randomUUID() }], ['/client_secret', { client_secret: 'lks_x' }], ['/roles', { roles: ['admin'] }]
    ]
    for (const [pointer, change] of bad) {
      const refused = { status: 400, body: { code: 'validation_failed' } }
      const answers = [await admin.post('/v1/admin/clients', { ...newClient, ...change }), await admin.patch(`/v1/admin/clients/${id}`, change)]
      for (const answer of answers) {
        t.match(answer, refused, JSON.stringify(change))
        t.ok(answer.body.errors.some((error: { pointer: string }) => error.pointer === pointer), `${JSON.stringify(change)} is at ${pointer}`)
      }
    }
    for (const missing of ['name', 'scopes']) {
      t.match(await admin.post('/v1/admin/clients', { ...newClient, [missing]: undefined }), { status: 400, body: { errors: [{ pointer: `/${missing}`, detail: 'is required' }] } })
    }
    for (const body of ['[]', 'null', '"x"', '{', '']) t.match(await admin.post('/v1/admin/clients', body), { status: 400 }, body)
    t.match(await admin.post('/v1/admin/clients?x=1', newClient), { status: 400 })
    t.match(await admin.post('/v1/admin/clients', newClient, { 'content-type': 'text/plain' }), { status: 415 })
    t.match((await admin.get(`/v1/admin/clients/${id}`)).body, newClient, 'and nothing was changed')
    t.match(await create({ name: 'x'.repeat(100), scopes: many(50, index => `${'!#[]~'.repeat(19)}${index}`), redirect_uris: many(20, index => `https://a.example/${index}`) }), { client_id: /./ }, 'the most is accepted')
  })

  await t.test('that are not there are not found, and what is no id is not valid', async t => {
    const everywhere = async (id: string, expected: object) => {
      t.match(await admin.get(`/v1/admin/clients/${id}`), expected)
      t.match(await admin.patch(`/v1/admin/clients/${id}`, { name: 'x' }), expected)
      t.match(await admin.patch(`/v1/admin/clients/${id}`, {}), expected)
      t.match(await admin.delete(`/v1/admin/clients/${id}`), expected)
      t.match(await admin.post(`/v1/admin/clients/${id}/secret`), expected)
    }
    await everywhere(randomUUID(), { status: 404, body: { code: 'not_found' } })
    await everywhere(userId, { status: 404 })
    for (const id of ['1', 'x'.repeat(36), `urn:uuid:${randomUUID()}`, `%7B${randomUUID()}%7D`, `${randomUUID()}%00`]) await everywhere(id, { status: 400, body: { code: 'validation_failed' } })
    t.match(await admin.get(`/v1/admin/clients?cursor=urn:uuid:${randomUUID()}`), { status: 400 })
    t.match(await admin.delete(`/v1/me/sessions/urn:uuid:${randomUUID()}`), { status: 400 })
  })

  await t.test('are changed in what is named, and in nothing else', async t => {
    const { client_secret: secret, ...client } = await create({ ...newClient, redirect_uris: ['https://a.example/'] })
    const url = `/v1/admin/clients/${client.client_id}`
    t.strictSame((await admin.patch(url, {})).body, client)
    t.strictSame(await admin.patch(url, { name: 'Shop' }).then(({ status, body }) => ({ status, body })), { status: 200, body: { ...client, name: 'Shop' } })
    t.strictSame((await admin.patch(url, { scopes: [] })).body, { ...client, name: 'Shop', scopes: [] })
    t.strictSame((await admin.patch(url, { redirect_uris: [] })).body, { ...client, name: 'Shop', scopes: [], redirect_uris: [] })
    const traces = async () => await service.sql("select (select updated_at from clients where id = $1), (select count(*)::int from audit_events where type = 'client.updated' and client_id = $1)", [client.client_id])
    const before = await traces()
    t.match(before, [{ count: 3 }])
    for (const same of [{ name: 'Shop' }, { scopes: [] }, { name: 'Shop', redirect_uris: [] }]) t.strictSame((await admin.patch(url, same)).body, { ...client, name: 'Shop', scopes: [], redirect_uris: [] })
    t.strictSame(await traces(), before, 'a change to what it is already is none')
    await Promise.all(Array.from({ length: 8 }, async () => await admin.patch(url, { name: 'Market' })))
    t.match(await traces(), [{ count: 4 }])
    t.ok(await good(client.client_id, secret))
  })

  await t.test('are listed in pages, the newest first', async t => {
    const other = await build(t)
    const { browser } = await signedIn(other, 'admin')
    t.strictSame((await browser.get('/v1/admin/clients')).body, { items: [], next_cursor: null })
    const ids: string[] = []
    for (let count = 0; count < 25; count++) ids.unshift((await browser.post('/v1/admin/clients', { name: `Client ${count}`, scopes: [] })).body.client_id)
    const found: string[] = []
    const sizes: number[] = []
    for (let cursor: string | null = ''; cursor !== null;) {
      const { body }: { body: { items: Array<{ client_id: string }>, next_cursor: string | null } } = await browser.get(`/v1/admin/clients?limit=10${cursor && `&cursor=${cursor}`}`)
      found.push(...body.items.map(({ client_id: id }) => id))
      sizes.push(body.items.length)
      cursor = body.next_cursor
    }
    t.strictSame(found, ids)
    t.strictSame(sizes, [10, 10, 5])
    t.match(await browser.get('/v1/admin/clients'), { body: { items: { length: 20 }, next_cursor: ids[19] } })
    t.match(await browser.get('/v1/admin/clients?limit=25'), { body: { items: { length: 25 }, next_cursor: null } })
    for (const query of ['limit=0', 'limit=101', 'limit=x', 'cursor=x', 'before=x', 'limit=1&limit=2']) t.match(await browser.get(`/v1/admin/clients?${query}`), { status: 400 }, query)
  })

  await t.test('have two secrets while one is replaced; with a third the oldest goes', async t => {
    const { client_id: id, client_secret: first, ...client } = await create()
    const renew = async (body?: object) => await admin.post(`/v1/admin/clients/${id}/secret`, body)
    const { status, body: { client_secret: second, ...same } } = await renew()
    t.equal(status, 201)
    t.strictSame(same, { client_id: id, ...client })
    t.strictSame(await Promise.all([first, second].map(each => good(id, each))), [true, true])
    const { body: { client_secret: third } } = await renew({})
    t.strictSame(await Promise.all([first, second, third].map(each => good(id, each))), [false, true, true])
    const { body: { client_secret: fourth } } = await renew({ immediately: true })
    t.strictSame(await Promise.all([first, second, third, fourth].map(each => good(id, each))), [false, false, false, true])
    for (const body of [{ immediately: 'true' }, { immediately: 1 }, { replace: true }, []]) t.match(await renew(body), { status: 400 })
    t.strictSame([await good(id, fourth), await good(randomUUID(), fourth), await good('no id', fourth), await good(id, '')], [true, false, false, false])
  })

  await t.test('have never more than two, however many are made at once', async t => {
    const { client_id: id } = await create()
    const answers = await Promise.all(Array.from({ length: 12 }, async () => await repeatUnavailable(async () => await admin.post(`/v1/admin/clients/${id}/secret`))))
    t.strictSame(answers.map(({ status }) => status), Array(12).fill(201))
    const alive = await Promise.all(answers.map(({ body }) => good(id, body.client_secret)))
    t.equal(alive.filter(Boolean).length, 2)
    t.match(await service.sql('select count(*)::int as secrets from client_secrets where client_id = $1', [id]), [{ secrets: 2 }])
    const raced = await Promise.all(Array.from({ length: 12 }, async (_, index) => await repeatUnavailable(async () => await admin.post(`/v1/admin/clients/${id}/secret`, { immediately: index % 2 === 0 }))))
    t.strictSame(raced.map(({ status }) => status), Array(12).fill(201))
    t.ok((await service.sql('select 1 from client_secrets where client_id = $1', [id])).length <= 2)
  })

  await t.test('that are deleted prove themselves no longer', async t => {
    const { client_id: id, client_secret: first } = await create()
    const { body: { client_secret: second } } = await admin.post(`/v1/admin/clients/${id}/secret`)
    t.match(await admin.delete(`/v1/admin/clients/${id}`), { status: 204, text: '' })
    t.strictSame([await good(id, first), await good(id, second)], [false, false])
    t.match(await admin.get(`/v1/admin/clients/${id}`), { status: 404 })
    t.match(await admin.delete(`/v1/admin/clients/${id}`), { status: 404 })
    t.strictSame(await service.sql('select 1 from client_secrets where client_id = $1', [id]), [])
    t.notOk((await admin.get('/v1/admin/clients?limit=100')).body.items.some((client: { client_id: string }) => client.client_id === id))
  })

  await t.test('that are deleted while a secret is made leave none behind', async t => {
    for (let round = 0; round < 5; round++) {
      const { client_id: id } = await create()
      const [made, gone] = await Promise.all([repeatUnavailable(async () => await admin.post(`/v1/admin/clients/${id}/secret`)), repeatUnavailable(async () => await admin.delete(`/v1/admin/clients/${id}`))])
      t.ok([201, 404].includes(made.status) && gone.status === 204)
      t.strictSame(await service.sql('select 1 from client_secrets where client_id = $1', [id]), [])
    }
  })

  await t.test('are in the audit log with who did what, and without a secret', async t => {
    await service.sql('delete from clients')
    const since = (await events(service, 'client.%')).length
    const headers = (step: string) => ({ 'x-request-id': `audit-${step}`, 'user-agent': 'Audit/1.0' })
    const { body: { client_id: id } } = await admin.post('/v1/admin/clients', newClient, headers('create'))
    await admin.patch(`/v1/admin/clients/${id}`, { name: 'Shop' }, headers('update'))
    await admin.patch(`/v1/admin/clients/${id}`, {}, headers('nothing'))
    await admin.post(`/v1/admin/clients/${id}/secret`, undefined, headers('secret'))
    await admin.post(`/v1/admin/clients/${id}/secret`, { immediately: true }, headers('replace'))
    await admin.delete(`/v1/admin/clients/${id}`, headers('delete'))
    await admin.delete(`/v1/admin/clients/${id}`, headers('again'))
    await admin.post('/v1/admin/clients', {}, headers('invalid'))
    const common = { actor_id: userId, client_id: id, user_id: null, ip: '127.0.0.1', user_agent: 'Audit/1.0' }
    t.strictSame((await events(service, 'client.%')).slice(since), [
      { ...common, request_id: 'audit-create', detail: newClient },
      { ...common, request_id: 'audit-update', detail: { ...newClient, name: 'Shop' } },
      { ...common, request_id: 'audit-secret', detail: { replaced: false } },
      { ...common, request_id: 'audit-replace', detail: { replaced: true } },
      { ...common, request_id: 'audit-delete', detail: { name: 'Shop' } }
    ])
    t.match(await service.sql("select string_agg(type, ' ' order by id) as types from (select * from audit_events where request_id like 'audit-%') as all_of_it"), [{ types: 'client.created client.updated client.secret_rotated client.secret_rotated client.deleted' }])
  })
})

t.test('keys', async t => {
  const service = await build(t)
  const { browser: admin, userId } = await signedIn(service, 'admin')
  interface Listed { kid: string, purpose: string, alg: string, published_at: string, signs_from: string, retires_at: string | null, gone_at: string | null }
  const list = async (): Promise<Listed[]> => (await admin.get('/v1/admin/keys')).body.items
  const rotate = async (body?: unknown) => await admin.post('/v1/admin/keys/rotate', body)
  const seconds = (from: string | null, to: string | null) => (Date.parse(to ?? '') - Date.parse(from ?? '')) / 1_000

  await t.test('are listed with their times, and nothing of what they are', async t => {
    const { body } = await admin.get('/v1/admin/keys')
    t.equal(body.next_cursor, null)
    t.equal(body.items.length, 2)
    for (const [purpose, alg] of [['access_token', 'ES256'], ['refresh_token', 'HS256']]) {
      const key = body.items.find((key: Listed) => key.purpose === purpose)
      t.strictSame(Object.keys(key), ['kid', 'purpose', 'alg', 'published_at', 'signs_from', 'retires_at', 'gone_at'])
      t.match(key, { alg, published_at: /Z$/, signs_from: /Z$/, retires_at: null, gone_at: null })
    }
    t.match(await admin.get('/v1/admin/keys?limit=1'), { status: 400 })
  })

  await t.test('are rotated: the next one is published now, and signs when every cache has it', async t => {
    const [before] = (await list()).filter(({ purpose }) => purpose === 'access_token')
    const { status, body: key } = await rotate()
    t.equal(status, 201)
    t.match(key, { purpose: 'access_token', alg: 'ES256', retires_at: null, gone_at: null })
    t.ok(Math.abs(seconds(key.published_at, key.signs_from) - 600) < 1, 'two JWKS_MAX_AGE')
    t.strictSame((await list())[0], key)
    t.match((await list()).find(({ kid }) => kid === before?.kid), { retires_at: key.signs_from })
    t.ok(seconds(key.signs_from, (await list()).find(({ kid }) => kid === before?.kid)?.gone_at ?? null) >= 900 + 300, 'the old one is known for a token\'s life and the caches\'')
    t.equal(service.app.keyring.getSigningKey().kid, before?.kid)
    t.ok(service.app.keyring.getPublishedKeys().some(({ kid }) => kid === key.kid))
  })

  await t.test('sign at once where that is asked', async t => {
    const { body: key } = await rotate({ immediately: true })
    t.equal(key.signs_from, key.published_at)
    t.equal(service.app.keyring.getSigningKey().kid, key.kid)
    t.match(await admin.get('/v1/me'), { status: 200 }, 'tokens of the one before are still good')
  })

  await t.test('that are not there cannot be dropped', async t => {
    const before = await list()
    t.match(await rotate({ drop: 'unknown' }), { status: 404, body: { code: 'not_found' } })
    t.strictSame(await list(), before, 'and none is made')
    for (const body of [{ drop: '' }, { drop: 'a b' }, { drop: 'a\u0000' }, { drop: 'x'.repeat(65) }, { drop: 1 }, { drop: null }, { immediately: 'yes' }, { kid: 'x' }, [], '{', 'null']) t.match(await rotate(body), { status: 400 }, JSON.stringify(body))
    t.match(await admin.post('/v1/admin/keys/rotate?drop=x'), { status: 400 })
    t.strictSame(await list(), before)
  })

  await t.test('that are dropped make room for another at once', async t => {
    const { kid } = service.app.keyring.getSigningKey()
    const token = admin.accessToken ?? ''
    admin.accessToken = (await admin.post('/v1/auth/refresh')).body.access_token
    const leaked = admin.accessToken ?? ''
    t.match(await admin.get('/v1/me'), { status: 200 })
    const { status, body: key } = await rotate({ drop: kid })
    t.equal(status, 201)
    t.equal(key.signs_from, key.published_at)
    t.equal(service.app.keyring.getSigningKey().kid, key.kid)
    t.notOk(service.app.keyring.getPublishedKeys().some(key => key.kid === kid))
    t.match(await service.browser().get('/v1/me', bearer(leaked)), { status: 401, body: { code: 'invalid_token' } }, 'what it signed is refused, though it was known to be good')
    t.match(await service.browser().get('/v1/me', bearer(token)), { status: 200 }, 'what others signed is not')
    admin.accessToken = (await admin.post('/v1/auth/refresh')).body.access_token
    t.match(await admin.get('/v1/me'), { status: 200 }, 'and nobody is signed out')
    t.match(await rotate({ drop: kid }), { status: 404 }, 'once')
  })

  await t.test('are in the audit log with who did it', async t => {
    const { body: key } = await admin.post('/v1/admin/keys/rotate', { immediately: true }, { 'x-request-id': 'rotate-1' })
    await admin.post('/v1/admin/keys/rotate', { drop: key.kid }, { 'x-request-id': 'rotate-2' })
    const found = await service.sql<{ type: string }>("select type, actor_id, request_id, detail ->> 'kid' as kid from audit_events where type like 'key.%' and request_id like 'rotate-_' order by id")
    t.match(found, [{ type: 'key.rotated', actor_id: userId, request_id: 'rotate-1', kid: key.kid }, { type: 'key.dropped', actor_id: userId, kid: key.kid, request_id: 'rotate-2' }, { type: 'key.rotated', actor_id: userId, request_id: 'rotate-2' }])
    t.equal(found.length, 3)
  })

  await t.test('of refresh tokens too can be dropped: everybody signs in again', async t => {
    const [mac] = (await list()).filter(({ purpose, gone_at: gone }) => purpose === 'refresh_token' && gone === null)
    const { body: key } = await rotate({ drop: mac?.kid })
    t.match(key, { purpose: 'refresh_token', alg: 'HS256' })
    t.match(await admin.post('/v1/auth/refresh'), { status: 401, body: { code: 'invalid_refresh_token' } })
    const browser = service.browser()
    t.match(await browser.post('/v1/auth/register', newUser()), { status: 201 })
    t.match(await browser.post('/v1/auth/refresh'), { status: 200 })
  })

  await t.test('are made one after the other on two instances that are asked at once', async t => {
    const other = await build(t, {}, { url: service.url })
    const there = other.browser()
    there.accessToken = admin.accessToken
    const before = (await list()).length
    const answers = await Promise.all([admin, there, admin, there].map(async browser => await repeatUnavailable(async () => await browser.post('/v1/admin/keys/rotate', { immediately: true }))))
    t.strictSame(answers.map(({ status }) => status), Array(4).fill(201))
    const keys = await list()
    t.ok(keys.length >= before + 4)
    t.equal(keys.filter(({ purpose, retires_at: retires }) => purpose === 'access_token' && retires === null).length, 1)
    while (service.app.keyring.getSigningKey().kid !== other.app.keyring.getSigningKey().kid) await new Promise(resolve => setTimeout(resolve, 5))
    t.ok(answers.some(({ body }) => body.kid === service.app.keyring.getSigningKey().kid), 'and both sign with the same')
  })
})
