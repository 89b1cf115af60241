import { createHmac, createPrivateKey, generateKeyPairSync, type KeyObject } from 'node:crypto'
import { createLocalJWKSet, decodeJwt, decodeProtectedHeader, jwtVerify } from 'jose'
import { newId } from '../../src/crypto/random.ts'
import { hashAccessToken } from '../../src/tokens/id-token.ts'
import { ensureIdTokenKey } from '../../src/tokens/id-token-key.ts'
import { rotateKey } from '../../src/tokens/key-rotation.ts'
import { findPublishedKey, loadKeyring } from '../../src/tokens/keyring.ts'
import { build, keyEncryptionKey, newUser, type Service } from '../support/app.ts'
import { compact, kidOf, nowSeconds, signers } from '../support/jwt.ts'
import { waitFor } from '../support/polling.ts'
import { createDatabase } from '../support/postgres.ts'
import { t } from '../support/test.ts'

const issuer = 'http://localhost:3000'

/** The claims of an ID token for the client `shop`. */
const createClaims = (changes: object = {}) =>
  ({ sub: newId(), aud: 'shop', sid: newId(), iat: nowSeconds(), exp: nowSeconds() + 900, ...changes })
const createLogoutClaims = () =>
  ({ sub: newId(), sid: newId(), aud: 'shop', jti: newId(), iat: nowSeconds(), exp: nowSeconds() + 120 })

async function signIn (service: Service): Promise<string> {
  const { body } = await service.browser().post('/v1/auth/register', newUser())
  return body.access_token
}
const present = async (service: Service, token: string) =>
  (await service.browser().get('/v1/me', { authorization: `Bearer ${token}` })).status

/** Verifies a token as a client does, with the published keys. */
async function verify (service: Service, token: string, typ: string) {
  const { body } = await service.browser().get('/.well-known/jwks.json')
  return await jwtVerify(token, createLocalJWKSet(body), { issuer, audience: 'shop', typ })
}

interface KeyTimes { kid: string, age: number, is_retired: boolean, gone_in: number | null }
const keysOf = async (service: Service) => await service.sql<KeyTimes>(`
  select kid, extract(epoch from now() - signs_from)::float8 as age, retires_at is not null as is_retired,
    extract(epoch from gone_at - retires_at)::float8 as gone_in
  from keys where purpose = 'id_token' order by signs_from`)
const makeOlder = async (service: Service, interval: string) => {
  await service.sql(`
    update keys set published_at = published_at - $1::interval, signs_from = signs_from - $1::interval,
      retires_at = retires_at - $1::interval, gone_at = gone_at - $1::interval
    where purpose = 'id_token'`, [interval])
  await service.app.keyring.reload()
}
const isCreatingKey = async (service: Service) => (await service.sql(`
  select from pg_locks where locktype = 'advisory' and database = (
    select oid from pg_database where datname = current_database())`)).length > 0
const checkKeys = async (service: Service) => {
  const { db, keyring } = service.app
  await ensureIdTokenKey(db, keyring.options)
  // The service may have noticed by itself that a key is due. Then the call above does not wait for it.
  await waitFor(async () => !await isCreatingKey(service))
  await keyring.reload()
}

/** Signs tokens with a key of the service, as only the service can. */
async function forge (service: Service, kid: string) {
  const key = findPublishedKey(await loadKeyring(service.app.db, [keyEncryptionKey]), kid)
  const sign = signers[key?.algorithm ?? '']?.(createPrivateKey(key?.privateKey ?? '')) ?? String
  return (header: object, claims: object) => compact({ alg: key?.algorithm, kid, ...header }, claims, sign)
}

t.test('the first key of ID tokens', async t => {
  const first = await build(t, {}, { url: await createDatabase(t) })
  const instances = [first, await build(t, {}, { url: first.url }), await build(t, {}, { url: first.url })]
  await waitFor(() => instances.every(({ app }) =>
    app.keyring.getPublishedKeys().some(({ alg }) => alg === 'RS256')))

  t.test('is created once, by the instances that start first', async t => {
    const [key, ...others] = await keysOf(first)
    t.strictSame(others, [])
    t.match(await first.sql(`
      select type, detail ->> 'kid' as kid from audit_events where detail ->> 'purpose' = 'id_token'`),
    [{ type: 'key.created', kid: key?.kid }])
    for (const { app } of instances) t.equal(kidOf(app.signIdToken(createClaims(), 'RS256')), key?.kid)
  })

  t.test('looks older than that of access tokens, so that earlier versions do not sign with it', async t => {
    t.match(
      await first.sql("select purpose from keys where purpose <> 'refresh_token' order by signs_from desc"),
      [{ purpose: 'access_token' }, { purpose: 'id_token' }]
    )
  })
})

