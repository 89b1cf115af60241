import { EventEmitter, once } from 'node:events'
import type { Test } from 'tap'
import { createClientLookup } from '../../src/clients/client-lookup.ts'
import * as clients from '../../src/clients/clients.ts'
import type { NewClient } from '../../src/clients/metadata.ts'
import { rotateSecret } from '../../src/clients/secrets.ts'
import type { Queryable } from '../../src/database/database.ts'
import { build, newUser, type Service } from '../support/app.ts'
import { basic } from '../support/authorization-header.ts'
import { waitFor } from '../support/polling.ts'
import { t } from '../support/test.ts'

const path = '/v1/admin/clients'
const redirectUri = 'https://shop.example.com/callback'
const form = { 'content-type': 'application/x-www-form-urlencoded' }
const invalidClient = { status: 401, body: { error: 'invalid_client' } }

async function signInAdmin (service: Service) {
  const browser = service.browser()
  const { body } = await browser.post('/v1/auth/register', newUser())
  await service.sql("update users set roles = '{user,admin}' where id = $1", [body.user.id])
  browser.accessToken = (await browser.post('/v1/auth/refresh')).body.access_token
  return browser
}

async function create (service: Service, metadata: Partial<NewClient> = {}) {
  const { client_id: id, client_secret: secret = '' } = await clients.create(
    service.app.db, { name: 'a test', ...metadata }, {}
  )
  return { id, secret }
}

const post = async (
  service: Service, url: string, fields: Record<string, string>, headers: Record<string, string> = {}
) => await service.browser().post(url, new URLSearchParams(fields).toString(), { ...form, ...headers })

