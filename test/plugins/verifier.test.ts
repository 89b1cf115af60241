import { spawn } from 'node:child_process'
import { createHmac, generateKeyPairSync, randomUUID, sign } from 'node:crypto'
import { once } from 'node:events'
import http from 'node:http'
import { setTimeout as pause } from 'node:timers/promises'
import { pathToFileURL } from 'node:url'
import Fastify from 'fastify'
import verifier, {
  AuthError, createVerifier, requireRole, requireScope, type VerifierOptions
} from '../../plugins/verifier/fastify.ts'
import * as consumer from '../support/consumer.ts'
import { compact, signers } from '../support/jwt.ts'
import { waitFor } from '../support/polling.ts'
import type { Teardown } from '../support/teardown.ts'
import * as issuers from '../support/issuer.ts'
import { makeKey } from '../support/issuer.ts'
import { moduleFile, nodeOptions } from '../support/program.ts'
import { t } from '../support/test.ts'

const { credentials } = consumer
const challenge = 'Bearer realm="latchkey"'
const invalidChallenge =
  `${challenge}, error="invalid_token", error_description="The access token is not valid"`

// These tests wait most of the time.
t.jobs = 4

t.test('a valid token', async t => {
  const issuer = await issuers.start(t)
  const { get, app } = await consumer.start(t, issuer)
  const claims = issuer.claims({ scope: 'account orders:read' })
  const token = compact(issuer.key.header, claims, issuer.key.sign)

  await t.test('lets the request pass, and sets request.auth', async t => {
    const { iss, aud, ...said } = claims
    for (const time of ['verified', 'cached']) {
      const { status, body } = await get('/me', token)
      const expected = { ...said, scope: ['account', 'orders:read'], additional: {} }
      t.strictSame([status, body], [200, expected], time)
    }
    t.equal((await get('/me', token, 'bearer')).status, 200)
    t.equal((await get('/twice', token)).status, 200, 'also through several hooks')
    t.equal((await get('/me', issuer.token({ aud: ['urn:others', 'urn:orders'] }))).status, 200)
  })

  await t.test('is not required without a hook, and request.auth then throws', async t => {
    t.match(await get('/open'), { status: 200 })
    t.match(await get('/open', 'garbage'), { status: 200 })
    t.match(await get('/forgotten', token), { status: 500, body: { message: /only after app.requireAuth/ } })
  })

  await t.test('of a client has no session and no roles', async t => {
    const {
      sid,
      roles,
      auth_time: authTime,
      amr,
      ...signOwn
    } = issuer.claims({
      sub: 'billing',
      client_id: 'billing',
      scope: 'orders:read orders:write',
      aud: ['urn:orders']
    })
    const answer = await get(
      '/orders',
      compact(issuer.key.header, { ...signOwn, roles: ['admin'] }, issuer.key.sign)
    )
    t.match(answer, {
      status: 200,
      body: { sub: 'billing', client_id: 'billing', scope: ['orders:read', 'orders:write'] }
    })
    t.strictSame([answer.body['roles'], answer.body['amr'], 'sid' in answer.body], [[], [], false])
  })

  await t.test('brings its additional claims, if they are not objects or lists', async t => {
    const additional = { email: 'ada@example.com', 'https://example.com/email_verified': true }
    const others = { groups: ['staff'], address: {}, none: null }
    const { body } = await get('/me', issuer.token({ ...additional, ...others }))
    t.strictSame(body['additional'], additional)
  })

  await t.test('cannot be changed by a request', async t => {
    app.log.level = 'silent'
    const evil = Fastify()
    t.teardown(async () => {
      await evil.close()
    })
    await evil.register(verifier, { issuer: issuer.url, audience: 'urn:orders' })
    evil.get('/', { onRequest: evil.requireAuth }, async ({ auth }) => {
      try {
        Object(auth).roles.push('admin')
      } catch {}
      try {
        Object(auth).sub = 'root'
      } catch {}
      try {
        Object(auth).additional.email = 'root@example.com'
      } catch {}
      return auth
    })
    const ask = async () =>
      (await evil.inject({ url: '/', headers: { authorization: `Bearer ${token}` } })).json()
    t.strictSame(await ask(), await ask())
    t.match(await ask(), { sub: 'ada', roles: ['user'] })
  })

  await t.test('causes no request to the issuer', async t => {
    const before = { ...issuer.asked }
    t.strictSame(before['/jwks'], 2, 'once for each of the two services')
    const answers = await Promise.all(
      Array.from({ length: 50 }, async () => await get('/me', issuer.token()))
    )
    t.ok(answers.every(({ status }) => status === 200))
    t.strictSame(issuer.asked, before)
  })

  for (const alg of ['EdDSA', 'RS256']) {
    await t.test(`may be signed with ${alg}, unless the service excludes it`, async t => {
      const issuer = await issuers.start(t, issuer => {
        issuer.key = makeKey(alg)
        issuer.published = [issuer.key.jwk]
      })
      t.equal(await (await consumer.start(t, issuer)).status(issuer.token()), 200)
      const strict = await consumer.start(t, issuer, { algorithms: ['ES256'] })
      t.equal(await strict.status(issuer.token()), 401)
      t.match(strict.app.verifier.health(), { keys: { count: 0 } })
    })
  }
})

t.test('tokens of the clients that a service names are accepted, and those of no other client', async t => {
  const issuer = await issuers.start(t)
  const clients = ['shop', 'https://mail.example.com/client']
  const { status, get, logs } = await consumer.start(t, issuer, { clients })
  for (const clientId of ['latchkey', ...clients]) {
    t.match(
      await get('/me', issuer.token({ client_id: clientId })),
      { status: 200, body: { client_id: clientId } }
    )
  }
  for (const clientId of ['shop2', 'Shop', 'shop ', 'https://mail.example.com/client/', 'toString']) {
    t.equal(await status(issuer.token({ client_id: clientId })), 401, clientId)
  }
  t.ok(logs.some(({ err }) => Object(err).reason === 'invalid claim: client_id'))
  const machine = { sid: undefined, roles: undefined, amr: undefined, auth_time: undefined }
  t.equal(
    await status(issuer.token({ ...machine, sub: 'billing', client_id: 'billing' })),
    200,
    'its own token'
  )
  t.equal(await status(issuer.token({ ...machine, client_id: 'billing' })), 401, 'a user without a session')
})

