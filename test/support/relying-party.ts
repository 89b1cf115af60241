import * as openid from 'openid-client'
import { freePort } from '../../src/database/embedded/server.ts'
import { build, newUser, type Service, type UserCredentials } from './app.ts'
import type { Browser } from './client.ts'
import { destinationOf, newClient, sealedIn, submit, type TestClient } from './delegation.ts'
import type { Teardown } from './teardown.ts'

/** The service on a port. Its URL is its issuer, so that real clients can talk to it. */
export async function startProvider (t: Teardown, overrides: Record<string, string> = {}) {
  const port = await freePort()
  const issuer = `http://localhost:${port}`
  const service = await build(t, { ISSUER_URL: issuer, ...overrides })
  await service.app.listen({ host: '127.0.0.1', port })
  return { ...service, issuer }
}

export interface LoginOptions {
  /** The parameters of the request, besides those that every request has. */
  parameters?: Record<string, string | undefined>
  browser?: Browser
  user?: UserCredentials
  /** How old the sign-in may be for the client, in seconds. */
  maxAge?: number
}

export interface LoggedIn {
  tokens: Awaited<ReturnType<typeof openid.authorizationCodeGrant>>
  claims: openid.IDToken
  browser: Browser
  user: UserCredentials
  /** The pages that the user saw. */
  pages: string[]
  /** The response to the client, and the verifier of its request. */
  response: URL
  verifier: string
}

/** A client that delegates its login by openid-client, which checks each answer as the specifications say. */
export class RelyingParty {
  readonly #service: Service
  readonly client: TestClient
  readonly config: openid.Configuration

  constructor (service: Service, client: TestClient, config: openid.Configuration) {
    this.#service = service
    this.client = client
    this.config = config
  }

  static async create (
    service: Service & { issuer: string }, metadata: object = {}, authentication = openid.ClientSecretBasic
  ): Promise<RelyingParty> {
    const client = await newClient(service, metadata)
    const method = client.secret === undefined ? openid.None() : authentication(client.secret)
    const config = await openid.discovery(new URL(service.issuer), client.id, undefined, method, {
      execute: [openid.allowInsecureRequests, openid.enableNonRepudiationChecks]
    })
    return new RelyingParty(service, client, config)
  }

  /** The path of an authorization request. A parameter that is undefined is left out. */
  request (parameters: Record<string, string | undefined>): string {
    const all = { redirect_uri: this.client.redirectUri, scope: 'openid', ...parameters }
    const sent = Object.entries(all).flatMap(([name, value]) => value === undefined ? [] : [[name, value]])
    const { pathname, search } = openid.buildAuthorizationUrl(this.config, Object.fromEntries(sent))
    return pathname + search
  }

  /** Opens a request in a browser, and does on the pages what the user has to do. */
  async follow (browser: Browser, path: string, user: UserCredentials) {
    const pages: string[] = []
    let url = destinationOf(await browser.get(path))
    while (url.pathname === '/sign-in' || url.pathname === '/consent') {
      pages.push(url.pathname)
      const fields: Record<string, string> = url.pathname === '/sign-in'
        ? { identifier: user.email, password: user.password }
        : { decision: 'allow' }
      url = destinationOf(await submit(browser, url.pathname, { ...fields, request: sealedIn(url) }))
    }
    return { pages, response: url }
  }

  /** Signs a user in, a new one unless given, and gets the tokens. */
  async logIn (login: LoginOptions = {}): Promise<LoggedIn> {
    const { parameters = {}, browser = this.#service.browser(), user, maxAge } = login
    const someone = user ?? newUser()
    if (!user) await this.#service.browser().post('/v1/auth/register', someone)
    const verifier = openid.randomPKCECodeVerifier()
    const sent: Record<string, string | undefined> = {
      code_challenge: await openid.calculatePKCECodeChallenge(verifier),
      code_challenge_method: 'S256',
      state: openid.randomState(),
      nonce: openid.randomNonce(),
      ...parameters
    }
    const { pages, response } = await this.follow(browser, this.request(sent), someone)
    const { state, nonce } = sent
    const tokens = await openid.authorizationCodeGrant(this.config, response, {
      pkceCodeVerifier: verifier,
      idTokenExpected: true,
      ...state !== undefined && { expectedState: state },
      ...nonce !== undefined && { expectedNonce: nonce },
      ...maxAge !== undefined && { maxAge }
    })
    const claims = tokens.claims()
    if (!claims) throw new Error('there is no ID token')
    return { tokens, claims, browser, user: someone, pages, response, verifier }
  }

  /** The claims of the user info endpoint, which openid-client checks. */
  userInfo = async ({ tokens, claims }: Pick<LoggedIn, 'tokens' | 'claims'>) =>
    await openid.fetchUserInfo(this.config, tokens.access_token, claims.sub)
}