t.test('a key of ID tokens', async t => {
  const service = await build(t)
  const { app } = service
  const before = app.signIdToken(createClaims(), 'RS256')

  await t.test('rotates automatically, and its successor is published before it signs', async t => {
    await makeOlder(service, '40 days')
    await checkKeys(service)
    const [old, successor, ...others] = await keysOf(service)
    t.strictSame(others, [])
    t.equal(old?.kid, kidOf(before))
    t.ok(old?.is_retired && !successor?.is_retired)
    t.ok((successor?.age ?? 0) < -590, 'after twice JWKS_MAX_AGE')
    t.equal(old?.gone_in, 900 + 300 + 60, 'the old one stays known until its tokens have expired')
    t.ok(app.keyring.isKnownKey(successor?.kid ?? ''))
    t.equal(kidOf(app.signIdToken(createClaims(), 'RS256')), kidOf(before))
    await checkKeys(service)
    t.equal((await keysOf(service)).length, 2, 'once')

    await makeOlder(service, '11 minutes')
    const after = app.signIdToken(createClaims(), 'RS256')
    t.equal(kidOf(after), successor?.kid)
    for (const token of [before, after]) await verify(service, token, 'JWT')
    t.match(await app.readIdTokenHint(before), { client: 'shop' }, 'a retired key verifies')
  })

  await t.test('is not rotated on request', async t => {
    const keys = (await keysOf(service)).length
    t.match(
      await rotateKey(app.db, app.keyring.options, { isImmediate: true }, {}),
      { purpose: 'access_token' }
    )
    t.equal((await keysOf(service)).length, keys)
  })

  await t.test('is replaced at once if it is dropped, and its ID tokens are not accepted', async t => {
    const leaked = app.signIdToken(createClaims(), 'RS256')
    t.match(await app.readIdTokenHint(leaked), { client: 'shop' })
    const drop = kidOf(leaked)
    const key = await rotateKey(app.db, app.keyring.options, { isImmediate: false, drop }, {})
    t.match(key, { purpose: 'id_token', alg: 'RS256' })
    t.equal(kidOf(app.signIdToken(createClaims(), 'RS256')), key.kid)
    t.equal(await app.readIdTokenHint(leaked), undefined)
    await t.rejects(verify(service, leaked, 'JWT'), { code: 'ERR_JWKS_NO_MATCHING_KEY' })
  })

  await t.test('signs no access token, even if it is the newest key', async t => {
    await service.sql("update keys set signs_from = now() where purpose = 'id_token' and retires_at is null")
    await app.keyring.reload()
    t.match(decodeProtectedHeader(await signIn(service)), { alg: 'ES256', typ: 'at+jwt' })
  })

  await t.test('verifies an access token that an instance of an earlier version signed with it', async t => {
    const forged = await forge(service, kidOf(app.signIdToken(createClaims(), 'RS256')))
    const claims = decodeJwt(await signIn(service))
    t.equal(await present(service, forged({ typ: 'at+jwt' }, claims)), 200)
    t.equal(
      await present(service, forged({ typ: 'JWT' }, claims)),
      401,
      'only with the type of access tokens'
    )
  })
})

