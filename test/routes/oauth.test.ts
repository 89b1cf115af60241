import { once } from 'node:events'
import http from 'node:http'
import { promisify } from 'node:util'
import { createParser } from 'eventsource-parser'
import * as oauth4webapi from 'oauth4webapi'
import * as openid from 'openid-client'
import * as clients from '../../src/clients/clients.ts'
import { freePort } from '../../src/database/embedded/server.ts'
import { build, newUser, type Service } from '../support/app.ts'
import { basic } from '../support/authorization-header.ts'
import { waitFor, waitUntil } from '../support/polling.ts'
import { named, sql } from '../support/postgres.ts'
import { scale } from '../support/soak.ts'
import type { Teardown } from '../support/teardown.ts'
import { t } from '../support/test.ts'
import { ageTokenFamily } from '../support/token-family.ts'

async function createClient (service: Service, ...scopes: string[]) {
  const { client_id: id, client_secret: secret = '' } = await clients.create(
    service.app.db,
    { name: 'a test', scopes },
    {}
  )
  return { id, secret, header: basic(id, secret) }
}

const postForm = async (
  service: Service,
  path: string,
  fields: Record<string, string> | Array<[string, string]>,
  headers: Record<string, string> = {}
) =>
  await service
    .browser()
    .post(path, new URLSearchParams(fields).toString(), {
      'content-type': 'application/x-www-form-urlencoded',
      ...headers
    })

/** Signs in a new user. */
async function signedIn (service: Service) {
  const { body } = await service
    .browser()
    .post('/v1/auth/register', { ...newUser(), refresh_token_delivery: 'body' })
  return {
    access: body.access_token as string,
    refresh: body.refresh_token as string,
    sid: body.session_id as string,
    sub: body.user.id as string,
    bearer: { authorization: `Bearer ${body.access_token}` }
  }
}

/** The service on a port. Its URL is its issuer. */
async function startListening (t: Teardown, url?: string, overrides: Record<string, string> = {}) {
  const port = await freePort()
  const issuer = `http://localhost:${port}`
  const service = await build(t, { ISSUER_URL: issuer, ...overrides }, url === undefined ? {} : { url })
  await service.app.listen({ host: '127.0.0.1', port })
  return { ...service, issuer, port }
}