t.test('every token that is not valid gets the same response', async t => {
  const trap = http
    .createServer((_request, response) => {
      trapped++
      response.end()
    })
    .listen(0, '127.0.0.1')
  let trapped = 0
  t.teardown(() => trap.close())
  await once(trap, 'listening')
  const address = trap.address()
  const trapUrl = `http://127.0.0.1:${address && typeof address === 'object' ? address.port : 0}`

  const other = makeKey('RS256')
  const issuer = await issuers.start(t, issuer => {
    issuer.published.push(other.jwk)
  })
  const { get, logs } = await consumer.start(t, issuer)
  const { header, sign: signOwn } = issuer.key
  const claims = issuer.claims()
  const validToken = compact(header, claims, signOwn)
  const [h = '', p = '', s = ''] = validToken.split('.')
  const now = claims.iat
  const otherKey = makeKey()
  const without = (...names: string[]) =>
    compact(
      header,
      Object.fromEntries(Object.entries(claims).filter(([name]) => !names.includes(name))),
      signOwn
    )
  const ec = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const hmac = (secret: string) => (input: string) =>
    createHmac('sha256', secret).update(input).digest('base64url')

  const invalidTokens: Record<string, Record<string, string>> = {
    malformed: {
      'a word': 'token',
      'two parts': `${h}.${p}`,
      'four parts': `${validToken}.x`,
      'a JWE': 'a.b.c.d.e',
      'dots alone': '..',
      'a header that is no JSON': `${Buffer.from('{').toString('base64url')}.${p}.${s}`,
      'a header that is null': compact('null', claims, signOwn),
      'a header that is a list': compact([header], claims, signOwn),
      'a payload that is a list': compact(header, [claims], signOwn),
      'a payload that is null': compact(header, 'null', signOwn),
      'a payload that is no JSON': compact(header, '{', signOwn),
      'a payload that is not UTF-8': (() => {
        const input = `${h}.${Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d]).toString('base64url')}`
        return `${input}.${signOwn(input)}`
      })(),
      padding: `${validToken}=`,
      'the other base64 alphabet': `${h}.${p}.${s.slice(0, -2)}+/`,
      'white space inside': `${h}. ${p}.${s}`,
      'a spare bit in the last character':
        validToken.slice(0, -1) + ({ A: 'B', Q: 'R', g: 'h', w: 'x' }[validToken.slice(-1)] ?? '?'),
      'more than 8 KiB, well signed': compact(header, { ...claims, x: 'x'.repeat(9_000) }, signOwn),
      'two tokens': `${validToken} ${validToken}`,
      'two tokens in a list': `${validToken}, Bearer ${validToken}`
    },
    forged: {
      'no signature': `${h}.${p}.`,
      'a signature of zeros': `${h}.${p}.${Buffer.alloc(64).toString('base64url')}`,
      'a signature that is too short': `${h}.${p}.AAAA`,
      'a changed payload': compact(header, { ...claims, roles: ['admin'] }, () => s),
      'alg none': `${Buffer.from(JSON.stringify({ ...header, alg: 'none' })).toString('base64url')}.${p}.`,
      'alg none with a signature': compact({ ...header, alg: 'none' }, claims, signOwn),
      'no alg': compact({ typ: header.typ, kid: header.kid }, claims, signOwn),
      'HS256 with the public key as the secret': compact(
        { ...header, alg: 'HS256' },
        claims,
        hmac(JSON.stringify(issuer.key.jwk))
      ),
      'HS256 with an empty secret': compact({ ...header, alg: 'HS256' }, claims, hmac('')),
      'a signature in DER': compact(header, claims, input =>
        sign('sha256', Buffer.from(input), ec.privateKey).toString('base64url')
      ),
      'the algorithm of another key': compact({ ...header, alg: 'RS256' }, claims, other.sign),
      'the id of another key': compact({ ...header, kid: other.header.kid }, claims, signOwn),
      'the own key named ES384': compact({ ...header, alg: 'ES384' }, claims, signOwn)
    },
    foreign: {
      'a known key id with another key': compact(header, claims, otherKey.sign),
      'a key id of the prototype': compact({ ...header, kid: '__proto__' }, { ...claims, exp: 1 }, signOwn),
      'no key id': compact({ ...header, kid: undefined }, claims, signOwn),
      'a key id that is a list': compact({ ...header, kid: [header.kid] }, claims, signOwn),
      'a key in the header': compact({ ...header, jwk: otherKey.jwk }, claims, otherKey.sign),
      'a key at a URL in the header': compact(
        { ...header, kid: otherKey.header.kid, jku: `${trapUrl}/jwks`, x5u: `${trapUrl}/x` },
        { ...claims, iss: trapUrl },
        otherKey.sign
      ),
      'another issuer': compact(header, { ...claims, iss: 'http://127.0.0.1' }, signOwn),
      'an issuer with a slash': compact(header, { ...claims, iss: `${claims.iss}/` }, signOwn),
      'an issuer in a list': compact(header, { ...claims, iss: [claims.iss] }, signOwn),
      'another audience': compact(header, { ...claims, aud: 'urn:others' }, signOwn),
      'other audiences': compact(header, { ...claims, aud: ['urn:others', 'urn:order'] }, signOwn),
      'an ID token': compact({ ...header, typ: 'JWT' }, claims, signOwn),
      'a logout token': compact({ ...header, typ: 'logout+jwt' }, claims, signOwn),
      'no type': compact({ ...header, typ: undefined }, claims, signOwn),
      'an unknown critical header': compact({ ...header, crit: ['x'], x: 1 }, claims, signOwn),
      'an empty list of critical headers': compact({ ...header, crit: [] }, claims, signOwn),
      'an unencoded payload': compact({ ...header, crit: ['b64'], b64: false }, claims, signOwn)
    },
    'outside its period of validity': {
      expired: issuer.token({ exp: now - 10 }),
      'not yet valid': issuer.token({ nbf: now + 60 }),
      'issued in the future': issuer.token({ iat: now + 60 }),
      'exp as a word': issuer.token({ exp: '9999999999' }),
      'exp in a list': issuer.token({ exp: [9999999999] }),
      'nbf as a word': issuer.token({ nbf: '0' })
    },
    incomplete: {
      ...Object.fromEntries(
        ['iss', 'aud', 'sub', 'client_id', 'iat', 'exp', 'jti', 'sid'].map(name => [
          `without ${name}`,
          without(name)
        ])
      ),
      'an empty sub': issuer.token({ sub: '' }),
      'sub as a number': issuer.token({ sub: 1 }),
      'a user of another client': issuer.token({ client_id: 'shop' }),
      'a user as the client': issuer.token({ sub: 'shop', client_id: 'shop' }),
      'sid in a list': issuer.token({ sid: [claims.sid] }),
      'roles as a text': issuer.token({ roles: 'admin' }),
      'roles as objects': issuer.token({ roles: [{}] }),
      'scope in a list': issuer.token({ scope: ['account'] }),
      'auth_time as a word': issuer.token({ auth_time: 'now' }),
      'amr as a text': issuer.token({ amr: 'pwd' }),
      'token_version as a text': issuer.token({ token_version: '9' })
    }
  }
  for (const [name, tokens] of Object.entries(invalidTokens)) {
    await t.test(name, async t => {
      for (const [what, token] of Object.entries(tokens)) {
        const { status, headers, body } = await get('/me', token)
        t.strictSame(
          [status, headers.get('www-authenticate'), body['code'], body['message']],
          [401, invalidChallenge, 'invalid_token', 'The access token is not valid'],
          what
        )
      }
      t.equal((await get('/me', validToken)).status, 200, 'the valid token still passes')
    })
  }

  await t.test(
    'a missing token gets another challenge than an invalid one (RFC 6750 section 3.1)',
    async t => {
      for (const [token, scheme] of [
        [undefined, 'Bearer'],
        ['eDp5', 'Basic'],
        ['', 'Bearer']
      ] as const) {
        const { status, headers, body } = await get('/me', token, scheme)
        t.strictSame(
          [status, headers.get('www-authenticate'), body['code']],
          [401, challenge, 'token_required'],
          scheme
        )
      }
    }
  )

  await t.test('an invalid token causes no request and no error log', async t => {
    t.equal(trapped, 0)
    t.equal(issuer.asked['/jwks'], 1, 'no token of another issuer causes a request')
    t.notOk(
      logs.some(({ level }) => Number(level) >= 40),
      'no warning is logged'
    )
    t.notOk(
      logs.some(line => [s, p].some(secret => JSON.stringify(line).includes(secret))),
      'no token is logged'
    )
    t.ok(
      logs.some(({ err }) => Object(err).reason === 'invalid claim: aud'),
      'the reason is logged'
    )
  })

  await t.test('a token in the URL is ignored', async t => {
    t.match(await get(`/me?access_token=${validToken}`), { status: 401, body: { code: 'token_required' } })
  })

  await t.test('a token passes within the clock tolerance', async t => {
    const seconds = () => Math.floor(Date.now() / 1_000)
    t.equal((await get('/me', issuer.token({ exp: seconds() - 1 }))).status, 200)
    t.equal((await get('/me', issuer.token({ nbf: seconds() + 3, iat: seconds() + 3 }))).status, 200)
    const withoutTolerance = await consumer.start(t, issuer, { clockTolerance: 0 })
    t.equal(await withoutTolerance.status(issuer.token({ exp: seconds() - 1 })), 401)
    t.equal(await withoutTolerance.status(issuer.token({ iat: seconds() + 30 })), 401)
    t.equal(await withoutTolerance.status(issuer.token({ nbf: seconds() + 30 })), 401)
    const tolerant = await consumer.start(t, issuer, { clockTolerance: 60 })
    t.equal(await tolerant.status(issuer.token({ exp: seconds() - 30 })), 200)
    t.equal(await tolerant.status(issuer.token({ exp: seconds() - 61 })), 401)
  })
})

