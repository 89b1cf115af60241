import { build, type Service } from '../support/app.ts'
import { isActive, newClient, requestTokens, signInFor, type TestClient } from '../support/delegation.ts'
import { claimsOf } from '../support/jwt.ts'
import { t } from '../support/test.ts'

const service = await build(t)
const resource = 'https://orders.example.com'
const client = await newClient(service, { audiences: [resource] })

interface SecuredOperation { security?: Array<Record<string, string[]>> }

/** All operations of the API document. A parameter of a path is an id that does not exist. */
function operationsOf ({ app }: Service) {
  const document: { paths: Record<string, Record<string, SecuredOperation>> } =
    JSON.parse(JSON.stringify(app.swagger()))
  return Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, { security = [] }]) => ({
      method: method.toUpperCase() as 'GET',
      path: path.replaceAll(/\{\w+\}/g, '0199e8f2-6c1c-7000-8000-0a1b2c3d4e5f'),
      takesBearer: security.some(each => 'bearer' in each),
      needsNoToken: security.length === 0 || security.some(each => Object.keys(each).length === 0)
    })))
}

/** The user becomes an administrator, so that only the client decides. */
const promote = async (userId: string) =>
  await service.sql("update users set roles = '{user,admin}' where id = $1", [userId])

/** Which operations that need a token accept this one. */
async function acceptedBy (on: Service, token: string): Promise<string[]> {
  const accepted: string[] = []
  for (const { method, path, takesBearer, needsNoToken } of operationsOf(on)) {
    if (!takesBearer || needsNoToken) continue
    const browser = on.browser()
    browser.accessToken = token
    const isForm = path.startsWith('/oauth/')
    const headers = isForm ? { 'content-type': 'application/x-www-form-urlencoded' } : undefined
    const { status } = method === 'GET'
      ? await browser.get(path)
      : await browser.send(method, path, isForm ? `token=${token}` : {}, headers)
    if (status !== 401) accepted.push(`${method} ${path} ${status}`)
  }
  return accepted
}

t.test('a token of a third party is refused by every operation but user info', async t => {
  const { tokens, userId } = await signInFor(service, client)
  await promote(userId)
  const { body } = await requestTokens(service, client, {
    grant_type: 'refresh_token', refresh_token: tokens.refresh_token
  })
  t.ok(operationsOf(service).length > 50)
  t.strictSame(await acceptedBy(service, body.access_token), ['GET /oauth/userinfo 200'])
  t.ok(await isActive(service, body.access_token), 'and nothing has happened')
})

t.test('a token of a third party has no effect on routes that need no token', async t => {
  const { tokens } = await signInFor(service, client)
  const events = async () => (await service.sql('select from audit_events')).length
  const before = await events()
  const accepted: string[] = []
  for (const { method, path, takesBearer, needsNoToken } of operationsOf(service)) {
    if (method === 'GET' || (takesBearer && !needsNoToken)) continue
    const browser = service.browser()
    browser.accessToken = tokens.access_token
    const { status } = await browser.send(method, path, {})
    if (status < 400) accepted.push(`${method} ${path} ${status}`)
  }
  t.strictSame(accepted, ['POST /v1/auth/logout 204'])
  t.equal(await events(), before)
  t.ok(await isActive(service, tokens.access_token))
})

t.test('a token of a third party is refused even if it is for the audience of the service', async t => {
  const trusting = await newClient(service, {
    name: 'Reports', audiences: [resource], permissions: ['roles']
  })
  const { tokens, userId } = await signInFor(service, trusting, { resource })
  await promote(userId)
  const { body } = await requestTokens(service, trusting, {
    grant_type: 'refresh_token', refresh_token: tokens.refresh_token
  })
  t.match(claimsOf(body.access_token), { aud: resource, roles: ['user', 'admin'] })
  const moved = await build(t, { AUDIENCE: resource }, { url: service.url })
  t.strictSame(await acceptedBy(moved, body.access_token), ['GET /oauth/userinfo 200'])
})

t.test('a token of a client of the first party', async t => {
  const shop = await newClient(service, { name: 'Shop', first_party: true, audiences: [resource] })
  const { tokens, userId } = await signInFor(service, shop)
  await promote(userId)
  const { body } = await requestTokens(service, shop, {
    grant_type: 'refresh_token', refresh_token: tokens.refresh_token
  })
  const token = body.access_token

  await t.test('is refused by every operation but user info', async t => {
    t.match(claimsOf(token), { aud: 'http://localhost:3000', roles: ['user', 'admin'] })
    t.strictSame(await acceptedBy(service, token), ['GET /oauth/userinfo 200'])
    const browser = service.browser()
    browser.accessToken = token
    t.equal((await browser.post('/v1/auth/logout')).status, 204)
    t.ok(await isActive(service, token), 'only its client ends its session')
  })

  await t.test('is for its resource alone', async t => {
    const { tokens } = await signInFor(service, shop, { resource })
    t.strictSame(await acceptedBy(service, tokens.access_token), [])
  })
})

t.test('a client revokes its tokens', async t => {
  const revoke = async (by: TestClient, token: string) => {
    const { id, secret } = by
    const fields = { token, client_id: id, ...secret !== undefined && { client_secret: secret } }
    return await service.browser().post('/oauth/revoke', new URLSearchParams(fields).toString(), {
      'content-type': 'application/x-www-form-urlencoded'
    })
  }
  const publicClient = await newClient(service, { name: 'App', token_endpoint_auth_method: 'none' })
  for (const [name, by] of [['with a secret', client], ['that is public', publicClient]] as const) {
    for (const kind of ['access_token', 'refresh_token'] as const) {
      await t.test(`${name}: the ${kind} ends the session`, async t => {
        const { tokens } = await signInFor(service, by)
        t.equal((await revoke(by, tokens[kind])).status, 200)
        t.notOk(await isActive(service, tokens.access_token))
        const refreshed = await requestTokens(service, by, {
          grant_type: 'refresh_token', refresh_token: tokens.refresh_token
        })
        t.equal(refreshed.body.error, 'invalid_grant')
        const [event] = await service.sql<{ detail: object }>(
          "select client_id, detail from audit_events where session_id = $1 and type = 'session.ended'",
          [claimsOf(tokens.access_token).sid])
        t.strictSame(event, { client_id: by.id, detail: { reason: 'revoked' } })
      })
    }
  }

  await t.test('and not those of another client or of the first party', async t => {
    const { tokens, browser, user } = await signInFor(service, client)
    const { body: own } = await service.browser().post('/v1/auth/login', {
      ...user, refresh_token_delivery: 'body'
    })
    for (const token of [tokens.access_token, tokens.refresh_token, own.access_token, own.refresh_token]) {
      t.equal((await revoke(publicClient, token)).status, 200)
    }
    t.ok(await isActive(service, tokens.access_token))
    const refreshed = await service.browser().post('/v1/auth/refresh', { refresh_token: own.refresh_token })
    t.equal(refreshed.status, 200)
    t.equal((await browser.get('/sign-out')).status, 200)
  })

  await t.test('while one with sessions:end ends those of others', async t => {
    const guard = await newClient(service, { name: 'Guard', scopes: ['sessions:end'], redirect_uris: [] })
    const { tokens } = await signInFor(service, publicClient)
    await revoke(guard, tokens.refresh_token)
    t.notOk(await isActive(service, tokens.access_token))
  })
})
