// The modules of the OpenID Foundation's plans "Basic OP" and "Config OP", by their names. The suite itself
// sends no code_challenge but in one module. Latchkey refuses that on purpose, so here every request has one.
import { createRemoteJWKSet, decodeProtectedHeader, jwtVerify } from 'jose'
import * as openid from 'openid-client'
import type { Test } from 'tap'
import { adminOf, destinationOf, isActive, redeem } from '../support/delegation.ts'
import { RelyingParty, startProvider, type LoginOptions } from '../support/relying-party.ts'
import { t } from '../support/test.ts'

const provider = await startProvider(t)
const scopes = ['openid', 'profile', 'email']
const party = await RelyingParty.create(provider, { scopes })
const second = await RelyingParty.create(provider, { name: 'Second', scopes }, openid.ClientSecretPost)
/** What the modules have sent. */
const requests = new Map<string, Record<string, string | undefined>>()

/** Defines a module. It gets a function that signs a user in as the module does. */
const module = (
  name: string, parameters: Record<string, string | undefined>,
  check: (t: Test, login: (login?: LoginOptions) => ReturnType<RelyingParty['logIn']>) => Promise<unknown>
) => t.test(name, async t => {
  requests.set(name, parameters)
  await check(t, async (login = {}) =>
    await party.logIn({ ...login, parameters: { ...parameters, ...login.parameters } }))
})

const errorOf = async (promise: Promise<unknown>) => {
  const error: unknown = await promise.then(() => undefined, (error: unknown) => error)
  return error
}
const letPass2Seconds = async () => await provider.sql(`
  update sessions set authenticated_at = authenticated_at - interval '2 s' where is_browser`)
/** Where a request in a new browser leads to. */
const open = async (parameters: Record<string, string | undefined>, browser = provider.browser()) =>
  destinationOf(await browser.get(party.request({
    code_challenge: 'a'.repeat(43), code_challenge_method: 'S256', state: 'x', ...parameters
  })))

module('oidcc-server', {}, async (t, login) => {
  const { tokens, claims, response } = await login()
  t.match(claims, { iss: provider.issuer, aud: party.client.id })
  for (const name of ['sub', 'nonce', 'at_hash', 'sid']) t.match(claims[name], /./, name)
  t.equal(response.searchParams.get('iss'), provider.issuer)
  t.equal(tokens.token_type, 'bearer')
  t.strictSame(await party.userInfo({ tokens, claims }), { sub: claims.sub })
})

module('oidcc-response-type-missing', { response_type: '' }, async (t) => {
  const url = await open({ response_type: '' })
  const response = Object.fromEntries(url.searchParams)
  t.match(response, { error: 'invalid_request', state: 'x', iss: provider.issuer })
})

module('oidcc-idtoken-signature', {}, async (t, login) => {
  const { id_token: idToken = '' } = (await login()).tokens
  const keys = createRemoteJWKSet(new URL(`${provider.issuer}/.well-known/jwks.json`))
  t.match(decodeProtectedHeader(idToken), { alg: 'RS256', kid: /./ })
  await t.resolves(jwtVerify(idToken, keys, { issuer: provider.issuer, audience: party.client.id }))
})

module('oidcc-idtoken-unsigned', {}, async t => {
  const admin = await adminOf(provider)
  const { status } = await admin.post('/v1/admin/clients', {
    name: 'Unsigned', redirect_uris: [party.client.redirectUri], id_token_signed_response_alg: 'none'
  })
  t.equal(status, 400)
})

for (const [name, send] of Object.entries({
  'oidcc-userinfo-get': async (token: string) => await fetch(`${provider.issuer}/oauth/userinfo`, {
    headers: { authorization: `Bearer ${token}` }
  }),
  'oidcc-userinfo-post-header': async (token: string) => await fetch(`${provider.issuer}/oauth/userinfo`, {
    method: 'POST', headers: { authorization: `Bearer ${token}` }
  }),
  'oidcc-userinfo-post-body': async (token: string) => await fetch(`${provider.issuer}/oauth/userinfo`, {
    method: 'POST', body: new URLSearchParams({ access_token: token })
  })
})) {
  module(name, {}, async (t, login) => {
    const { tokens, claims } = await login()
    const response = await send(tokens.access_token)
    t.equal(response.status, 200)
    t.match(response.headers.get('content-type'), /^application\/json/)
    t.strictSame(await response.json(), { sub: claims.sub })
  })
}

const withoutNonce = 'oidcc-ensure-request-without-nonce-succeeds-for-code-flow'
module(withoutNonce, { nonce: undefined }, async (t, login) => {
  t.notOk('nonce' in (await login()).claims)
})

