import {
  createHmac,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  sign
} from 'node:crypto'
import { createLocalJWKSet, jwtVerify } from 'jose'
import { loadKeyring } from '../../src/tokens/keyring.ts'
import { ensureKeys } from '../../src/tokens/key-rotation.ts'
import * as clients from '../../src/clients/clients.ts'
import { newId } from '../../src/crypto/random.ts'
import { seal } from '../../src/crypto/sealing.ts'
import { build, keyEncryptionKey, newUser, type Service } from '../support/app.ts'
import { compact, encode, es256 } from '../support/jwt.ts'
import { t } from '../support/test.ts'

/** A signed-in user, the service's signing key, and how the service responds to a token. */
async function signedIn (service: Service) {
  const { body } = await service.browser().post('/v1/auth/register', newUser())
  const [key] = (await loadKeyring(service.app.db, [keyEncryptionKey])).signingKeys.values()
  if (!key) throw new Error('no key')
  const [header = '', payload = '', signature = ''] = (body.access_token as string).split('.')
  return {
    body,
    key,
    token: body.access_token as string,
    parts: { header, payload, signature },
    header: JSON.parse(Buffer.from(header, 'base64url').toString()),
    claims: JSON.parse(Buffer.from(payload, 'base64url').toString()),
    signWithServiceKey: es256(createPrivateKey(key.privateKey)),
    respondTo: async (token: string) =>
      await service.browser().get('/v1/me', { authorization: `Bearer ${token}` })
  }
}

t.test('an access token', async t => {
  const service = await build(t)
  const { header, claims, body, token } = await signedIn(service)

  t.test('is a JWT of RFC 9068 without secret or personal data', async t => {
    t.strictSame(Object.keys(header).sort(), ['alg', 'kid', 'typ'])
    t.match(header, { alg: 'ES256', typ: 'at+jwt', kid: /^[\w-]{43}$/ })
    t.strictSame(Object.keys(claims).sort(), [
      'amr',
      'aud',
      'auth_time',
      'client_id',
      'exp',
      'iat',
      'iss',
      'jti',
      'roles',
      'scope',
      'sid',
      'sub'
    ])
    const { headers } = await service.browser().get('/v1/auth/verify', { authorization: `Bearer ${token}` })
    t.notOk('x-auth-email' in headers)
    t.match(claims, {
      iss: 'http://localhost:3000',
      aud: 'http://localhost:3000',
      sub: body.user.id,
      sid: body.session_id,
      client_id: 'latchkey',
      scope: 'account',
      roles: ['user'],
      amr: ['pwd'],
      jti: /^[0-9a-f-]{36}$/
    })
    t.equal(claims.exp - claims.iat, 900)
    t.ok(claims.iat <= Date.now() / 1000 && claims.auth_time <= claims.iat)
  })

  t.test('has the claims of TOKEN_CLAIMS that the user has, with the values of the last refresh', async t => {
    const namespace = 'https://example.com/'
    const other = await build(t, {
      TOKEN_CLAIMS: 'email,email_verified,name,username,external_id', TOKEN_CLAIMS_NAMESPACE: namespace
    })
    const claimsOf = ({ access_token: token }: { access_token: string }) => {
      const claims: object = JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString())
      const added = Object.entries(claims).filter(([name]) => name.startsWith(namespace))
      return Object.fromEntries(added.map(([name, value]) => [name.slice(namespace.length), value]))
    }
    const client = other.browser()
    const email = `Ünï-${Date.now()}@example.com`
    const registered = await client.post('/v1/auth/register', { ...newUser(), email })
    t.strictSame(claimsOf(registered.body), { email, email_verified: false }, 'null is no claim')
    const bearer = { authorization: `Bearer ${registered.body.access_token}` }
    t.equal((await client.patch('/v1/me', { name: 'Grace', username: 'gracehopper' }, bearer)).status, 200)
    await other.sql("update users set email_verified_at = now(), external_id = 'auth0|5f7c' where id = $1", [
      registered.body.user.id
    ])
    const refreshed = await client.post('/v1/auth/refresh')
    t.strictSame(claimsOf(refreshed.body), {
      email, email_verified: true, name: 'Grace', username: 'gracehopper', external_id: 'auth0|5f7c'
    })

    const verified = await client.get('/v1/auth/verify', {
      authorization: `Bearer ${refreshed.body.access_token}`
    })
    t.match(verified, { status: 204, headers: { 'x-auth-email': encodeURI(email) } })
  })

  t.test('is verified by any JOSE library with the published keys', async t => {
    const jwks = await service.browser().get('/.well-known/jwks.json')
    t.match(jwks, { status: 200, headers: { 'cache-control': 'public, max-age=300' } })
    t.strictSame(
      Object.keys(jwks.body.keys[0]).sort(),
      ['alg', 'crv', 'kid', 'kty', 'use', 'x', 'y'],
      'only the public half is published'
    )
    const { payload, protectedHeader } = await jwtVerify(token, createLocalJWKSet(jwks.body), {
      issuer: 'http://localhost:3000',
      audience: 'http://localhost:3000',
      typ: 'at+jwt',
      algorithms: ['ES256']
    })
    t.equal(payload.sub, body.user.id)
    t.equal(protectedHeader.kid, jwks.body.keys[0].kid)
  })

  t.test('has its keys in the server metadata', async t => {
    t.match(await service.browser().get('/.well-known/oauth-authorization-server'), {
      status: 200,
      body: { issuer: 'http://localhost:3000', jwks_uri: 'http://localhost:3000/.well-known/jwks.json' }
    })
  })

  t.test('has the configured audience and lifetime', async t => {
    const other = await build(t, {
      AUDIENCE: 'urn:orders',
      ACCESS_TOKEN_TTL: '1m',
      ISSUER_URL: 'https://auth.example.com'
    })
    const { claims, respondTo, token } = await signedIn(other)
    t.match(claims, { iss: 'https://auth.example.com', aud: 'urn:orders' })
    t.equal(claims.exp - claims.iat, 60)
    t.match(await respondTo(token), { status: 200 })
  })

  for (const [algorithm, kty] of [
    ['EdDSA', 'OKP'],
    ['RS256', 'RSA']
  ] as const) {
    t.test(`is signed with ${algorithm} if configured`, async t => {
      const other = await build(t, { SIGNING_ALGORITHM: algorithm })
      const { header, token, respondTo } = await signedIn(other)
      t.equal(header.alg, algorithm)
      t.match(await respondTo(token), { status: 200 })
      const { body } = await other.browser().get('/.well-known/jwks.json')
      t.match(body.keys, [{ kty, alg: algorithm, use: 'sig' }])
      t.notOk('d' in body.keys[0] || 'p' in body.keys[0])
      await jwtVerify(token, createLocalJWKSet(body), {
        issuer: 'http://localhost:3000',
        audience: 'http://localhost:3000',
        typ: 'at+jwt'
      })
    })
  }
})

