import cookie, { type CookieSerializeOptions } from '@fastify/cookie'
import fp from 'fastify-plugin'
import { cookieValues } from '../src/http/cookie-header.ts'
import { isLocalOrigin } from '../src/http/origin.ts'
import { crossSiteRequest } from '../src/http/problem.ts'

declare module 'fastify' {
  interface FastifyRequest {
    /**
     * The values of every refresh cookie the request carries; more than one means that somebody planted one.
     * Throws `cross_site_request` where there is one and a foreign page sent it.
     */
    refreshCookies: () => string[]
    /** Whether the request comes from a page of the service or of an allowed origin, or from no browser. */
    isOwnPage: () => boolean
    /** Throws `cross_site_request` where a foreign page sent the request. */
    assertOwnPage: () => void
  }
  interface FastifyReply {
    /** Sets the refresh cookie; without `maxAge` (seconds) it ends with the browser's session. */
    setRefreshCookie: (token: string, maxAge?: number) => FastifyReply
    clearRefreshCookie: () => FastifyReply
  }
}

export interface RefreshCookieOptions {
  issuer: string
  corsOrigins: readonly string[]
  /** Whether every http origin of this machine is allowed. */
  allowLocalOrigins: boolean
}

/** The name of the refresh cookie of a service published at this origin. */
export const refreshCookieName = (issuer: string) => issuer.startsWith('https:') ? '__Host-refresh_token' : 'refresh_token'

/** The refresh token as a cookie that no script can read and no other site can send. */
export default fp(async function refreshCookie (app, options: RefreshCookieOptions) {
  const { issuer, corsOrigins, allowLocalOrigins } = options
  await app.register(cookie)

  const name = refreshCookieName(issuer)
  const attributes: CookieSerializeOptions = { path: '/', httpOnly: true, sameSite: 'strict', secure: issuer.startsWith('https:') }
  const own = new Set([issuer, ...corsOrigins])
  const isOwn = (origin: string) => own.has(origin) || (allowLocalOrigins && isLocalOrigin(origin))

  // OWASP's check of the origin: SameSite does not keep out the other origins of our own site.
  app.decorateRequest('isOwnPage', function () {
    const { origin, 'sec-fetch-site': site } = this.headers
    // The origin of a form is `null` where its page sends no referrer, but so is that of a foreign page in a sandbox.
    const foreign = origin !== undefined && !(origin === 'null' && site === 'same-origin') ? !isOwn(origin) : site !== undefined && site !== 'same-origin' && site !== 'none'
    return !foreign
  })
  app.decorateRequest('assertOwnPage', function () {
    if (!this.isOwnPage()) throw crossSiteRequest()
  })
  app.decorateRequest('refreshCookies', function () {
    const values = cookieValues(this.headers.cookie, name)
    if (values.length > 0) this.assertOwnPage()
    return values
  })
  app.decorateReply('setRefreshCookie', function (token, maxAge) {
    return this.setCookie(name, token, maxAge === undefined ? attributes : { ...attributes, maxAge })
  })
  app.decorateReply('clearRefreshCookie', function () {
    return this.clearCookie(name, attributes)
  })
}, { name: 'refresh-cookie' })