const emailClaims = ['email', 'email_verified', 'sub']
const scopeModules: Record<string, [scope: string, granted: string, claims: string[]]> = {
  'oidcc-scope-profile': ['openid profile', 'openid profile', ['sub', 'updated_at']],
  'oidcc-scope-email': ['openid email', 'openid email', emailClaims],
  // The service knows no addresses and phone numbers.
  'oidcc-scope-address': ['openid address', 'openid', ['sub']],
  'oidcc-scope-phone': ['openid phone', 'openid', ['sub']],
  'oidcc-scope-all': [
    'openid profile email address phone', 'openid profile email', [...emailClaims, 'updated_at']
  ],
  'oidcc-ensure-other-scope-order-succeeds': ['email openid', 'email openid', emailClaims]
}
for (const [name, [scope, granted, names]] of Object.entries(scopeModules)) {
  module(name, { scope }, async (t, login) => {
    const loggedIn = await login()
    t.equal(loggedIn.tokens.scope, granted)
    t.strictSame(Object.keys(await party.userInfo(loggedIn)).sort(), names)
  })
}

// What these parameters ask for is optional. They must not fail a request.
for (const [name, parameters] of Object.entries({
  'oidcc-display-page': { display: 'page' },
  'oidcc-display-popup': { display: 'popup' },
  'oidcc-ensure-request-with-unknown-parameter-succeeds': { extra: 'foobar' },
  'oidcc-claims-locales': { claims_locales: 'se' },
  'oidcc-ensure-request-with-acr-values-succeeds': { acr_values: '1 2' },
  'oidcc-claims-essential': { claims: JSON.stringify({ userinfo: { name: { essential: true } } }) },
  'oidcc-ensure-request-with-valid-pkce-succeeds': {}
})) {
  module(name, parameters, async (t, login) => {
    t.ok((await login()).claims.sub)
  })
}

module('oidcc-ui-locales', { ui_locales: 'se' }, async (t, login) => {
  t.ok((await login()).claims.sub, 'an unknown language changes nothing')
  const browser = provider.browser()
  const page = await open({ ui_locales: 'fr-CA de-AT en' }, browser)
  const { text } = await browser.get(page.pathname + page.search)
  t.match(text, '<html lang="de"')
  await browser.get('/sign-in?lang=en')
  const next = await open({ ui_locales: 'de' }, browser)
  t.match((await browser.get(next.pathname + next.search)).text, '<html lang="en"', 'the user has chosen')
})

module('oidcc-login-hint', { login_hint: 'ada@example.com' }, async (t, login) => {
  t.ok((await login()).claims.sub)
  const browser = provider.browser()
  const page = await open({ login_hint: 'ada@example.com' }, browser)
  t.match((await browser.get(page.pathname + page.search)).text, 'value="ada@example.com"')
})

module('oidcc-prompt-login', { prompt: 'login' }, async (t, login) => {
  const first = await login({ parameters: { prompt: undefined } })
  await letPass2Seconds()
  const second = await login(first)
  t.strictSame(second.pages, ['/sign-in'])
  t.equal(second.claims.sub, first.claims.sub)
  t.ok(Number(second.claims.auth_time) >= Number(first.claims.auth_time))
  t.not(second.claims['sid'], first.claims['sid'])
})

module('oidcc-prompt-none-not-logged-in', { prompt: 'none' }, async t => {
  t.equal((await open({ prompt: 'none' })).searchParams.get('error'), 'login_required')
})

module('oidcc-prompt-none-logged-in', { prompt: 'none' }, async (t, login) => {
  const first = await login({ parameters: { prompt: undefined } })
  const second = await login(first)
  t.strictSame(second.pages, [])
  t.match(second.claims, { sub: first.claims.sub, auth_time: first.claims.auth_time })
})

module('oidcc-max-age-1', { max_age: '1' }, async (t, login) => {
  const first = await login({ parameters: { max_age: undefined } })
  await letPass2Seconds()
  const second = await login({ ...first, maxAge: 1 })
  t.strictSame(second.pages, ['/sign-in'])
  t.equal(second.claims.sub, first.claims.sub)
})

module('oidcc-max-age-10000', { max_age: '10000' }, async (t, login) => {
  const first = await login({ parameters: { max_age: undefined } })
  const second = await login({ ...first, maxAge: 10_000 })
  t.strictSame(second.pages, [])
  t.match(second.claims, { sub: first.claims.sub, auth_time: first.claims.auth_time })
})

module('oidcc-id-token-hint', { prompt: 'none' }, async (t, login) => {
  const first = await login({ parameters: { prompt: undefined } })
  const second = await login({ ...first, parameters: { id_token_hint: first.tokens.id_token } })
  t.equal(second.claims.sub, first.claims.sub)
})

for (const [name, seconds] of [['oidcc-codereuse', 0], ['oidcc-codereuse-30seconds', 30]] as const) {
  module(name, {}, async (t, login) => {
    const { response, verifier, tokens } = await login()
    await provider.sql(`
      update authorization_codes set redeemed_at = redeemed_at - make_interval(secs => $1)`, [seconds])
    const code = response.searchParams.get('code') ?? ''
    const { status, body } = await redeem(provider, party.client, { code, verifier })
    t.match({ status, error: body.error }, { status: 400, error: 'invalid_grant' })
    t.equal(
      await isActive(provider, tokens.access_token),
      seconds === 0,
      'a retry at once ends nothing; later it does'
    )
  })
}

