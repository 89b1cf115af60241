import assert from 'node:assert/strict'
import type { Service } from '../app.ts'
import type { Answer, Browser } from '../client.ts'
import {
  authorizationOf, authorize, codeIn, destinationOf, sealedIn, submit, type TestClient
} from '../delegation.ts'
import { basic } from '../authorization-header.ts'
import { HttpBrowser } from './http-browser.ts'

export interface EndUser { id: string, email: string, password: string }

/** What a browser and a client need of a provider. */
export type Agent = Pick<Browser, 'get' | 'post'>

/** Ways in which a client names and proves itself: headers and parameters. */
export interface SentCredentials { headers?: Record<string, string>, parameters?: Record<string, string> }

const form = { 'content-type': 'application/x-www-form-urlencoded' }
export const basicOf = (id: string, secret: string) => basic(id, secret).authorization

export type Parameters = Record<string, string | undefined>
export const encode = (parameters: Parameters): string => new URLSearchParams(
  Object.entries(parameters).flatMap(([name, value]): Array<[string, string]> =>
    value === undefined ? [] : [[name, value]])
).toString()

export interface RegisteredClient extends TestClient {
  authMethod: 'client_secret_basic' | 'client_secret_post' | 'none'
}

/** A token request that a client is able to send. */
export interface Issued { client: RegisteredClient, parameters: Parameters }

export interface SignOutEnd { answer: Answer, hasAsked: boolean }

/** A provider as its clients see it: the service, or the oracle. */
export abstract class Party {
  abstract readonly issuer: string
  abstract newBrowser (): Agent
  /** Signs a user in on the pages, gives consent, and returns where the browser ends. */
  abstract signIn (browser: Agent, url: string, account: EndUser): Promise<URL>
  /** Ends a sign-out that began with an answer: confirms it if a page asks. */
  abstract endSignOut (browser: Agent, answer: Answer): Promise<SignOutEnd>

  readonly account: EndUser
  readonly #browsers = new Map<string, Promise<Agent>>()
  constructor (account: EndUser) {
    this.account = account
  }

  /** A browser in which a user has signed in for a client. */
  async newSignedInBrowser (client: RegisteredClient, account = this.account): Promise<Agent> {
    const browser = this.newBrowser()
    codeIn(await this.signIn(browser, authorizationOf(client).url, account))
    return browser
  }

  /** A browser that many requests share, in which the user has signed in for a client. */
  async signedInBrowser (client: RegisteredClient): Promise<Agent> {
    const browser = this.#browsers.get(client.id) ?? this.newSignedInBrowser(client)
    this.#browsers.set(client.id, browser)
    return await browser
  }

  /** Gets a code in a browser that many requests share. */
  async code (client: RegisteredClient, overrides: Parameters = {}): Promise<Issued> {
    return await this.codeIn(await this.signedInBrowser(client), client, overrides)
  }

  /** Gets a code in a browser. */
  async codeIn (browser: Agent, client: RegisteredClient, overrides: Parameters = {}): Promise<Issued> {
    const { url, verifier } = authorizationOf(client, overrides)
    const code = codeIn(await this.signIn(browser, url, this.account))
    const parameters = {
      grant_type: 'authorization_code', code, redirect_uri: client.redirectUri, code_verifier: verifier
    }
    return { client, parameters }
  }

  /** Sends a token request. */
  async request (
    { client, parameters }: Issued, changes: Parameters = {}, credentials = credentialsOf(client)
  ): Promise<Answer> {
    const body = encode({ ...parameters, ...credentials.parameters, ...changes })
    return await this.post('/oauth/token', body, credentials.headers)
  }

  async post (path: string, body: string, headers: Record<string, string> = {}): Promise<Answer> {
    return await this.newBrowser().post(path, body, { ...form, ...headers })
  }

  /** Redeems a new code, and returns the refresh request for it. */
  async refreshable (client: RegisteredClient, overrides: Parameters = {}): Promise<Issued> {
    const { body } = await this.tokens(client, overrides)
    return { client, parameters: { grant_type: 'refresh_token', refresh_token: body.refresh_token } }
  }

  /** Redeems a new code. */
  async tokens (client: RegisteredClient, overrides: Parameters = {}, browser?: Agent): Promise<Answer> {
    const issued = await this.codeIn(browser ?? await this.signedInBrowser(client), client, overrides)
    const answer = await this.request(issued)
    assert.equal(answer.status, 200, answer.text)
    return answer
  }
}

/** The registered method of a client. */
export function credentialsOf ({ id, secret = '', authMethod }: RegisteredClient): SentCredentials {
  switch (authMethod) {
    case 'client_secret_basic': return { headers: { authorization: basicOf(id, secret) } }
    case 'client_secret_post': return { parameters: { client_id: id, client_secret: secret } }
    case 'none': return { parameters: { client_id: id } }
  }
}

export class Latchkey extends Party {
  readonly issuer = 'http://localhost:3000'
  readonly service: Service
  constructor (service: Service, account: EndUser) {
    super(account)
    this.service = service
  }

  newBrowser (): Browser {
    return this.service.browser()
  }

  async signIn (browser: Browser, url: string, account: EndUser): Promise<URL> {
    return await authorize(browser, { url, verifier: '', state: '', nonce: '' }, account)
  }

  async endSignOut (browser: Browser, answer: Answer): Promise<SignOutEnd> {
    const page = destinationOf(answer)
    if (page.pathname !== '/sign-out') return { answer, hasAsked: false }
    return { answer: await submit(browser, '/sign-out', { request: sealedIn(page) }), hasAsked: true }
  }
}

export class Oracle extends Party {
  readonly issuer: string
  constructor (issuer: string, account: EndUser) {
    super(account)
    this.issuer = issuer
  }

  newBrowser (): HttpBrowser {
    return new HttpBrowser(this.issuer)
  }

  async signIn (browser: Agent, url: string, account: EndUser): Promise<URL> {
    let location = new URL(url, this.issuer)
    for (let steps = 0; steps < 10; steps++) {
      if (location.origin !== this.issuer) return location
      if (location.pathname.startsWith('/interaction/')) location.searchParams.set('user', account.id)
      const { headers, status, text } = await browser.get(location.href)
      assert(headers['location'] !== undefined, `${location.href} answered ${status} ${text}`)
      location = new URL(String(headers['location']), location)
    }
    throw new Error(`the sign-in does not end: ${location.href}`)
  }

  async endSignOut (browser: Agent, answer: Answer): Promise<SignOutEnd> {
    const [, xsrf] = /name="xsrf" value="([^"]+)"/.exec(answer.text) ?? []
    if (xsrf === undefined) return { answer, hasAsked: false }
    const last = await browser.post('/oauth/logout/confirm', encode({ xsrf, logout: 'yes' }), form)
    // If nobody is signed in, the form submits itself.
    return { answer: last, hasAsked: answer.text.includes('op.logoutForm') }
  }
}