t.test('the metadata of a client', async t => {
  const service = await build(t, { AUDIENCE: 'https://api.example.com', REDIRECT_SCHEMES: 'myapp' })
  const admin = await signInAdmin(service)
  const createByApi = async (metadata: object) => await admin.post(path, { name: 'Shop', ...metadata })
  const expectInvalid = async (
    t: Test, { status, body }: Awaited<ReturnType<typeof createByApi>>, pointer: string, detail: RegExp
  ) => {
    t.match({ status, body }, { status: 400, body: { code: 'validation_failed' } }, pointer)
    const found = body.errors?.find((error: { pointer: string }) => error.pointer === pointer)
    t.match(found?.detail, detail, `${pointer}: ${JSON.stringify(body.errors)}`)
  }

  await t.test('has defaults for applications that users sign in to, and for services', async t => {
    const application = await createByApi({ redirect_uris: [redirectUri] })
    t.match(application, { status: 201, body: { client_secret: /^lks_/ } })
    const defaults = {
      name: 'Shop',
      application_type: 'web',
      post_logout_redirect_uris: [],
      token_endpoint_auth_method: 'client_secret_basic',
      backchannel_logout_uri: null,
      id_token_signed_response_alg: 'RS256',
      userinfo_in_id_token: false,
      first_party: false,
      audiences: [],
      permissions: []
    }
    const { client_id: id, client_secret: secret, created_at: at, ...metadata } = application.body
    t.strictSame(metadata, {
      ...defaults,
      grant_types: ['authorization_code', 'refresh_token'],
      redirect_uris: [redirectUri],
      scopes: ['openid', 'profile', 'email']
    })
    t.match((await createByApi({})).body, {
      ...defaults, grant_types: ['client_credentials'], redirect_uris: [], scopes: []
    })
    t.match((await createByApi({ redirect_uris: [redirectUri], scopes: [] })).body, { scopes: [] })
  })

  await t.test('is returned, listed and changed as it was given', async t => {
    const given = {
      name: 'Everything',
      application_type: 'native',
      grant_types: ['authorization_code', 'refresh_token', 'client_credentials'],
      redirect_uris: ['myapp:/cb', 'com.example.app:/cb', 'http://127.0.0.1/cb'],
      post_logout_redirect_uris: ['com.example.app:/bye'],
      token_endpoint_auth_method: 'client_secret_post',
      backchannel_logout_uri: 'https://shop.example.com/backchannel',
      id_token_signed_response_alg: 'ES256',
      userinfo_in_id_token: true,
      first_party: true,
      audiences: ['https://api.example.com', 'urn:orders:api'],
      permissions: ['roles'],
      scopes: ['openid', 'offline_access', 'orders:read']
    }
    const { status, body: { client_secret: secret, ...client } } = await createByApi(given)
    t.equal(status, 201)
    const { client_id: id, created_at: at } = client
    t.strictSame(client, { client_id: id, created_at: at, ...given })
    t.strictSame((await admin.get(`${path}/${id}`)).body, client)
    t.strictSame((await admin.get(path)).body.items[0], client)
    const changes = {
      name: 'Nothing',
      application_type: 'web',
      grant_types: ['client_credentials'],
      redirect_uris: [],
      post_logout_redirect_uris: [],
      token_endpoint_auth_method: 'client_secret_basic',
      backchannel_logout_uri: null,
      id_token_signed_response_alg: 'RS256',
      userinfo_in_id_token: false,
      first_party: false,
      audiences: [],
      permissions: [],
      scopes: []
    }
    const changed = await admin.patch(`${path}/${id}`, changes)
    t.strictSame(changed.body, { client_id: id, created_at: at, ...changes })
    const [event] = await service.sql<{ detail: { changed: string[] } }>(
      "select detail from audit_events where type = 'client.updated' and client_id = $1", [id])
    t.match(event?.detail, { name: 'Nothing', first_party: false, audiences: [] })
    t.strictSame(event?.detail.changed, Object.keys(changes))
  })

  await t.test('is refused with a pointer and a reason for each violation', async t => {
    const app = { redirect_uris: [redirectUri] }
    const invalid: Array<[metadata: object, pointer: string, detail: RegExp]> = [
      [{ redirect_uris: [redirectUri, 'https://a.example/#'] }, '/redirect_uris/1', /fragment/],
      [{ redirect_uris: ['com.example.app:/cb'] }, '/redirect_uris/0', /native/],
      [{ post_logout_redirect_uris: ['javascript:alert(1)'] }, '/post_logout_redirect_uris/0', /scheme/],
      [{ ...app, backchannel_logout_uri: 'http://a.example/' }, '/backchannel_logout_uri', /https/],
      [{ ...app, backchannel_logout_uri: 'https://10.0.0.1/' }, '/backchannel_logout_uri', /private/],
      [{ ...app, backchannel_logout_uri: 'https://localhost/' }, '/backchannel_logout_uri', /private/],
      [{ ...app, backchannel_logout_uri: 'https://169.254.169.254/' }, '/backchannel_logout_uri', /private/],
      [{ ...app, backchannel_logout_uri: 'https://a.example/#' }, '/backchannel_logout_uri', /fragment/],
      [{ ...app, backchannel_logout_uri: 'https://u:p@a.example/' }, '/backchannel_logout_uri', /user/],
      [{ ...app, backchannel_logout_uri: 'https://a.example/ x' }, '/backchannel_logout_uri', /https URL/],
      [{ ...app, backchannel_logout_uri: 'file:///x' }, '/backchannel_logout_uri', /https URL/],
      [{ ...app, audiences: ['orders'] }, '/audiences/0', /absolute URI/],
      [{ ...app, audiences: ['https://a.example', 'https://b.example/#x'] }, '/audiences/1', /absolute URI/],
      [{ ...app, audiences: ['https://api.example.com'] }, '/audiences/0', /third party/],
      [{ ...app, audiences: ['https://api.example.com/'] }, '/audiences/0', /third party/],
      [{ ...app, audiences: ['HTTPS://API.example.com:443'] }, '/audiences/0', /third party/],
      [{ ...app, audiences: ['http://localhost:3000'] }, '/audiences/0', /third party/],
      [{ ...app, id_token_signed_response_alg: 'EdDSA' }, '/id_token_signed_response_alg', /RS256 or ES256/],
      [{ ...app, id_token_signed_response_alg: 'none' }, '/id_token_signed_response_alg', /./],
      [{ ...app, userinfo_in_id_token: 'true' }, '/userinfo_in_id_token', /true or false/],
      [{ grant_types: ['authorization_code'] }, '/redirect_uris', /needs a redirect URI/],
      [{ ...app, grant_types: ['refresh_token'] }, '/grant_types', /authorization_code/],
      [{ ...app, grant_types: [] }, '/grant_types', /empty/],
      [{ ...app, grant_types: ['implicit'] }, '/grant_types/0', /./],
      [{ token_endpoint_auth_method: 'none' }, '/grant_types', /public client/],
      [{ ...app, token_endpoint_auth_method: 'none', scopes: ['x', 'introspect'] }, '/scopes/1', /public/],
      [{ ...app, token_endpoint_auth_method: 'private_key_jwt' }, '/token_endpoint_auth_method', /./],
      [{ ...app, application_type: 'desktop' }, '/application_type', /./],
      [{ ...app, permissions: ['admin'] }, '/permissions/0', /./],
      [{ ...app, first_party: 'true' }, '/first_party', /true or false/],
      [{ ...app, unknown: 1 }, '/unknown', /not a known property/]
    ]
    const { rows: before } = await count(service)
    for (const [metadata, pointer, detail] of invalid) {
      await expectInvalid(t, await createByApi(metadata), pointer, detail)
    }
    t.equal((await count(service)).rows, before)
    const production = await build(t, {
      NODE_ENV: 'production',
      ISSUER_URL: 'https://auth.example.com',
      DATABASE_URL: service.url,
      ARGON2_MEMORY_KIB: '19456',
      ARGON2_TIME_COST: '2'
    }, { url: service.url })
    const { policy } = production.app.clients
    t.equal(policy.isDevelopment, false, 'web clients have no http on localhost in production')
  })

  await t.test('is checked as a whole after a change', async t => {
    const uris = [redirectUri, 'http://localhost/']
    const { body: { client_id: id } } = await createByApi({ redirect_uris: uris })
    const patch = async (change: object) => await admin.patch(`${path}/${id}`, change)
    await expectInvalid(t, await patch({ redirect_uris: [] }), '/redirect_uris', /needs a redirect URI/)
    const refreshOnly = { grant_types: ['refresh_token'] }
    await expectInvalid(t, await patch(refreshOnly), '/grant_types', /authorization_code/)
    t.match(await patch({ application_type: 'native', redirect_uris: ['myapp:/x'] }), { status: 200 })
    await expectInvalid(t, await patch({ application_type: 'web' }), '/redirect_uris/0', /native/)
    t.match(await patch({ first_party: true, audiences: ['https://api.example.com'] }), { status: 200 })
    await expectInvalid(t, await patch({ first_party: false }), '/audiences/0', /third party/)
    await service.sql("update clients set redirect_uris = '{http://old.example}' where id = $1", [id])
    t.match(await patch({ name: 'Renamed' }), { status: 200 }, 'values from before a rule stay')
    await expectInvalid(t, await patch({ application_type: 'web' }), '/redirect_uris/0', /https/)
  })

  await t.test('decides whether there is a secret', async t => {
    const { status, body } = await createByApi({
      redirect_uris: [redirectUri], token_endpoint_auth_method: 'none'
    })
    t.match({ status, body }, { status: 201, body: { token_endpoint_auth_method: 'none' } })
    t.notOk('client_secret' in body)
    const url = `${path}/${body.client_id}`
    const secrets = async () => (await service.sql(
      'select 1 from client_secrets where client_id = $1', [body.client_id])).length
    await expectInvalid(t, await admin.post(`${url}/secret`), '', /public client/)
    t.equal(await secrets(), 0)
    t.match(await admin.patch(url, { token_endpoint_auth_method: 'client_secret_post' }), { status: 200 })
    t.match(await admin.post(`${url}/secret`), { status: 201, body: { client_secret: /^lks_/ } })
    t.equal(await secrets(), 1)
    await expectInvalid(t, await admin.patch(url, {
      token_endpoint_auth_method: 'none', grant_types: ['client_credentials']
    }), '/grant_types', /public client/)
    t.equal(await secrets(), 1)
    t.match(await admin.patch(url, { token_endpoint_auth_method: 'none' }), { status: 200 })
    t.equal(await secrets(), 0, 'a client that becomes public loses its secrets')
    t.match(await admin.patch(url, { token_endpoint_auth_method: null }), {
      status: 200, body: { token_endpoint_auth_method: 'client_secret_basic' }
    })
  })
})