t.test('roles and scopes', async t => {
  const issuer = await issuers.start(t)
  const { get, app } = await consumer.start(t, issuer)

  await t.test('a route requires one of its roles and every one of its scopes', async t => {
    const refused = { status: 403, body: { code: 'insufficient_scope' } }
    t.match(await get('/admin', issuer.token({ roles: ['user', 'root'] })), { status: 200 })
    t.match(await get('/admin', issuer.token({ roles: ['user', 'administrator'] })), refused)
    t.match(await get('/admin', issuer.token({ roles: undefined })), refused)
    t.match(await get('/orders', issuer.token({ scope: 'orders:write x orders:read' })), { status: 200 })
    t.match(await get('/orders', issuer.token({ scope: 'orders:read' })), refused)
    t.match(await get('/orders', issuer.token({ scope: 'orders:read orders:writers' })), refused)
    t.match(await get('/orders', issuer.token({ scope: undefined })), refused)
    t.equal(
      (await get('/admin', issuer.token())).headers.get('www-authenticate'),
      `${challenge}, error="insufficient_scope"`
    )
    t.equal(
      (await get('/orders', issuer.token())).headers.get('www-authenticate'),
      `${challenge}, error="insufficient_scope", scope="orders:read orders:write"`
    )
  })

  await t.test('are checked after the token', async t => {
    for (const path of ['/admin', '/orders']) {
      t.match(await get(path), { status: 401, body: { code: 'token_required' } })
      t.match(
        await get(path, issuer.token({ exp: 1, roles: ['admin'], scope: 'orders:read orders:write' })),
        { status: 401, body: { code: 'invalid_token' } }
      )
    }
  })

  await t.test('must be named', async t => {
    t.throws(() => app.requireRole(), /needs a role/)
    for (const scopes of [[], [''], ['two words'], ['a"quote']]) {
      t.throws(() => app.requireScope(...scopes), /needs scopes/)
    }
  })

  await t.test('the challenge header stays if the service has its own error handler', async t => {
    const { status, headers, body } = await get('/own-errors', 'x')
    t.strictSame([status, headers.get('www-authenticate'), body['own']], [418, invalidChallenge, true])
  })
})

