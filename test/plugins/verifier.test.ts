import { spawn } from 'node:child_process'
import { createHmac, generateKeyPairSync, randomUUID, sign } from 'node:crypto'
import { once } from 'node:events'
import http from 'node:http'
import { setTimeout as pause } from 'node:timers/promises'
import { pathToFileURL } from 'node:url'
import Fastify from 'fastify'
import t from 'tap'
import verifier, { type VerifierOptions } from '../../plugins/verifier.ts'
import * as consumer from '../support/consumer.ts'
import type { Teardown } from '../support/app.ts'
import * as issuers from '../support/issuer.ts'
import { compact, makeKey, signers } from '../support/issuer.ts'
import { moduleFile, nodeOptions } from '../support/program.ts'
import { waitFor } from '../support/polling.ts'

const { credentials } = consumer
const challenge = 'Bearer realm="latchkey"'
const invalid = `${challenge}, error="invalid_token", error_description="The access token is not valid"`

// Most of them wait for most of their time.
t.jobs = 4

t.test('a valid token', async t => {
  const issuer = await issuers.start(t)
  const { get, app } = await consumer.start(t, issuer)
  const claims = issuer.claims({ scope: 'account orders:read' })
  const token = compact(issuer.key.header, claims, issuer.key.sign)

  await t.test('lets the request pass, and says who it is', async t => {
    const { iss, aud, ...said } = claims
    for (const time of ['the first time', 'and again']) {
      const { status, body } = await get('/me', token)
      t.strictSame([status, body], [200, { ...said, scope: ['account', 'orders:read'] }], time)
    }
    t.equal((await get('/me', token, 'bearer')).status, 200)
    t.equal((await get('/twice', token)).status, 200, 'also through several hooks')
    t.equal((await get('/me', issuer.token({ aud: ['urn:others', 'urn:orders'] }))).status, 200)
  })

  await t.test('is not asked for where no hook is, and request.auth is then an error of the service', async t => {
    t.match(await get('/open'), { status: 200 })
    t.match(await get('/open', 'garbage'), { status: 200 })
    t.match(await get('/forgotten', token), { status: 500, body: { message: /only after app.requireAuth/ } })
  })

  await t.test('of a client has no session and no roles', async t => {
    const { sid, roles, auth_time: authTime, amr, ...own } = issuer.claims({ sub: 'billing', client_id: 'billing', scope: 'orders:read orders:write', aud: ['urn:orders'] })
    const answer = await get('/orders', compact(issuer.key.header, { ...own, roles: ['admin'] }, issuer.key.sign))
    t.match(answer, { status: 200, body: { sub: 'billing', client_id: 'billing', scope: ['orders:read', 'orders:write'] } })
    t.strictSame([answer.body['roles'], answer.body['amr'], 'sid' in answer.body], [[], [], false])
  })

  await t.test('cannot be changed by one request for the next', async t => {
    app.log.level = 'silent'
    const evil = Fastify()
    t.teardown(async () => { await evil.close() })
    await evil.register(verifier, { issuer: issuer.url, audience: 'urn:orders' })
    evil.get('/', { onRequest: evil.requireAuth }, async ({ auth }) => {
      try { Object(auth).roles.push('admin') } catch {}
      try { Object(auth).sub = 'root' } catch {}
      return auth
    })
    const ask = async () => (await evil.inject({ url: '/', headers: { authorization: `Bearer ${token}` } })).json()
    t.strictSame(await ask(), await ask())
    t.match(await ask(), { sub: 'ada', roles: ['user'] })
  })

  await t.test('costs the issuer nothing', async t => {
    const before = { ...issuer.asked }
    t.strictSame(before['/jwks'], 2, 'once for each of the two services')
    const answers = await Promise.all(Array.from({ length: 50 }, async () => await get('/me', issuer.token())))
    t.ok(answers.every(({ status }) => status === 200))
    t.strictSame(issuer.asked, before)
  })

  for (const alg of ['EdDSA', 'RS256']) {
    await t.test(`may be signed with ${alg}, unless the service wants none of it`, async t => {
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

t.test('what is not a valid token is refused with one answer', async t => {
  const trap = http.createServer((_request, response) => { trapped++; response.end() }).listen(0, '127.0.0.1')
  let trapped = 0
  t.teardown(() => trap.close())
  await once(trap, 'listening')
  const address = trap.address()
  const trapUrl = `http://127.0.0.1:${address && typeof address === 'object' ? address.port : 0}`

  const other = makeKey('RS256')
  const issuer = await issuers.start(t, issuer => { issuer.published.push(other.jwk) })
  const { get, logs } = await consumer.start(t, issuer)
  const { header, sign: own } = issuer.key
  const claims = issuer.claims()
  const good = compact(header, claims, own)
  const [h = '', p = '', s = ''] = good.split('.')
  const now = claims.iat
  const stranger = makeKey()
  const without = (...names: string[]) => compact(header, Object.fromEntries(Object.entries(claims).filter(([name]) => !names.includes(name))), own)
  const ec = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const hmac = (secret: string) => (input: string) => createHmac('sha256', secret).update(input).digest('base64url')

  const classes: Record<string, Record<string, string>> = {
    malformed: {
      'a word': 'token',
      'two parts': `${h}.${p}`,
      'four parts': `${good}.x`,
      'a JWE': 'a.b.c.d.e',
      'dots alone': '..',
      'a header that is no JSON': `${Buffer.from('{').toString('base64url')}.${p}.${s}`,
      'a header that is null': compact('null', claims, own),
      'a header that is a list': compact([header], claims, own),
      'a payload that is a list': compact(header, [claims], own),
      'a payload that is null': compact(header, 'null', own),
      'a payload that is no JSON': compact(header, '{', own),
      'a payload that is not UTF-8': (() => { const input = `${h}.${Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d]).toString('base64url')}`; return `${input}.${own(input)}` })(),
      padding: `${good}=`,
      'the other base64 alphabet': `${h}.${p}.${s.slice(0, -2)}+/`,
      'white space inside': `${h}. ${p}.${s}`,
      'a spare bit in the last character': good.slice(0, -1) + ({ A: 'B', Q: 'R', g: 'h', w: 'x' }[good.slice(-1)] ?? '?'),
      'more than 8 KiB, well signed': compact(header, { ...claims, x: 'x'.repeat(9_000) }, own),
      'two tokens': `${good} ${good}`,
      'two tokens in a list': `${good}, Bearer ${good}`
    },
    forged: {
      'no signature': `${h}.${p}.`,
      'a signature of zeros': `${h}.${p}.${Buffer.alloc(64).toString('base64url')}`,
      'a signature that is too short': `${h}.${p}.AAAA`,
      'a changed payload': `${h}.${Buffer.from(JSON.stringify({ ...claims, roles: ['admin'] })).toString('base64url')}.${s}`,
      'alg none': `${Buffer.from(JSON.stringify({ ...header, alg: 'none' })).toString('base64url')}.${p}.`,
      'alg none with a signature': compact({ ...header, alg: 'none' }, claims, own),
      'no alg': compact({ typ: header.typ, kid: header.kid }, claims, own),
      'HS256 with the public key as the secret': compact({ ...header, alg: 'HS256' }, claims, hmac(JSON.stringify(issuer.key.jwk))),
      'HS256 with an empty secret': compact({ ...header, alg: 'HS256' }, claims, hmac('')),
      'a signature in DER': compact(header, claims, input => sign('sha256', Buffer.from(input), ec.privateKey).toString('base64url')),
      'the alg of another key': compact({ ...header, alg: 'RS256' }, claims, other.sign),
      'the id of another key': compact({ ...header, kid: other.header.kid }, claims, own),
      'ES384 said of the own key': compact({ ...header, alg: 'ES384' }, claims, own)
    },
    foreign: {
      'a stranger with a known key id': compact(header, claims, stranger.sign),
      'a key id of the prototype': compact({ ...header, kid: '__proto__' }, { ...claims, exp: 1 }, own),
      'no key id': compact({ ...header, kid: undefined }, claims, own),
      'a key id that is a list': compact({ ...header, kid: [header.kid] }, claims, own),
      'a key brought along': compact({ ...header, jwk: stranger.jwk }, claims, stranger.sign),
      'a key to be fetched': compact({ ...header, kid: stranger.header.kid, jku: `${trapUrl}/jwks`, x5u: `${trapUrl}/x` }, { ...claims, iss: trapUrl }, stranger.sign),
      'another issuer': compact(header, { ...claims, iss: 'http://127.0.0.1' }, own),
      'an issuer with a slash': compact(header, { ...claims, iss: `${claims.iss}/` }, own),
      'an issuer in a list': compact(header, { ...claims, iss: [claims.iss] }, own),
      'another audience': compact(header, { ...claims, aud: 'urn:others' }, own),
      'other audiences': compact(header, { ...claims, aud: ['urn:others', 'urn:order'] }, own),
      'an ID token': compact({ ...header, typ: 'JWT' }, claims, own),
      'a logout token': compact({ ...header, typ: 'logout+jwt' }, claims, own),
      'no type': compact({ ...header, typ: undefined }, claims, own),
      'an unknown critical header': compact({ ...header, crit: ['x'], x: 1 }, claims, own),
      'an empty list of critical headers': compact({ ...header, crit: [] }, claims, own),
      'an unencoded payload': compact({ ...header, crit: ['b64'], b64: false }, claims, own)
    },
    'out of its time': {
      expired: issuer.token({ exp: now - 10 }),
      'not yet valid': issuer.token({ nbf: now + 60 }),
      'issued in the future': issuer.token({ iat: now + 60 }),
      'with an end that is a word': issuer.token({ exp: '9999999999' }),
      'with an end in a list': issuer.token({ exp: [9999999999] }),
      'with a beginning that is a word': issuer.token({ nbf: '0' })
    },
    incomplete: {
      ...Object.fromEntries(['iss', 'aud', 'sub', 'client_id', 'iat', 'exp', 'jti', 'sid'].map(name => [`without ${name}`, without(name)])),
      'an empty subject': issuer.token({ sub: '' }),
      'a subject that is a number': issuer.token({ sub: 1 }),
      'a session that is a list': issuer.token({ sid: [claims.sid] }),
      'roles that are a text': issuer.token({ roles: 'admin' }),
      'roles that are objects': issuer.token({ roles: [{}] }),
      'a scope that is a list': issuer.token({ scope: ['account'] }),
      'a sign-in at no time': issuer.token({ auth_time: 'now' }),
      'methods that are a text': issuer.token({ amr: 'pwd' }),
      'a version that is a text': issuer.token({ token_version: '9' })
    }
  }
  for (const [name, tokens] of Object.entries(classes)) {
    await t.test(name, async t => {
      for (const [what, token] of Object.entries(tokens)) {
        const { status, headers, body } = await get('/me', token)
        t.strictSame([status, headers.get('www-authenticate'), body['code'], body['message']], [401, invalid, 'invalid_token', 'The access token is not valid'], what)
      }
      t.equal((await get('/me', good)).status, 200, 'the good one still is')
    })
  }

  await t.test('and missing is told from bad, as RFC 6750 has it', async t => {
    for (const [token, scheme] of [[undefined, 'Bearer'], ['eDp5', 'Basic'], ['', 'Bearer']] as const) {
      const { status, headers, body } = await get('/me', token, scheme)
      t.strictSame([status, headers.get('www-authenticate'), body['code']], [401, challenge, 'token_required'], scheme)
    }
  })

  await t.test('which nobody else hears of', async t => {
    t.equal(trapped, 0)
    t.equal(issuer.asked['/jwks'], 1, 'not for tokens that come by mistake')
    t.notOk(logs.some(({ level }) => Number(level) >= 40), 'and nothing of it is a fault')
    t.notOk(logs.some(line => [s, p].some(secret => JSON.stringify(line).includes(secret))), 'no token is logged')
    t.ok(logs.some(({ err }) => Object(err).reason === 'invalid claim: aud'), 'but why it was refused')
  })

  await t.test('in the URL is none', async t => {
    t.match(await get(`/me?access_token=${good}`), { status: 401, body: { code: 'token_required' } })
  })

  await t.test('but not for a few seconds of another clock', async t => {
    const seconds = () => Math.floor(Date.now() / 1_000)
    t.equal((await get('/me', issuer.token({ exp: seconds() - 1 }))).status, 200)
    t.equal((await get('/me', issuer.token({ nbf: seconds() + 3, iat: seconds() + 3 }))).status, 200)
    const exact = await consumer.start(t, issuer, { clockTolerance: 0 })
    t.equal(await exact.status(issuer.token({ exp: seconds() - 1 })), 401)
    t.equal(await exact.status(issuer.token({ iat: seconds() + 30 })), 401)
    t.equal(await exact.status(issuer.token({ nbf: seconds() + 30 })), 401)
    const lax = await consumer.start(t, issuer, { clockTolerance: 60 })
    t.equal(await lax.status(issuer.token({ exp: seconds() - 30 })), 200)
    t.equal(await lax.status(issuer.token({ exp: seconds() - 61 })), 401)
  })
})

t.test('roles and scopes', async t => {
  const issuer = await issuers.start(t)
  const { get, app } = await consumer.start(t, issuer)

  await t.test('are demanded: any of the roles, all of the scopes', async t => {
    const refused = { status: 403, body: { code: 'insufficient_scope' } }
    t.match(await get('/admin', issuer.token({ roles: ['user', 'root'] })), { status: 200 })
    t.match(await get('/admin', issuer.token({ roles: ['user', 'administrator'] })), refused)
    t.match(await get('/admin', issuer.token({ roles: undefined })), refused)
    t.match(await get('/orders', issuer.token({ scope: 'orders:write x orders:read' })), { status: 200 })
    t.match(await get('/orders', issuer.token({ scope: 'orders:read' })), refused)
    t.match(await get('/orders', issuer.token({ scope: 'orders:read orders:writers' })), refused)
    t.match(await get('/orders', issuer.token({ scope: undefined })), refused)
    t.equal((await get('/admin', issuer.token())).headers.get('www-authenticate'), `${challenge}, error="insufficient_scope"`)
    t.equal((await get('/orders', issuer.token())).headers.get('www-authenticate'), `${challenge}, error="insufficient_scope", scope="orders:read orders:write"`)
  })

  await t.test('are demanded of valid tokens only', async t => {
    for (const path of ['/admin', '/orders']) {
      t.match(await get(path), { status: 401, body: { code: 'token_required' } })
      t.match(await get(path, issuer.token({ exp: 1, roles: ['admin'], scope: 'orders:read orders:write' })), { status: 401, body: { code: 'invalid_token' } })
    }
  })

  await t.test('must be named', async t => {
    t.throws(() => app.requireRole(), /needs a role/)
    for (const scopes of [[], [''], ['two words'], ['a"quote']]) t.throws(() => app.requireScope(...scopes), /needs scopes/)
  })

  await t.test('and the header stays where a service answers errors itself', async t => {
    const { status, headers, body } = await get('/own-errors', 'x')
    t.strictSame([status, headers.get('www-authenticate'), body['own']], [418, invalid, true])
  })
})

t.test('keys', async t => {
  await t.test('are read once for any number of first requests', async t => {
    const issuer = await issuers.start(t)
    const { status } = await consumer.start(t, issuer)
    const statuses = await Promise.all(Array.from({ length: 50 }, async () => await status(issuer.token())))
    t.ok(statuses.every(status => status === 200))
    t.strictSame(issuer.asked, { '/.well-known/oauth-authorization-server': 1, '/jwks': 1 })
  })

  await t.test('that are new are asked for at the first token they signed', async t => {
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

  await t.test('that nobody has are asked for once, however many come, and all others go on meanwhile', async t => {
    const issuer = await issuers.start(t)
    const { status, statuses } = await consumer.start(t, issuer)
    const known = issuer.token()
    t.equal(await status(known), 200)
    let release = () => {}
    const released = new Promise<void>(resolve => { release = resolve })
    const reads: number[] = []
    issuer.answers['/jwks'] = (_request, response) => {
      reads.push(performance.now())
      void released.then(() => { issuer.json(response, { keys: issuer.published }) })
    }
    const strangers = Array.from({ length: 200 }, () => issuer.token({}, makeKey()))
    const begun = performance.now()
    const first = statuses(strangers)
    await waitFor(() => reads.length === 1)
    t.equal(await status(known), 200, 'a token that was seen')
    t.equal(await status(issuer.token()), 200, 'one that was not, of a known key')
    release()
    t.ok((await first).every(status => status === 401))
    t.equal(reads.length, 1)

    issuer.key = makeKey()
    issuer.published.push(issuer.key.jwk)
    const [fresh, ...rest] = await statuses([issuer.token(), ...strangers])
    t.equal(fresh, 200, 'a key that is new meanwhile is not taken for one of the flood')
    t.ok(rest.every(status => status === 401))
    t.equal(reads.length, 2, 'and these shared one more')
    t.ok((reads[1] ?? 0) - begun > 1_950, 'two seconds after the first')
  })

  await t.test('are waited for by so many requests at a time, and no more', async t => {
    const issuer = await issuers.start(t)
    const { statuses } = await consumer.start(t, issuer)
    let release = () => {}
    issuer.answers['/jwks'] = (_request, response) => { release = () => issuer.json(response, { keys: [] }) }
    const known = issuer.token()
    const stranger = issuer.token({}, makeKey())
    const many = statuses(Array<string>(1_100).fill(stranger))
    await waitFor(() => issuer.asked['/jwks'] === 2)
    t.strictSame(await statuses([known]), [200])
    release()
    const all = await many
    t.strictSame([401, 503].map(status => all.filter(other => other === status).length), [1_000, 100])
    issuer.answers['/jwks'] = undefined
    t.strictSame(await statuses([stranger]), [401], 'then there is room again')
  })

  await t.test('that were unknown a moment ago are refused without another reading, until one brings them', async t => {
    const issuer = await issuers.start(t)
    const { status } = await consumer.start(t, issuer)
    const key = makeKey()
    let readings = Infinity
    // It is remembered for a second, which a busy machine may need for less than this.
    for (let round = 0; round < 20 && readings > 0; round++) {
      t.equal(await status(issuer.token({}, key)), 401)
      const before = issuer.asked['/jwks'] ?? 0
      t.equal(await status(issuer.token({}, key)), 401)
      readings = (issuer.asked['/jwks'] ?? 0) - before
    }
    t.equal(readings, 0)
    issuer.published.push(key.jwk)
    t.equal(await status(issuer.token({}, makeKey())), 401, 'another one that is unknown has the keys read')
    t.equal(await status(issuer.token({}, key)), 200)
  })

  await t.test('are read again without a token of theirs refused meanwhile', async t => {
    const issuer = await issuers.start(t, issuer => { issuer.maxAge = 1 })
    const { statuses } = await consumer.start(t, issuer)
    while ((issuer.asked['/jwks'] ?? 0) < 3) {
      const all = await statuses(Array.from({ length: 100 }, () => issuer.token()))
      t.strictSame(new Set(all), new Set([200]))
    }
  })

  await t.test('that are dropped stop their tokens, also those that were seen, when the keys are read again', async t => {
    const issuer = await issuers.start(t, issuer => { issuer.maxAge = 1 })
    const { status, app } = await consumer.start(t, issuer)
    const stays = makeKey()
    issuer.published.push(stays.jwk)
    const [leaked, safe] = [issuer.token(), issuer.token({}, stays)]
    t.strictSame([await status(leaked), await status(safe)], [200, 200])
    issuer.published = [stays.jwk]
    await waitFor(async () => await status(leaked) === 401)
    t.equal(await status(safe), 200)
    t.match(app.verifier.health(), { keys: { count: 1, failing: false } })

    const changed = makeKey('ES256', stays.header.kid)
    issuer.published = [changed.jwk]
    await waitFor(async () => await status(safe) === 401)
    t.equal(await status(issuer.token({}, changed)), 200, 'nor does another key live on under its id')
  })

  await t.test('of another use or kind, private, weak or broken ones are passed over', async t => {
    const weak = generateKeyPairSync('rsa', { modulusLength: 1024 })
    const private_ = generateKeyPairSync('ec', { namedCurve: 'P-256' })
    const [encryption, unnamed, unsaid, shadow] = [makeKey(), makeKey(), makeKey(), makeKey()]
    const issuer = await issuers.start(t, issuer => {
      issuer.published = [
        null, 'key', {}, [], { kty: 'oct', kid: 'hmac', alg: 'HS256', k: 'AAAA' }, { kty: 'oct', kid: 'ec', alg: 'ES256', k: 'AAAA' },
        { kty: 'EC', crv: 'P-256', kid: 'broken', alg: 'ES256', x: 'AAAA', y: 'AAAA' }, { kty: 'EC', crv: 'P-384', kid: 'curve', alg: 'ES256', x: 'AAAA', y: 'AAAA' },
        { ...weak.publicKey.export({ format: 'jwk' }), kid: 'weak', alg: 'RS256' },
        { ...private_.privateKey.export({ format: 'jwk' }), kid: 'private', alg: 'ES256' },
        { ...encryption.jwk, use: 'enc' }, { ...unnamed.jwk, kid: undefined }, { ...unsaid.jwk, alg: undefined },
        issuer.key.jwk, { ...shadow.jwk, kid: issuer.key.header.kid }
      ].map(Object)
    })
    const { status, app } = await consumer.start(t, issuer)
    t.match(app.verifier.health(), { ready: true, keys: { count: 1 } })
    t.equal(await status(issuer.token()), 200)
    const header = (kid: string, alg: string) => ({ alg, kid, typ: 'at+jwt' })
    const tokens = [
      issuer.token({}, encryption), issuer.token({}, unsaid), compact(issuer.key.header, issuer.claims(), shadow.sign),
      compact(header('weak', 'RS256'), issuer.claims(), signers['RS256']?.(weak.privateKey) ?? String),
      compact(header('private', 'ES256'), issuer.claims(), signers['ES256']?.(private_.privateKey) ?? String)
    ]
    t.strictSame(await Promise.all(tokens.map(status)), [401, 401, 401, 401, 401])
  })
})

t.test('an issuer that is away', async t => {
  await t.test('at the start is waited for in the background, and meanwhile nobody is told that a token is bad', async t => {
    const issuer = await issuers.start(t)
    await issuer.stop()
    const { get, app, logs } = await consumer.start(t, issuer, credentials, false)
    t.match(app.verifier.health(), { ready: false, keys: { count: 0, age: null, failing: true }, feed: { followed: false } })
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
    t.match(app.verifier.health(), { ready: true, keys: { count: 1, age: Number, failing: false }, feed: { followed: true, downSince: null } })
    t.equal(logs.filter(({ msg }) => /read again|followed again/.test(String(msg))).length, 2)
    t.equal(logs.filter(({ msg }) => /keys not read/.test(String(msg))).length, 1, 'which is told once, and not at each attempt')
  })

  await t.test('later is missed by none of the keys it had', async t => {
    const issuer = await issuers.start(t, issuer => { issuer.maxAge = 1 })
    const { get, status, app } = await consumer.start(t, issuer)
    const seen = issuer.token()
    t.equal(await status(seen), 200)
    await issuer.stop()
    await waitFor(() => app.verifier.health().keys.failing)
    t.equal(await status(seen), 200)
    t.equal(await status(issuer.token()), 200)
    const rotated = makeKey()
    const begun = performance.now()
    for (const time of ['first', 'second', 'third', 'fourth', 'fifth']) t.match(await get('/me', issuer.token({}, rotated)), { status: 503, body: { code: 'verification_unavailable' } }, time)
    t.ok(performance.now() - begun < 6_000, 'and none of them waits')
    t.equal(await status(issuer.token({ iss: 'https://elsewhere.example' }, rotated)), 401, 'what is another issuer\'s is known to be')
    t.match(app.verifier.health(), { ready: true, keys: { count: 1, failing: true } })
    issuer.published.push(rotated.jwk)
    await issuer.start()
    await waitFor(async () => await status(issuer.token({}, rotated)) === 200)
    t.match(app.verifier.health(), { keys: { count: 2, failing: false } })
  })

  await t.test('when it is asked for a key cannot be told from one that has it', async t => {
    const issuer = await issuers.start(t)
    const { get, status } = await consumer.start(t, issuer)
    issuer.answers['/jwks'] = (_request, response) => { response.writeHead(503).end() }
    const rotated = makeKey()
    t.match(await Promise.all([get('/me', issuer.token({}, rotated)), get('/me', issuer.token({}, rotated))]), [{ status: 503 }, { status: 503 }])
    t.equal(await status(issuer.token()), 200)
    issuer.published.push(rotated.jwk)
    issuer.answers['/jwks'] = undefined
    await waitFor(async () => await status(issuer.token({}, rotated)) === 200)
  })
})

t.test('an issuer whose answers are of no use is like one that is away', async t => {
  const target = await issuers.start(t)
  const redirect = (path: string): NonNullable<issuers.Issuer['answers'][string]> => (_request, response) => { response.writeHead(302, { location: target.url + path }).end() }
  const metadata = '/.well-known/oauth-authorization-server'
  const huge = `{"keys":[],"x":"${'x'.repeat(300_000)}"}`
  const cases: Record<string, (issuer: issuers.Issuer) => void> = {
    'metadata of another issuer': issuer => { issuer.metadata['issuer'] = target.url },
    'metadata with another spelling of the issuer': issuer => { issuer.answers[metadata] = (_request, response) => issuer.json(response, { issuer: `${issuer.url}/`, jwks_uri: `${issuer.url}/jwks` }) },
    'keys at another origin': issuer => { issuer.metadata['jwks_uri'] = `${target.url}/jwks` },
    'keys at no address': issuer => { issuer.metadata['jwks_uri'] = 'jwks' },
    'redirected metadata': issuer => { issuer.answers[metadata] = redirect(metadata) },
    'redirected keys': issuer => { issuer.answers['/jwks'] = redirect('/jwks') },
    'huge metadata': issuer => { issuer.answers[metadata] = (_request, response) => { response.end(huge) } },
    'huge keys': issuer => { issuer.answers['/jwks'] = (_request, response) => { response.end(huge) } },
    'keys that are no JSON': issuer => { issuer.answers['/jwks'] = (_request, response) => { response.end('<html>') } },
    'keys that are no set': issuer => { issuer.answers['/jwks'] = (_request, response) => issuer.json(response, { keys: 'x' }) },
    'keys that are null': issuer => { issuer.answers['/jwks'] = (_request, response) => issuer.json(response, null) },
    'half an answer': issuer => { issuer.answers['/jwks'] = (_request, response) => { response.writeHead(200, { 'content-length': 999 }).write('{'); response.destroy() } },
    'another status': issuer => { issuer.answers['/jwks'] = (_request, response) => { response.writeHead(203).end('{"keys":[]}') } },
    'no answer at all': issuer => { issuer.answers['/jwks'] = () => {} }
  }
  await Promise.all(Object.entries(cases).map(async ([what, prepare]) => {
    const issuer = await issuers.start(t, prepare)
    const { get, app } = await consumer.start(t, issuer, {}, false)
    t.match(await get('/me', issuer.token()), { status: 503 }, what)
    t.match(app.verifier.health(), { ready: false, keys: { count: 0 } }, what)
    for (const path of Object.keys(issuer.answers)) issuer.answers[path] = undefined
    for (const name of Object.keys(issuer.metadata)) delete issuer.metadata[name]
    await waitFor(async () => (await get('/me', issuer.token())).status === 200, 12)
  }))
  t.strictSame(target.asked, {}, 'no one else was asked')
})

t.test('the revocation feed', async t => {
  t.jobs = 3
  const follow = async (t: Teardown, options: Partial<VerifierOptions> = {}, prepare?: (issuer: issuers.Issuer) => void) => {
    const issuer = await issuers.start(t, prepare)
    const service = await consumer.start(t, issuer, { ...credentials, ...options })
    if (!prepare) await waitFor(() => service.app.verifier.health().feed?.followed === true)
    return { issuer, ...service }
  }
  const signedIn = (issuer: issuers.Issuer) => {
    const sid = randomUUID()
    return { sid, token: issuer.token({ sid }) }
  }

  t.test('ends sessions and tokens at once, also for tokens that were seen', async t => {
    const { issuer, status, get, app } = await follow(t)
    t.match(app.verifier.health(), { ready: true, feed: { followed: true, downSince: null } })
    const [ended, other, unseen] = [signedIn(issuer), signedIn(issuer), signedIn(issuer)]
    const jti = randomUUID()
    const machine = issuer.token({ jti, sub: 'billing', client_id: 'billing', sid: undefined })
    t.strictSame(await Promise.all([ended.token, other.token, machine].map(status)), [200, 200, 200])
    issuer.end(ended.sid)
    issuer.end(unseen.sid)
    issuer.write(issuer.record('token.revoked', { jti, sub: 'billing', ended_at: new Date(), expires_at: new Date(Date.now() + 900_000) }))
    await waitFor(async () => await status(machine) === 401, 3)
    t.match(await get('/me', ended.token), { status: 401, body: { code: 'invalid_token' } })
    t.equal(await status(issuer.token({ sid: ended.sid })), 401, 'another token of the session')
    t.equal(await status(unseen.token), 401)
    t.equal(await status(other.token), 200)
  })

  t.test('revokes all of a user\'s tokens that were issued before, and none after', async t => {
    const { issuer, status, statuses, logs } = await follow(t)
    const tokens = (sub: string) => [undefined, 0, 1, 2, 3].map(version => issuer.token({ sub, token_version: version }))
    const [ada, bob] = [tokens('ada'), tokens('bob')]
    const machine = issuer.token({ sub: 'ada', client_id: 'ada', sid: undefined })
    t.ok((await statuses([...ada, ...bob, machine])).every(status => status === 200))
    const revoke = (data: object) => issuer.write(issuer.record('user.tokens_revoked', { sub: 'ada', reason: 'roles_changed', expires_at: new Date(Date.now() + 900_000), ...data }))
    const first = ada[0] ?? ''
    for (const wrong of [{ token_version: '9' }, { token_version: undefined }, { sub: undefined, token_version: 9 }, { token_version: 9, expires_at: 'never' }]) revoke(wrong)
    revoke({ token_version: 1 })
    await waitFor(async () => await status(first) === 401, 3)
    t.strictSame(await statuses(ada), [401, 401, 200, 200, 200])
    revoke({ token_version: 2, expires_at: new Date(Date.now() + 1_000) })
    await waitFor(async () => await status(ada[2] ?? '') === 401, 3)
    revoke({ token_version: 1 })
    t.strictSame(await statuses([...ada, ...tokens('ada')]), [401, 401, 401, 200, 200, 401, 401, 401, 200, 200], 'whether they were seen before or not')
    t.strictSame(await statuses([...bob, machine]), [200, 200, 200, 200, 200, 200], 'nobody else, and no client of that name')
    t.equal(logs.filter(({ msg }) => /cannot be read/.test(String(msg))).length, 4)
    issuer.hangUp()
    await waitFor(() => issuer.followers.length === 2 && issuer.readers === 1)
    const again = await consumer.start(t, issuer, credentials)
    for (const each of [statuses, again.statuses]) t.strictSame(await each(ada), [401, 401, 401, 200, 200], 'also after a new connection, and for who comes later')
  })

  t.test('is asked for as RFC 6749 has it, and of sessions that ended before the start', async t => {
    const issuer = await issuers.start(t)
    const ended = signedIn(issuer)
    issuer.recordEnd(ended.sid)
    const { status } = await consumer.start(t, issuer, credentials)
    t.equal(await status(ended.token), 401)
    const headers = issuer.followers[0]?.headers
    const [id = '', secret = ''] = Buffer.from(headers?.authorization?.slice('Basic '.length) ?? '', 'base64').toString().split(':')
    const decode = (text: string) => new URLSearchParams(`x=${text}`).get('x')
    t.strictSame([decode(id), decode(secret)], [credentials.clientId, credentials.clientSecret])
    t.match(headers, { accept: 'text/event-stream', 'last-event-id': undefined })
  })

  t.test('that breaks is taken up where it was, with all that came between', async t => {
    const { issuer, status, app } = await follow(t)
    const [before, between, middle, after] = [signedIn(issuer), signedIn(issuer), signedIn(issuer), signedIn(issuer)]
    issuer.end(before.sid)
    await waitFor(async () => await status(before.token) === 401)
    const text = issuer.recordEnd(middle.sid)
    issuer.write(text.slice(0, text.length - 20))
    await pause(50)
    t.equal(await status(middle.token), 200, 'half an event is none')
    issuer.hangUp()
    issuer.recordEnd(between.sid)
    await waitFor(async () => await status(between.token) === 401)
    t.equal(issuer.followers.at(-1)?.headers['last-event-id'], '1')
    t.equal(await status(middle.token), 401)
    await waitFor(() => app.verifier.health().feed?.followed === true)
    issuer.end(after.sid)
    await waitFor(async () => await status(after.token) === 401)
    t.equal(await status(before.token), 401, 'what ended stays ended')

    issuer.hangUp('end')
    await waitFor(() => issuer.followers.length === 3 && issuer.readers === 1)
    t.equal(issuer.followers.at(-1)?.headers['last-event-id'], '4')
  })

  t.test('that says the same again, or nonsense, is read on', async t => {
    const { issuer, status, app, logs } = await follow(t)
    const [one, two, three] = [signedIn(issuer), signedIn(issuer), signedIn(issuer)]
    const text = issuer.recordEnd(one.sid)
    issuer.write(text + text)
    issuer.write('event: session.ended\ndata: not json\n\nevent: session.ended\ndata: null\n\nevent: session.ended\ndata: {"sid":1,"expires_at":"2099-01-01T00:00:00Z"}\n\n')
    issuer.write('event: session.ended\ndata: {"sid":"x","expires_at":"never"}\n\nevent: constructor\ndata: {}\n\nevent: session.begun\ndata: {"sid":"x"}\n\ndata: {}\n\n')
    issuer.write(`\u0000\u0001garbage\nfield: value\n: comment\n\nid: line\ndata: two\ndata: lines\r\n\r\nevent: session.ended\rdata: ${JSON.stringify({ sid: two.sid, expires_at: '2099-01-01T00:00:00Z', more: { than: ['is', 'known'] } })}\r\r`)
    const bytes = Buffer.from(`: 🔑 heartbeat\n\nevent: session.ended\ndata: ${JSON.stringify({ sid: three.sid, sub: 'Zoë 🔑', reason: 'ausgeloggt – für immer', expires_at: '2099-01-01T00:00:00Z' })}\n\n`)
    for (const byte of bytes) {
      issuer.write(Buffer.from([byte]))
      await new Promise(resolve => setImmediate(resolve))
    }
    await waitFor(async () => await status(three.token) === 401)
    t.strictSame([await status(one.token), await status(two.token)], [401, 401])
    t.match(app.verifier.health(), { feed: { followed: true } })
    t.equal(issuer.followers.length, 1, 'on one connection')
    t.equal(logs.filter(({ msg }) => /cannot be read/.test(String(msg))).length, 4)
  })

  t.test('with an event without end is given up, and asked for anew', async t => {
    const { issuer, status, app } = await follow(t)
    const ended = signedIn(issuer)
    issuer.write(`data: ${'x'.repeat(70_000)}`)
    await waitFor(() => issuer.followers.length === 2)
    await waitFor(() => app.verifier.health().feed?.followed === true)
    issuer.end(ended.sid)
    await waitFor(async () => await status(ended.token) === 401)
  })

  t.test('whose ids cannot be sent back is asked for from the beginning', async t => {
    const { issuer, status } = await follow(t)
    const ended = signedIn(issuer)
    issuer.write(issuer.recordEnd(ended.sid).replace('id: 1', 'id: ü\t'))
    await waitFor(async () => await status(ended.token) === 401)
    issuer.hangUp()
    await waitFor(() => issuer.followers.length === 2)
    t.equal(issuer.followers.at(-1)?.headers['last-event-id'], undefined)
  })

  t.test('that falls silent is given up', async t => {
    const { issuer, status, app } = await follow(t, { feedTimeout: 2 })
    const heartbeats = setInterval(() => issuer.write(': heartbeat\n\n'), 200)
    t.teardown(() => clearInterval(heartbeats))
    const [before, ended] = [signedIn(issuer), signedIn(issuer)]
    issuer.end(before.sid)
    await pause(2_500)
    t.equal(issuer.followers.length, 1, 'a heartbeat is enough')
    clearInterval(heartbeats)
    issuer.recordEnd(ended.sid)
    await waitFor(async () => await status(ended.token) === 401)
    t.equal(issuer.followers.at(-1)?.headers['last-event-id'], '1')
    t.match(app.verifier.health(), { feed: { followed: true } })
  })

  t.test('that refuses the credentials is told to the operator, and not asked over and over', async t => {
    await Promise.all([401, 403].map(async refusal => {
      const { issuer, status, app, logs } = await follow(t, {}, issuer => { issuer.answers['/oauth/revocations'] = (_request, response) => { response.writeHead(refusal).end('{"error":"invalid_client"}') } })
      t.equal(await status(issuer.token()), 200, 'tokens are accepted until they expire')
      await pause(700)
      t.equal(issuer.followers.length, 1)
      t.equal(logs.filter(({ level, msg }) => level === 50 && /rejects the client credentials/.test(String(msg))).length, 1)
      t.notOk(logs.some(line => /secret%|Basic /.test(JSON.stringify(line))))
      const { feed } = app.verifier.health()
      t.equal(feed?.followed, false)
      t.ok(Math.abs(Date.parse(feed?.downSince ?? '') - Date.now()) < 10_000)
    }))
  })

  t.test('that is not there, or no feed, is asked for with growing waits, and told of once', async t => {
    const answers: Record<string, (issuer: issuers.Issuer) => void> = {
      missing: issuer => { issuer.metadata['revocation_feed_endpoint'] = undefined },
      'of another origin': issuer => { issuer.metadata['revocation_feed_endpoint'] = 'http://127.0.0.1:1/' },
      redirected: issuer => { issuer.answers['/oauth/revocations'] = (_request, response) => { response.writeHead(307, { location: 'http://127.0.0.1:1/' }).end() } },
      'a page': issuer => { issuer.answers['/oauth/revocations'] = (_request, response) => { response.end('<html>') } },
      'over before it began': issuer => { issuer.answers['/oauth/revocations'] = (_request, response) => { response.writeHead(200, { 'content-type': 'text/event-stream' }).end() } },
      'out of order': issuer => { issuer.answers['/oauth/revocations'] = (_request, response) => { response.writeHead(503, { 'retry-after': '1' }).end() } }
    }
    await Promise.all(Object.entries(answers).map(async ([what, prepare]) => {
      const { issuer, status, app, logs } = await follow(t, {}, prepare)
      t.equal(await status(issuer.token()), 200, what)
      t.match(app.verifier.health(), { ready: true, feed: { followed: false } }, what)
      t.ok(issuer.followers.length < 8, what)
      t.equal(logs.filter(({ level, msg }) => level === 40 && /feed lost/.test(String(msg))).length, 1, what)
    }))
  })

  t.test('is demanded by a service that fails closed', async t => {
    const { issuer, get, status, app } = await follow(t, { feedTimeout: 1, failClosedAfter: 2 }, issuer => { issuer.answers['/oauth/revocations'] = (_request, response) => { response.writeHead(500).end() } })
    const token = issuer.token()
    t.match(await get('/me', token), { status: 503, body: { code: 'verification_unavailable' } }, 'also before it was followed for the first time')
    t.match(await get('/me'), { status: 401, body: { code: 'token_required' } })
    t.match(app.verifier.health(), { ready: false, keys: { count: 1 } })
    issuer.answers['/oauth/revocations'] = undefined
    const heartbeats = setInterval(() => issuer.write(': heartbeat\n\n'), 100)
    t.teardown(() => clearInterval(heartbeats))
    await waitFor(async () => await status(token) === 200)
    t.match(app.verifier.health(), { ready: true })

    await issuer.stop()
    const lost = performance.now()
    await waitFor(() => app.verifier.health().feed?.followed === false)
    t.equal(await status(token), 200, 'not at once')
    await waitFor(async () => await status(token) === 503)
    t.ok(performance.now() - lost > 1_500)
    t.equal((await get('/me', token)).headers.get('retry-after'), '1')
    t.match(app.verifier.health(), { ready: false, keys: { count: 1 } })
    await issuer.start()
    await waitFor(async () => await status(token) === 200, 8)
  })

  t.test('is not followed without credentials, which the log says', async t => {
    const issuer = await issuers.start(t)
    const { app, logs } = await consumer.start(t, issuer)
    t.equal(app.verifier.health().feed, null)
    t.ok(logs.some(({ msg }) => /until they expire/.test(String(msg))))
    t.strictSame(issuer.followers, [])
  })
})

t.test('a token that was seen is not accepted for longer than it lives', async t => {
  const issuer = await issuers.start(t)
  await Promise.all([0, 1, 100].map(async cacheSize => {
    const { status } = await consumer.start(t, issuer, { clockTolerance: 0, cacheSize })
    const [short, long] = [issuer.token({ exp: Math.floor(Date.now() / 1_000) + 4 }), issuer.token()]
    t.strictSame([await status(short), await status(long), await status(short)], [200, 200, 200])
    await waitFor(async () => await status(short) === 401)
    t.equal(await status(long), 200)
  }))
})

t.test('an app that closes', async t => {
  await t.test('hangs up at once', async t => {
    const issuer = await issuers.start(t)
    const { app } = await consumer.start(t, issuer, credentials)
    t.equal(issuer.readers, 1)
    await app.close()
    await waitFor(() => issuer.readers === 0, 3)
  })

  for (const [what, prepare] of Object.entries<(issuer: issuers.Issuer) => void>({
    'that is well': () => {},
    'that refuses': issuer => { issuer.answers['/oauth/revocations'] = (_request, response) => { response.writeHead(401).end() } },
    'that does not answer': issuer => { issuer.answers['/jwks'] = issuer.answers['/oauth/revocations'] = () => {} }
  })) {
    await t.test(`keeps no process alive, with an issuer ${what}`, async t => {
      const issuer = await issuers.start(t, prepare)
      const script = `
        import Fastify from 'fastify'
        import verifier from ${JSON.stringify(pathToFileURL(moduleFile('plugins/verifier.ts')))}
        const app = Fastify()
        await app.register(verifier, ${JSON.stringify({ issuer: issuer.url, audience: 'urn:orders', ...credentials })})
        await app.ready()
        await app.close()
        process.stdout.write('closed')`
      const child = spawn(process.execPath, [...nodeOptions, '--input-type=module', '--eval', script], { env: { PATH: process.env['PATH'] }, stdio: ['ignore', 'pipe', 'inherit'] })
      t.teardown(() => child.kill())
      const exit = once(child, 'exit')
      await once(child.stdout, 'data')
      const closed = performance.now()
      t.strictSame(await exit, [0, null])
      t.ok(performance.now() - closed < 2_000)
      await waitFor(() => issuer.readers === 0, 3)
    })
  }
})

t.test('options that cannot be meant end the start, each with what is wrong with it', async t => {
  const good = { issuer: 'https://auth.example.com', audience: 'urn:orders' }
  const bad: Array<[options: object, message: RegExp]> = [
    [{}, /issuer must .*; audience must/],
    [{ ...good, issuer: 'https://auth.example.com/' }, /trailing slash/],
    [{ ...good, issuer: 'auth.example.com' }, /issuer must/],
    [{ ...good, issuer: 'ftp://auth.example.com' }, /issuer must/],
    [{ ...good, issuer: 'https://auth.example.com?x' }, /issuer must/],
    [{ ...good, issuer: 'https://user:password@auth.example.com' }, /issuer must/],
    [{ ...good, audience: ['urn:orders'] }, /audience must/],
    [{ ...good, audience: '' }, /audience must/],
    [{ ...good, clientId: 'orders' }, /go together/],
    [{ ...good, clientSecret: 'secret' }, /go together/],
    [{ ...good, clientId: '', clientSecret: '' }, /clientId must .*; clientSecret must/],
    [{ ...good, algorithms: [] }, /algorithms must/],
    [{ ...good, algorithms: 'ES256' }, /algorithms must/],
    [{ ...good, algorithms: ['ES256', 'HS256'] }, /algorithms must/],
    [{ ...good, algorithms: ['none'] }, /algorithms must/],
    [{ ...good, clockTolerance: -1 }, /clockTolerance must/],
    [{ ...good, clockTolerance: 61 }, /clockTolerance must/],
    [{ ...good, clockTolerance: '5' }, /clockTolerance must/],
    [{ ...good, clockTolerance: NaN }, /clockTolerance must/],
    [{ ...good, cacheSize: 1.5 }, /cacheSize must/],
    [{ ...good, ...credentials, feedTimeout: 0 }, /feedTimeout must/],
    [{ ...good, ...credentials, failClosedAfter: 10 }, /failClosedAfter must be at least feedTimeout/],
    [{ ...good, failClosedAfter: 60 }, /failClosedAfter needs clientId/],
    [{ ...good, failClosed: true }, /"failClosed" is not an option/]
  ]
  for (const [options, message] of bad) {
    const app = Fastify()
    await t.rejects(async () => { await app.register(verifier, options as VerifierOptions) }, { message }, JSON.stringify(options))
    await app.close().catch(() => {})
  }
  t.notMatch(await Promise.resolve(Fastify().register(verifier, { ...good, clientSecret: 'hunter2' } as VerifierOptions)).then(String, String), /hunter2/)
})