const count = async (service: Service) => {
  const [row] = await service.sql<{ rows: number }>('select count(*)::int as rows from clients')
  return row ?? { rows: 0 }
}

t.test('a client authenticates by exactly its registered method', async t => {
  const service = await build(t)
  const grant = { grant_type: 'client_credentials' }
  type Parameters = Record<string, string>
  const credentialsByMethod = (id: string, secret: string): Array<[string, Parameters, Parameters]> => [
    ['client_secret_basic', {}, basic(id, secret)],
    ['client_secret_post', { client_id: id, client_secret: secret }, {}],
    ['none', { client_id: id }, {}]
  ]
  for (const method of ['client_secret_basic', 'client_secret_post', null] as const) {
    const { id, secret } = await create(service, { token_endpoint_auth_method: method })
    for (const [way, fields, headers] of credentialsByMethod(id, secret)) {
      const isAllowed = method === null ? way !== 'none' : way === method
      t.match(
        await post(service, '/oauth/token', { ...grant, ...fields }, headers),
        isAllowed ? { status: 200 } : invalidClient,
        `${way} for ${method}`
      )
    }
    for (const wrong of ['', 'x']) {
      const fields = { ...grant, client_id: id, client_secret: wrong }
      t.match(await post(service, '/oauth/token', fields), invalidClient)
    }
  }

  await t.test('a public client by its id alone, without rights at this service', async t => {
    const { id } = await create(service, {
      redirect_uris: [redirectUri], token_endpoint_auth_method: 'none', scopes: ['introspect', 'sessions:end']
    })
    const revocation = { token: 'lkr_x', client_id: id }
    t.match(await post(service, '/oauth/revoke', revocation), { status: 200 })
    t.match(await post(service, '/oauth/revoke', { ...revocation, client_secret: '' }), { status: 200 })
    t.match(await post(service, '/oauth/revoke', { ...revocation, client_secret: 'x' }), invalidClient)
    t.match(await post(service, '/oauth/revoke', { token: 'x' }, basic(id, '')), invalidClient)
    t.match(await post(service, '/oauth/revoke', { token: 'x' }, basic(id, 'x')), invalidClient)
    t.match(await post(service, '/oauth/revoke', revocation, basic(id, '')), invalidClient)
    t.match(await post(service, '/oauth/introspect', revocation), {
      status: 403, body: { error: 'insufficient_scope' }
    })
    t.match(await post(service, '/oauth/token', { ...grant, client_id: id }), {
      status: 400, body: { error: 'unauthorized_client' }
    })
    const unknown = '01a22c13-da08-71b1-80a1-352d8e300d6b'
    t.match(await post(service, '/oauth/revoke', { ...revocation, client_id: unknown }), invalidClient)
    t.match(await post(service, '/oauth/revoke', { ...revocation, client_id: 'x' }), invalidClient)
  })

  await t.test('a client gets tokens only by its grants', async t => {
    const { id, secret } = await create(service, { redirect_uris: [redirectUri] })
    t.match(await post(service, '/oauth/token', grant, basic(id, secret)), {
      status: 400, body: { error: 'unauthorized_client' }
    })
    t.match(await post(service, '/oauth/token', grant, basic(id, 'wrong')), invalidClient, 'first of all')
  })

  await t.test('Basic credentials are form-decoded strictly', async t => {
    const { id, secret } = await create(service)
    const send = async (pair: string) => await post(service, '/oauth/token', grant, {
      authorization: `Basic ${Buffer.from(pair, 'latin1').toString('base64')}`
    })
    const encoded = (text: string) => [...text].map(each => `%${each.charCodeAt(0).toString(16)}`).join('')
    t.match(await send(`${encoded(id)}:${encoded(secret)}`), { status: 200 })
    for (const pair of [
      `${id}:${secret}%`, `${id}:${secret}%4`, `${id}:%zz`, `%zz:${secret}`, `${id}:${secret}%c3`,
      `${id}:%ff`,
      `${id}:${secret}%00`, `${id}%00:${secret}`, `${id}:${secret}:`, `:${secret}`, `${id}:`, ':', id,
      `${id}:\xff`,
      `${id} :${secret}`, `${id}:${secret}+`
    ]) {
      t.match(await send(pair), invalidClient, pair)
    }
    const both = { ...grant, client_id: id, client_secret: secret }
    for (const [fields, headers] of [
      [both, basic(id, secret)], [{ ...grant, client_secret: secret }, basic(id, secret)],
      [{ ...grant, client_id: 'x' }, basic(id, secret)], [both, basic(id, 'wrong')]
    ] as const) {
      t.match(await post(service, '/oauth/token', fields, headers), {
        status: 400, body: { error: 'invalid_request' }
      })
    }
  })
})