t.test('keys', async t => {
  await t.test('are read once for many first requests', async t => {
    const issuer = await issuers.start(t)
    const { status } = await consumer.start(t, issuer)
    const statuses = await Promise.all(Array.from({ length: 50 }, async () => await status(issuer.token())))
    t.ok(statuses.every(status => status === 200))
    t.strictSame(issuer.asked, { '/.well-known/oauth-authorization-server': 1, '/jwks': 1 })
  })

  await t.test('are requested when a token names a new one', async t => {
    const issuer = await issuers.start(t)
    const { status } = await consumer.start(t, issuer)
    const old = issuer.token()
    t.equal(await status(old), 200)
    issuer.key = makeKey()
    issuer.published.push(issuer.key.jwk)
    const fresh = issuer.token()
    t.strictSame(await Promise.all([status(fresh), status(old), status(fresh)]), [200, 200, 200])
    t.strictSame(issuer.asked, { '/.well-known/oauth-authorization-server': 1, '/jwks': 2 })
  })

  await t.test('are requested once for many unknown ids, and known keys need no request', async t => {
    const issuer = await issuers.start(t)
    const { status, statuses } = await consumer.start(t, issuer)
    const known = issuer.token()
    t.equal(await status(known), 200)
    let release = () => {}
    const released = new Promise<void>(resolve => {
      release = resolve
    })
    const reads: number[] = []
    issuer.answers['/jwks'] = (_request, response) => {
      reads.push(performance.now())
      void released.then(() => {
        issuer.json(response, { keys: issuer.published })
      })
    }
    const unknownTokens = Array.from({ length: 200 }, () => issuer.token({}, makeKey()))
    const startedAt = performance.now()
    const first = statuses(unknownTokens)
    await waitFor(() => reads.length === 1)
    t.equal(await status(known), 200, 'a cached token')
    t.equal(await status(issuer.token()), 200, 'another token of a known key')
    release()
    t.ok((await first).every(status => status === 401))
    t.equal(reads.length, 1)

    issuer.key = makeKey()
    issuer.published.push(issuer.key.jwk)
    const [fresh, ...rest] = await statuses([issuer.token(), ...unknownTokens])
    t.equal(fresh, 200, 'a key that was published meanwhile is found')
    t.ok(rest.every(status => status === 401))
    t.equal(reads.length, 2, 'these tokens shared one more read')
    t.ok((reads[1] ?? 0) - startedAt > 1_950, 'two seconds after the first read')
  })

  await t.test('are awaited by at most 1,000 requests', async t => {
    const issuer = await issuers.start(t)
    const { statuses } = await consumer.start(t, issuer)
    let release = () => {}
    issuer.answers['/jwks'] = (_request, response) => {
      release = () => issuer.json(response, { keys: [] })
    }
    const known = issuer.token()
    const otherKey = issuer.token({}, makeKey())
    const many = statuses(Array<string>(1_100).fill(otherKey))
    await waitFor(() => issuer.asked['/jwks'] === 2)
    t.strictSame(await statuses([known]), [200])
    release()
    const all = await many
    t.strictSame(
      [401, 503].map(status => all.filter(other => other === status).length),
      [1_000, 100]
    )
    issuer.answers['/jwks'] = undefined
    t.strictSame(await statuses([otherKey]), [401], 'later requests can wait again')
  })

  await t.test(
    'that are unknown are not requested again for a second, but found in a later read',
    async t => {
      const issuer = await issuers.start(t)
      const { status } = await consumer.start(t, issuer)
      const key = makeKey()
      const before = issuer.asked['/jwks'] ?? 0
      for (let round = 0; round < 50; round++) t.equal(await status(issuer.token({}, key)), 401)
      const reads = (issuer.asked['/jwks'] ?? 0) - before
      t.ok(reads < 25, `${reads} requests for the keys`)
      issuer.published.push(key.jwk)
      t.equal(await status(issuer.token({}, makeKey())), 401, 'another unknown id causes a read')
      t.equal(await status(issuer.token({}, key)), 200)
    }
  )

  await t.test('are read again without rejecting a token meanwhile', async t => {
    const issuer = await issuers.start(t, issuer => {
      issuer.maxAge = 1
    })
    const { statuses } = await consumer.start(t, issuer)
    while ((issuer.asked['/jwks'] ?? 0) < 3) {
      const all = await statuses(Array.from({ length: 100 }, () => issuer.token()))
      t.strictSame(new Set(all), new Set([200]))
    }
  })

  await t.test('that are dropped end even cached tokens with the next read', async t => {
    const issuer = await issuers.start(t, issuer => {
      issuer.maxAge = 1
    })
    const { status, app } = await consumer.start(t, issuer)
    const stays = makeKey()
    issuer.published.push(stays.jwk)
    const [leaked, safe] = [issuer.token(), issuer.token({}, stays)]
    t.strictSame([await status(leaked), await status(safe)], [200, 200])
    issuer.published = [stays.jwk]
    await waitFor(async () => (await status(leaked)) === 401)
    t.equal(await status(safe), 200)
    t.match(app.verifier.health(), { keys: { count: 1, failing: false } })

    const changed = makeKey('ES256', stays.header.kid)
    issuer.published = [changed.jwk]
    await waitFor(async () => (await status(safe)) === 401)
    t.equal(await status(issuer.token({}, changed)), 200, 'another key with the same id replaces it')
  })

  await t.test('of another use or type, private, weak and broken keys are ignored', async t => {
    const weak = generateKeyPairSync('rsa', { modulusLength: 1024 })
    const privatePair = generateKeyPairSync('ec', { namedCurve: 'P-256' })
    const [encryption, unnamed, unsaid, shadow] = [makeKey(), makeKey(), makeKey(), makeKey()]
    const issuer = await issuers.start(t, issuer => {
      issuer.published = [
        null,
        'key',
        {},
        [],
        { kty: 'oct', kid: 'hmac', alg: 'HS256', k: 'AAAA' },
        { kty: 'oct', kid: 'ec', alg: 'ES256', k: 'AAAA' },
        { kty: 'EC', crv: 'P-256', kid: 'broken', alg: 'ES256', x: 'AAAA', y: 'AAAA' },
        { kty: 'EC', crv: 'P-384', kid: 'curve', alg: 'ES256', x: 'AAAA', y: 'AAAA' },
        { ...weak.publicKey.export({ format: 'jwk' }), kid: 'weak', alg: 'RS256' },
        { ...privatePair.privateKey.export({ format: 'jwk' }), kid: 'private', alg: 'ES256' },
        { ...encryption.jwk, use: 'enc' },
        { ...unnamed.jwk, kid: undefined },
        { ...unsaid.jwk, alg: undefined },
        issuer.key.jwk,
        { ...shadow.jwk, kid: issuer.key.header.kid }
      ].map(Object)
    })
    const { status, app } = await consumer.start(t, issuer)
    t.match(app.verifier.health(), { ready: true, keys: { count: 1 } })
    t.equal(await status(issuer.token()), 200)
    const header = (kid: string, alg: string) => ({ alg, kid, typ: 'at+jwt' })
    const tokens = [
      issuer.token({}, encryption),
      issuer.token({}, unsaid),
      compact(issuer.key.header, issuer.claims(), shadow.sign),
      compact(header('weak', 'RS256'), issuer.claims(), signers['RS256']?.(weak.privateKey) ?? String),
      compact(
        header('private', 'ES256'),
        issuer.claims(),
        signers['ES256']?.(privatePair.privateKey) ?? String
      )
    ]
    t.strictSame(await Promise.all(tokens.map(status)), [401, 401, 401, 401, 401])
  })
})

t.test('an issuer that is unavailable', async t => {
  await t.test('at the start leads to 503 until it is available', async t => {
    const issuer = await issuers.start(t)
    await issuer.stop()
    const { get, app, logs } = await consumer.start(t, issuer, credentials, false)
    t.match(app.verifier.health(), {
      ready: false,
      keys: { count: 0, age: null, failing: true },
      feed: { followed: false }
    })
    t.match(await get('/open'), { status: 200 })
    t.match(await get('/me'), { status: 401, body: { code: 'token_required' } })
    const token = issuer.token()
    const answer = await get('/me', token)
    t.match(answer, { status: 503, body: { code: 'verification_unavailable' } })
    t.equal(answer.headers.get('retry-after'), '1')
    t.equal(answer.headers.get('www-authenticate'), null)
    await issuer.start()
    await waitFor(async () => (await get('/me', token)).status === 200)
    await waitFor(() => app.verifier.health().feed?.followed === true)
    t.match(app.verifier.health(), {
      ready: true,
      keys: { count: 1, age: Number, failing: false },
      feed: { followed: true, downSince: null }
    })
    t.equal(logs.filter(({ msg }) => /read again|followed again/.test(String(msg))).length, 2)
    t.equal(logs.filter(({ msg }) => /keys not read/.test(String(msg))).length, 1, 'an outage is logged once')
  })

  await t.test('later does not affect known keys', async t => {
    const issuer = await issuers.start(t, issuer => {
      issuer.maxAge = 1
    })
    const { get, status, app } = await consumer.start(t, issuer)
    const seen = issuer.token()
    t.equal(await status(seen), 200)
    await issuer.stop()
    await waitFor(() => app.verifier.health().keys.failing)
    t.equal(await status(seen), 200)
    t.equal(await status(issuer.token()), 200)
    const rotated = makeKey()
    const startedAt = performance.now()
    for (const time of ['first', 'second', 'third', 'fourth', 'fifth']) {
      t.match(
        await get('/me', issuer.token({}, rotated)),
        { status: 503, body: { code: 'verification_unavailable' } },
        time
      )
    }
    t.ok(performance.now() - startedAt < 6_000, 'no request waits')
    t.equal(
      await status(issuer.token({ iss: 'https://elsewhere.example' }, rotated)),
      401,
      'a token of another issuer is still rejected'
    )
    t.match(app.verifier.health(), { ready: true, keys: { count: 1, failing: true } })
    issuer.published.push(rotated.jwk)
    await issuer.start()
    await waitFor(async () => (await status(issuer.token({}, rotated))) === 200)
    t.match(app.verifier.health(), { keys: { count: 2, failing: false } })
  })

  await t.test('when a key is requested leads to 503', async t => {
    const issuer = await issuers.start(t)
    const { get, status } = await consumer.start(t, issuer)
    issuer.answers['/jwks'] = (_request, response) => {
      response.writeHead(503).end()
    }
    const rotated = makeKey()
    t.match(
      await Promise.all([get('/me', issuer.token({}, rotated)), get('/me', issuer.token({}, rotated))]),
      [{ status: 503 }, { status: 503 }]
    )
    t.equal(await status(issuer.token()), 200)
    issuer.published.push(rotated.jwk)
    issuer.answers['/jwks'] = undefined
    await waitFor(async () => (await status(issuer.token({}, rotated))) === 200)
  })
})

