import { createLocalJWKSet, decodeProtectedHeader, jwtVerify } from 'jose'
import type { Test } from 'tap'
import { freePort } from '../../src/database/embedded/server.ts'
import { purgeExpired } from '../../src/sessions/expiry.ts'
import { build, newUser, type Service } from '../support/app.ts'
import {
  adminOf, authorizationOf, authorize, codeIn, destinationOf, newClient, redeem, requestTokens, signInFor,
  submit, type TestClient
} from '../support/delegation.ts'
import { claimsOf } from '../support/jwt.ts'
import { waitUntil } from '../support/polling.ts'
import { t } from '../support/test.ts'
import { receiver, type Receiver } from '../support/webhook-receiver.ts'

const allowLoopback = { WEBHOOK_PRIVATE_NETWORKS: '127.0.0.0/8' }
const service = await build(t, allowLoopback)
const strict = await build(t, { ...allowLoopback, REFRESH_REPLAY_GRACE: '0s' }, { url: service.url })
const inbox = await receiver(t)
const client = await newClient(service, {
  backchannel_logout_uri: inbox.url, post_logout_redirect_uris: ['https://orders.example.com/bye']
})

type SignedInForClient = Awaited<ReturnType<typeof signInFor>>
const sidOf = ({ tokens }: Pick<SignedInForClient, 'tokens'>): string => claimsOf(tokens.access_token).sid

/** The logout tokens that a receiver has got, with their claims, which are not verified. */
const receivedBy = ({ requests }: Receiver) => requests.map(({ text, headers }) => {
  const token = new URLSearchParams(text).get('logout_token') ?? ''
  return { token, headers, claims: claimsOf(token) }
})

/** Waits for the logout tokens of a session. */
const logoutOf = async (sid: string, at = inbox) => await waitUntil(`a logout token for ${sid}`, () =>
  receivedBy(at).find(({ claims }) => claims.sid === sid))

const jobsOf = async (sid: string) => await service.sql<{ attempts: number }>(
  "select attempts from jobs where kind = 'backchannel_logout' and id = $1", [sid])
const makeDue = async (sid: string) =>
  await service.sql('update jobs set run_at = now() where id = $1', [sid])

/** The owner's API client, signed in beside the browser. */
async function accountOf ({ user }: Pick<SignedInForClient, 'user'>) {
  const account = service.browser()
  account.accessToken = (await account.post('/v1/auth/login', user)).body.access_token
  return account
}

interface Expected { audience: string, sub: string, sid: string }

async function assertValid (t: Test, token: string, { audience, sub, sid }: Expected) {
  const { body: jwks } = await service.browser().get('/.well-known/jwks.json')
  const { payload, protectedHeader } = await jwtVerify(token, createLocalJWKSet(jwks), {
    issuer: 'http://localhost:3000',
    audience,
    typ: 'logout+jwt',
    algorithms: ['RS256'],
    requiredClaims: ['iat', 'exp', 'jti', 'sub', 'sid', 'events']
  })
  t.equal(protectedHeader.typ, 'logout+jwt')
  t.match(payload, { sub, sid })
  t.strictSame(payload['events'], { 'http://schemas.openid.net/event/backchannel-logout': {} })
  t.notOk('nonce' in payload)
  t.ok(Number(payload.exp) - Number(payload.iat) <= 120)
}

t.test('a client gets a logout token', async t => {
  const { tokens, browser, userId } = await signInFor(service, client)
  await submit(browser, '/sign-out', {})
  const sid = sidOf({ tokens })
  const { token, headers } = await logoutOf(sid)
  t.equal(headers['content-type'], 'application/x-www-form-urlencoded')
  await assertValid(t, token, { audience: client.id, sub: userId, sid })

  await t.test('that is no ID token, and no access token', async t => {
    const other = await signInFor(service, client)
    const answer = await other.browser.get(`/oauth/logout?id_token_hint=${token}`)
    t.equal(destinationOf(answer).pathname, '/sign-out', 'it is no hint')
    const bearer = service.browser()
    bearer.accessToken = token
    t.equal((await bearer.get('/oauth/userinfo')).status, 401)
  })

  await t.test('signed by the algorithm of its ID tokens', async t => {
    const modern = await newClient(service, {
      name: 'Modern', backchannel_logout_uri: inbox.url, id_token_signed_response_alg: 'ES256'
    })
    const { tokens, browser } = await signInFor(service, modern)
    await submit(browser, '/sign-out', {})
    const { token } = await logoutOf(sidOf({ tokens }))
    t.equal(decodeProtectedHeader(token).alg, 'ES256')
  })
})

const revoke = async ({ id, secret = '' }: TestClient, token: string) =>
  await service.browser().post('/oauth/revoke', new URLSearchParams({
    token, client_id: id, client_secret: secret
  }).toString(), { 'content-type': 'application/x-www-form-urlencoded' })

