import assert from 'node:assert/strict'
import type { CookieSerializeOptions } from '@fastify/cookie'
import fp from 'fastify-plugin'
import { cookieValues } from '../src/http/cookie-header.ts'
import { cookieName } from '../src/http/cookie-name.ts'
import { digest } from '../src/crypto/sealing.ts'
import type { BrowserCookies } from '../src/sessions/creation.ts'
import { hashOf, type BrowserSessionState } from '../src/sessions/browser-session.ts'
import * as browserSessions from '../src/sessions/browser-session.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /**
     * Finds the browser session of a request's cookie, or the one that the request has just created, and what
     * its user has allowed a client. Records the first use of a cookie.
     */
    findBrowserSession: (request: FastifyRequest, clientId?: string) => Promise<BrowserSessionState>
  }
  interface FastifyRequest {
    /** The digests of all session cookies of the request that have the right form. */
    browserTokenHashes: () => Buffer[]
    /**
     * Generates the cookie of the session that the request is going to create. Returns its digest, and that
     * of the cookie that came with the request.
     */
    issueBrowserToken: () => BrowserCookies
    /** The value that `issueBrowserToken` generated. */
    issuedBrowserToken: string | undefined
  }
  interface FastifyReply {
    /** Sets the cookie that the request issued. Without a maximum age it ends with the browser. */
    setBrowserCookie: (maxAgeSeconds?: number) => FastifyReply
    clearBrowserCookie: () => FastifyReply
  }
}

export interface BrowserSessionOptions {
  issuer: string
  /** For how many seconds a superseded cookie is only refused. */
  replayGraceSeconds: number
}

/**
 * Keeps the cookie of the browser session. It is `Lax`, so that it comes along when a page of another site
 * sends the browser here to sign in. Routes that change something also check the origin.
 */
export default fp(async function browserSession (app, { issuer, replayGraceSeconds }: BrowserSessionOptions) {
  const name = cookieName(issuer, 'session')
  const secure = issuer.startsWith('https:')
  const attributes: CookieSerializeOptions = { path: '/', httpOnly: true, sameSite: 'lax', secure }

  app.decorateRequest('browserTokenHashes', function () {
    return cookieValues(this.headers.cookie, name).flatMap(value => hashOf(value) ?? [])
  })
  app.decorate('findBrowserSession', async (request, clientId) => {
    const { issuedBrowserToken: issued } = request
    const isPresented = issued === undefined
    const hashes = isPresented ? request.browserTokenHashes() : [digest(issued)]
    const lookup = { hashes, isPresented, clientId, replayGraceSeconds }
    return await browserSessions.findBrowserSession(app.db, lookup)
  })
  app.decorateRequest('issuedBrowserToken', undefined)
  app.decorateRequest('issueBrowserToken', function () {
    const token = browserSessions.generateToken()
    this.issuedBrowserToken = token
    const [presentedHash] = this.browserTokenHashes()
    return { hash: digest(token), presentedHash }
  })
  app.decorateReply('setBrowserCookie', function (maxAge) {
    const { issuedBrowserToken: token } = this.request
    assert(token, 'the request has issued no cookie')
    return this.setCookie(name, token, { ...attributes, ...maxAge !== undefined && { maxAge } })
  })
  app.decorateReply('clearBrowserCookie', function () {
    return this.clearCookie(name, attributes)
  })
}, { name: 'browser-session', dependencies: ['refresh-cookie', 'database'] })