t.test('every token that is not valid here gets the same response', async t => {
  const service = await build(t)
  const { token, parts, header, claims, signWithServiceKey, key, respondTo } = await signedIn(service)
  const now = Math.floor(Date.now() / 1000)
  const otherKey = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const rsaKey = generateKeyPairSync('rsa', { modulusLength: 2048 })
  const hmac = (secret: string | Buffer) => (input: string) =>
    createHmac('sha256', secret).update(input).digest('base64url')
  const spki = key.publicKey
  const jwk = createPublicKey(otherKey.privateKey).export({ format: 'jwk' })

  t.match(
    await respondTo(compact(header, claims, signWithServiceKey)),
    { status: 200 },
    'the signer of this test signs as the service does'
  )

  const invalidTokens: Record<string, Record<string, string>> = {
    malformed: {
      empty: ' ',
      'a word': 'token',
      'two parts': `${parts.header}.${parts.payload}`,
      'four parts': `${token}.x`,
      'five parts, as a JWE has': 'a.b.c.d.e',
      'only dots': '..',
      'a header that is not JSON': `${encode('{')}.${parts.payload}.${parts.signature}`,
      'a header that is null': `${encode('null')}.${parts.payload}.${parts.signature}`,
      'a header that is a list': compact([header], claims, signWithServiceKey),
      'a payload that is a list': compact(header, [claims], signWithServiceKey),
      'a payload that is null': compact(header, null, signWithServiceKey),
      'a payload that is a string': compact(header, '"x"', signWithServiceKey),
      padding: `${token}=`,
      'the other base64 alphabet': token.replaceAll('-', '+').replaceAll('_', '/') + '/',
      'white space inside': `${parts.header}. ${parts.payload}.${parts.signature}`,
      'a spare bit in the last character':
        token.slice(0, -1) +
        (token.endsWith('A') ? 'B' : String.fromCharCode(token.charCodeAt(token.length - 1) + 1)),
      'a very long token': `${parts.header}.${encode({ ...claims, x: 'x'.repeat(9000) })}.${parts.signature}`
    },
    forged: {
      'no signature': `${parts.header}.${parts.payload}.`,
      'a signature of zeros': `${parts.header}.${parts.payload}.${'A'.repeat(86)}`,
      'a changed payload': `${parts.header}.${encode({ ...claims, roles: ['admin'] })}.${parts.signature}`,
      'a changed header': `${encode({ ...header, x: 1 })}.${parts.payload}.${parts.signature}`,
      'alg none': `${encode({ ...header, alg: 'none' })}.${parts.payload}.`,
      'alg None': `${encode({ ...header, alg: 'None' })}.${parts.payload}.`,
      'alg none with a signature': compact({ ...header, alg: 'none' }, claims, signWithServiceKey),
      'no alg': compact({ typ: header.typ, kid: header.kid }, claims, signWithServiceKey),
      'a signature in DER': compact(header, claims, input =>
        sign('sha256', Buffer.from(input), createPrivateKey(key.privateKey)).toString('base64url')
      ),
      'HS256 with the public key as the secret': compact({ ...header, alg: 'HS256' }, claims, hmac(spki)),
      'HS256 with the trimmed public key': compact({ ...header, alg: 'HS256' }, claims, hmac(spki.trim())),
      'HS256 with an empty secret': compact({ ...header, alg: 'HS256' }, claims, hmac('')),
      'an RSA signature named ES256': compact(header, claims, input =>
        sign('sha256', Buffer.from(input), rsaKey.privateKey).toString('base64url')
      ),
      'the key of the service named RS256': compact({ ...header, alg: 'RS256' }, claims, signWithServiceKey),
      'the key of the service named ES384': compact({ ...header, alg: 'ES384' }, claims, signWithServiceKey)
    },
    foreign: {
      'the key id of the service with another key': compact(header, claims, es256(otherKey.privateKey)),
      'an unknown key': compact({ ...header, kid: 'theirs' }, claims, es256(otherKey.privateKey)),
      'no key id': compact({ alg: 'ES256', typ: 'at+jwt' }, claims, signWithServiceKey),
      'a key id that is a number': compact({ ...header, kid: 1 }, claims, signWithServiceKey),
      'a key id that is an object': compact(
        { ...header, kid: { toString: header.kid } },
        claims,
        signWithServiceKey
      ),
      'a key id of the prototype': compact({ ...header, kid: '__proto__' }, claims, signWithServiceKey),
      'a key id that is a path': compact({ ...header, kid: '../../../dev/null' }, claims, hmac('')),
      'a key in the header': compact(
        { alg: 'ES256', typ: 'at+jwt', jwk },
        claims,
        es256(otherKey.privateKey)
      ),
      'a key in the header, with the key id of the service': compact(
        { ...header, jwk },
        claims,
        es256(otherKey.privateKey)
      ),
      'a key at a URL in the header': compact(
        { ...header, jku: 'https://evil.example/jwks.json', x5u: 'https://evil.example/x.pem' },
        claims,
        es256(otherKey.privateKey)
      ),
      'another issuer': compact(header, { ...claims, iss: 'http://localhost:3001' }, signWithServiceKey),
      'an issuer among others': compact(
        header,
        { ...claims, iss: [claims.iss, 'http://localhost:3001'] },
        signWithServiceKey
      ),
      'no issuer': compact(header, { ...claims, iss: undefined }, signWithServiceKey),
      'another audience': compact(header, { ...claims, aud: 'urn:orders' }, signWithServiceKey),
      'no audience': compact(header, { ...claims, aud: undefined }, signWithServiceKey),
      "a user's token of another client": compact(
        header,
        { ...claims, client_id: 'shop' },
        signWithServiceKey
      ),
      'a user who is named as the client': compact(
        header, { ...claims, client_id: claims.sub }, signWithServiceKey),
      'an ID token': compact({ ...header, typ: 'JWT' }, claims, signWithServiceKey),
      'no type': compact({ ...header, typ: undefined }, claims, signWithServiceKey),
      'a list of types': compact({ ...header, typ: ['at+jwt'] }, claims, signWithServiceKey),
      'an unknown critical header': compact({ ...header, crit: ['x'], x: 1 }, claims, signWithServiceKey),
      'an empty list of critical headers': compact({ ...header, crit: [] }, claims, signWithServiceKey),
      'an unknown session id': compact(
        header,
        { ...claims, sid: '0199e8f2-6c1b-7000-8000-0a1b2c3d4e5f' },
        signWithServiceKey
      ),
      'a session id that is not a UUID': compact(
        header,
        { ...claims, sid: "' or true --" },
        signWithServiceKey
      ),
      'session ids in a list': compact(header, { ...claims, sid: [claims.sid] }, signWithServiceKey),
      'no session': compact(header, { ...claims, sid: undefined }, signWithServiceKey)
    },
    'outside its period of validity': {
      expired: compact(header, { ...claims, exp: now - 10 }, signWithServiceKey),
      'without exp': compact(header, { ...claims, exp: undefined }, signWithServiceKey),
      'exp as a word': compact(header, { ...claims, exp: '9999999999' }, signWithServiceKey),
      'exp in a list': compact(header, { ...claims, exp: [9999999999] }, signWithServiceKey),
      'exp that is null': compact(header, { ...claims, exp: null }, signWithServiceKey),
      'issued in the future': compact(header, { ...claims, iat: now + 3600 }, signWithServiceKey),
      'not yet valid': compact(header, { ...claims, nbf: now + 60 }, signWithServiceKey)
    }
  }
  for (const [name, tokens] of Object.entries(invalidTokens)) {
    t.test(name, async t => {
      for (const [what, token] of Object.entries(tokens)) {
        const answer = await respondTo(token)
        t.match(
          answer,
          {
            status: 401,
            body: { code: 'invalid_token' },
            headers: { 'www-authenticate': /^Bearer realm="latchkey"/ }
          },
          what
        )
        t.notOk('errors' in answer.body)
      }
      t.match(await respondTo(token), { status: 200 }, 'the valid token still passes')
    })
  }

  t.test('a token passes if it expired within the clock tolerance', async t => {
    const exp = Math.floor(Date.now() / 1_000) - 2
    t.match(await respondTo(compact(header, { ...claims, exp }, signWithServiceKey)), { status: 200 })
  })

  t.test('a missing token gets another challenge than an invalid one (RFC 6750 section 3.1)', async t => {
    const answer = await service.browser().get('/v1/me')
    t.match(answer, { status: 401, headers: { 'www-authenticate': 'Bearer realm="latchkey"' } })
    t.match(await service.browser().get('/v1/me', { authorization: 'Basic eDp5' }), {
      status: 401,
      headers: { 'www-authenticate': 'Bearer realm="latchkey"' }
    })
    t.match(await respondTo('x'), { status: 401, headers: { 'www-authenticate': /error="invalid_token"/ } })
    t.match(await service.browser().get('/v1/me', { authorization: `bearer ${token}` }), { status: 200 })
    t.match(await service.browser().get('/v1/me', { authorization: `Bearer ${token} ${token}` }), {
      status: 401
    })
    t.match(
      await service.browser().get(`/v1/me?access_token=${token}`),
      { status: 401 },
      'a token in the URL is ignored'
    )
  })

  t.test('an invalid token is never logged as an error of the service', async t => {
    t.notOk(service.logs.some(({ level }) => Number(level) >= 50))
    t.notOk(
      service.logs.some(line => JSON.stringify(line).includes(parts.signature)),
      'no token is logged'
    )
  })
})