t.test('an issuer whose public address cannot be reached', async t => {
  const url = 'https://auth.example.com/login'
  const token = (issuer: issuers.Issuer) => issuer.token({ iss: url })
  const internal = (issuer: issuers.Issuer) => {
    Object.assign(issuer.metadata, {
      issuer: url, jwks_uri: `${url}/keys`, revocation_feed_endpoint: `${url}/oauth/revocations`
    })
    const { answers } = issuer
    answers['/inside/.well-known/oauth-authorization-server'] = (_request, response) =>
      issuer.json(response, issuer.metadata)
    answers['/inside/keys'] = (_request, response) => issuer.json(response, { keys: issuer.published })
    answers['/inside/oauth/revocations'] = (request, response) => issuer.feed(request, response)
  }

  await t.test('is asked at the discovery URL, for the addresses that its metadata name, too', async t => {
    const issuer = await issuers.start(t, internal)
    for (const discoveryUrl of [`${issuer.url}/inside`, `${issuer.url}/inside/`]) {
      const { app, status } = await consumer.start(t, { url }, { ...credentials, discoveryUrl })
      t.equal(await status(token(issuer)), 200, 'the claim iss stays that of the issuer')
      t.equal(await status(issuer.token()), 401)
      t.equal(app.verifier.health().feed?.followed, true)
    }
    t.strictSame(Object.keys(issuer.asked).filter(path => !path.startsWith('/inside/')), [])
  })

  const wrong: Record<string, (issuer: issuers.Issuer) => Partial<VerifierOptions>> = {
    'a discovery URL that leads nowhere': ({ url }) => ({ discoveryUrl: `${url}/outside` }),
    'a discovery URL that leads to another issuer': ({ url, metadata }) => {
      metadata['issuer'] = 'https://auth.example.org'
      return { discoveryUrl: `${url}/inside` }
    },
    'a discovery URL without the path of the issuer': ({ url, answers }) => {
      const path = '/.well-known/oauth-authorization-server'
      answers[path] = answers[`/inside${path}`]
      return { discoveryUrl: url }
    },
    'keys that are not under the issuer': ({ url, metadata }) => {
      metadata['jwks_uri'] = 'https://auth.example.com/keys'
      return { discoveryUrl: `${url}/inside` }
    },
    'an issuer that is the internal address': ({ url }) => ({ issuer: `${url}/inside` })
  }
  for (const [what, prepare] of Object.entries(wrong)) {
    await t.test(`is 503 with ${what}, never 401`, async t => {
      const issuer = await issuers.start(t, internal)
      const { app, get, logs } = await consumer.start(t, { url }, prepare(issuer), false)
      t.match(await get('/me', token(issuer)), { status: 503, body: { code: 'verification_unavailable' } })
      t.match(await get('/me', 'garbage'), { status: 401 }, 'but what is no token is no token')
      t.match(app.verifier.health(), { ready: false, keys: { count: 0 } })
      const failure = logs.find(({ msg }) => msg === 'issuer keys not read; retrying')
      const message = /^http:.* responded with (status 404|the metadata of|no jwks_uri)/
      t.match(failure, { err: { message } })
    })
  }
})

t.test('an issuer with unusable responses counts as unavailable', async t => {
  const target = await issuers.start(t)
  const redirect =
    (path: string): NonNullable<issuers.Issuer['answers'][string]> =>
      (_request, response) => {
        response.writeHead(302, { location: target.url + path }).end()
      }
  const metadata = '/.well-known/oauth-authorization-server'
  const huge = `{"keys":[],"x":"${'x'.repeat(300_000)}"}`
  const cases: Record<string, (issuer: issuers.Issuer) => void> = {
    'metadata of another issuer': issuer => {
      issuer.metadata['issuer'] = target.url
    },
    'metadata with another spelling of the issuer': issuer => {
      issuer.answers[metadata] = (_request, response) =>
        issuer.json(response, { issuer: `${issuer.url}/`, jwks_uri: `${issuer.url}/jwks` })
    },
    'keys at another origin': issuer => {
      issuer.metadata['jwks_uri'] = `${target.url}/jwks`
    },
    'keys at a URL that is not absolute': issuer => {
      issuer.metadata['jwks_uri'] = 'jwks'
    },
    'redirected metadata': issuer => {
      issuer.answers[metadata] = redirect(metadata)
    },
    'redirected keys': issuer => {
      issuer.answers['/jwks'] = redirect('/jwks')
    },
    'huge metadata': issuer => {
      issuer.answers[metadata] = (_request, response) => {
        response.end(huge)
      }
    },
    'huge keys': issuer => {
      issuer.answers['/jwks'] = (_request, response) => {
        response.end(huge)
      }
    },
    'keys that are not JSON': issuer => {
      issuer.answers['/jwks'] = (_request, response) => {
        response.end('<html>')
      }
    },
    'keys that are not a key set': issuer => {
      issuer.answers['/jwks'] = (_request, response) => issuer.json(response, { keys: 'x' })
    },
    'keys that are null': issuer => {
      issuer.answers['/jwks'] = (_request, response) => issuer.json(response, null)
    },
    'half a response': issuer => {
      issuer.answers['/jwks'] = (_request, response) => {
        response.writeHead(200, { 'content-length': 999 }).write('{')
        response.destroy()
      }
    },
    'another status': issuer => {
      issuer.answers['/jwks'] = (_request, response) => {
        response.writeHead(203).end('{"keys":[]}')
      }
    },
    'no response': issuer => {
      issuer.answers['/jwks'] = () => {}
    }
  }
  await Promise.all(
    Object.entries(cases).map(async ([what, prepare]) => {
      const issuer = await issuers.start(t, prepare)
      const { get, app } = await consumer.start(t, issuer, {}, false)
      t.match(await get('/me', issuer.token()), { status: 503 }, what)
      t.match(app.verifier.health(), { ready: false, keys: { count: 0 } }, what)
      for (const path of Object.keys(issuer.answers)) issuer.answers[path] = undefined
      for (const name of Object.keys(issuer.metadata)) delete issuer.metadata[name]
      await waitFor(async () => (await get('/me', issuer.token())).status === 200, 12)
    })
  )
  t.strictSame(target.asked, {}, 'no other origin was asked')
})

