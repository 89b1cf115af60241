import { createHmac, createPrivateKey, generateKeyPairSync, type KeyObject } from 'node:crypto'
import { judgeClaims, readToken, TokenRejection } from '../../plugins/verifier/token-rules.ts'
import type { TokenRules } from '../../plugins/verifier/token-rules.ts'
import * as clients from '../../src/clients/clients.ts'
import { freePort } from '../../src/database/embedded/server.ts'
import { loadKeyring } from '../../src/tokens/keyring.ts'
import { revokeUserTokens } from '../../src/tokens/revocations.ts'
import { build, keyEncryptionKey, newUser } from '../support/app.ts'
import * as consumer from '../support/consumer.ts'
import { compact, nowSeconds, signers } from '../support/jwt.ts'
import { waitFor } from '../support/polling.ts'
import { t } from '../support/test.ts'

type Claims = Record<string, unknown>
type Assertions = Pick<typeof t, 'strictSame'>

const audience = 'urn:orders'
const signWith = (key: KeyObject) => signers['ES256']?.(key) ?? String

t.test('the service and the verifier judge every token alike', async t => {
  const port = await freePort()
  const issuer = `http://localhost:${port}`
  const latchkey = await build(t, { ISSUER_URL: issuer, AUDIENCE: audience })
  await latchkey.app.listen({ host: '127.0.0.1', port })
  const credentials = async (...scopes: string[]) => {
    const client = await clients.create(latchkey.app.db, { name: 'orders', scopes }, {})
    return { clientId: client.client_id, clientSecret: client.client_secret }
  }
  const verifier = await consumer.start(t, { url: issuer }, await credentials('revocations'))
  await waitFor(() => verifier.app.verifier.health().feed?.followed === true)

  const register = async () => {
    const request = { ...newUser(), refresh_token_delivery: 'body' }
    const { body } = await latchkey.browser().post('/v1/auth/register', request)
    const [header = '', payload = ''] = String(body.access_token).split('.')
    return {
      token: String(body.access_token),
      header: JSON.parse(Buffer.from(header, 'base64url').toString()),
      claims: JSON.parse(Buffer.from(payload, 'base64url').toString()),
      refreshToken: body.refresh_token
    }
  }
  const [signingKey] = (await loadKeyring(latchkey.app.db, [keyEncryptionKey])).signingKeys.values()
  const sign = signWith(createPrivateKey(signingKey?.privateKey ?? ''))
  const { token: genuine, header, claims } = await register()
  const [headerPart = '', payloadPart = '', signaturePart = ''] = genuine.split('.')

  const reasonIn = (lines: Array<Record<string, unknown>>) =>
    lines.map(({ cause, err }) => cause ?? Object(err).reason).find(reason => reason !== undefined)
  /** How each of the two judges a token: `accepted`, or the reason that its log gives. */
  async function judgements (token: string) {
    const [serviceLines, verifierLines] = [latchkey.logs.length, verifier.logs.length]
    const authorization = `Bearer ${token}`
    const service = await latchkey.browser().get('/v1/auth/verify', { authorization })
    const verifierResponse = await verifier.get('/me', token)
    return {
      service: service.status === 204 ? 'accepted' : reasonIn(latchkey.logs.slice(serviceLines)),
      verifier: verifierResponse.status === 200 ? 'accepted' : reasonIn(verifier.logs.slice(verifierLines)),
      statuses: [service.status, verifierResponse.status]
    }
  }
  async function expectJudgement (t: Assertions, name: string, token: string, expected: string) {
    const { service, verifier, statuses } = await judgements(token)
    t.strictSame({ service, verifier }, { service: expected, verifier: expected }, name)
    t.strictSame(statuses, expected === 'accepted' ? [204, 200] : [401, 401], `${name}: statuses`)
  }
  const withClaims = (changes: Claims) => compact(header, { ...claims, ...changes }, sign)
  const withHeader = (changes: Claims) => compact({ ...header, ...changes }, claims, sign)
  const absent = { sid: undefined, roles: undefined, amr: undefined, auth_time: undefined }
  const client = { sub: 'billing', client_id: 'billing', ...absent }
  const otherKeyPair = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const strangerJwk = otherKeyPair.publicKey.export({ format: 'jwk' })
  const signAsStranger = signWith(otherKeyPair.privateKey)
  const hmac = (input: string) =>
    createHmac('sha256', signingKey?.publicKey ?? '')
      .update(input)
      .digest('base64url')
  const infinite = JSON.stringify({ ...claims, exp: 0 }).replace('"exp":0', '"exp":1e999')
  const spareBitSet = genuine.slice(0, -1) + ({ A: 'B', Q: 'R', g: 'h', w: 'x' }[genuine.slice(-1)] ?? '?')
  const upperCaseSid = claims.sid.toUpperCase()
  const zeros = Buffer.alloc(64).toString('base64url')

  // Each token is bad in one way. A function makes the tokens whose judgement depends on the time.
  const table: Record<string, Array<[name: string, token: string | (() => string), expected: string]>> = {
    accepted: [
      ['a token as the service issues it', genuine, 'accepted'],
      ['the same token a second time', genuine, 'accepted'],
      ['an audience in a list with others', withClaims({ aud: ['urn:others', audience] }), 'accepted'],
      ['expired within the clock tolerance', () => withClaims({ exp: nowSeconds() - 2 }), 'accepted'],
      ['nbf ahead by less than the clock tolerance', () => withClaims({ nbf: nowSeconds() + 4 }), 'accepted'],
      ['iat ahead by less than the clock tolerance', () => withClaims({ iat: nowSeconds() + 4 }), 'accepted'],
      ['the full media type as typ', withHeader({ typ: 'application/at+jwt' }), 'accepted'],
      ['typ in capitals, as media types may be', withHeader({ typ: 'AT+JWT' }), 'accepted'],
      ['a jku header, which is not followed', withHeader({ jku: 'https://evil.example/keys' }), 'accepted'],
      ['an x5u header, which is not followed', withHeader({ x5u: 'https://evil.example/x' }), 'accepted'],
      ['a jwk header, which is not trusted', withHeader({ jwk: strangerJwk }), 'accepted'],
      ['a token of a client', withClaims(client), 'accepted'],
      ['no scope', withClaims({ scope: undefined }), 'accepted'],
      ['no roles', withClaims({ roles: undefined }), 'accepted'],
      ['no amr', withClaims({ amr: undefined }), 'accepted'],
      ['no auth_time', withClaims({ auth_time: undefined }), 'accepted']
    ],
    form: [
      ['more than 8 KiB', withClaims({ extra: 'x'.repeat(9_000) }), 'token too long'],
      ['a word', 'token', 'malformed token'],
      ['two parts', `${headerPart}.${payloadPart}`, 'malformed token'],
      ['four parts', `${genuine}.x`, 'malformed token'],
      ['the five parts of a JWE', 'a.b.c.d.e', 'malformed token'],
      ['an empty signature', `${headerPart}.${payloadPart}.`, 'malformed token'],
      ['padding', `${genuine}=`, 'malformed token'],
      ['white space', `${headerPart}. ${payloadPart}.${signaturePart}`, 'malformed token'],
      ['a header that is null', compact('null', claims, sign), 'malformed token'],
      ['a header that is a list', compact([header], claims, sign), 'malformed token'],
      ['a payload that is null', compact(header, 'null', sign), 'malformed token'],
      ['a payload that is a list', compact(header, [claims], sign), 'malformed token'],
      [
        'a payload that is not UTF-8',
        (() => {
          const bytes = Buffer.from(payloadPart, 'base64url').toString('latin1').replace('pwd', 'p\xff')
          const input = `${headerPart}.${Buffer.from(bytes, 'latin1').toString('base64url')}`
          return `${input}.${sign(input)}`
        })(),
        'malformed token'
      ],
      ['a spare bit set in the last character', spareBitSet, 'signature not canonical']
    ],
    header: [
      ['an ID token', withHeader({ typ: 'JWT' }), 'invalid header: typ'],
      ['no typ', withHeader({ typ: undefined }), 'invalid header: typ'],
      ['typ in a list', withHeader({ typ: ['at+jwt'] }), 'invalid header: typ'],
      ['alg none', withHeader({ alg: 'none' }), 'invalid header: alg'],
      ['no alg', withHeader({ alg: undefined }), 'invalid header: alg'],
      [
        'HS256 with the public key as its secret',
        compact({ ...header, alg: 'HS256' }, claims, hmac),
        'invalid header: alg'
      ],
      ['no kid', withHeader({ kid: undefined }), 'invalid header: kid'],
      ['kid in a list', withHeader({ kid: [header.kid] }), 'invalid header: kid'],
      ['a critical extension', withHeader({ crit: ['x'], x: 1 }), 'invalid header: crit'],
      ['an empty crit', withHeader({ crit: [] }), 'invalid header: crit'],
      ['crit that is null', withHeader({ crit: null }), 'invalid header: crit'],
      ['an unencoded payload (RFC 7797)', withHeader({ crit: ['b64'], b64: false }), 'invalid header: crit']
    ],
    key: [
      ['an unknown kid', withHeader({ kid: 'unknown' }), 'unknown key'],
      ['the algorithm of another key', withHeader({ alg: 'EdDSA' }), 'unknown key'],
      [
        'a key in the header',
        compact({ ...header, kid: 'own', jwk: strangerJwk }, claims, signAsStranger),
        'unknown key'
      ],
      ['the signature of another key', compact(header, claims, signAsStranger), 'invalid signature'],
      ['a signature of zeros', `${headerPart}.${payloadPart}.${zeros}`, 'invalid signature'],
      ['a short signature', `${headerPart}.${payloadPart}.AAAA`, 'invalid signature']
    ],
    times: [
      ['expired beyond the clock tolerance', withClaims({ exp: nowSeconds() - 6 }), 'token expired'],
      ['nbf ahead', () => withClaims({ nbf: nowSeconds() + 20 }), 'token not yet valid'],
      ['iat ahead', () => withClaims({ iat: nowSeconds() + 20 }), 'token issued in the future'],
      ['no exp', withClaims({ exp: undefined }), 'invalid claim: exp'],
      ['exp as a word', withClaims({ exp: '9999999999' }), 'invalid claim: exp'],
      ['exp in a list', withClaims({ exp: [9_999_999_999] }), 'invalid claim: exp'],
      ['an infinite exp', compact(header, infinite, sign), 'invalid claim: exp'],
      ['nbf as a word', withClaims({ nbf: '0' }), 'invalid claim: nbf'],
      ['nbf that is null', withClaims({ nbf: null }), 'invalid claim: nbf'],
      ['no iat', withClaims({ iat: undefined }), 'invalid claim: iat'],
      ['iat as a word', withClaims({ iat: '0' }), 'invalid claim: iat']
    ],
    claims: [
      ['no iss', withClaims({ iss: undefined }), 'invalid claim: iss'],
      ['another issuer', withClaims({ iss: `${issuer}/` }), 'invalid claim: iss'],
      ['iss in a list', withClaims({ iss: [issuer] }), 'invalid claim: iss'],
      ['no aud', withClaims({ aud: undefined }), 'invalid claim: aud'],
      ['another audience', withClaims({ aud: 'urn:others' }), 'invalid claim: aud'],
      ['other audiences', withClaims({ aud: ['urn:others', 'urn:order'] }), 'invalid claim: aud'],
      ['no audience in the list', withClaims({ aud: [] }), 'invalid claim: aud'],
      ['an audience that is no text', withClaims({ aud: [audience, 1] }), 'invalid claim: aud'],
      ['no sub', withClaims({ sub: undefined }), 'invalid claim: sub'],
      ['an empty sub', withClaims({ sub: '' }), 'invalid claim: sub'],
      ['sub as a number', withClaims({ sub: 1 }), 'invalid claim: sub'],
      ['a user of another client', withClaims({ client_id: 'shop' }), 'invalid claim: client_id'],
      ['the first party in capitals', withClaims({ client_id: 'LATCHKEY' }), 'invalid claim: client_id'],
      ['a user as the client', withClaims({ client_id: claims.sub }), 'invalid claim: client_id'],
      ['no client_id', withClaims({ client_id: undefined }), 'invalid claim: client_id'],
      ['no jti', withClaims({ jti: undefined }), 'invalid claim: jti'],
      ['jti as a number', withClaims({ jti: 1 }), 'invalid claim: jti'],
      ['a user without a session', withClaims({ sid: undefined }), 'invalid claim: sid'],
      ['a client token with another sub', withClaims({ ...client, sub: 'orders' }), 'invalid claim: sid'],
      ['sid that is not a UUID', withClaims({ sid: 'session-1' }), 'invalid claim: sid'],
      ['sid in capitals, as no revocation names it', withClaims({ sid: upperCaseSid }), 'invalid claim: sid'],
      ['sid in a list', withClaims({ sid: [claims.sid] }), 'invalid claim: sid'],
      ['sid that is null', withClaims({ ...client, sid: null }), 'invalid claim: sid'],
      ['scope in a list', withClaims({ scope: ['account'] }), 'invalid claim: scope'],
      ['roles as a text', withClaims({ roles: 'admin' }), 'invalid claim: roles'],
      ['amr as a text', withClaims({ amr: 'pwd' }), 'invalid claim: amr'],
      ['auth_time as a word', withClaims({ auth_time: 'now' }), 'invalid claim: auth_time'],
      ['token_version as a text', withClaims({ token_version: '9' }), 'invalid claim: token_version']
    ]
  }
  for (const [name, rows] of Object.entries(table)) {
    await t.test(name, async t => {
      for (const [what, token, expected] of rows) {
        await expectJudgement(t, what, typeof token === 'string' ? token : token(), expected)
      }
    })
  }

  await t.test('revocation', async t => {
    const untilRevoked = async (token: string) => {
      await waitFor(async () => (await judgements(token)).statuses.every(status => status === 401))
      await expectJudgement(t, 'revoked', token, 'token revoked')
    }
    const [signedOut, revokedUser] = [await register(), await register()]
    await expectJudgement(t, 'a live session', signedOut.token, 'accepted')
    await latchkey.browser().post('/v1/auth/logout', { refresh_token: signedOut.refreshToken })
    await untilRevoked(signedOut.token)

    await expectJudgement(t, 'a live session', revokedUser.token, 'accepted')
    await latchkey.app.db.transaction(async tx => {
      await revokeUserTokens(tx, revokedUser.claims.sub, { reason: 'roles_changed', accessTokenSeconds: 900 })
    })
    await untilRevoked(revokedUser.token)
    const later = compact(header, { ...revokedUser.claims, token_version: 1 }, sign)
    await expectJudgement(t, 'a later token of the same session', later, 'accepted')

    const { clientId, clientSecret } = await credentials('orders:read')
    const headers = {
      authorization: `Basic ${Buffer.from(`${clientId}:${clientSecret}`).toString('base64')}`,
      'content-type': 'application/x-www-form-urlencoded'
    }
    const { body } = await latchkey.browser().post('/oauth/token', 'grant_type=client_credentials', headers)
    await expectJudgement(t, 'a client token', body.access_token, 'accepted')
    await latchkey.browser().post('/oauth/revoke', `token=${body.access_token}`, headers)
    await untilRevoked(body.access_token)
  })
})

