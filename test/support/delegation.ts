import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { newUser, type Service } from './app.ts'
import type { Answer, Browser } from './client.ts'

export const redirectUri = 'https://orders.example.com/callback'

export interface TokenPair { access_token: string, refresh_token: string }

export interface TestClient { id: string, secret: string | undefined, redirectUri: string }

const admins = new WeakMap<Service, Browser>()

/** A browser whose user is an administrator. */
export async function adminOf (service: Service): Promise<Browser> {
  const known = admins.get(service)
  if (known) return known
  const user = newUser()
  const browser = service.browser()
  await browser.post('/v1/auth/register', user)
  await service.sql("update users set roles = '{user,admin}' where email = $1", [user.email])
  const { body } = await browser.post('/v1/auth/login', user)
  browser.accessToken = body.access_token
  admins.set(service, browser)
  return browser
}

/** Registers a client that delegates login. */
export async function newClient (service: Service, metadata: object = {}): Promise<TestClient> {
  const admin = await adminOf(service)
  const { status, body } = await admin.post('/v1/admin/clients', {
    name: 'Orders', redirect_uris: [redirectUri], ...metadata
  })
  assert.equal(status, 201, JSON.stringify(body))
  return { id: body.client_id, secret: body.client_secret, redirectUri: body.redirect_uris[0] }
}

/** A code verifier and its challenge (RFC 7636). */
export function newVerifier () {
  const verifier = randomBytes(32).toString('base64url')
  return { verifier, challenge: createHash('sha256').update(verifier).digest('base64url') }
}

export interface AuthorizationAttempt {
  /** The URL of the request. */
  url: string
  verifier: string
  state: string
  nonce: string
}

/** An authorization request of a client. A parameter that is undefined is left out. */
export function authorizationOf (
  client: TestClient, overrides: Record<string, string | undefined> = {}
): AuthorizationAttempt {
  const { verifier, challenge } = newVerifier()
  const state = randomBytes(6).toString('hex')
  const nonce = randomBytes(6).toString('hex')
  const parameters = {
    response_type: 'code',
    client_id: client.id,
    redirect_uri: client.redirectUri,
    scope: 'openid profile email',
    state,
    nonce,
    code_challenge: challenge,
    code_challenge_method: 'S256',
    ...overrides
  }
  const sent = Object.entries(parameters).flatMap(
    ([name, value]) => value === undefined ? [] : [[name, value] as const]
  )
  return {
    url: `/oauth/authorize?${new URLSearchParams(
    Object.fromEntries(sent)
  ).toString()}`,
    verifier,
    state,
    nonce
  }
}

const form = { 'content-type': 'application/x-www-form-urlencoded' }

/** Submits a form of a page. */
export const submit = async (
  browser: Browser,
  path: string,
  fields: Record<string, string>
): Promise<Answer> =>
  await browser.post(
    path,
    new URLSearchParams(fields).toString(),
    { ...form, 'sec-fetch-site': 'same-origin' }
  )

/** Where an answer sends the browser: by a redirect, or by a page that moves on by itself. */
export function destinationOf ({ headers, text }: Answer): URL {
  const [, refreshed] = /<meta http-equiv="refresh" content="0;\s*url=([^"]+)"/i.exec(text) ?? []
  const location = headers['location'] ?? refreshed?.replaceAll('&amp;', '&')
  assert.equal(typeof location, 'string', `the answer leads nowhere: ${text.slice(0, 300)}`)
  return new URL(String(location), 'http://localhost:3000')
}

/** The sealed request that a redirect to a page carries. */
export const sealedIn = (url: URL): string => url.searchParams.get('request') ?? ''

/** Follows an authorization request: signs in on the page, gives consent, and returns where it ends. */
export async function authorize (
  browser: Browser, attempt: AuthorizationAttempt, user?: { email: string, password: string }
): Promise<URL> {
  let url = destinationOf(await browser.get(attempt.url))
  if (url.pathname === '/sign-in' && user) {
    url = destinationOf(await submit(browser, '/sign-in', {
      identifier: user.email, password: user.password, request: sealedIn(url)
    }))
  }
  if (url.pathname === '/consent') {
    url = destinationOf(await submit(browser, '/consent', { request: sealedIn(url), decision: 'allow' }))
  }
  return url
}

/** Whether an access token with the scope `openid` is accepted. */
export async function isActive (service: Service, accessToken: string): Promise<boolean> {
  const browser = service.browser()
  browser.accessToken = accessToken
  return (await browser.get('/oauth/userinfo')).status === 200
}

/** The code of a redirect to the client. */
export function codeIn (url: URL): string {
  const code = url.searchParams.get('code')
  assert(code, `no code: ${url.href}`)
  return code
}

/** Sends a form to the token endpoint as a client. */
export async function requestTokens (
  service: Service, client: TestClient, parameters: Record<string, string>
): Promise<Answer> {
  const { id, secret } = client
  const credentials = secret === undefined ? { client_id: id } : { client_id: id, client_secret: secret }
  return await service.browser().post(
    '/oauth/token', new URLSearchParams({ ...parameters, ...credentials }).toString(), form)
}

/** Redeems a code. */
export const redeem = async (
  service: Service, client: TestClient, { code, verifier }: { code: string, verifier: string }
): Promise<Answer> => await requestTokens(service, client, {
  grant_type: 'authorization_code', code, redirect_uri: client.redirectUri, code_verifier: verifier
})

/** The tokens of a user who signed in for a client, and the browser. */
export async function signInFor (
  service: Service, client: TestClient, overrides: Record<string, string | undefined> = {}
) {
  const user = newUser()
  const browser = service.browser()
  const registered = await service.browser().post('/v1/auth/register', user)
  const attempt = authorizationOf(client, overrides)
  const code = codeIn(await authorize(browser, attempt, user))
  const { status, body } = await redeem(service, client, { code, verifier: attempt.verifier })
  assert.equal(status, 200, JSON.stringify(body))
  return { user, userId: String(registered.body.user.id), browser, attempt, code, tokens: body }
}