t.test('the revocation feed', async t => {
  t.jobs = 3
  const follow = async (
    t: Teardown,
    options: Partial<VerifierOptions> = {},
    prepare?: (issuer: issuers.Issuer) => void
  ) => {
    const issuer = await issuers.start(t, prepare)
    const service = await consumer.start(t, issuer, { ...credentials, ...options })
    if (!prepare) await waitFor(() => service.app.verifier.health().feed?.followed === true)
    return { issuer, ...service }
  }
  const newSession = (issuer: issuers.Issuer) => {
    const sid = randomUUID()
    return { sid, token: issuer.token({ sid }) }
  }

  t.test('revokes sessions and tokens at once, even cached tokens', async t => {
    const { issuer, status, get, app } = await follow(t)
    t.match(app.verifier.health(), { ready: true, feed: { followed: true, downSince: null } })
    const [revoked, other, unseen] = [newSession(issuer), newSession(issuer), newSession(issuer)]
    const jti = randomUUID()
    const machine = issuer.token({ jti, sub: 'billing', client_id: 'billing', sid: undefined })
    t.strictSame(await Promise.all([revoked.token, other.token, machine].map(status)), [200, 200, 200])
    issuer.end(revoked.sid)
    issuer.end(unseen.sid)
    issuer.write(
      issuer.record('token.revoked', {
        jti,
        sub: 'billing',
        ended_at: new Date(),
        expires_at: new Date(Date.now() + 900_000)
      })
    )
    await waitFor(async () => (await status(machine)) === 401, 3)
    t.match(await get('/me', revoked.token), { status: 401, body: { code: 'invalid_token' } })
    t.equal(await status(issuer.token({ sid: revoked.sid })), 401, 'another token of the session')
    t.equal(await status(unseen.token), 401)
    t.equal(await status(other.token), 200)
  })

  t.test('revokes the earlier tokens of a user, and no later ones', async t => {
    const { issuer, status, statuses, logs } = await follow(t)
    const tokens = (sub: string) =>
      [undefined, 0, 1, 2, 3].map(version => issuer.token({ sub, token_version: version }))
    const [ada, bob] = [tokens('ada'), tokens('bob')]
    const machine = issuer.token({ sub: 'ada', client_id: 'ada', sid: undefined })
    t.ok((await statuses([...ada, ...bob, machine])).every(status => status === 200))
    const revoke = (data: object) =>
      issuer.write(
        issuer.record('user.tokens_revoked', {
          sub: 'ada',
          reason: 'roles_changed',
          expires_at: new Date(Date.now() + 900_000),
          ...data
        })
      )
    const first = ada[0] ?? ''
    for (const wrong of [
      { token_version: '9' },
      { token_version: undefined },
      { sub: undefined, token_version: 9 },
      { token_version: 9, expires_at: 'never' }
    ]) { revoke(wrong) }
    revoke({ token_version: 1 })
    await waitFor(async () => (await status(first)) === 401, 3)
    t.strictSame(await statuses(ada), [401, 401, 200, 200, 200])
    revoke({ token_version: 2, expires_at: new Date(Date.now() + 1_000) })
    await waitFor(async () => (await status(ada[2] ?? '')) === 401, 3)
    revoke({ token_version: 1 })
    t.strictSame(
      await statuses([...ada, ...tokens('ada')]),
      [401, 401, 401, 200, 200, 401, 401, 401, 200, 200],
      'cached or not'
    )
    t.strictSame(
      await statuses([...bob, machine]),
      [200, 200, 200, 200, 200, 200],
      'no other user, and no client with the same id'
    )
    t.equal(logs.filter(({ msg }) => /cannot be read/.test(String(msg))).length, 4)
    issuer.hangUp()
    await waitFor(() => issuer.followers.length === 2 && issuer.readers === 1)
    const restarted = await consumer.start(t, issuer, credentials)
    for (const each of [statuses, restarted.statuses]) {
      t.strictSame(
        await each(ada),
        [401, 401, 401, 200, 200],
        'also after a new connection, and for a new verifier'
      )
    }
  })

  t.test('is requested with RFC 6749 client authentication, and includes earlier revocations', async t => {
    const issuer = await issuers.start(t)
    const revoked = newSession(issuer)
    issuer.recordEnd(revoked.sid)
    const { status } = await consumer.start(t, issuer, credentials)
    t.equal(await status(revoked.token), 401)
    const headers = issuer.followers[0]?.headers
    const [id = '', secret = ''] = Buffer.from(headers?.authorization?.slice('Basic '.length) ?? '', 'base64')
      .toString()
      .split(':')
    const decode = (text: string) => new URLSearchParams(`x=${text}`).get('x')
    t.strictSame([decode(id), decode(secret)], [credentials.clientId, credentials.clientSecret])
    t.match(headers, { accept: 'text/event-stream', 'last-event-id': undefined })
  })

  t.test('continues after a broken connection, with what came meanwhile', async t => {
    const { issuer, status, app } = await follow(t)
    const [before, between, middle, after] = [
      newSession(issuer),
      newSession(issuer),
      newSession(issuer),
      newSession(issuer)
    ]
    issuer.end(before.sid)
    await waitFor(async () => (await status(before.token)) === 401)
    const text = issuer.recordEnd(middle.sid)
    issuer.write(text.slice(0, text.length - 20))
    await pause(50)
    t.equal(await status(middle.token), 200, 'half an event has no effect')
    issuer.hangUp()
    issuer.recordEnd(between.sid)
    await waitFor(async () => (await status(between.token)) === 401)
    t.equal(issuer.followers.at(-1)?.headers['last-event-id'], '1')
    t.equal(await status(middle.token), 401)
    await waitFor(() => app.verifier.health().feed?.followed === true)
    issuer.end(after.sid)
    await waitFor(async () => (await status(after.token)) === 401)
    t.equal(await status(before.token), 401, 'a revoked session stays revoked')

    issuer.hangUp('end')
    await waitFor(() => issuer.followers.length === 3 && issuer.readers === 1)
    t.equal(issuer.followers.at(-1)?.headers['last-event-id'], '4')
  })

  t.test('may repeat events and contain nonsense', async t => {
    const { issuer, status, app, logs } = await follow(t)
    const [one, two, three] = [newSession(issuer), newSession(issuer), newSession(issuer)]
    const expiry = '2099-01-01T00:00:00Z'
    const secondEnd = { sid: two.sid, expires_at: expiry, more: { than: ['is', 'known'] } }
    const reason = 'ausgeloggt – für immer'
    const thirdEnd = { sid: three.sid, sub: 'Zoë 🔑', reason, expires_at: expiry }
    const text = issuer.recordEnd(one.sid)
    issuer.write(text + text)
    issuer.write(
      'event: session.ended\ndata: not json\n\nevent: session.ended\ndata: null\n\n' +
        'event: session.ended\ndata: {"sid":1,"expires_at":"2099-01-01T00:00:00Z"}\n\n'
    )
    issuer.write(
      'event: session.ended\ndata: {"sid":"x","expires_at":"never"}\n\nevent: constructor\ndata: {}\n\n' +
        'event: session.begun\ndata: {"sid":"x"}\n\ndata: {}\n\n'
    )
    issuer.write(
      '\u0000\u0001garbage\nfield: value\n: comment\n\nid: line\ndata: two\ndata: lines\r\n\r\n' +
        `event: session.ended\rdata: ${JSON.stringify(secondEnd)}\r\r`
    )
    const bytes = Buffer.from(
      `: 🔑 heartbeat\n\nevent: session.ended\ndata: ${JSON.stringify(thirdEnd)}\n\n`
    )
    for (const byte of bytes) {
      issuer.write(Buffer.from([byte]))
      await new Promise(resolve => setImmediate(resolve))
    }
    await waitFor(async () => (await status(three.token)) === 401)
    t.strictSame([await status(one.token), await status(two.token)], [401, 401])
    t.match(app.verifier.health(), { feed: { followed: true } })
    t.equal(issuer.followers.length, 1, 'on one connection')
    t.equal(logs.filter(({ msg }) => /cannot be read/.test(String(msg))).length, 4)
  })

  t.test('is requested again after an event without end', async t => {
    const { issuer, status, app } = await follow(t)
    const revoked = newSession(issuer)
    issuer.write(`data: ${'x'.repeat(70_000)}`)
    await waitFor(() => issuer.followers.length === 2)
    await waitFor(() => app.verifier.health().feed?.followed === true)
    issuer.end(revoked.sid)
    await waitFor(async () => (await status(revoked.token)) === 401)
  })

  t.test('starts from the beginning if an event id cannot be sent back', async t => {
    const { issuer, status } = await follow(t)
    const revoked = newSession(issuer)
    issuer.write(issuer.recordEnd(revoked.sid).replace('id: 1', 'id: ü\t'))
    await waitFor(async () => (await status(revoked.token)) === 401)
    issuer.hangUp()
    await waitFor(() => issuer.followers.length === 2)
    t.equal(issuer.followers.at(-1)?.headers['last-event-id'], undefined)
  })

  t.test('is requested again when it falls silent', async t => {
    const { issuer, status, app } = await follow(t, { feedTimeout: 2 })
    const heartbeats = setInterval(() => issuer.write(': heartbeat\n\n'), 200)
    t.teardown(() => clearInterval(heartbeats))
    const [before, revoked] = [newSession(issuer), newSession(issuer)]
    issuer.end(before.sid)
    await pause(2_500)
    t.equal(issuer.followers.length, 1, 'a heartbeat keeps the connection')
    clearInterval(heartbeats)
    issuer.recordEnd(revoked.sid)
    await waitFor(async () => (await status(revoked.token)) === 401)
    t.equal(issuer.followers.at(-1)?.headers['last-event-id'], '1')
    t.match(app.verifier.health(), { feed: { followed: true } })
  })

  t.test(
    'is requested rarely while the issuer rejects the credentials, which is logged as an error',
    async t => {
      await Promise.all(
        [401, 403].map(async refusal => {
          const { issuer, status, app, logs } = await follow(t, {}, issuer => {
            issuer.answers['/oauth/revocations'] = (_request, response) => {
              response.writeHead(refusal).end('{"error":"invalid_client"}')
            }
          })
          t.equal(await status(issuer.token()), 200, 'tokens are accepted until they expire')
          await pause(700)
          t.equal(issuer.followers.length, 1)
          t.equal(
            logs.filter(
              ({ level, msg }) => level === 50 && /rejects the client credentials/.test(String(msg))
            ).length,
            1
          )
          t.notOk(logs.some(line => /secret%|Basic /.test(JSON.stringify(line))))
          const { feed } = app.verifier.health()
          t.equal(feed?.followed, false)
          t.ok(Math.abs(Date.parse(feed?.downSince ?? '') - Date.now()) < 10_000)
        })
      )
    }
  )

  t.test('is requested with backoff while it is unusable, which is logged once', async t => {
    const answers: Record<string, (issuer: issuers.Issuer) => void> = {
      missing: issuer => {
        issuer.metadata['revocation_feed_endpoint'] = undefined
      },
      'of another origin': issuer => {
        issuer.metadata['revocation_feed_endpoint'] = 'http://127.0.0.1:1/'
      },
      redirected: issuer => {
        issuer.answers['/oauth/revocations'] = (_request, response) => {
          response.writeHead(307, { location: 'http://127.0.0.1:1/' }).end()
        }
      },
      'a page': issuer => {
        issuer.answers['/oauth/revocations'] = (_request, response) => {
          response.end('<html>')
        }
      },
      'a stream that ends at once': issuer => {
        issuer.answers['/oauth/revocations'] = (_request, response) => {
          response.writeHead(200, { 'content-type': 'text/event-stream' }).end()
        }
      },
      unavailable: issuer => {
        issuer.answers['/oauth/revocations'] = (_request, response) => {
          response.writeHead(503, { 'retry-after': '1' }).end()
        }
      }
    }
    await Promise.all(
      Object.entries(answers).map(async ([what, prepare]) => {
        const { issuer, status, app, logs } = await follow(t, {}, prepare)
        t.equal(await status(issuer.token()), 200, what)
        t.match(app.verifier.health(), { ready: true, feed: { followed: false } }, what)
        t.ok(issuer.followers.length < 8, what)
        t.equal(
          logs.filter(({ level, msg }) => level === 40 && /feed lost/.test(String(msg))).length,
          1,
          what
        )
      })
    )
  })

  t.test('is required by a service that fails closed', async t => {
    const { issuer, get, status, app } = await follow(t, { feedTimeout: 1, failClosedAfter: 2 }, issuer => {
      issuer.answers['/oauth/revocations'] = (_request, response) => {
        response.writeHead(500).end()
      }
    })
    const token = issuer.token()
    t.match(
      await get('/me', token),
      { status: 503, body: { code: 'verification_unavailable' } },
      'also before the feed was first followed'
    )
    t.match(await get('/me'), { status: 401, body: { code: 'token_required' } })
    t.match(app.verifier.health(), { ready: false, keys: { count: 1 } })
    issuer.answers['/oauth/revocations'] = undefined
    const heartbeats = setInterval(() => issuer.write(': heartbeat\n\n'), 100)
    t.teardown(() => clearInterval(heartbeats))
    await waitFor(async () => (await status(token)) === 200)
    t.match(app.verifier.health(), { ready: true })

    await issuer.stop()
    const lost = performance.now()
    await waitFor(() => app.verifier.health().feed?.followed === false)
    t.equal(await status(token), 200, 'not at once')
    await waitFor(async () => (await status(token)) === 503)
    t.ok(performance.now() - lost > 1_500)
    t.equal((await get('/me', token)).headers.get('retry-after'), '1')
    t.match(app.verifier.health(), { ready: false, keys: { count: 1 } })
    await issuer.start()
    await waitFor(async () => (await status(token)) === 200, 8)
  })

  t.test('is not followed without credentials, which is logged', async t => {
    const issuer = await issuers.start(t)
    const { app, logs } = await consumer.start(t, issuer)
    t.equal(app.verifier.health().feed, null)
    t.ok(logs.some(({ msg }) => /until they expire/.test(String(msg))))
    t.strictSame(issuer.followers, [])
  })
})