t.test("a client's own access token", async t => {
  const service = await build(t)
  const { id, secret, header } = await createClient(service, 'orders:read', 'orders:write')
  const grant = { grant_type: 'client_credentials' }
  const claims = (token: string) => JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString())

  await t.test('follows RFC 9068 and has all scopes of the client, or the requested ones', async t => {
    const { status, body, headers } = await postForm(service, '/oauth/token', grant, header)
    t.match(
      { status, body, headers },
      {
        status: 200,
        body: { token_type: 'Bearer', expires_in: 900, scope: 'orders:read orders:write' },
        headers: { 'cache-control': 'no-store', pragma: 'no-cache' }
      }
    )
    t.match(claims(body.access_token), {
      iss: 'http://localhost:3000',
      aud: 'http://localhost:3000',
      sub: id,
      client_id: id,
      scope: 'orders:read orders:write',
      jti: /^[0-9a-f-]{36}$/
    })
    for (const absent of ['sid', 'roles', 'amr', 'auth_time']) {
      t.notOk(absent in claims(body.access_token), absent)
    }
    t.match(await postForm(service, '/oauth/token', { ...grant, scope: 'orders:read' }, header), {
      status: 200,
      body: { scope: 'orders:read' }
    })
  })

  await t.test('is issued to a client that authenticates in exactly one of two ways', async t => {
    t.match(await postForm(service, '/oauth/token', { ...grant, client_id: id, client_secret: secret }), {
      status: 200
    })
    t.match(
      await postForm(service, '/oauth/token', { ...grant, client_id: id }, header),
      { status: 200 },
      'the id may be repeated'
    )
    t.match(
      await postForm(service, '/oauth/token', { ...grant, client_id: id, client_secret: secret }, header),
      { status: 400, body: { error: 'invalid_request' } }
    )
    t.match(await postForm(service, '/oauth/token', { ...grant, client_id: 'another' }, header), {
      status: 400,
      body: { error: 'invalid_request' }
    })
  })

  await t.test('is not issued without client authentication', async t => {
    const other = await createClient(service)
    const invalidCredentials = [
      {},
      basic(id, 'wrong'),
      basic(id, other.secret),
      basic('nobody', secret),
      basic('00000000-0000-7000-8000-000000000000', secret),
      basic(id, ''),
      basic(id, `${secret}\0`),
      { authorization: 'Basic' },
      { authorization: 'Basic !' },
      { authorization: `Basic ${Buffer.from(id).toString('base64')}` },
      { authorization: `Basic ${Buffer.from(`${id}:%zz`).toString('base64')}` },
      { authorization: `Digest ${secret}` },
      { authorization: 'Bearer' },
      { ...header, authorization: `Bearer ${secret}` }
    ]
    for (const headers of invalidCredentials) {
      const {
        status,
        body,
        headers: { 'www-authenticate': challenge, 'content-type': type }
      } = await postForm(service, '/oauth/token', grant, headers as Record<string, string>)
      t.match(
        { status, body, challenge, type },
        { status: 401, body: { error: 'invalid_client' }, challenge: /^Basic /, type: /^application\/json/ },
        JSON.stringify(headers)
      )
    }
    t.match(await postForm(service, '/oauth/token', { ...grant, client_id: id, client_secret: 'wrong' }), {
      status: 401,
      body: { error: 'invalid_client' }
    })
    t.match(await postForm(service, '/oauth/token', { ...grant, client_id: id }), {
      status: 401,
      body: { error: 'invalid_client' }
    })
  })

  await t.test('has the errors of RFC 6749', async t => {
    const errors: Array<[fields: Record<string, string> | Array<[string, string]>, error: string]> = [
      [{}, 'invalid_request'],
      [{ grant_type: 'password' }, 'unsupported_grant_type'],
      [{ grant_type: 'authorization_code' }, 'unauthorized_client'],
      [{ ...grant, scope: 'orders:delete' }, 'invalid_scope'],
      [{ ...grant, scope: 'orders:read admin' }, 'invalid_scope'],
      [
        [
          ['grant_type', 'client_credentials'],
          ['grant_type', 'client_credentials']
        ],
        'invalid_request'
      ],
      [
        [
          ['grant_type', 'client_credentials'],
          ['scope', 'orders:read'],
          ['scope', 'orders:write']
        ],
        'invalid_request'
      ],
      ...['orders', '/orders', 'https://orders.example.com/#x', 'https://', 'not a uri'].map(
        (resource): [Record<string, string>, string] => [{ ...grant, resource }, 'invalid_target']
      )
    ]
    for (const [fields, error] of errors) {
      t.match(
        await postForm(service, '/oauth/token', fields, header),
        { status: 400, body: { error, error_description: /^[\x20-\x21\x23-\x5b\x5d-\x7e]+$/ } },
        JSON.stringify(fields)
      )
    }
    t.match(
      await postForm(service, '/oauth/token', { ...grant, unheard: 'of', __proto__: 'x' }, header),
      { status: 200 },
      'unknown parameters are ignored'
    )
    t.match(await service.browser().post('/oauth/token', grant, header), {
      status: 415,
      body: { error: 'invalid_request' }
    })
    t.match(await service.browser().post('/oauth/token', undefined, header), {
      status: 400,
      body: { error: 'invalid_request' }
    })
    t.match(await postForm(service, '/oauth/token', { ...grant, scope: 'x'.repeat(70_000) }, header), {
      status: 413,
      body: { error: 'invalid_request' }
    })
    t.match(await service.browser().get('/oauth/token'), {
      status: 405,
      body: { code: 'method_not_allowed' }
    })
    t.match(await service.browser().get('/oauth/nothing'), { status: 404, body: { code: 'not_found' } })
  })

  await t.test('has the requested resources as its audience', async t => {
    const one = await postForm(
      service,
      '/oauth/token',
      { ...grant, resource: 'https://orders.example.com/api' },
      header
    )
    t.equal(claims(one.body.access_token).aud, 'https://orders.example.com/api')
    const two = await postForm(
      service,
      '/oauth/token',
      [
        ['grant_type', 'client_credentials'],
        ['resource', 'https://a.example'],
        ['resource', 'urn:b:c'],
        ['resource', 'https://a.example']
      ],
      header
    )
    t.strictSame(claims(two.body.access_token).aud, ['https://a.example', 'urn:b:c'])
    const named = await postForm(service, '/oauth/token', { ...grant, audience: 'https://b.example' }, header)
    t.equal(claims(named.body.access_token).aud, 'https://b.example', 'audience is taken as resource')
    const both = { ...grant, resource: 'https://a.example', audience: 'https://b.example' }
    const { body: { access_token: tokenForBoth } } = await postForm(service, '/oauth/token', both, header)
    t.strictSame(claims(tokenForBoth).aud, ['https://a.example', 'https://b.example'])
    t.match(
      await postForm(service, '/oauth/token', { ...grant, audience: 'orders' }, header),
      { status: 400, body: { error: 'invalid_target' } }
    )
    t.match(
      await service.browser().get('/v1/auth/verify', { authorization: `Bearer ${one.body.access_token}` }),
      { status: 401 },
      'it is not valid for another audience'
    )
  })

  await t.test('passes the gateway, but not routes for users', async t => {
    const { body } = await postForm(service, '/oauth/token', grant, header)
    const bearer = { authorization: `Bearer ${body.access_token}` }
    const { status, headers } = await service.browser().get('/v1/auth/verify?scope=orders:read', bearer)
    t.match(
      { status, headers },
      {
        status: 204,
        headers: {
          'x-auth-subject': id,
          'x-auth-session': '',
          'x-auth-client': id,
          'x-auth-roles': '',
          'x-auth-scope': 'orders:read orders:write'
        }
      }
    )
    t.match(await service.browser().get('/v1/auth/verify?roles=user', bearer), {
      status: 403,
      body: { code: 'forbidden' }
    })
    for (const requirement of ['roles=user', 'scope=orders:delete', 'roles=user&other=1']) {
      t.match(await service.browser().get(`/v1/auth/verify/?${requirement}`, bearer), { status: 403 },
        'a slash at the end does not lift the requirement')
    }
    t.match(await service.browser().get('/v1/auth/verify/?other=1', bearer), { status: 204 })
    t.match(await service.browser().get('/v1/auth/verify?scope=%20', bearer), { status: 400 },
      'a requirement that names nothing is refused')
    for (const path of ['/v1/me', '/v1/me/sessions']) {
      t.match(await service.browser().get(path, bearer), { status: 403, body: { code: 'forbidden' } })
    }
    t.match(await service.browser().post('/v1/auth/logout', undefined, bearer), { status: 204 })
    t.match(await service.browser().get('/v1/auth/verify', bearer), { status: 204 })
  })
})