t.test("an administrator's token of another application", async t => {
  const service = await build(t)
  const { header, claims, signWithServiceKey } = await signedIn(service)
  await service.sql("update users set roles = '{user,admin}' where id = $1", [claims.sub])
  const token = (clientId: string) => compact(
    header, { ...claims, client_id: clientId, roles: ['user', 'admin'], jti: newId() }, signWithServiceKey)
  const browserWith = (accessToken: string) => Object.assign(service.browser(), { accessToken })
  const [foreign, own] = [browserWith(token('shop')), browserWith(token('latchkey'))]

  await t.test('is refused at every route that needs a user, and has no effect', async t => {
    for (const path of ['/v1/me', '/v1/me/sessions', '/v1/admin/users', '/v1/admin/keys']) {
      t.equal((await own.get(path)).status, 200, `${path} with a token of the first party`)
      t.match(await foreign.get(path), { status: 401, body: { code: 'invalid_token' } }, path)
    }
    t.equal((await own.get('/v1/auth/verify')).status, 204)
    t.equal((await foreign.get('/v1/auth/verify')).status, 401)
    t.equal((await foreign.delete('/v1/me/sessions')).status, 401)
    t.equal((await foreign.post('/v1/auth/logout')).status, 204, 'as for any unusable token')
    const form = { 'content-type': 'application/x-www-form-urlencoded' }
    const revocation = await foreign.post('/oauth/revoke', `token=${token('latchkey')}`, form)
    t.match(revocation, { status: 401, body: { error: 'invalid_token' } })
    t.equal((await own.get('/v1/me')).status, 200, 'the session continues')
    t.ok(service.logs.some(({ cause }) => cause === 'invalid claim: client_id'))
  })

  await t.test('is known to introspection, and can be revoked', async t => {
    const scopes = ['introspect', 'sessions:end']
    const client = await clients.create(service.app.db, { name: 'shop', scopes }, {})
    const pair = `${client.client_id}:${client.client_secret}`
    const headers = {
      authorization: `Basic ${Buffer.from(pair).toString('base64')}`,
      'content-type': 'application/x-www-form-urlencoded'
    }
    const post = async (path: string) =>
      await service.browser().post(path, `token=${foreign.accessToken}`, headers)
    t.match(await post('/oauth/introspect'), { status: 200, body: { active: true, client_id: 'shop' } })
    t.equal((await post('/oauth/revoke')).status, 200)
    t.strictSame((await post('/oauth/introspect')).body, { active: false })
    t.equal((await own.get('/v1/me')).status, 401, 'its session has ended')
  })
})