const refresh = async (on: Service, token: string) =>
  await requestTokens(on, client, { grant_type: 'refresh_token', refresh_token: token })

const ends: Record<string, (signedIn: SignedInForClient) => Promise<unknown>> = {
  'a sign-out': async ({ browser }) => await submit(browser, '/sign-out', {}),
  'a logout by the client': async ({ browser, tokens }) =>
    await browser.get(`/oauth/logout?id_token_hint=${tokens.id_token}`),
  'a revoked refresh token': async ({ tokens }) => await revoke(client, tokens.refresh_token),
  'a revoked access token': async ({ tokens }) => await revoke(client, tokens.access_token),
  'a revoked consent': async signedIn =>
    await (await accountOf(signedIn)).delete(`/v1/me/consents/${client.id}`),
  'a changed password': async signedIn => await (await accountOf(signedIn)).post('/v1/me/password', {
    current_password: signedIn.user.password, new_password: 'another phrase of mine'
  }),
  'the end of one session in the list': async signedIn =>
    await (await accountOf(signedIn)).delete(`/v1/me/sessions/${sidOf(signedIn)}`),
  'the end of all other sessions': async signedIn =>
    await (await accountOf(signedIn)).delete('/v1/me/sessions'),
  'an administrator who disables the user': async ({ userId }) =>
    await (await adminOf(service)).patch(`/v1/admin/users/${userId}`, { status: 'disabled' }),
  'an administrator who ends all sessions': async ({ userId }) =>
    await (await adminOf(service)).delete(`/v1/admin/users/${userId}/sessions`),
  'a deleted account': async signedIn =>
    await (await accountOf(signedIn)).send('DELETE', '/v1/me', { password: signedIn.user.password }),
  'the next login of the client in the browser': async ({ browser }) => {
    const next = authorizationOf(client)
    await redeem(service, client, { code: codeIn(await authorize(browser, next)), verifier: next.verifier })
  },
  'the sign-in of another user in the browser': async ({ browser }) => {
    const other = newUser()
    await service.browser().post('/v1/auth/register', other)
    await submit(browser, '/sign-in', { identifier: other.email, password: other.password })
  },
  'reuse of a refresh token': async ({ tokens }) => {
    const { body } = await refresh(service, tokens.refresh_token)
    await refresh(service, body.refresh_token)
    await refresh(strict, tokens.refresh_token)
  },
  'reuse of the code': async ({ code, attempt }) =>
    await redeem(strict, client, { code, verifier: attempt.verifier }),
  'reuse of the cookie of the browser session': async ({ browser, user }) => {
    const copied = browser.jar.get('session_3000') ?? ''
    await submit(browser, '/sign-in', { identifier: user.email, password: user.password })
    await browser.get('/signed-in')
    const thief = strict.browser()
    thief.jar.set('session_3000', copied)
    await thief.get(authorizationOf(client).url)
  },
  'its expiry': async signedIn => {
    await service.sql(
      "update sessions set expires_at = now() - interval '1 s' where id = $1",
      [sidOf(signedIn)]
    )
    await service.sql(
      "update refresh_tokens set access_expires_at = now() - interval '1 s' where session_id = $1",
      [sidOf(signedIn)])
    await purgeExpired(service.app.db, { after: undefined, limit: 1_000, refreshTokenSeconds: 604_800 })
  }
}
t.test('a client is told once of every end of a session', async t => {
  const signedIn = await Promise.all(Object.values(ends).map(async () => await signInFor(service, client)))
  const sids: string[] = []
  for (const [index, [name, end]] of Object.entries(ends).entries()) {
    const each = signedIn[index]
    if (!each) throw new Error('nobody is signed in')
    await end(each)
    sids.push(sidOf(each))
    t.equal((await logoutOf(sidOf(each))).claims.sub, each.userId, name)
  }
  for (const sid of sids) {
    t.equal(receivedBy(inbox).filter(({ claims }) => claims.sid === sid).length, 1)
    await waitUntil('no job is left', async () => (await jobsOf(sid)).length === 0)
  }
  const ids = receivedBy(inbox).map(({ claims }) => claims.jti)
  t.equal(new Set(ids).size, ids.length)
})

t.test('a session that goes on after the sign-out is told of when it ends', async t => {
  const scopes = ['openid', 'offline_access']
  const offline = await newClient(service, { name: 'Offline', scopes, backchannel_logout_uri: inbox.url })
  const { tokens, browser } = await signInFor(service, offline, { scope: scopes.join(' ') })
  const otherSession = await signInFor(service, client)
  await submit(browser, '/sign-out', {})
  await submit(otherSession.browser, '/sign-out', {})
  await logoutOf(sidOf(otherSession))
  t.notOk(receivedBy(inbox).some(({ claims }) => claims.sid === sidOf({ tokens })))
  await revoke(offline, tokens.refresh_token)
  await logoutOf(sidOf({ tokens }))
})