t.test('introspection', async t => {
  const service = await build(t)
  const resource = await createClient(service, 'introspect')
  const introspect = async (token: string, header = resource.header) =>
    await postForm(service, '/oauth/introspect', { token }, header)
  const expectInactive = async (token: string, why: string) => {
    const { status, body } = await introspect(token)
    t.strictSame({ status, body }, { status: 200, body: { active: false } }, why)
  }

  await t.test('describes an access token', async t => {
    const { access, sid, sub } = await signedIn(service)
    const { status, body } = await introspect(access)
    t.match(
      { status, body },
      {
        status: 200,
        body: {
          active: true,
          sub,
          sid,
          client_id: 'latchkey',
          scope: 'account',
          token_type: 'Bearer',
          roles: ['user'],
          amr: ['pwd'],
          iss: 'http://localhost:3000',
          aud: 'http://localhost:3000'
        }
      }
    )
    t.ok(body.exp - body.iat === 900)
  })

  await t.test('describes a refresh token and changes nothing', async t => {
    const { refresh, sid, sub } = await signedIn(service)
    t.match(await introspect(refresh), { body: { active: true, sub, sid } })
    const next = await service.browser().post('/v1/auth/refresh', { refresh_token: refresh })
    t.match(await introspect(refresh), { body: { active: true } }, 'a retry would succeed')
    t.match(await introspect(next.body.refresh_token), { body: { active: true } })
    await service.browser().post('/v1/auth/refresh', { refresh_token: next.body.refresh_token })
    t.strictSame((await introspect(refresh)).body, { active: false })
    await ageTokenFamily(service, sid, 3_600)
    t.strictSame((await introspect(refresh)).body, { active: false })
    t.match(
      await introspect(next.body.refresh_token),
      { body: { active: true } },
      'introspection of a superseded token is no reuse'
    )
  })

  await t.test('reports at once what is no longer active', async t => {
    const signOut = await signedIn(service)
    await service.sql(
      `with gone as (delete from refresh_tokens where session_id = $1)
        update sessions set ended_at = now(), end_reason = 'logout' where id = $1`,
      [signOut.sid]
    )
    await expectInactive(signOut.access, 'the access token of a session that ended without a notification')
    await expectInactive(signOut.refresh, 'its refresh token')
    const disabled = await signedIn(service)
    await service.sql('update users set disabled_at = now() where id = $1', [disabled.sub])
    await expectInactive(disabled.access, 'the access token of a disabled user')
    await expectInactive(disabled.refresh, 'the refresh token of a disabled user')
    const { id, header } = await createClient(service, 'x')
    const { body } = await postForm(
      service,
      '/oauth/token',
      { grant_type: 'client_credentials', resource: 'https://elsewhere.example' },
      header
    )
    t.match(await introspect(body.access_token), {
      body: { active: true, sub: id, aud: 'https://elsewhere.example' }
    })
    await clients.deleteClient(service.app.db, id, {})
    await expectInactive(body.access_token, 'the token of a deleted client')
    for (const garbage of [
      'x',
      'lkr_x',
      'a.b.c',
      `${signOut.access}x`,
      '\0',
      'é',
      signOut.access.replace('.', '..')
    ]) { await expectInactive(garbage, garbage) }
  })

  await t.test('requires a client with the scope', async t => {
    const { access, bearer } = await signedIn(service)
    const other = await createClient(service, 'revocations')
    t.match(await introspect(access, other.header), { status: 403, body: { error: 'insufficient_scope' } })
    t.match(await introspect(access, bearer), { status: 403, body: { error: 'insufficient_scope' } })
    t.match(await introspect(access, basic(resource.id, 'wrong')), {
      status: 401,
      body: { error: 'invalid_client' }
    })
    t.match(await introspect(access, { authorization: 'Bearer x' }), {
      status: 401,
      headers: { 'www-authenticate': /^Bearer .*invalid_token/ },
      body: { error: 'invalid_token' }
    })
    t.match(await postForm(service, '/oauth/introspect', {}, resource.header), {
      status: 400,
      body: { error: 'invalid_request' }
    })
    const { body } = await postForm(
      service,
      '/oauth/token',
      { grant_type: 'client_credentials' },
      resource.header
    )
    const own = { authorization: `Bearer ${body.access_token}` }
    t.match(await introspect(access, own), { body: { active: true } })
    const { policy } = service.app.clients
    await clients.update(service.app.db, { id: resource.id, change: { scopes: [] }, policy }, {})
    t.match(
      await introspect(access, own),
      { status: 403 },
      'the scope was removed after the token was issued'
    )
  })
})