t.test('a cached token is not accepted after it expires', async t => {
  const issuer = await issuers.start(t)
  await Promise.all(
    [0, 1, 100].map(async cacheSize => {
      const { status } = await consumer.start(t, issuer, { clockTolerance: 0, cacheSize })
      const [short, long] = [issuer.token({ exp: Math.floor(Date.now() / 1_000) + 4 }), issuer.token()]
      t.strictSame([await status(short), await status(long), await status(short)], [200, 200, 200])
      await waitFor(async () => (await status(short)) === 401)
      t.equal(await status(long), 200)
    })
  )
})

t.test('an application that closes', async t => {
  await t.test('closes its connections at once', async t => {
    const issuer = await issuers.start(t)
    const { app } = await consumer.start(t, issuer, credentials)
    t.equal(issuer.readers, 1)
    await app.close()
    await waitFor(() => issuer.readers === 0, 3)
  })

  for (const [what, prepare] of Object.entries<(issuer: issuers.Issuer) => void>({
    'that works': () => {},
    'that rejects the credentials': issuer => {
      issuer.answers['/oauth/revocations'] = (_request, response) => {
        response.writeHead(401).end()
      }
    },
    'that does not respond': issuer => {
      issuer.answers['/jwks'] = issuer.answers['/oauth/revocations'] = () => {}
    }
  })) {
    await t.test(`lets the process exit, with an issuer ${what}`, async t => {
      const issuer = await issuers.start(t, prepare)
      const options = { issuer: issuer.url, audience: 'urn:orders', ...credentials }
      const script = `
        import { pathToFileURL } from 'node:url'
import Fastify from 'fastify'
        import verifier from ${JSON.stringify(pathToFileURL(moduleFile('plugins/verifier/fastify.ts')))}
        const app = Fastify()
        await app.register(verifier, ${JSON.stringify(options)})
        await app.ready()
        await app.close()
        process.stdout.write('closed')`
      const child = spawn(process.execPath, [...nodeOptions, '--input-type=module', '--eval', script], {
        env: { PATH: process.env['PATH'] },
        stdio: ['ignore', 'pipe', 'inherit']
      })
      t.teardown(() => child.kill())
      const exit = once(child, 'exit')
      await once(child.stdout, 'data')
      t.strictSame(await exit, [0, null])
      await waitFor(() => issuer.readers === 0)
    })
  }
})

