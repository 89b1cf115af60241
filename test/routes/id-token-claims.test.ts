import { hashAccessToken } from '../../src/tokens/id-token.ts'
import { build, newUser } from '../support/app.ts'
import type { Browser } from '../support/client.ts'
import {
  adminOf, authorizationOf, authorize, codeIn, destinationOf, newClient, redeem, requestTokens, signInFor,
  type TestClient
} from '../support/delegation.ts'
import { mailTo } from '../support/inbox.ts'
import { claimsOf } from '../support/jwt.ts'
import { t } from '../support/test.ts'

const service = await build(t)
const home = 'https://orders.example.com/bye'
const uris = { post_logout_redirect_uris: [home] }
const client = await newClient(service, { ...uris, userinfo_in_id_token: true })
const ordinary = await newClient(service, uris)

/** The claims that every ID token has. */
const protocolClaims = ['amr', 'at_hash', 'aud', 'auth_time', 'exp', 'iat', 'iss', 'sid', 'sub']

interface TokenResponse { access_token: string, id_token: string, refresh_token: string }

const refresh = async (
  tokens: TokenResponse,
  of: TestClient = client,
  parameters: Record<string, string> = {}
) => {
  const { status, body } = await requestTokens(service, of, {
    grant_type: 'refresh_token', refresh_token: tokens.refresh_token, ...parameters
  })
  t.equal(status, 200)
  return body as TokenResponse
}

async function userInfoOf ({ access_token: token }: TokenResponse) {
  const { status, body } = await service.browser().get(
    '/oauth/userinfo',
    { authorization: `Bearer ${token}` }
  )
  t.equal(status, 200)
  return body
}

/** The claims of an ID token about its user. */
function userClaimsOf ({ id_token: idToken }: TokenResponse) {
  const { nonce, ...claims } = claimsOf(idToken)
  const others = protocolClaims.filter(name => name !== 'sub')
  return Object.fromEntries(Object.entries(claims).filter(([name]) => !others.includes(name)))
}

/** A user with a name and a username, who signed in for a client, and their signed-in browser. */
async function signInNamed (of: TestClient, overrides: Record<string, string | undefined> = {}) {
  const { email, password } = newUser()
  const owner = service.browser()
  const { body } = await owner.post('/v1/auth/register', { email, password, name: 'Ada Lovelace' })
  owner.accessToken = body.access_token
  const username = `ada-${email.slice(0, 20).replaceAll(/[^a-z0-9]/g, '-')}`
  t.equal((await owner.patch('/v1/me', { username })).status, 200)
  const browser = service.browser()
  const attempt = authorizationOf(of, overrides)
  const code = codeIn(await authorize(browser, attempt, { email, password }))
  const { body: tokens } = await redeem(service, of, { code, verifier: attempt.verifier })
  return { email, password, username, owner, browser, attempt, tokens: tokens as TokenResponse }
}

t.test('an ID token has the claims of userinfo, if its client asks for it', async t => {
  const scopes: Array<[scope: string, names: string[]]> = [
    ['openid profile email',
      ['email', 'email_verified', 'name', 'preferred_username', 'sub', 'updated_at']],
    ['openid profile', ['name', 'preferred_username', 'sub', 'updated_at']],
    ['openid email', ['email', 'email_verified', 'sub']],
    ['openid', ['sub']]
  ]
  for (const [scope, names] of scopes) {
    await t.test(`for the scope ${scope}`, async t => {
      const { tokens, email, username } = await signInNamed(client, { scope })
      const claims = userClaimsOf(tokens)
      t.strictSame(Object.keys(claims).sort(), names)
      t.strictSame(claims, await userInfoOf(tokens))
      const expected = { name: 'Ada Lovelace', preferred_username: username, email, email_verified: false }
      t.match(expected, Object.fromEntries(Object.entries(claims).filter(([name]) => name in expected)))
      const refreshed = await refresh(tokens)
      t.strictSame(userClaimsOf(refreshed), claims)
      t.strictSame(await userInfoOf(refreshed), claims)
    })
  }

  await t.test('and not for a scope that the refresh leaves out', async t => {
    const { tokens } = await signInNamed(client)
    const narrowed = await refresh(tokens, client, { scope: 'openid email' })
    t.strictSame(Object.keys(userClaimsOf(narrowed)).sort(), ['email', 'email_verified', 'sub'])
    t.strictSame(userClaimsOf(narrowed), await userInfoOf(narrowed))
  })

  await t.test('and not for a scope that the client has lost', async t => {
    const admin = await adminOf(service)
    const reports = await newClient(service, { userinfo_in_id_token: true })
    const { tokens } = await signInNamed(reports)
    await admin.patch(`/v1/admin/clients/${reports.id}`, { scopes: ['openid'] })
    t.strictSame(Object.keys(userClaimsOf(await refresh(tokens, reports))), ['sub'])
  })

  await t.test('and a claim without a value is left out', async t => {
    const { tokens } = await signInFor(service, client)
    t.strictSame(Object.keys(userClaimsOf(tokens)).sort(), ['email', 'email_verified', 'sub', 'updated_at'])
    t.strictSame(userClaimsOf(tokens), await userInfoOf(tokens))
  })

  await t.test('although its access token is for a resource', async t => {
    const resource = 'https://orders.example.com'
    const buyer = await newClient(service, { userinfo_in_id_token: true, audiences: [resource] })
    const { tokens, email } = await signInNamed(buyer, { resource })
    t.equal(claimsOf(tokens.access_token).aud, resource)
    t.match(claimsOf(tokens.id_token), { name: 'Ada Lovelace', email })
  })
})