t.test('revocation', async t => {
  const service = await build(t)
  const revoke = async (token: string, header: Record<string, string>) => {
    const { status, text } = await postForm(service, '/oauth/revoke', { token }, header)
    t.strictSame([status, text], [200, ''])
  }
  const stateOf = async ({ access, refresh }: { access: string, refresh: string }) => {
    const gateway = await service.browser().get('/v1/auth/verify', { authorization: `Bearer ${access}` })
    const [row] = await service.sql<{ reason: string | null }>(
      'select end_reason as reason from sessions where id = $1',
      [sidOf(access)]
    )
    return { gateway: gateway.status, reason: row?.reason, refresh }
  }
  const sidOf = (access: string) =>
    JSON.parse(Buffer.from(access.split('.')[1] ?? '', 'base64url').toString()).sid

  await t.test('of either token by its user, or by a client with the scope, ends the session', async t => {
    const ender = await createClient(service, 'sessions:end')
    for (const kind of ['access', 'refresh'] as const) {
      const own = await signedIn(service)
      await revoke(own[kind], own.bearer)
      t.match(await stateOf(own), { gateway: 401, reason: 'revoked' })
      const other = await signedIn(service)
      await revoke(other[kind], ender.header)
      t.match(await stateOf(other), { gateway: 401, reason: 'revoked' })
      t.match(await service.browser().post('/v1/auth/refresh', { refresh_token: other.refresh }), {
        status: 401
      })
      t.match(
        await service.sql(
          "select client_id, detail from audit_events where type = 'session.ended' and session_id = $1",
          [other.sid]
        ),
        [{ client_id: ender.id, detail: { reason: 'revoked' } }]
      )
    }
  })

  await t.test('by another user or client gets the same response and changes nothing', async t => {
    const [one, other] = [await signedIn(service), await signedIn(service)]
    const otherClient = await createClient(service, 'introspect', 'revocations')
    for (const token of [one.access, one.refresh]) {
      await revoke(token, other.bearer)
      await revoke(token, otherClient.header)
    }
    t.match(await stateOf(one), { gateway: 204, reason: null })
    for (const garbage of ['x', 'lkr_x', 'a.b.c']) await revoke(garbage, otherClient.header)
    t.match(await postForm(service, '/oauth/revoke', { token: one.access }), {
      status: 401,
      body: { error: 'invalid_client' }
    })
    t.match(await postForm(service, '/oauth/revoke', {}, otherClient.header), {
      status: 400,
      body: { error: 'invalid_request' }
    })
  })

  await t.test("of a client's own token by that client ends only that token", async t => {
    const [mine, theirs] = [
      await createClient(service, 'introspect'),
      await createClient(service, 'sessions:end')
    ]
    const issue = async () =>
      (await postForm(service, '/oauth/token', { grant_type: 'client_credentials' }, mine.header)).body
        .access_token as string
    const [token, sibling] = [await issue(), await issue()]
    await revoke(token, theirs.header)
    const passes = async (token: string) =>
      (await service.browser().get('/v1/auth/verify', { authorization: `Bearer ${token}` })).status
    t.equal(await passes(token), 204)
    await revoke(token, mine.header)
    t.equal(await passes(token), 401)
    t.equal(await passes(sibling), 204)
    t.strictSame((await postForm(service, '/oauth/introspect', { token }, mine.header)).body, {
      active: false
    })
    await revoke(token, mine.header)
    t.match(
      await service.sql("select client_id from audit_events where type = 'token.revoked'"),
      [{ client_id: mine.id }],
      'once'
    )
  })
})