t.test('a logout token is sent again', async t => {
  await t.test('after an error of the client, with a token of its own', async t => {
    const signedIn = await signInFor(service, client)
    inbox.answer((_request, response) => { response.writeHead(500).end() })
    await submit(signedIn.browser, '/sign-out', {})
    const sid = sidOf(signedIn)
    const first = await logoutOf(sid)
    await waitUntil('the retry', () => service.allLogs().some(({ msg, session }) =>
      session === sid && msg === 'back-channel logout failed; retrying'))
    inbox.answer((_request, response) => { response.writeHead(204).end() })
    await makeDue(sid)
    const all = await waitUntil('a second token', () => {
      const tokens = receivedBy(inbox).filter(({ claims }) => claims.sid === sid)
      return tokens.length === 2 && tokens
    })
    t.not(all[1]?.claims.jti, first.claims.jti)
    await assertValid(t, all[1]?.token ?? '', { audience: client.id, sub: signedIn.userId, sid })
    await waitUntil('no job is left', async () => (await jobsOf(sid)).length === 0)
  })

  await t.test('when the client is back', async t => {
    const port = await freePort()
    const url = `http://127.0.0.1:${port}/hook`
    const down = await newClient(service, { name: 'Down', backchannel_logout_uri: url })
    const signedIn = await signInFor(service, down)
    await submit(signedIn.browser, '/sign-out', {})
    const sid = sidOf(signedIn)
    await waitUntil('the retry', () => service.allLogs().some(({ session, error }) =>
      session === sid && error === 'connection'))
    const back = await receiver(t, undefined, port)
    await makeDue(sid)
    t.equal((await logoutOf(sid, back)).claims.aud, down.id)
  })

  await t.test('for a day at most', async t => {
    const signedIn = await signInFor(service, client)
    const sid = sidOf(signedIn)
    inbox.answer((_request, response) => { response.writeHead(503).end() })
    await submit(signedIn.browser, '/sign-out', {})
    await logoutOf(sid)
    const [job] = await service.sql<{ hours: number }>(`
      select extract(epoch from expires_at - created_at)::float8 / 3600 as hours
      from jobs where id = $1`, [sid])
    t.equal(job?.hours, 24)
    await service.sql('update jobs set run_at = now(), expires_at = now() where id = $1', [sid])
    await waitUntil('it is given up', () => service.allLogs().some(({ session, msg }) =>
      session === sid && msg === 'back-channel logout given up'))
    inbox.answer((_request, response) => { response.writeHead(204).end() })
  })
})

t.test('a logout token is not sent', async t => {
  await t.test('on, if the client redirects it', async t => {
    const target = await receiver(t)
    const signedIn = await signInFor(service, client)
    inbox.answer((_request, response) => { response.writeHead(307, { location: target.url }).end() })
    await submit(signedIn.browser, '/sign-out', {})
    await waitUntil('the retry', () => service.allLogs().some(({ session, status }) =>
      session === sidOf(signedIn) && status === 307))
    t.equal(target.connections(), 0)
    inbox.answer((_request, response) => { response.writeHead(204).end() })
    await service.sql("delete from jobs where kind = 'backchannel_logout'")
  })

  await t.test('to a client without the URI', async t => {
    const silent = await newClient(service, { name: 'Silent' })
    const signedIn = await signInFor(service, silent)
    await submit(signedIn.browser, '/sign-out', {})
    t.strictSame(await jobsOf(sidOf(signedIn)), [])
  })

  await t.test('to a private address', async t => {
    const cautious = await build(t)
    const inside = await receiver(t)
    const admin = await adminOf(cautious)
    const urls = [
      inside.url, 'https://127.0.0.1/', 'https://localhost/', 'https://169.254.169.254/',
      'http://example.com/'
    ]
    for (const url of urls) {
      const { status } = await admin.post('/v1/admin/clients', {
        name: 'Inside', redirect_uris: ['https://orders.example.com/callback'], backchannel_logout_uri: url
      })
      t.equal(status, 400, url)
    }
    const moved = await newClient(cautious)
    // The name of its host leads to a private address by now.
    await cautious.sql('update clients set backchannel_logout_uri = $2 where id = $1', [moved.id, inside.url])
    const { browser } = await signInFor(cautious, moved)
    await cautious.sql("select pg_notify('latchkey_clients', '')")
    await submit(browser, '/sign-out', {})
    await waitUntil('the refusal', () => cautious.logs.some(({ error }) => error === 'private_address'))
    t.equal(inside.connections(), 0)
  })
})