t.test('the other claims, and the access token, are as without the setting', async t => {
  for (const metadata of [{}, { first_party: true }, { id_token_signed_response_alg: 'ES256' }]) {
    const plain = await newClient(service, metadata)
    const full = await newClient(service, { ...metadata, userinfo_in_id_token: true })
    const [without, withClaims] = [await signInNamed(plain), await signInNamed(full)]
    t.strictSame(Object.keys(claimsOf(without.tokens.id_token)).sort(), [...protocolClaims, 'nonce'].sort())
    const { tokens, attempt } = withClaims
    const idToken = claimsOf(tokens.id_token)
    const accessToken = claimsOf(tokens.access_token)
    t.match(idToken, {
      iss: 'http://localhost:3000',
      aud: full.id,
      sub: accessToken.sub,
      sid: accessToken.sid,
      iat: accessToken.iat,
      exp: accessToken.exp,
      auth_time: accessToken.auth_time,
      amr: ['pwd'],
      nonce: attempt.nonce,
      at_hash: hashAccessToken(tokens.access_token, 'ES256')
    })
    t.strictSame(Object.keys(accessToken).sort(), Object.keys(claimsOf(without.tokens.access_token)).sort())
    t.notMatch(JSON.stringify(accessToken), /Ada/)
  }
})

t.test('without the setting, an ID token identifies the user, and says nothing more', async t => {
  const { tokens } = await signInNamed(ordinary)
  t.strictSame(Object.keys(userClaimsOf(tokens)), ['sub'])
  t.strictSame(Object.keys(userClaimsOf(await refresh(tokens, ordinary))), ['sub'])
})

t.test('an administrator switches the claims on and off for the next ID token', async t => {
  const admin = await adminOf(service)
  const shop = await newClient(service)
  const { tokens } = await signInNamed(shop)
  const change = async (isOn: boolean) => {
    const { body } = await admin.patch(`/v1/admin/clients/${shop.id}`, { userinfo_in_id_token: isOn })
    t.equal(body.userinfo_in_id_token, isOn)
  }
  await change(true)
  const changed = await refresh(tokens, shop)
  t.match(userClaimsOf(changed), { name: 'Ada Lovelace' })
  await change(false)
  t.strictSame(Object.keys(userClaimsOf(await refresh(changed, shop))), ['sub'])
})

t.test('a change of the user appears in the ID token of the next refresh', async t => {
  const signedIn = await signInNamed(client)
  const { email, password, owner } = signedIn
  let { tokens } = signedIn
  const next = async () => {
    tokens = await refresh(tokens)
    t.strictSame(userClaimsOf(tokens), await userInfoOf(tokens))
    return userClaimsOf(tokens)
  }
  const confirm = async (browser: Browser, token: string) =>
    t.equal((await browser.post('/v1/auth/email-verification/confirm', { token })).status, 204)

  await owner.patch('/v1/me', { name: 'Augusta Ada King' })
  t.match(await next(), { name: 'Augusta Ada King', email, email_verified: false })
  await owner.patch('/v1/me', { name: null })
  t.notOk('name' in await next())
  await confirm(owner, (await mailTo(service, email, 'email_verification')).token)
  t.match(await next(), { email, email_verified: true })
  const { email: moved } = newUser()
  t.equal((await owner.post('/v1/me/email', { password, email: moved })).status, 202)
  t.match(await next(), { email }, 'the request alone changes nothing')
  await confirm(owner, (await mailTo(service, moved, 'email_change')).token)
  t.match(await next(), { email: moved, email_verified: true })
})

t.test('the longest claims fit into an ID token that is a hint', async t => {
  const email = `${'a'.repeat(64)}@${`${'b'.repeat(59)}.`.repeat(3)}example`
  const { password } = newUser()
  const longest = { email, password, name: '🦊'.repeat(200) }
  t.equal((await service.browser().post('/v1/auth/register', longest)).status, 201)
  const browser = service.browser()
  const attempt = authorizationOf(client, { nonce: 'n'.repeat(2_048) })
  const code = codeIn(await authorize(browser, attempt, longest))
  const { body: { id_token: hint } } = await redeem(service, client, { code, verifier: attempt.verifier })
  t.match(claimsOf(hint), { name: longest.name, email })
  t.ok(hint.length > 5_000)
  const silent = authorizationOf(client, { prompt: 'none', id_token_hint: hint })
  t.ok(codeIn(destinationOf(await browser.get(silent.url))))
  const parameters = new URLSearchParams({ id_token_hint: hint, post_logout_redirect_uri: home })
  t.equal(destinationOf(await browser.get(`/oauth/logout?${parameters.toString()}`)).href, home)
})