interface ReceivedEvent {
  id: string | undefined
  event: string | undefined
  data: { sid?: string, jti?: string, sub: string, reason: string, ended_at: string, expires_at: string }
}

/** Reads the feed over a real connection. */
async function followFeed (t: Teardown, { port }: { port: number }, headers: Record<string, string>) {
  const received: ReceivedEvent[] = []
  const comments: string[] = []
  let lastId: string | undefined
  const request = http.get({ host: '127.0.0.1', port, path: '/oauth/revocations', headers, agent: false })
  t.teardown(() => request.destroy())
  const [response]: http.IncomingMessage[] = (await once(request, 'response')) as [http.IncomingMessage]
  if (!response) throw new Error('no response')
  const parser = createParser({
    onEvent: ({ id, event, data }) => {
      received.push({ id, event, data: JSON.parse(data) })
      if (id !== undefined) lastId = id
    },
    onComment: comment => {
      comments.push(comment.trim())
    }
  })
  response
    .setEncoding('utf8')
    .on('data', (text: string) => {
      // An id without an event counts, too.
      for (const [, id] of text.matchAll(/^id: (.*)$/gm)) lastId = id
      parser.feed(text)
    })
    .on('error', () => {})
  const until = async (condition: () => boolean, seconds?: number) => {
    const state = () => `the feed has sent ${received.length} events and ${comments.join()}`
    await waitUntil(state, condition, seconds)
  }
  return {
    status: response.statusCode,
    headers: response.headers,
    response,
    received,
    comments,
    until,
    close: () => request.destroy(),
    lastId: () => lastId,
    synced: async () => await until(() => comments.includes('synced'))
  }
}