t.test('clients in memory', async t => {
  const service = await build(t)
  const other = await build(t, {}, { url: service.url })
  const isAuthentic = async ({ app }: Service, id: string, secret: string) =>
    await app.clients.authenticate({ id, secret, method: 'client_secret_basic' }) !== undefined
  /** Waits for a change at the other instance, which must not take as long as the life of an entry. */
  const expectSoon = async (t: Test, holds: () => Promise<boolean>) => {
    const startedAt = performance.now()
    await waitFor(holds)
    t.ok(performance.now() - startedAt < 4_000)
  }

  await t.test('learn of a replaced secret, a change and a deletion at once, and soon elsewhere', async t => {
    const { id, secret } = await create(service, { redirect_uris: ['https://memory.example/cb'] })
    t.ok(await isAuthentic(other, id, secret))
    const changed = await rotateSecret(service.app.db, id, { endsOlder: true }, {})
    t.notOk(await isAuthentic(service, id, secret))
    await expectSoon(t, async () => !await isAuthentic(other, id, secret))
    t.ok(await isAuthentic(other, id, changed?.client_secret ?? ''))

    t.ok(await other.app.clients.isRedirectOrigin('https://memory.example'))
    const change = { redirect_uris: ['https://changed.example/cb'] }
    await clients.update(service.app.db, { id, change, policy: service.app.clients.policy }, {})
    t.match(await service.app.clients.find(id), change)
    t.notOk(await service.app.clients.isRedirectOrigin('https://memory.example'))
    await expectSoon(t, async () => !await other.app.clients.isRedirectOrigin('https://memory.example'))
    t.match(await other.app.clients.find(id), change)

    t.ok(await isAuthentic(other, id, changed?.client_secret ?? ''))
    await service.app.db.transaction(async tx => await clients.deleteClient(tx, id, {}))
    t.equal(await service.app.clients.find(id), undefined)
    await expectSoon(t, async () => await other.app.clients.find(id) === undefined)
    t.notOk(await isAuthentic(other, id, changed?.client_secret ?? ''))
  })

  /** A lookup that counts its statements, and that can be made to wait or to fail. */
  function observe (lifeMs: number) {
    const state = { statements: 0, before: async () => {}, after: async () => {} }
    const db: Queryable = {
      publish: service.app.db.publish,
      async query (statement, values) {
        state.statements++
        await state.before()
        const rows = await service.app.db.query<never>(statement, values)
        await state.after()
        return rows
      }
    }
    return { lookup: createClientLookup(db, { lifeMs }), state }
  }

  await t.test('are read once, and together if many ask at the same time', async t => {
    const { id, secret } = await create(service)
    const { lookup, state } = observe(60_000)
    const ask = async () => await lookup.authenticate({ id, secret, method: 'client_secret_basic' })
    const found = await Promise.all(Array.from({ length: 20 }, ask))
    t.ok(found.every(client => client?.client_id === id))
    t.match(await ask(), { client_id: id })
    t.equal(await lookup.authenticate({ id, secret: 'x', method: 'client_secret_basic' }), undefined)
    t.equal(state.statements, 1)
    t.equal(await lookup.find('no id'), undefined)
    t.equal(state.statements, 1)
    const origin = async () => await lookup.isRedirectOrigin('https://nowhere.example')
    t.strictSame(await Promise.all([origin(), origin(), origin()]), [false, false, false])
    t.equal(state.statements, 2)
  })

  await t.test('are read again at the end of their life, if no notification arrives', async t => {
    const { id, secret } = await create(service)
    const { lookup } = observe(200)
    const ask = async () => await lookup.authenticate({ id, secret, method: 'client_secret_basic' })
    t.ok(await ask())
    await rotateSecret(service.app.db, id, { endsOlder: true }, {})
    await waitFor(async () => await ask() === undefined)
  })

  await t.test('do not include failures, unknown clients, and what was read before a change', async t => {
    const { id } = await create(service)
    const { lookup, state } = observe(60_000)
    state.before = async () => { throw new Error('the database failed') }
    await t.rejects(lookup.find(id), /the database failed/)
    await t.rejects(lookup.isRedirectOrigin('https://a.example'), /the database failed/)
    state.before = async () => {}
    t.match(await lookup.find(id), { client_id: id })
    t.equal(await lookup.isRedirectOrigin('https://a.example'), false)

    const unknown = '01a22c13-da08-71b1-80a1-352d8e300d6b'
    t.equal(await lookup.find(unknown), undefined)
    await service.sql("insert into clients (id, name, scopes) values ($1, 'late', '{}')", [unknown])
    t.match(await lookup.find(unknown), { name: 'late' })

    lookup.clear()
    const gate = new EventEmitter()
    const isRead = once(gate, 'read')
    state.after = async () => {
      const opened = once(gate, 'open')
      gate.emit('read')
      await opened
    }
    const old = lookup.find(id)
    await isRead
    await service.sql("update clients set name = 'new' where id = $1", [id])
    lookup.clear()
    state.after = async () => {}
    gate.emit('open')
    await old
    t.match(await lookup.find(id), { name: 'new' })
  })
})