t.test('keys', async t => {
  t.test('are created once by instances that start together', async t => {
    const first = await build(t, {}, { ready: false })
    const services = await Promise.all(
      Array.from({ length: 4 }, async () => await build(t, {}, { url: first.url }))
    )
    await first.app.keyring.loaded
    t.match(
      await first.sql('select purpose, count(*)::int as n from keys group by purpose order by purpose'),
      [
        { purpose: 'access_token', n: 1 },
        { purpose: 'id_token', n: 1 },
        { purpose: 'refresh_token', n: 1 }
      ]
    )
    const browser = services[0]?.browser()
    const { body } = (await browser?.post('/v1/auth/register', {
      ...newUser(),
      refresh_token_delivery: 'body'
    })) ?? { body: {} }
    for (const service of services) {
      t.match(await service.browser().get('/v1/me', { authorization: `Bearer ${body.access_token}` }), {
        status: 200
      })
      t.match(await service.browser().post('/v1/auth/refresh', { refresh_token: body.refresh_token }), {
        status: 200
      })
    }
  })

  t.test('are sealed at rest, each for its own purpose', async t => {
    const service = await build(t)
    const ring = await loadKeyring(service.app.db, [keyEncryptionKey])
    const [[key], [mac]] = [[...ring.signingKeys.values()], [...ring.refreshTokenKeys.values()]]
    const [row] = await service.sql<{ dump: string }>(
      "select string_agg(encode(sealed_secret, 'hex') || public_key::text, ' ') as dump from keys"
    )
    const secret = createPrivateKey(key?.privateKey ?? '').export({ format: 'der', type: 'pkcs8' })
    t.notOk(
      row?.dump.includes(secret.toString('hex')) ||
        row?.dump.includes(secret.subarray(-70).toString('hex')) ||
        row?.dump.includes(mac?.secret.toString('hex') ?? 'x')
    )
    await t.rejects(loadKeyring(service.app.db, [Buffer.alloc(32)]), /another KEY_ENCRYPTION_KEY/)
    await service.sql(
      `update keys set sealed_secret = (select sealed_secret from keys where purpose = 'refresh_token')
        where purpose = 'access_token'`
    )
    await t.rejects(loadKeyring(service.app.db, [keyEncryptionKey]), /changed after it was sealed/)
  })

  t.test('are not created by an instance that cannot unseal the existing ones', async t => {
    const service = await build(t)
    const otherKey = await build(
      t,
      { SIGNING_ALGORITHM: 'EdDSA', KEY_ENCRYPTION_KEY: Buffer.alloc(32, 9).toString('base64') },
      { url: service.url, ready: false }
    )
    await t.rejects(otherKey.app.keyring.loaded, /another KEY_ENCRYPTION_KEY/)
    t.strictSame(await service.sql("select algorithm, retires_at from keys where purpose = 'access_token'"), [
      { algorithm: 'ES256', retires_at: null }
    ])
    const restarted = await build(t, {}, { url: service.url })
    t.match(await restarted.browser().post('/v1/auth/register', newUser()), { status: 201 })
  })

  t.test('are sealed with a new key-encryption key while the old one is still configured', async t => {
    const service = await build(t)
    const { token } = await signedIn(service)
    const fresh = Buffer.alloc(32, 8)
    await ensureKeys(
      service.app.db,
      { ...service.app.keyring.options, keyEncryptionKeys: [fresh, keyEncryptionKey] },
      'start'
    )
    const onlyNew = await build(t, { KEY_ENCRYPTION_KEY: fresh.toString('base64') }, { url: service.url })
    t.match(await onlyNew.browser().get('/v1/me', { authorization: `Bearer ${token}` }), { status: 200 })
    await t.rejects(loadKeyring(service.app.db, [keyEncryptionKey]), /another KEY_ENCRYPTION_KEY/)
  })

  t.test('stop signing when they retire', async t => {
    const service = await build(t)
    await service.sql("update keys set retires_at = now() where purpose = 'access_token'")
    const after = await build(t, {}, { url: service.url })
    const [old] = await service.sql<{ kid: string }>(
      "select kid from keys where purpose = 'access_token' order by signs_from limit 1"
    )
    const { header } = await signedIn(after)
    t.ok(header.kid !== old?.kid, 'another key was created')
  })

  t.test('are unsealed with any of several key-encryption keys', async t => {
    const service = await build(t)
    const fresh = Buffer.alloc(32, 7)
    t.match(
      [...(await loadKeyring(service.app.db, [fresh, keyEncryptionKey])).signingKeys.values()],
      [{ algorithm: 'ES256' }]
    )
    t.not(
      seal([fresh], 'x', Buffer.from('y')).subarray(1, 5).toString('hex'),
      seal([keyEncryptionKey], 'x', Buffer.from('y')).subarray(1, 5).toString('hex')
    )
  })

  t.test(
    'of a new algorithm are published before they sign, and old keys while their tokens live',
    async t => {
      const before = await build(t)
      const { token } = await signedIn(before)
      const after = await build(t, { SIGNING_ALGORITHM: 'EdDSA', JWKS_MAX_AGE: '1s' }, { url: before.url })
      const jwks = async (service: Service) =>
        (await service.browser().get('/.well-known/jwks.json')).body.keys.map(
          ({ alg }: { alg: string }) => alg
        )
      t.strictSame(await jwks(after), ['EdDSA', 'ES256', 'RS256'])
      t.equal((await signedIn(after)).header.alg, 'ES256', 'until every cache has the new key')
      await before.sql("update keys set signs_from = now() where algorithm = 'EdDSA'")
      const third = await build(t, { SIGNING_ALGORITHM: 'EdDSA' }, { url: before.url })
      const switched = await signedIn(third)
      t.equal(switched.header.alg, 'EdDSA')
      t.match(
        await third.browser().get('/v1/me', { authorization: `Bearer ${token}` }),
        { status: 200 },
        'old tokens stay valid'
      )
      t.match(
        await before.browser().get('/v1/me', { authorization: `Bearer ${switched.token}` }),
        { status: 200 },
        'an instance looks up a key that it does not know'
      )
      await before.sql("update keys set gone_at = now() where algorithm = 'ES256'")
      const fourth = await build(t, { SIGNING_ALGORITHM: 'EdDSA' }, { url: before.url })
      t.strictSame(await jwks(fourth), ['EdDSA', 'RS256'])
      t.match(await fourth.browser().get('/v1/me', { authorization: `Bearer ${token}` }), { status: 401 })
    }
  )
})