t.test('the revocation feed', async t => {
  const one = await startListening(t)
  const two = await startListening(t, one.url, { ISSUER_URL: one.issuer })
  const follower = await createClient(one, 'revocations')
  const signOut = async (service: Service, { bearer }: { bearer: { authorization: string } }) =>
    await service.browser().post('/v1/auth/logout', undefined, bearer)

  await t.test('reports a revocation on any instance, with its reason', async t => {
    const feed = await followFeed(t, two, follower.header)
    t.match(
      { status: feed.status, headers: feed.headers },
      {
        status: 200,
        headers: {
          'content-type': 'text/event-stream; charset=utf-8',
          'cache-control': 'no-store',
          'x-accel-buffering': 'no'
        }
      }
    )
    await feed.synced()
    const user = await signedIn(one)
    const before = Date.now()
    await signOut(one, user)
    await feed.until(() => feed.received.some(({ data }) => data.sid === user.sid))
    const event = feed.received.find(({ data }) => data.sid === user.sid)
    t.match(event, {
      event: 'session.ended',
      id: /^\S+$/,
      data: { sid: user.sid, sub: user.sub, reason: 'logout' }
    })
    t.ok(Math.abs(Date.parse(event?.data.ended_at ?? '') - before) < 5_000)
    const { exp } = JSON.parse(Buffer.from(user.access.split('.')[1] ?? '', 'base64url').toString())
    t.ok(Date.parse(event?.data.expires_at ?? '') >= exp * 1_000, 'until the last access token expires')
    const { body } = await postForm(
      one,
      '/oauth/token',
      { grant_type: 'client_credentials' },
      follower.header
    )
    await postForm(one, '/oauth/revoke', { token: body.access_token }, follower.header)
    await feed.until(() => feed.received.some(({ event }) => event === 'token.revoked'))
    t.match(feed.received.at(-1), {
      event: 'token.revoked',
      data: { jti: /^[0-9a-f-]{36}$/, sub: follower.id, reason: 'revoked' }
    })
  })

  await t.test('continues after the last event, on either instance, without a gap', async t => {
    const first = await followFeed(t, one, follower.header)
    await first.synced()
    const a = await signedIn(one)
    await signOut(one, a)
    await first.until(() => first.received.some(({ data }) => data.sid === a.sid))
    await first.until(() => first.comments.includes('heartbeat'))
    first.close()
    const position = first.lastId() ?? ''
    const [b, c] = [await signedIn(one), await signedIn(two)]
    await signOut(two, b)
    await signOut(one, c)
    for (const instance of [one, two]) {
      const resumedFeed = await followFeed(t, instance, { ...follower.header, 'last-event-id': position })
      await resumedFeed.synced()
      await resumedFeed.until(
        () => [b, c].every(({ sid }) => resumedFeed.received.some(({ data }) => data.sid === sid))
      )
      t.notOk(
        resumedFeed.received.some(({ data }) => data.sid === a.sid),
        'without earlier events'
      )
    }
    for (const unknown of ['garbage', '', 'zzzzzzzzzzzzz.0', `${position}x`, '0.0', '-1.5']) {
      const all = await followFeed(t, two, { ...follower.header, 'last-event-id': unknown })
      await all.synced()
      t.ok(
        [a, b, c].every(({ sid }) => all.received.some(({ data }) => data.sid === sid)),
        `everything after ${unknown}`
      )
    }
  })

  await t.test('includes revocations that become visible late', async t => {
    const { default: pg } = await import('pg')
    const late = new pg.Client({ connectionString: one.url })
    await late.connect()
    t.teardown(async () => {
      await late.end()
    })
    const [early, slow] = [await signedIn(one), await signedIn(one)]
    await late.query('begin')
    await late.query(
      `insert into revocations (id, kind, subject, reason, expires_at)
        values ($1, 'session', $2, 'logout', now() + interval '15 minutes')`,
      [slow.sid, slow.sub]
    )
    const feed = await followFeed(t, two, follower.header)
    await feed.synced()
    await signOut(one, early)
    await feed.until(() => feed.received.some(({ data }) => data.sid === early.sid))
    await feed.until(() => feed.comments.includes('heartbeat'))
    feed.close()
    await late.query("select pg_notify('latchkey_revocations', '')")
    await late.query('commit')
    const resumedFeed = await followFeed(t, one, { ...follower.header, 'last-event-id': feed.lastId() ?? '' })
    await resumedFeed.until(() => resumedFeed.received.some(({ data }) => data.sid === slow.sid))
    t.pass('a transaction with a lower number that commits after the last event')
  })

  await t.test('requires a client with the scope', async t => {
    const other = await createClient(one, 'introspect')
    const user = await signedIn(one)
    t.match(await one.browser().get('/oauth/revocations'), { status: 401, body: { error: 'invalid_client' } })
    t.match(await one.browser().get('/oauth/revocations', other.header), {
      status: 403,
      body: { error: 'insufficient_scope' }
    })
    t.match(await one.browser().get('/oauth/revocations', user.bearer), {
      status: 403,
      body: { error: 'insufficient_scope' }
    })
    t.match(await one.browser().send('HEAD', '/oauth/revocations', undefined, follower.header), {
      status: 200,
      headers: { 'content-type': /^text\/event-stream/ }
    })
    const { body } = await postForm(
      one,
      '/oauth/token',
      { grant_type: 'client_credentials' },
      follower.header
    )
    const feed = await followFeed(t, one, { authorization: `Bearer ${body.access_token}` })
    t.equal(feed.status, 200)
  })

  await t.test('disconnects a stalled reader without an effect on others', async t => {
    const slow = await followFeed(t, one, follower.header)
    await slow.synced()
    slow.response.pause()
    const feed = await followFeed(t, one, follower.header)
    await feed.synced()
    let closed = false
    slow.response.once('close', () => {
      closed = true
    })
    const dropped = () => one.logs.some(({ msg }) => msg === 'feed client stalled; disconnecting it')
    // Far more than the buffers of both ends hold.
    await one.sql(`
      with many as (insert into revocations (id, kind, subject, reason, expires_at)
        select gen_random_uuid(), 'session', gen_random_uuid(), 'logout', now() + interval '1 minute'
        from generate_series(1, 60000) returning 1)
      select pg_notify('latchkey_revocations', '') from many limit 1`)
    await feed.until(() => feed.received.length >= 60_000)
    t.match(await one.browser().get('/livez'), { status: 200 })
    await feed.until(dropped)
    slow.response.resume()
    await feed.until(() => closed)
    t.ok(feed.response.readable, 'the other reader continues')
    await one.sql('delete from revocations')
  })

  await t.test('has a place for a new reader as soon as another one has gone', async t => {
    const third = await startListening(t, one.url, { ISSUER_URL: one.issuer })
    const newReader = async () => await followFeed(t, third, follower.header)
    const countConnections = promisify(third.app.server.getConnections.bind(third.app.server))
    // One that has gone before its client is known takes no place.
    await one.app.db.transaction(async tx => {
      await tx.query('lock table clients in access exclusive mode')
      const url = `http://127.0.0.1:${third.port}/oauth/revocations`
      const request = http.get(url, { headers: follower.header, agent: false })
      request.on('error', () => {})
      await waitUntil('the request waits', async () => (await one.sql(`
        select from pg_stat_activity
        where datname = current_database() and wait_event_type = 'Lock' and query like '%clients%'
      `)).length > 0)
      request.destroy()
      await waitUntil('the service has noticed', async () => await countConnections() === 0)
    })
    const readers = await Promise.all(Array.from({ length: 100 }, newReader))
    await Promise.all(readers.map(async reader => await reader.synced()))
    t.equal((await newReader()).status, 503, 'a client has a hundred places')
    for (const { response } of readers) response.destroy()
    await waitUntil('the service has noticed', async () => await countConnections() === 0)
    t.equal((await newReader()).status, 200)
  })

  await t.test('ends when the service stops', async t => {
    const third = await startListening(t, one.url, { ISSUER_URL: one.issuer })
    const feed = await followFeed(t, third, follower.header)
    await feed.synced()
    const ended = once(feed.response, 'end')
    // The reader does not close its connection.
    await third.app.close()
    await ended
  })
})