t.test('without a framework', async t => {
  const issuer = await issuers.start(t)
  const logs: string[] = []
  const write = (_details: object, message: string) => { logs.push(message) }
  const options = {
    issuer: issuer.url,
    audience: 'urn:orders',
    ...credentials,
    log: { debug: () => {}, info: write, warn: write, error: write }
  }

  await t.test('a plain HTTP server verifies tokens, from the first request on', async t => {
    const core = createVerifier(options)
    t.teardown(core.close)
    const requireUser = requireRole('user')
    const server = http.createServer((request, response) => {
      Promise.resolve(request.headers.authorization).then(core.authenticate).then(auth => {
        requireUser(auth)
        response.end(auth.sub)
      }).catch((error: unknown) => {
        if (error instanceof AuthError) response.writeHead(error.statusCode, error.headers).end(error.code)
        else response.destroy()
      })
    })
    server.listen(0, '127.0.0.1')
    t.teardown(() => { server.close() })
    await once(server, 'listening')
    const address = server.address()
    const url = `http://127.0.0.1:${typeof address === 'object' && address ? address.port : 0}`
    const get = async (authorization?: string) => {
      const response = await fetch(url, { headers: authorization === undefined ? {} : { authorization } })
      return [response.status, await response.text(), response.headers.get('www-authenticate')]
    }
    t.strictSame(issuer.asked, {}, 'nothing is asked before the first token')
    t.match(await get(), [401, 'token_required', challenge])
    const token = issuer.token()
    t.strictSame(await get(`Bearer ${token}`), [200, 'ada', null])
    t.strictSame(await get(`bearer ${token}`), [200, 'ada', null])
    t.strictSame(await get(`Bearer ${token}x`), [401, 'invalid_token', invalidChallenge])
    const withoutRole = await get(`Bearer ${issuer.token({ roles: [] })}`)
    t.match(withoutRole, [403, 'insufficient_scope', /insufficient_scope/])
    t.match(await core.verify(token), { sub: 'ada', scope: ['account', 'orders:read'] })
    for (const other of [undefined, null, ['a', 'b'], { length: 1 }, 7]) {
      await t.rejects(core.verify(other as unknown as string), { statusCode: 401, code: 'invalid_token' })
    }
    t.match(core.health(), { ready: true, feed: { followed: true } })
    core.close()
    await waitFor(() => issuer.readers === 0)
    t.strictSame(await get(`Bearer ${issuer.token()}`), [200, 'ada', null], 'known keys continue to work')
  })

  await t.test('a token waits at most 2 seconds for the issuer, and is then answered 503', async t => {
    const silent = await issuers.start(t, issuer => { issuer.answers['/jwks'] = () => {} })
    const core = createVerifier({ ...options, issuer: silent.url })
    t.teardown(core.close)
    const startedAt = performance.now()
    await t.rejects(core.verify(silent.token()), { code: 'verification_unavailable' })
    t.ok(performance.now() - startedAt >= 1_900)
    await t.rejects(core.verify(silent.token()), { code: 'verification_unavailable' })
  })

  await t.test('options and requirements are checked', async t => {
    t.throws(() => createVerifier({ ...options, issuer: 'auth.example.com' }), { message: /issuer must/ })
    t.throws(() => createVerifier({ ...options, log: Object({}) }), { message: /log must have the methods/ })
    t.throws(() => createVerifier(Object({ ...options, prefix: '/' })), { message: /"prefix" is not/ })
    t.throws(() => requireRole(), { message: /needs a role/ })
    t.throws(() => requireScope('orders:read orders:write'), { message: /each as an argument/ })
  })
})

t.test('invalid options fail the start with a message for each problem', async t => {
  const validToken = { issuer: 'https://auth.example.com', audience: 'urn:orders' }
  const bad: Array<[options: object, message: RegExp]> = [
    [{}, /issuer must .*; audience must/],
    [{ ...validToken, issuer: 'https://auth.example.com/' }, /trailing slash/],
    [{ ...validToken, issuer: 'auth.example.com' }, /issuer must/],
    [{ ...validToken, issuer: 'ftp://auth.example.com' }, /issuer must/],
    [{ ...validToken, issuer: 'https://auth.example.com?x' }, /issuer must/],
    [{ ...validToken, issuer: 'https://user:password@auth.example.com' }, /issuer must/],
    [{ ...validToken, discoveryUrl: 'latchkey:3000' }, /discoveryUrl must be an http or https URL/],
    [{ ...validToken, discoveryUrl: 'http://latchkey:3000/?x' }, /discoveryUrl must/],
    [{ ...validToken, discoveryUrl: 'http://user:password@latchkey:3000' }, /discoveryUrl must/],
    [{ ...validToken, discoveryUrl: '' }, /discoveryUrl must/],
    [{ ...validToken, audience: ['urn:orders'] }, /audience must/],
    [{ ...validToken, audience: '' }, /audience must/],
    [{ ...validToken, clients: 'shop' }, /clients must be a list/],
    [{ ...validToken, clients: ['shop', ''] }, /clients must/],
    [{ ...validToken, clientId: 'orders' }, /must be set together/],
    [{ ...validToken, clientSecret: 'secret' }, /must be set together/],
    [{ ...validToken, clientId: '', clientSecret: '' }, /clientId must .*; clientSecret must/],
    [{ ...validToken, algorithms: [] }, /algorithms must/],
    [{ ...validToken, algorithms: 'ES256' }, /algorithms must/],
    [{ ...validToken, algorithms: ['ES256', 'HS256'] }, /algorithms must/],
    [{ ...validToken, algorithms: ['none'] }, /algorithms must/],
    [{ ...validToken, clockTolerance: -1 }, /clockTolerance must/],
    [{ ...validToken, clockTolerance: 61 }, /clockTolerance must/],
    [{ ...validToken, clockTolerance: '5' }, /clockTolerance must/],
    [{ ...validToken, clockTolerance: NaN }, /clockTolerance must/],
    [{ ...validToken, cacheSize: 1.5 }, /cacheSize must/],
    [{ ...validToken, ...credentials, feedTimeout: 0 }, /feedTimeout must/],
    [{ ...validToken, ...credentials, failClosedAfter: 10 }, /failClosedAfter must be at least feedTimeout/],
    [{ ...validToken, failClosedAfter: 60 }, /failClosedAfter needs clientId/],
    [{ ...validToken, failClosed: true }, /"failClosed" is not an option/]
  ]
  for (const [options, message] of bad) {
    const app = Fastify()
    await t.rejects(
      async () => {
        await app.register(verifier, options as VerifierOptions)
      },
      { message },
      JSON.stringify(options)
    )
    await app.close().catch(() => {})
  }
  t.notMatch(
    await Promise.resolve(
      Fastify().register(verifier, { ...validToken, clientSecret: 'hunter2' } as VerifierOptions)
    ).then(String, String),
    /hunter2/
  )
})