t.test('the clock tolerance is exact to the second', async t => {
  const rules: TokenRules = {
    issuer: 'https://auth.example.com',
    audience,
    algorithms: ['ES256'],
    clockToleranceSeconds: 5
  }
  const now = 1_800_000_000
  const header = { alg: 'ES256', kid: 'key', typ: 'at+jwt' }
  const claims = {
    iss: rules.issuer,
    aud: audience,
    sub: 'billing',
    client_id: 'billing',
    jti: 'token',
    iat: now,
    exp: now + 900
  }
  function judge (changes: Claims) {
    try {
      const token = compact(header, { ...claims, ...changes }, () => 'AAAA')
      return judgeClaims(readToken(token, rules, now), rules, now).sub
    } catch (error) {
      return error instanceof TokenRejection ? error.reason : error
    }
  }
  const table: Array<[changes: Claims, judgement: string]> = [
    [{ exp: now - 4 }, 'billing'],
    [{ exp: now - 5 }, 'token expired'],
    [{ nbf: now + 5 }, 'billing'],
    [{ nbf: now + 6 }, 'token not yet valid'],
    [{ iat: now + 5 }, 'billing'],
    [{ iat: now + 6 }, 'token issued in the future']
  ]
  for (const [changes, judgement] of table) t.equal(judge(changes), judgement, JSON.stringify(changes))
})