t.test('pages of clients use the token and revocation endpoints', async t => {
  const configured = 'https://configured.example'
  const service = await build(t, { CORS_ORIGINS: configured })
  const { id } = await create(service, {
    redirect_uris: [
      'https://spa.example:8443/cb', 'https://default.example:443/cb', 'http://localhost:5173',
      'com.example.app:/cb'
    ],
    token_endpoint_auth_method: 'none',
    application_type: 'native'
  })
  const preflight = async (path: string, origin: string) =>
    await service.browser().send('OPTIONS', path, undefined, {
      origin, 'access-control-request-method': 'POST', 'access-control-request-headers': 'content-type,dpop'
    })
  const paths = ['/oauth/token', '/oauth/revoke']

  await t.test('from the origins of redirect URIs, without credentials', async t => {
    for (const path of paths) {
      for (const origin of [
        'https://spa.example:8443', 'https://default.example', 'http://localhost:5173', configured
      ]) {
        const { status, headers } = await preflight(path, origin)
        t.match({ status, headers }, {
          status: 204,
          headers: {
            'access-control-allow-origin': origin,
            'access-control-allow-methods': /POST/,
            'access-control-allow-headers': 'content-type,dpop',
            vary: /origin/i
          }
        }, `${path} from ${origin}`)
        t.notOk('access-control-allow-credentials' in headers)
        for (const fields of [{ token: 'x', grant_type: 'x', client_id: id }, { x: 'x' }]) {
          const answer = await post(service, path, fields as unknown as Record<string, string>, { origin })
          t.match(answer.headers, { 'access-control-allow-origin': origin, vary: /origin/i })
          t.notOk('access-control-allow-credentials' in answer.headers)
        }
      }
    }
  })

  await t.test('but from no other origin', async t => {
    for (const path of paths) {
      for (const origin of [
        'https://spa.example', 'http://spa.example:8443', 'https://spa.example:8443.evil.com', 'null',
        'https://evil.com',
        'https://default.example:443', 'https://default.example.', 'http://localhost:5174',
        'http://127.0.0.1:5173',
        'com.example.app:', 'com.example.app://', 'HTTPS://SPA.EXAMPLE:8443', '*', ''
      ]) {
        const { status, headers } = await preflight(path, origin)
        t.notOk('access-control-allow-origin' in headers, `${path} from ${origin}: ${status}`)
        const answer = await post(service, path, { token: 'x', client_id: id }, { origin })
        t.notOk('access-control-allow-origin' in answer.headers, origin)
      }
      t.notOk('access-control-allow-origin' in (await post(service, path, {})).headers)
    }
  })

  await t.test('and no other route', async t => {
    const origin = 'https://spa.example:8443'
    const others = [
      '/oauth/introspect', '/oauth/revocations', '/v1/auth/login', '/v1/me', '/oauth/nothing'
    ]
    for (const path of others) {
      t.notOk('access-control-allow-origin' in (await preflight(path, origin)).headers, path)
      const { headers } = await service.browser().get(path, { origin })
      t.notOk('access-control-allow-origin' in headers, path)
    }
  })

  await t.test('until the client is deleted', async t => {
    const origin = 'https://spa.example:8443'
    await service.app.db.transaction(async tx => await clients.deleteClient(tx, id, {}))
    t.notOk('access-control-allow-origin' in (await preflight('/oauth/token', origin)).headers)
  })
})
