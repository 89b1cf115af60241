import { createHash, randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { METHODS } from 'node:http'
import { createSigner } from 'fast-jwt'
import type { Test } from 'tap'
import { parse as parseYaml } from 'yaml'
import * as clients from '../src/clients/clients.ts'
import { build, newUser, type Service } from './support/app.ts'
import { caddy, haproxy } from './support/gateways.ts'
import * as nginx from './support/nginx.ts'
import { waitUntil } from './support/polling.ts'
import { t } from './support/test.ts'
import { ask, upstream, wire, type Call, type WireResponse } from './support/wire.ts'

const { paths } = JSON.parse(readFileSync('openapi.json', 'utf8'))
const identityHeaders = Object.keys(paths['/v1/auth/verify'].get.responses['204'].headers)
  .filter(name => name.startsWith('x-auth-'))
  .sort()

const bearer = (token: string) => `Authorization: Bearer ${token}`
const identityIn = ({ lines }: Call) => lines.filter(latchkeyWire => /^x.?auth/.test(latchkeyWire)).sort()

/** Signs in a new user. */
async function signedIn ({ browser, sql }: Service, role?: string) {
  const credentials = newUser()
  const client = browser()
  const {
    body: { user }
  } = await client.post('/v1/auth/register', credentials)
  if (role !== undefined) {
    await sql('update users set roles = roles || $2::text where id = $1', [user.id, role])
  }
  const { body } = await client.post('/v1/auth/login', { ...credentials, refresh_token_delivery: 'body' })
  return {
    token: body.access_token as string,
    refreshToken: body.refresh_token as string,
    sub: body.user.id as string,
    email: body.user.email as string,
    sid: body.session_id as string
  }
}

async function listen (service: Service): Promise<number> {
  await service.app.listen({ host: '127.0.0.1', port: 0 })
  const address = service.app.server.address()
  return typeof address === 'object' && address ? address.port : 0
}

t.test('verification judges the token alone, for any method and without a body', async t => {
  const service = await build(t, { CORS_ORIGINS: 'https://app.example.com' })
  const base = `http://127.0.0.1:${await listen(service)}/v1/auth/verify`
  const ada = await signedIn(service)
  const identity = {
    'x-auth-subject': ada.sub,
    'x-auth-session': ada.sid,
    'x-auth-roles': 'user',
    'x-auth-scope': 'account',
    'x-auth-client': 'latchkey'
  }
  const withToken = { lines: [bearer(ada.token)] }
  for (const method of METHODS.filter(method => method !== 'CONNECT')) {
    for (const url of [base, `${base}/orders?page=2`]) {
      t.match(await ask(method, url, withToken), { status: 204, headers: identity }, method)
      t.match(await ask(method, url), { status: 401, headers: { 'www-authenticate': /^Bearer/ } }, method)
    }
    t.equal((await ask(method, `${base}?roles=admin`, withToken)).status, 403, method)
  }
  const types = ['multipart/form-data', 'multipart/form-data; boundary=x', 'text/plain', 'nonsense', '']
  for (const type of types) {
    for (const body of [undefined, Buffer.alloc(100_000)]) {
      const lines = [bearer(ada.token), `Content-Type: ${type}`]
      t.match(await ask('POST', `${base}/upload`, { lines, body }), { status: 204, headers: identity }, type)
      t.equal((await ask('PUT', base, { lines: [`Content-Type: ${type}`], body })).status, 401, type)
    }
  }
  const lines = ['Origin: https://app.example.com', 'Access-Control-Request-Method: GET']
  t.equal((await ask('OPTIONS', base, { lines })).status, 401, 'a preflight without a token does not pass')
})

t.test('nginx in front of a service', { skip: nginx.skip }, async t => {
  // It learns of revocations by notifications alone.
  const service = await build(t, { TOKEN_CLAIMS: 'email' }, { revocationPollMs: 3_600_000 })
  const latchkeyWire = await wire(t, await listen(service))
  const orders = await upstream(t)
  const gateway = await nginx.start(t, { latchkey: [latchkeyWire.port], orders: orders.port })
  const ada = await signedIn(service)
  const admin = await signedIn(service, 'admin')

  /** The response of the gateway, and the requests that reached the service behind it. */
  async function through (
    method: string,
    path: string,
    lines: string[] = [],
    body?: Buffer
  ): Promise<WireResponse & { calls: Call[] }> {
    const before = orders.calls.length
    const answer = await ask(method, gateway.base + path, { lines, body })
    return { ...answer, calls: orders.calls.slice(before) }
  }
  const statusOfCode = { invalid_token: 401, forbidden: 403, verification_unavailable: 503 }
  const expectRefusal = (
    t: Test,
    { status, headers, text, calls }: WireResponse & { calls: Call[] },
    code: keyof typeof statusOfCode,
    why = ''
  ) => {
    t.equal(status, statusOfCode[code], why)
    t.equal(headers['content-type'], 'application/problem+json')
    t.match(JSON.parse(text), { status, code, instance: headers['x-request-id'] })
    t.equal(calls.length, 0, 'the service was not called')
  }

  await t.test('a request without a token is rejected', async t => {
    const answer = await through('GET', '/orders')
    expectRefusal(t, answer, 'invalid_token')
    const { headers } = await service.browser().get('/v1/auth/verify')
    t.equal(
      answer.headers['www-authenticate'],
      headers['www-authenticate'],
      'the challenge comes from Latchkey'
    )
    t.match(answer.headers['www-authenticate'], /^Bearer/)
  })

  await t.test('a request with a valid token passes with the identity of its user', async t => {
    const {
      status,
      text,
      headers,
      calls: [call]
    } = await through('GET', '/orders?page=2', [
      bearer(ada.token),
      'Accept: text/x',
      'Cookie: refresh_token_3000=secret',
      'Forwarded: for=1.2.3.4',
      'X-Forwarded-For: 1.2.3.4'
    ])
    t.equal(status, 200)
    t.match(JSON.parse(text), { call: 1 })
    t.equal(headers['content-type'], 'application/json')
    if (!call) throw new Error('the service was not called')
    t.match(call, { method: 'GET', path: '/orders?page=2' })
    t.strictSame([...call.lines].sort(), [
      'accept: text/x',
      `authorization: Bearer ${ada.token}`,
      `host: 127.0.0.1:${gateway.port}`,
      'x-auth-client: latchkey',
      `x-auth-email: ${ada.email}`,
      'x-auth-roles: user',
      'x-auth-scope: account',
      `x-auth-session: ${ada.sid}`,
      `x-auth-subject: ${ada.sub}`,
      'x-forwarded-for: 127.0.0.1',
      `x-forwarded-host: 127.0.0.1:${gateway.port}`,
      'x-forwarded-proto: http',
      `x-request-id: ${headers['x-request-id']}`
    ])
    t.strictSame(
      identityIn(call).map(each => each.split(':')[0]),
      identityHeaders,
      'every header that the API document names'
    )
  })

  await t.test('identity headers of a client never reach the service', async t => {
    const spellings = [
      'X-Auth-Subject',
      'x-auth-subject',
      'X_Auth_Subject',
      'X-Auth_Subject',
      'X.Auth.Subject',
      'X~Auth~Subject',
      'X-Auth-Session',
      'X-Auth-Roles',
      'x-AUTH-roles',
      'X_AUTH_ROLES',
      'X-Auth-Scope',
      'X-Auth-Client',
      'X-Auth-Email'
    ]
    const forgedHeaders = spellings.flatMap(name => [`${name}: admin`, `${name}: other`])
    const {
      status,
      calls: [call]
    } = await through('GET', '/orders', [...forgedHeaders, bearer(ada.token), ...forgedHeaders])
    t.equal(status, 200)
    if (!call) throw new Error('the service was not called')
    t.strictSame(identityIn(call), [
      'x-auth-client: latchkey',
      `x-auth-email: ${ada.email}`,
      'x-auth-roles: user',
      'x-auth-scope: account',
      `x-auth-session: ${ada.sid}`,
      `x-auth-subject: ${ada.sub}`
    ])
    t.notMatch(call.lines.join('\n'), /admin|other/)
    expectRefusal(t, await through('GET', '/orders', forgedHeaders), 'invalid_token')
    expectRefusal(
      t,
      await through('GET', '/orders/all', [...forgedHeaders, bearer(ada.token)]),
      'forbidden'
    )
  })

  await t.test('an invalid token is rejected', async t => {
    const { kid, privateKey } = service.app.keyring.getSigningKey()
    const claims = JSON.parse(Buffer.from(ada.token.split('.')[1] ?? '', 'base64url').toString())
    const sign = createSigner({
      algorithm: 'ES256',
      key: privateKey,
      kid,
      header: { alg: 'ES256', typ: 'at+jwt' }
    })
    const tokens = {
      expired: sign({ ...claims, iat: claims.iat - 3_600, exp: claims.iat - 60 }),
      'another audience': sign({ ...claims, aud: 'https://elsewhere.example' }),
      garbage: 'garbage',
      changed: ada.token.slice(0, -4) + 'AAAA',
      empty: '',
      'with spaces': 'a b c',
      long: 'x'.repeat(6_000)
    }
    for (const [name, token] of Object.entries(tokens)) {
      const answer = await through('GET', '/orders', [bearer(token)])
      t.equal(answer.status, 401, name)
      t.match(answer.headers['www-authenticate'], /^Bearer realm=.*error="invalid_token"|^Bearer/, name)
      t.equal(answer.calls.length, 0, name)
    }
    t.equal((await through('GET', '/orders', ['Authorization: Basic YTpi'])).status, 401)
    t.equal(
      (await through('GET', '/orders', [bearer(sign(claims))])).status,
      200,
      'the signer of this test signs as the service does'
    )
  })

  await t.test(
    'a request with two tokens is rejected, because the service might read the other one',
    async t => {
      const { status, calls } = await through('GET', '/orders', [bearer(ada.token), bearer(admin.token)])
      t.equal(status, 400)
      t.equal(calls.length, 0)
    }
  )

  await t.test('a location can require a role', async t => {
    for (const path of [
      '/orders/all',
      '/orders/all/',
      '/orders/ALL',
      '/orders//all',
      '/orders/./all',
      '/x/../orders/all',
      '/orders/%61ll',
      '/orders%2fall',
      '/orders/all;x=1',
      '/orders/all?x=1'
    ]) {
      expectRefusal(t, await through('GET', path, [bearer(ada.token)]), 'forbidden')
      const {
        status,
        calls: [call]
      } = await through('GET', path, [bearer(admin.token)])
      t.equal(status, 200, path)
      t.match(call, { path }, 'the service gets the path as it was sent')
      t.ok(call?.lines.includes('x-auth-roles: user,admin'), path)
    }
    expectRefusal(t, await through('GET', '/orders/all'), 'invalid_token')
    t.equal((await through('GET', '/orders/alleys', [bearer(ada.token)])).status, 200)
  })

  await t.test('the internal locations cannot be requested from outside', async t => {
    for (const path of ['/_verify', '/_verify/admin']) {
      const { status, calls } = await through('GET', path, [bearer(admin.token)])
      t.equal(status, 404)
      t.equal(calls.length, 0)
    }
  })

  await t.test('Latchkey gets the token and nothing else of the request', async t => {
    latchkeyWire.forget()
    const body = randomBytes(1_048_576)
    const {
      status,
      headers,
      calls: [call]
    } = await through(
      'POST',
      '/orders?secret=1',
      [
        bearer(ada.token),
        'Content-Type: application/octet-stream',
        'Cookie: a=b',
        'X-Other: x',
        'Range: bytes=0-1',
        'If-None-Match: "x"',
        'Expect: 100-continue',
        'X-Forwarded-Proto: https',
        'X-Request-Id: mine-1'
      ],
      body
    )
    t.equal(status, 200)
    t.match(
      call,
      { method: 'POST', bytes: body.length, digest: createHash('sha256').update(body).digest('hex') },
      'a large body arrives intact'
    )
    t.equal(headers['x-request-id'], 'mine-1')
    t.strictSame(
      latchkeyWire.sent(),
      [
        'GET /v1/auth/verify HTTP/1.1',
        `Authorization: Bearer ${ada.token}`,
        'X-Forwarded-For: 127.0.0.1',
        'X-Request-Id: mine-1',
        'Host: latchkey',
        '',
        ''
      ].join('\r\n')
    )
  })

  await t.test('a body of unknown length arrives, too', async t => {
    const body = randomBytes(300_000)
    const before = orders.calls.length
    const { status } = await fetch(`${gateway.base}/orders`, {
      method: 'PUT',
      headers: { authorization: `Bearer ${ada.token}` },
      body: new ReadableStream({
        start (controller) {
          controller.enqueue(body)
          controller.close()
        }
      }),
      duplex: 'half'
    })
    t.equal(status, 200)
    t.match(orders.calls.slice(before), [
      { method: 'PUT', bytes: body.length, digest: createHash('sha256').update(body).digest('hex') }
    ])
    const { status: tooLarge } = await through(
      'POST',
      '/orders',
      [bearer(ada.token)],
      Buffer.alloc(11 * 1_048_576)
    )
    t.equal(tooLarge, 413)
  })

  await t.test('every method reaches the service unchanged', async t => {
    const head = await through('HEAD', '/orders', [bearer(ada.token)])
    t.match(head, { status: 200, text: '', calls: [{ method: 'HEAD' }] })
    const refusal = await through('HEAD', '/orders')
    t.match(refusal, { status: 401, text: '' })
    t.match(refusal.headers['www-authenticate'], /^Bearer/)
    t.equal(refusal.calls.length, 0)
    for (const method of ['PUT', 'PATCH', 'DELETE', 'OPTIONS']) {
      t.match(await through(method, '/orders', [bearer(ada.token)]), { status: 200, calls: [{ method }] })
      t.match(await through(method, '/orders'), { status: 401 })
    }
  })

  await t.test('a preflight request passes without a token and without an identity', async t => {
    const asks = [
      'Origin: https://app.example.com',
      'Access-Control-Request-Method: POST',
      'X-Auth-Subject: forged',
      bearer(ada.token)
    ]
    for (const path of ['/orders', '/orders/all']) {
      const {
        status,
        calls: [call]
      } = await through('OPTIONS', path, asks)
      t.equal(status, 200)
      if (!call) throw new Error('the service was not called')
      t.strictSame(identityIn(call), [])
    }
    t.equal((await through('GET', '/orders', asks.slice(0, 3))).status, 401, 'only OPTIONS passes')
  })

  await t.test("a client's own token has no session and no roles", async t => {
    const { client_id: id, client_secret: secret } = await clients.create(
      service.app.db,
      { name: 'shop', scopes: ['orders:read', 'orders:write'] },
      {}
    )
    const {
      body: { access_token: accessToken }
    } = await service.browser().post('/oauth/token', 'grant_type=client_credentials', {
      'content-type': 'application/x-www-form-urlencoded',
      authorization: `Basic ${Buffer.from(`${id}:${secret}`).toString('base64')}`
    })
    const {
      status,
      calls: [call]
    } = await through('GET', '/orders', [
      bearer(accessToken),
      'X-Auth-Session: forged',
      'X-Auth-Email: forged@example.com',
      'X-Auth-Roles: admin'
    ])
    t.equal(status, 200)
    if (!call) throw new Error('the service was not called')
    t.strictSame(identityIn(call), [
      `x-auth-client: ${id}`,
      'x-auth-scope: orders:read orders:write',
      `x-auth-subject: ${id}`
    ])
    expectRefusal(t, await through('GET', '/orders/all', [bearer(accessToken)]), 'forbidden')
  })

  await t.test('all logs share the request id, and an invalid one is replaced', async t => {
    const {
      headers,
      calls: [call]
    } = await through('GET', '/orders', [bearer(ada.token), 'X-Request-Id: abc.DEF-1'])
    t.equal(headers['x-request-id'], 'abc.DEF-1')
    t.ok(call?.lines.includes('x-request-id: abc.DEF-1'))
    t.ok(
      service.logs.some(entry => entry['request_id'] === 'abc.DEF-1' && entry['route'] === '/v1/auth/verify')
    )
    for (const invalidId of ['x'.repeat(65), 'a b', '"', '{}', '']) {
      const {
        headers: { 'x-request-id': own },
        calls: [call]
      } = await through('GET', '/orders', [bearer(ada.token), `X-Request-Id: ${invalidId}`])
      t.match(own, /^[0-9a-f]{32}$/)
      t.ok(call?.lines.includes(`x-request-id: ${own}`))
    }
    const refusal = await through('GET', '/orders', ['X-Request-Id: refused-1'])
    t.equal(refusal.headers['x-request-id'], 'refused-1')
    t.match(JSON.parse(refusal.text), { instance: 'refused-1' })
    t.match(gateway.log(), /"request_id":"abc\.DEF-1".*"status":200/)
    t.notMatch(gateway.log(), ada.token)
    t.notMatch(gateway.log(), /secret=1/)
    for (const entry of gateway
      .log()
      .split('\n')
      .filter(each => each.startsWith('{'))) { JSON.parse(entry) }
  })

  await t.test('the responses of the service pass unchanged', async t => {
    for (const status of [401, 403, 404, 500, 503]) {
      const answer = await through('GET', `/orders/status/${status}`, [bearer(ada.token)])
      t.match(answer, { status, calls: [{}] })
      t.match(JSON.parse(answer.text), { call: orders.calls.length })
      t.equal(answer.rawHeaders.filter(name => name.toLowerCase() === 'x-request-id').length, 1)
      t.not(answer.headers['x-request-id'], 'the gateway sets the request id')
    }
  })

  await t.test('a hundred concurrent requests each get the identity of their token', async t => {
    const users = await Promise.all(Array.from({ length: 10 }, async () => await signedIn(service)))
    const before = orders.calls.length
    const answers = await Promise.all(
      Array.from({ length: 100 }, async (_, n) => {
        const user = users[n % users.length]
        return await ask('GET', `${gateway.base}/orders?n=${n}`, {
          lines: n % 5 === 4 ? [] : [bearer(user?.token ?? '')]
        })
      })
    )
    t.strictSame(
      answers.map(({ status }) => status),
      answers.map((_, n) => (n % 5 === 4 ? 401 : 200))
    )
    const calls = orders.calls.slice(before)
    t.equal(calls.length, 80)
    for (const { path, lines } of calls) {
      const user = users[Number(/\d+$/.exec(path)?.[0]) % users.length]
      const expected = [`x-auth-subject: ${user?.sub}`, `x-auth-session: ${user?.sid}`]
      if (!expected.every(header => lines.includes(header))) {
        t.fail(`${path} got ${lines.join(', ')}`)
      }
    }
    latchkeyWire.forget()
    for (let n = 0; n < 50; n++) await through('GET', '/orders', [bearer(ada.token)])
    t.ok(
      latchkeyWire.connections() < 10,
      `50 sequential requests used ${latchkeyWire.connections()} new connections`
    )
    t.ok(
      new Set(orders.calls.slice(-50).map(({ connection }) => connection)).size < 10,
      'connections to the service are reused'
    )
  })

  await t.test('a signed-out user is rejected at once', async t => {
    const { token, refreshToken } = await signedIn(service)
    t.equal((await through('GET', '/orders', [bearer(token)])).status, 200)
    await service.browser().post('/v1/auth/logout', { refresh_token: refreshToken })
    expectRefusal(t, await through('GET', '/orders', [bearer(token)]), 'invalid_token')
  })

  await t.test('a user who signs out at another instance is rejected, without a poll', async t => {
    const other = await build(t, {}, { url: service.url })
    const { token, refreshToken } = await signedIn(service)
    t.equal((await through('GET', '/orders', [bearer(token)])).status, 200)
    await other.browser().post('/v1/auth/logout', { refresh_token: refreshToken })
    await waitUntil('a refusal', async () =>
      (await through('GET', '/orders', [bearer(token)])).status === 401)
  })

  await t.test('while Latchkey is unavailable or fails, every request gets 503 and no challenge', async t => {
    const isUnavailable = async (why: string) => {
      for (const lines of why === 'silence' ? [[bearer(ada.token)]] : [[bearer(ada.token)], []]) {
        const answer = await through('GET', '/orders', lines)
        expectRefusal(t, answer, 'verification_unavailable', why)
        t.match(answer.headers['retry-after'], /^\d+$/)
        t.equal(answer.headers['www-authenticate'], undefined)
      }
    }
    for (const status of [
      '500 Internal Server Error',
      '502 Bad Gateway',
      '503 Service Unavailable',
      '429 Too Many Requests',
      '404 Not Found',
      '400 Bad Request',
      '302 Found',
      '304 Not Modified'
    ]) {
      latchkeyWire.answer(
        `HTTP/1.1 ${status}\r\nLocation: /\r\nX-Auth-Subject: forged\r\nContent-Length: 0\r\n\r\n`
      )
      await isUnavailable(status)
    }
    latchkeyWire.answer('garbage\r\n\r\n')
    await isUnavailable('garbage')
    latchkeyWire.answer('')
    const startedAt = performance.now()
    await isUnavailable('silence')
    t.ok(performance.now() - startedAt < 10_000)
    latchkeyWire.answer(undefined)
    await latchkeyWire.cut()
    await isUnavailable('connection refused')
    expectRefusal(
      t,
      await through('POST', '/orders', [bearer(ada.token)], Buffer.alloc(100_000)),
      'verification_unavailable'
    )

    await latchkeyWire.mend()
    t.equal(
      (await through('GET', '/orders', [bearer(ada.token)])).status,
      200,
      'when it is back, requests pass again'
    )
    expectRefusal(t, await through('GET', '/orders'), 'invalid_token')
  })

  await t.test('an unavailable service leads to 502', async t => {
    orders.server.closeAllConnections()
    orders.server.close()
    const { status, headers } = await through('GET', '/orders', [bearer(ada.token)])
    t.equal(status, 502)
    t.equal(headers['retry-after'], undefined)
    t.equal((await through('GET', '/orders')).status, 401)
  })
})

for (const [name, program] of Object.entries({ Caddy: caddy, HAProxy: haproxy })) {
  t.test(`${name} in front of a service`, { skip: program.skip }, async t => {
    const service = await build(t)
    const latchkeyWire = await wire(t, await listen(service))
    const orders = await upstream(t)
    const base = await program.start(t, { latchkey: latchkeyWire.port, orders: orders.port })
    const ada = await signedIn(service)
    const admin = await signedIn(service, 'admin')
    const through = async (method: string, path: string, lines: string[] = [], body?: Buffer) => {
      const before = orders.calls.length
      const answer = await ask(method, base + path, { lines, body })
      return { ...answer, calls: orders.calls.slice(before) }
    }
    const identity = (call: Call | undefined) =>
      call === undefined ? [] : identityIn(call).filter(line => !line.endsWith(': '))
    const adasIdentity = [
      'x-auth-client: latchkey',
      'x-auth-roles: user',
      'x-auth-scope: account',
      `x-auth-session: ${ada.sid}`,
      `x-auth-subject: ${ada.sub}`
    ]
    const forged = [
      'X-Auth-Subject', 'X_Auth_Subject', 'X-Auth_Subject', 'X.Auth.Subject', 'X~Auth~Subject',
      'X-Auth-Session', 'x-AUTH-roles', 'X-Auth-Scope', 'X-Auth-Client', 'X-Auth-Email'
    ].flatMap(each => [`${each}: forged`, `${each}: other`])
    const secrets = [
      'Cookie: refresh_token_3000=secret', 'Forwarded: for=1.2.3.4', 'X-Forwarded-For: 1.2.3.4'
    ]

    await t.test('a request passes with a valid token and the identity of its user', async t => {
      const refused = await through('GET', '/orders', forged)
      t.match(refused, { status: 401, headers: { 'www-authenticate': /^Bearer/ }, calls: [] })
      const invalid = await through('GET', '/orders', [bearer(`${ada.token.slice(0, -4)}AAAA`)])
      t.match(invalid, { status: 401, headers: { 'www-authenticate': /invalid_token/ }, calls: [] })
      const { status, calls: [call] } = await through('GET', '/orders?page=2', [
        ...forged, ...secrets, bearer(ada.token)
      ])
      t.equal(status, 200)
      t.match(call, { method: 'GET', path: '/orders?page=2' })
      t.strictSame(identity(call), adasIdentity)
      t.notMatch(call?.lines.join('\n'), /forged|other|secret|1\.2\.3\.4/)
      t.ok(call?.lines.includes('x-forwarded-for: 127.0.0.1'))
    })

    await t.test('a client without a session does not pass with a forged one', async t => {
      const { client_id: id, client_secret: secret } = await clients.create(service.app.db, {
        name: 'reports', scopes: ['orders:read'], redirect_uris: []
      }, {})
      const { body: { access_token: token } } = await service.browser().post(
        '/oauth/token', 'grant_type=client_credentials', {
          'content-type': 'application/x-www-form-urlencoded',
          authorization: `Basic ${Buffer.from(`${id}:${secret}`).toString('base64')}`
        })
      const { status, calls: [call] } = await through('GET', '/orders', [...forged, bearer(token)])
      t.equal(status, 200)
      t.strictSame(identity(call), [
        `x-auth-client: ${id}`, 'x-auth-scope: orders:read', `x-auth-subject: ${id}`
      ])
    })

    await t.test('a path can require a role, however it is written', async t => {
      for (const path of ['/orders/all', '/orders/ALL', '/orders/%61ll', '/orders/all;x=1', '/orders/all/']) {
        t.match(await through('GET', path, [bearer(ada.token)]), { status: 403, calls: [] }, path)
        t.match(await through('GET', path, [bearer(admin.token)]), { status: 200, calls: [{ path }] }, path)
      }
      for (const path of ['/orders//all', '/orders/./all', '/x/../orders/all', '/orders/%2e/all']) {
        const { status, calls } = await through('GET', path, [bearer(ada.token)])
        t.ok(status === 403 || status === 400, `${path}: ${status}`)
        t.equal(calls.length, 0)
      }
      t.equal((await through('GET', '/orders/alleys', [bearer(ada.token)])).status, 200)
    })

    await t.test('any method and body passes, and Latchkey gets no body', async t => {
      const body = randomBytes(300_000)
      const digest = createHash('sha256').update(body).digest('hex')
      latchkeyWire.forget()
      const form = [bearer(ada.token), 'Content-Type: multipart/form-data; boundary=x']
      t.match(await through('POST', '/orders/upload', form, body), { status: 200, calls: [{ digest }] })
      t.match(await through('POST', '/orders/upload', form), { status: 200, calls: [{ bytes: 0 }] })
      t.ok(latchkeyWire.sent().length < 10_000)
      for (const method of ['HEAD', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'PROPFIND']) {
        t.match(await through(method, '/orders', [bearer(ada.token)]), { status: 200, calls: [{ method }] })
        t.match(await through(method, '/orders'), { status: 401, calls: [] }, method)
      }
      const twice = await through('GET', '/orders', [bearer(ada.token), bearer(admin.token)])
      t.match(twice, { status: 400, calls: [] })
      const preflight = ['Access-Control-Request-Method: POST', ...forged]
      const { status, calls: [call] } = await through('OPTIONS', '/orders', preflight)
      t.equal(status, 200)
      t.strictSame(identity(call), [], 'a preflight passes without an identity')
    })

    await t.test('while Latchkey is unavailable, every request gets 503 and no challenge', async t => {
      const isUnavailable = async (why: string) => {
        for (const lines of [[bearer(ada.token)], []]) {
          const { status, headers, calls } = await through('GET', '/orders', lines)
          t.match({ status, calls }, { status: 503, calls: [] }, why)
          t.match(headers['retry-after'], /^\d+$/)
          t.equal(headers['www-authenticate'], undefined)
        }
      }
      latchkeyWire.answer('HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n')
      await isUnavailable('503')
      latchkeyWire.answer('garbage\r\n\r\n')
      await isUnavailable('garbage')
      latchkeyWire.answer(undefined)
      await latchkeyWire.cut()
      await isUnavailable('connection refused')
      await latchkeyWire.mend()
      await waitUntil('requests pass again', async () =>
        (await through('GET', '/orders', [bearer(ada.token)])).status === 200)
      t.equal((await through('GET', '/orders')).status, 401)
    })
  })
}

t.test('the labels for Traefik name the response headers of Latchkey', async t => {
  const labels = [
    ...readFileSync('examples/gateway/traefik.yml', 'utf8').matchAll(/^ {6}traefik\.http\.(\S+): (.*)$/gm)
  ].map(([, name = '', value = '']) => [name, value] as const)
  const of = (part: string) => labels.filter(([name]) => name.endsWith(part)).map(([, value]) => value)
  const names = (value: string) => value.toLowerCase().split(',').sort()
  t.strictSame(of('.forwardauth.address'), [
    'http://latchkey:3000/v1/auth/verify',
    'http://latchkey:3000/v1/auth/verify?roles=admin'
  ])
  t.strictSame(of('.forwardauth.authResponseHeaders').map(names), [identityHeaders, identityHeaders])
  t.strictSame(of('.forwardauth.authRequestHeaders').map(names), [
    ['authorization', 'x-request-id'],
    ['authorization', 'x-request-id']
  ])
  const stripped = of('.forwardauth.authResponseHeadersRegex')
  t.equal(stripped.length, 2)
  for (const pattern of stripped) {
    const [, expression = ''] = /^\(\?i\)(.*)$/.exec(pattern) ?? []
    const matches = (name: string) => new RegExp(expression, 'i').test(name)
    t.ok(
      [
        ...identityHeaders,
        'X_Auth_Subject',
        'X.Auth.Roles',
        'X-Auth_Subject',
        'X~Auth~Scope',
        'X-Auth-Anything'
      ].every(matches)
    )
    t.notOk(
      ['Authorization', 'X-Request-Id', 'X-Forwarded-For', 'X-Author', 'X-Authentic-Id', 'Auth-Subject'].some(
        matches
      )
    )
  }
})

t.test('the configuration for Envoy names the response headers of Latchkey', async t => {
  const text = readFileSync('examples/gateway/envoy.yaml', 'utf8')
  t.ok(parseYaml(text), 'it is YAML')
  const headersIn = (pattern: RegExp) => [...text.matchAll(pattern)].map(([, name]) => name)
  for (const pattern of [/exact: (x-auth-[a-z]+)/g, /remove: (x-auth-[a-z]+)/g]) {
    const named = headersIn(pattern)
    t.strictSame(identityHeaders.filter(name => !named.includes(name)), [])
  }
  t.match(text, /path_prefix: \/v1\/auth\/verify\n/)
  t.match(text, /failure_mode_allow: false/)
})

t.test('with several instances, requests pass while one is unavailable', { skip: nginx.skip }, async t => {
  const service = await build(t)
  const other = await build(t, {}, { url: service.url })
  const [one, two] = [await wire(t, await listen(service)), await wire(t, await listen(other))]
  const orders = await upstream(t)
  const gateway = await nginx.start(t, { latchkey: [one.port, two.port], orders: orders.port })
  const { token } = await signedIn(service)
  const statuses = async () => [
    ...new Set(
      await Promise.all(
        Array.from(
          { length: 20 },
          async () =>
            (await ask('GET', `${gateway.base}/orders`, { lines: [bearer(token)] })).status
        )
      )
    )
  ]
  t.strictSame(await statuses(), [200])
  await one.cut()
  t.strictSame(await statuses(), [200])
  await one.mend()
  one.forget()
  while (one.connections() === 0) await statuses()
  two.answer('HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n')
  t.strictSame(await statuses(), [200])
})