t.test('with SIGNING_ALGORITHM=RS256', async t => {
  const rsa = { SIGNING_ALGORITHM: 'RS256' }

  t.test('the key of access tokens signs ID tokens, and there is no other', async t => {
    const service = await build(t, rsa)
    await checkKeys(service)
    t.strictSame(await keysOf(service), [])
    const kid = kidOf(await signIn(service))
    t.equal(kidOf(service.app.signIdToken(createClaims(), 'RS256')), kid)
  })

  t.test('a key of ID tokens signs until that of access tokens does, and retires when it is due', async t => {
    const before = await build(t)
    const [key] = await keysOf(before)
    const after = await build(t, rsa, { url: before.url })
    const { app } = after
    t.equal(kidOf(app.signIdToken(createClaims(), 'RS256')), key?.kid, 'until every cache has the new key')
    await after.sql(
      "update keys set signs_from = now() where algorithm = 'RS256' and purpose = 'access_token'"
    )
    await app.keyring.reload()
    const token = await signIn(after)
    t.equal(decodeProtectedHeader(token).alg, 'RS256')
    t.equal(kidOf(app.signIdToken(createClaims(), 'RS256')), kidOf(token))
    await checkKeys(after)
    t.match(
      await keysOf(after),
      [{ is_retired: false }],
      'instances with the earlier configuration may need it'
    )
    await makeOlder(after, '30 days')
    await checkKeys(after)
    t.match(await keysOf(after), [{ kid: key?.kid, is_retired: true, gone_in: 900 + 300 + 60 }])
  })
})

t.test('an ID token', async t => {
  const services = { ES256: await build(t), EdDSA: await build(t, { SIGNING_ALGORITHM: 'EdDSA' }) }
  const accessToken = 'jHkWEdUXMU1BwAsC4vtUsZwnNvTIxEl0z9K3vx5KF0Y'
  // The first is the example of OpenID Connect Core 1.0 appendix A.3.
  const halves = { sha256: '77QmUPtjPfzWtF2AnpK9RQ', sha512: 'q7nS86GgvvFaZkzALLWqJYaJIKw2wCDAVfCAsm5CrBM' }

  for (const [configured, service] of Object.entries(services)) {
    t.test(`is verified with the published keys, with ${configured} configured`, async t => {
      for (const algorithm of ['RS256', configured]) {
        const claims = createClaims({ nonce: 'n-0S6_WzA2Mj', auth_time: nowSeconds() })
        const token = service.app.signIdToken({ ...claims, acr: undefined }, algorithm, accessToken)
        const { payload, protectedHeader } = await verify(service, token, 'JWT')
        t.strictSame(Object.keys(protectedHeader).sort(), ['alg', 'kid', 'typ'])
        t.match(protectedHeader, { alg: algorithm, typ: 'JWT' })
        const hash = algorithm === 'EdDSA' ? halves.sha512 : halves.sha256
        t.strictSame(payload, { ...claims, iss: issuer, at_hash: hash })
      }
    })
  }

  t.test('is signed with the configured algorithm if its client named another one than RS256', async t => {
    const { app } = services.EdDSA
    t.equal(decodeProtectedHeader(app.signIdToken(createClaims(), 'ES256')).alg, 'EdDSA')
    t.equal(decodeProtectedHeader(app.signIdToken(createClaims(), 'none')).alg, 'EdDSA')
    t.notOk('at_hash' in decodeJwt(app.signIdToken(createClaims(), 'ES256')), 'no access token, no at_hash')
  })

  t.test('is never an access token', async t => {
    const service = services.ES256
    const claims = decodeJwt(await signIn(service))
    for (const algorithm of ['RS256', 'ES256']) {
      const token = service.app.signIdToken({ ...createClaims(), ...claims, aud: issuer }, algorithm)
      t.equal(await present(service, token), 401)
    }
  })

  t.test('at_hash is the left half of the hash function of the algorithm', async t => {
    t.equal(hashAccessToken(accessToken, 'RS256'), halves.sha256)
    t.equal(hashAccessToken(accessToken, 'ES256'), halves.sha256)
    t.equal(hashAccessToken(accessToken, 'EdDSA'), halves.sha512)
  })
})

t.test('a logout token names its event, and is neither an ID token nor an access token', async t => {
  const service = await build(t)
  for (const algorithm of ['RS256', 'ES256']) {
    const claims = createLogoutClaims()
    const token = service.app.signLogoutToken(claims, algorithm)
    const { payload, protectedHeader } = await verify(service, token, 'logout+jwt')
    t.match(protectedHeader, { alg: algorithm, typ: 'logout+jwt' })
    const events = { 'http://schemas.openid.net/event/backchannel-logout': {} }
    t.strictSame(payload, { ...claims, iss: issuer, events })
    t.equal(await service.app.readIdTokenHint(token), undefined)
    t.equal(await present(service, token), 401)
  }
})