t.test('a revocation reaches the other instances', async t => {
  const one = await build(t)
  const two = await build(t, {}, { url: one.url })
  const waitForRejection = async (service: Service, { bearer }: { bearer: { authorization: string } }) =>
    await waitFor(async () => (await service.browser().get('/v1/auth/verify', bearer)).status === 401)
  const breakListening = async () => {
    await one.sql(
      `select pg_terminate_backend(pid) from pg_stat_activity
        where application_name = 'latchkey listen' and datname = current_database()`
    )
  }

  await t.test('by a notification, and this instance at once', async t => {
    const unpolled = await build(t, {}, { url: one.url, revocationPollMs: 3_600_000 })
    for (let round = 0; round < scale(20, 6); round++) {
      const user = await signedIn(one)
      t.match(await unpolled.browser().get('/v1/auth/verify', user.bearer), { status: 204 })
      await one.browser().post('/v1/auth/logout', undefined, user.bearer)
      t.match(await one.browser().get('/v1/auth/verify', user.bearer), { status: 401 })
      await waitForRejection(unpolled, user)
    }
  })

  await t.test('also if the listening connection breaks', async () => {
    for (let round = 0; round < 3; round++) {
      const user = await signedIn(one)
      await breakListening()
      await one.browser().post('/v1/auth/logout', undefined, user.bearer)
      await waitForRejection(two, user)
    }
  })

  await t.test('after the reuse of a refresh token', async t => {
    const replayed = await signedIn(one)
    const next = await one.browser().post('/v1/auth/refresh', { refresh_token: replayed.refresh })
    await one.browser().post('/v1/auth/refresh', { refresh_token: next.body.refresh_token })
    await ageTokenFamily(one, replayed.sid, 3_600)
    t.match(await one.browser().post('/v1/auth/refresh', { refresh_token: replayed.refresh }), {
      status: 401
    })
    await waitForRejection(two, replayed)
    t.match(
      await one.sql(
        "select type, detail from audit_events where session_id = $1 and type like 'session.%' order by id",
        [replayed.sid]
      ),
      [{ type: /session/ }, { type: /session/ }]
    )
  })

  await t.test('is known without the database, until the configured limit', async t => {
    const strict = await build(t, { REVOCATION_STALE_LIMIT: '2s' }, { url: one.url })
    const user = await signedIn(one)
    t.match(await strict.browser().get('/v1/auth/verify', user.bearer), { status: 204 })
    const name = new URL(one.url).pathname.slice(1)
    await sql(named(one.url, 'postgres'), `alter database ${name} allow_connections false`)
    await sql(
      named(one.url, 'postgres'),
      'select pg_terminate_backend(pid) from pg_stat_activity where datname = $1',
      [name]
    )
    t.match(
      await one.browser().get('/v1/auth/verify', user.bearer),
      { status: 204 },
      'without a limit, known state is trusted'
    )
    const answer = await waitFor(async () => {
      const answer = await strict.browser().get('/v1/auth/verify', user.bearer)
      return answer.status !== 204 && answer
    })
    t.match(answer, { status: 503, body: { code: 'database_unavailable' }, headers: { 'retry-after': /\d/ } })
    t.match(await one.browser().get('/v1/auth/verify', user.bearer), { status: 204 })
  })
})

