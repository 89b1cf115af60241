// The modules of the OpenID Foundation's plans "RP-Initiated Logout" and "Back-Channel Logout", by their
// names.
import { createRemoteJWKSet, decodeProtectedHeader, generateKeyPair, jwtVerify, SignJWT } from 'jose'
import * as openid from 'openid-client'
import { destinationOf, sealedIn, submit } from '../support/delegation.ts'
import { claimsOf } from '../support/jwt.ts'
import { waitUntil } from '../support/polling.ts'
import { RelyingParty, startProvider, type LoggedIn } from '../support/relying-party.ts'
import { t } from '../support/test.ts'
import { receiver } from '../support/webhook-receiver.ts'

const inbox = await receiver(t)
const provider = await startProvider(t, { WEBHOOK_PRIVATE_NETWORKS: '127.0.0.0/8' })
const home = 'https://orders.example.com/post-logout'
const party = await RelyingParty.create(provider, {
  post_logout_redirect_uris: [home], backchannel_logout_uri: inbox.url
})

type Changes = Record<string, string | undefined>

/** The parameters of the first module. A module changes or leaves out some. */
const parametersOf = ({ tokens }: LoggedIn, changes: Changes = {}) => {
  const all = { post_logout_redirect_uri: home, state: 'a state', id_token_hint: tokens.id_token, ...changes }
  return Object.fromEntries(Object.entries(all).flatMap(([name, value]) =>
    value === undefined ? [] : [[name, value]]))
}

/** Sends the user to the end session endpoint, and confirms the sign-out if a page asks. */
async function logOut (loggedIn: LoggedIn, changes: Changes) {
  const { browser } = loggedIn
  const query = new URLSearchParams(parametersOf(loggedIn, changes)).toString()
  const url = destinationOf(await browser.get(`/oauth/logout?${query}`))
  if (url.pathname !== '/sign-out') return { isAsked: false, url }
  const confirmed = await submit(browser, '/sign-out', { request: sealedIn(url) })
  return { isAsked: true, url: destinationOf(confirmed) }
}

/** Whether the user is still signed in, as the suite finds out: by a request with `prompt=none`. */
async function isSignedIn ({ browser }: LoggedIn): Promise<boolean> {
  const url = destinationOf(await browser.get(party.request({
    prompt: 'none', code_challenge: 'a'.repeat(43), code_challenge_method: 'S256'
  })))
  return url.searchParams.has('code')
}

/** Replaces the claims of a token, and leaves its signature. */
function withPayload (token: string | undefined, claims: object): string {
  const [header, , signature] = (token ?? '').split('.')
  return `${header}.${Buffer.from(JSON.stringify(claims)).toString('base64url')}.${signature}`
}

for (const plan of ['rp-initiated-logout', 'backchannel-logout']) {
  t.test(`oidcc-${plan}-discovery-endpoint-verification`, async t => {
    const metadata = party.config.serverMetadata()
    t.equal(metadata.end_session_endpoint, `${provider.issuer}/oauth/logout`)
    t.equal(metadata['backchannel_logout_supported'], true)
    t.equal(metadata['backchannel_logout_session_supported'], true)
  })
}

t.test('oidcc-rp-initiated-logout', async t => {
  const loggedIn = await party.logIn()
  t.ok(await isSignedIn(loggedIn))
  const { pathname, search } = openid.buildEndSessionUrl(party.config, parametersOf(loggedIn))
  const url = destinationOf(await loggedIn.browser.get(pathname + search))
  t.equal(url.href, `${home}?state=a+state`)
  t.notOk(await isSignedIn(loggedIn))
})

const bye = '/signed-out'
const modules: Record<string, {
  changes: (loggedIn: LoggedIn) => Changes | Promise<Changes>
  isAsked: boolean
  leadsTo: string
}> = {
  'oidcc-rp-initiated-logout-bad-post-logout-redirect-uri': {
    changes: () => ({ post_logout_redirect_uri: `${home}/bad` }), isAsked: false, leadsTo: bye
  },
  'oidcc-rp-initiated-logout-modified-id-token-hint': {
    changes: ({ tokens, claims }) => ({
      id_token_hint: withPayload(tokens.id_token, { ...claims, sub: 'someone else' })
    }),
    isAsked: true,
    leadsTo: bye
  },
  'oidcc-rp-initiated-logout-no-id-token-hint': {
    changes: () => ({ id_token_hint: undefined }), isAsked: true, leadsTo: bye
  },
  'oidcc-rp-initiated-logout-no-params': {
    changes: () => ({ id_token_hint: undefined, post_logout_redirect_uri: undefined, state: undefined }),
    isAsked: true,
    leadsTo: bye
  },
  'oidcc-rp-initiated-logout-no-post-logout-redirect-uri': {
    changes: () => ({ post_logout_redirect_uri: undefined }), isAsked: false, leadsTo: bye
  },
  'oidcc-rp-initiated-logout-no-state': {
    changes: () => ({ state: undefined }), isAsked: false, leadsTo: home
  },
  'oidcc-rp-initiated-logout-only-state': {
    changes: () => ({ id_token_hint: undefined, post_logout_redirect_uri: undefined }),
    isAsked: true,
    leadsTo: bye
  },
  'oidcc-rp-initiated-logout-query-added-to-post-logout-redirect-uri': {
    changes: () => ({ post_logout_redirect_uri: `${home}?foo=bar` }), isAsked: false, leadsTo: bye
  },
  'oidcc-rp-initiated-logout-bad-id-token-hint': {
    // Another key signs it, under the name of ours.
    changes: async ({ claims, tokens }) => {
      const { alg = '', kid = '' } = decodeProtectedHeader(tokens.id_token ?? '')
      const { privateKey } = await generateKeyPair(alg)
      const hint = new SignJWT({ ...claims }).setProtectedHeader({ alg, kid, typ: 'JWT' })
      return { id_token_hint: await hint.sign(privateKey) }
    },
    isAsked: true,
    leadsTo: bye
  }
}
for (const [name, { changes, isAsked, leadsTo }] of Object.entries(modules)) {
  t.test(name, async t => {
    const loggedIn = await party.logIn()
    const outcome = await logOut(loggedIn, await changes(loggedIn))
    t.equal(outcome.isAsked, isAsked)
    t.ok(outcome.url.href.endsWith(leadsTo), outcome.url.href)
    t.equal(outcome.url.search, '')
    t.notOk(await isSignedIn(loggedIn))
  })
}

t.test('oidcc-backchannel-rp-initiated-logout', async t => {
  const loggedIn = await party.logIn()
  const { url } = await logOut(loggedIn, {})
  t.equal(url.href, `${home}?state=a+state`)
  const sid = loggedIn.claims['sid']
  const token = await waitUntil('the logout token', () => inbox.requests
    .map(({ text }) => new URLSearchParams(text).get('logout_token') ?? '')
    .find(text => claimsOf(text).sid === sid))
  const keys = createRemoteJWKSet(new URL(`${provider.issuer}/.well-known/jwks.json`))
  const { payload } = await jwtVerify(token, keys, {
    issuer: provider.issuer, audience: party.client.id, algorithms: ['RS256'], typ: 'logout+jwt'
  })
  t.match(payload, { sub: loggedIn.claims.sub, sid, jti: /./ })
  t.strictSame(payload['events'], { 'http://schemas.openid.net/event/backchannel-logout': {} })
  t.notOk('nonce' in payload)
  t.notOk(await isSignedIn(loggedIn))
})