t.test('the hint of a client', async t => {
  const service = await build(t)
  const { app } = service
  const claims = createClaims()
  const genuine = app.signIdToken(claims, 'RS256')
  const { sub, sid, aud } = claims
  const hint = { sub, sid, aud, client: 'shop' }
  const accessToken = await signIn(service)
  const rsa = await forge(service, kidOf(genuine))
  const ec = await forge(service, kidOf(accessToken))
  const idToken = { typ: 'JWT' }
  const issued = { ...claims, iss: issuer }
  const forgeries = (key: KeyObject) => compact(
    { alg: 'RS256', kid: kidOf(genuine), typ: 'JWT' }, issued, signers['RS256']?.(key) ?? String)
  const otherKey = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey
  const { publicKey = '' } = await app.keyring.findSigningKey(kidOf(genuine)) ?? {}
  const hmac = (input: string) => createHmac('sha256', publicKey).update(input).digest('base64url')

  t.test('is accepted if it is an ID token of this service', async t => {
    const expired = { iat: nowSeconds() - 90_000, exp: nowSeconds() - 86_400 }
    for (const [what, token] of Object.entries({
      'with RS256': genuine,
      'with the configured algorithm': app.signIdToken(claims, 'ES256'),
      'although it has expired': app.signIdToken({ ...claims, ...expired }, 'RS256'),
      'with its client in a list': rsa(idToken, { ...issued, aud: ['shop'] }),
      'with the client as azp': rsa(idToken, { ...issued, aud: ['shop', 'api'], azp: 'shop' })
    })) {
      t.match(await app.readIdTokenHint(token), { ...hint, aud: decodeJwt(token).aud }, what)
    }
    const { sid: _, ...withoutSession } = claims
    t.match(await app.readIdTokenHint(app.signIdToken(withoutSession, 'RS256')), { sub, sid: undefined })
  })

  t.test('is not accepted otherwise', async t => {
    const [head, payload, signature = ''] = genuine.split('.')
    const table: Record<string, string> = {
      'an access token': accessToken,
      'an access token with another case of its type': ec({ typ: 'AT+JWT' }, issued),
      'a token without a type': rsa({}, issued),
      'a token with a type in a list': rsa({ typ: ['JWT'] }, issued),
      'a token of another issuer': rsa(idToken, { ...issued, iss: 'https://evil.example' }),
      'a token without an issuer': rsa(idToken, claims),
      'a token without a subject': rsa(idToken, { ...issued, sub: undefined }),
      'a token with an empty subject': rsa(idToken, { ...issued, sub: '' }),
      'a token without an audience': rsa(idToken, { ...issued, aud: undefined }),
      'a token of several clients': rsa(idToken, { ...issued, aud: ['shop', 'api'] }),
      'a token with a session that is no text': rsa(idToken, { ...issued, sid: 1 }),
      'a critical extension': rsa({ ...idToken, crit: ['x'], x: 1 }, issued),
      'the signature of another key': forgeries(otherKey),
      'an unknown key': rsa({ ...idToken, kid: 'unknown' }, issued),
      'the key of another algorithm': rsa({ ...idToken, kid: kidOf(accessToken) }, issued),
      'another algorithm than that of the key': rsa({ ...idToken, alg: 'PS256' }, issued),
      'alg none': compact({ alg: 'none', kid: kidOf(genuine), typ: 'JWT' }, issued, () => ''),
      'HS256 with the public key as its secret':
        compact({ alg: 'HS256', kid: kidOf(genuine), typ: 'JWT' }, issued, hmac),
      'a changed payload': `${head}.${Buffer.from(JSON.stringify(issued)).toString('base64url')}.AAAA`,
      'no signature': `${head}.${payload}.`,
      'a signature of zeros': `${head}.${payload}.${signature.replace(/./g, 'A')}`,
      'two parts': `${head}.${payload}`,
      'a word': 'hint',
      'an empty text': '',
      'a very long text': `${genuine}${'x'.repeat(9_000)}`
    }
    for (const [what, token] of Object.entries(table)) {
      t.equal(await app.readIdTokenHint(token), undefined, what)
    }
  })
})