t.test('real clients', async t => {
  const service = await startListening(t)
  const { id, secret } = await createClient(service, 'orders:read', 'introspect')
  const user = await signedIn(service)

  await t.test('openid-client discovers, gets a token, introspects and revokes', async t => {
    for (const method of [openid.ClientSecretBasic(secret), openid.ClientSecretPost(secret)]) {
      const config = await openid.discovery(new URL(service.issuer), id, undefined, method, {
        algorithm: 'oauth2',
        execute: [openid.allowInsecureRequests]
      })
      const tokens = await openid.clientCredentialsGrant(config, {
        scope: 'orders:read',
        resource: 'https://orders.example.com'
      })
      t.match(tokens, { token_type: 'bearer', expires_in: 900, scope: 'orders:read' })
      t.match(await openid.tokenIntrospection(config, tokens.access_token), {
        active: true,
        aud: 'https://orders.example.com',
        client_id: id
      })
      t.match(await openid.tokenIntrospection(config, user.access), { active: true, sub: user.sub })
      await openid.tokenRevocation(config, tokens.access_token)
      t.strictSame(await openid.tokenIntrospection(config, tokens.access_token), { active: false })
      t.match(
        await openid.clientCredentialsGrant(config, { scope: 'admin' }).catch((error: unknown) => error),
        { error: 'invalid_scope' }
      )
    }
    const invalidCredentials = await openid.discovery(
      new URL(service.issuer),
      id,
      undefined,
      openid.ClientSecretBasic('wrong'),
      { algorithm: 'oauth2', execute: [openid.allowInsecureRequests] }
    )
    t.match(await openid.clientCredentialsGrant(invalidCredentials).catch((error: unknown) => error), {
      status: 401
    })
  })

  await t.test('openid-client discovers by OpenID Connect, which names only what exists', async t => {
    const config = await openid.discovery(new URL(service.issuer), id, secret, undefined, {
      algorithm: 'oidc',
      execute: [openid.allowInsecureRequests]
    })
    t.match(await openid.clientCredentialsGrant(config), { token_type: 'bearer' })
    const { body, headers } = await service.browser().get('/.well-known/openid-configuration')
    t.equal(headers['cache-control'], 'public, max-age=300')
    t.strictSame(body, (await service.browser().get('/.well-known/oauth-authorization-server')).body)
    t.match(body, { issuer: service.issuer, subject_types_supported: ['public'] })
    for (const [name, url] of Object.entries(body).filter(([name]) => /_(endpoint|uri)$/.test(name))) {
      for (const method of ['GET', 'POST']) {
        const { status } = await fetch(String(url), { method, signal: AbortSignal.timeout(5_000) })
        t.not(status, 404, `${method} ${name}`)
      }
    }
  })

  await t.test('oauth4webapi accepts every response, and a token as of RFC 9068', async t => {
    const insecure = { [oauth4webapi.allowInsecureRequests]: true }
    const issuer = new URL(service.issuer)
    const server = await oauth4webapi.processDiscoveryResponse(
      issuer,
      await oauth4webapi.discoveryRequest(issuer, { algorithm: 'oauth2', ...insecure })
    )
    const self = { client_id: id }
    const authentication = oauth4webapi.ClientSecretBasic(secret)
    const tokens = await oauth4webapi.processClientCredentialsResponse(
      server,
      self,
      await oauth4webapi.clientCredentialsGrantRequest(
        server,
        self,
        authentication,
        new URLSearchParams(),
        insecure
      )
    )
    const claims = await oauth4webapi.validateJwtAccessToken(
      server,
      new Request('http://localhost/', { headers: { authorization: `Bearer ${tokens.access_token}` } }),
      service.issuer,
      insecure
    )
    t.match(claims, { sub: id, client_id: id })
    t.match(
      await oauth4webapi.validateJwtAccessToken(
        server,
        new Request('http://localhost/', { headers: user.bearer }),
        service.issuer,
        insecure
      ),
      { sub: user.sub, sid: user.sid }
    )
    t.match(
      await oauth4webapi.processIntrospectionResponse(
        server,
        self,
        await oauth4webapi.introspectionRequest(server, self, authentication, tokens.access_token, insecure)
      ),
      { active: true }
    )
    t.equal(
      await oauth4webapi.processRevocationResponse(
        await oauth4webapi.revocationRequest(server, self, authentication, tokens.access_token, insecure)
      ),
      undefined
    )
  })
})