module('oidcc-ensure-registered-redirect-uri', {}, async t => {
  const { status, headers } = await provider.browser().get(party.request({
    redirect_uri: 'https://orders.example.com/callback/foo'
  }))
  t.equal(status, 400)
  t.equal(headers['location'], undefined)
})

module('oidcc-ensure-post-request-succeeds', {}, async t => {
  const verifier = openid.randomPKCECodeVerifier()
  const [path = '', query = ''] = party.request({
    code_challenge: await openid.calculatePKCECodeChallenge(verifier), code_challenge_method: 'S256'
  }).split('?')
  const posted = await provider.browser().post(path, query, {
    'content-type': 'application/x-www-form-urlencoded'
  })
  const { pathname, search } = destinationOf(posted)
  const { user, browser } = await party.logIn()
  const { response } = await party.follow(browser, pathname + search, user)
  t.ok((await openid.authorizationCodeGrant(party.config, response, { pkceCodeVerifier: verifier })).id_token)
})

module('oidcc-server-client-secret-post', {}, async t => {
  t.ok((await second.logIn()).claims.sub)
})

const requestObject = 'eyJhbGciOiJub25lIn0.e30.'
for (const [name, parameters, error] of [
  ['oidcc-request-uri-unsigned-supported-correctly-or-rejected-as-unsupported',
    { request_uri: 'https://orders.example.com/request.jwt' }, 'request_uri_not_supported'],
  ['oidcc-unsigned-request-object-supported-correctly-or-rejected-as-unsupported',
    { request: requestObject }, 'request_not_supported'],
  ['oidcc-ensure-request-object-with-redirect-uri', { request: requestObject }, 'request_not_supported']
] as const) {
  module(name, {}, async t => {
    const { body } = await provider.browser().get('/.well-known/openid-configuration')
    t.match(body, { request_parameter_supported: false, request_uri_parameter_supported: false })
    const url = await open({ ...parameters, response_type: 'code' })
    t.match(Object.fromEntries(url.searchParams), { error, state: 'x' })
  })
}

module('oidcc-refresh-token', {}, async (t, login) => {
  const { tokens, claims } = await login()
  const { refresh_token: refreshToken = '' } = tokens
  const refreshed = await openid.refreshTokenGrant(party.config, refreshToken)
  t.match(refreshed.claims(), {
    iss: claims.iss, sub: claims.sub, aud: claims.aud, auth_time: claims.auth_time, sid: claims['sid']
  })
  t.ok(Number(refreshed.claims()?.iat) >= claims.iat)
  t.not(refreshed.access_token, tokens.access_token)
  t.match(await errorOf(openid.refreshTokenGrant(second.config, refreshed.refresh_token ?? '')), {
    error: 'invalid_grant'
  }, 'another client gets nothing')
})

t.test('oidcc-discovery-endpoint-verification', async t => {
  const { status, headers, body } = await provider.browser().get('/.well-known/openid-configuration')
  t.equal(status, 200)
  t.match(headers['content-type'], /^application\/json/)
  t.equal(body.issuer, provider.issuer)
  for (const name of [
    'authorization_endpoint', 'token_endpoint', 'userinfo_endpoint', 'jwks_uri', 'end_session_endpoint'
  ]) t.ok(String(body[name]).startsWith(`${provider.issuer}/`), name)
  t.strictSame(body.response_types_supported, ['code'])
  t.strictSame(body.subject_types_supported, ['public'])
  t.ok(body.id_token_signing_alg_values_supported.includes('RS256'))
  t.notOk(body.id_token_signing_alg_values_supported.includes('none'))
  for (const scope of scopes) t.ok(body.scopes_supported.includes(scope), scope)
  for (const claim of ['sub', 'iss', 'aud', 'auth_time']) t.ok(body.claims_supported.includes(claim), claim)
  for (const name of ['claims', 'request', 'request_uri']) t.equal(body[`${name}_parameter_supported`], false)
  const { keys } = (await provider.browser().get('/.well-known/jwks.json')).body
  t.ok(keys.some(({ kty }: { kty: string }) => kty === 'RSA'))
  for (const key of keys) {
    t.match(key, { kid: /./, use: 'sig', alg: /./ })
    for (const secret of ['d', 'p', 'q', 'k']) t.notOk(secret in key)
  }
  t.equal(new Set(keys.map(({ kid }: { kid: string }) => kid)).size, keys.length)
})

t.test('every module that sends no code_challenge is refused on purpose', async t => {
  t.ok(requests.size >= 38)
  for (const [name, parameters] of requests) {
    const path = party.request({ ...parameters, state: 'x' })
    const { searchParams } = destinationOf(await provider.browser().get(path))
    t.equal(searchParams.get('error'), 'invalid_request', name)
    if (name === 'oidcc-response-type-missing') continue
    t.match(searchParams.get('error_description'), /PKCE/, name)
  }
})
