import cookie, { type CookieSerializeOptions } from '@fastify/cookie'
import fp from 'fastify-plugin'
import { cookieValues } from '../src/http/cookie-header.ts'
import { cookieName } from '../src/http/cookie-name.ts'
import { isLocalOrigin } from '../src/http/origin.ts'
import { crossSiteRequest } from '../src/http/problems.ts'

declare module 'fastify' {
  interface FastifyRequest {
    /**
     * The values of all refresh cookies of the request. If there are several, a neighbouring origin planted
     * others: the authentic one counts, and if several are authentic, none does. Throws `cross_site_request`
     * if a page of another site sent a refresh cookie.
     */
    refreshCookies: () => string[]
    /** Whether a page of the service or of an allowed origin sent the request, or no browser did. */
    isSameOrigin: () => boolean
    /** Throws `cross_site_request` if a page of another site sent the request. */
    assertSameOrigin: () => void
  }
  interface FastifyReply {
    /** Sets the refresh cookie. Without a maximum age it ends with the browser's session. */
    setRefreshCookie: (token: string, maxAgeSeconds?: number) => FastifyReply
    clearRefreshCookie: () => FastifyReply
  }
}

export interface RefreshCookieOptions {
  issuer: string
  corsOrigins: readonly string[]
  /** Whether every http origin of this machine is allowed. */
  allowLocalOrigins: boolean
}

const maxOriginLength = 200

/** Keeps the refresh token in a cookie that scripts cannot read and other sites cannot send. */
export default fp(async function refreshCookie (app, options: RefreshCookieOptions) {
  const { issuer, corsOrigins, allowLocalOrigins } = options
  await app.register(cookie)

  const name = cookieName(issuer, 'refresh_token')
  const secure = issuer.startsWith('https:')
  const attributes: CookieSerializeOptions = { path: '/', httpOnly: true, sameSite: 'strict', secure }
  const trustedOrigins = new Set([new URL(issuer).origin, ...corsOrigins])
  const isTrusted = (origin: string) =>
    trustedOrigins.has(origin) || (allowLocalOrigins && isLocalOrigin(origin))

  // Defence against cross-site request forgery (OWASP: verifying origin with standard headers). SameSite does
  // not keep out the other origins of the same site.
  app.decorateRequest('isSameOrigin', function () {
    const { origin, 'sec-fetch-site': site } = this.headers
    // No page can forge this header. The origin can be unknown nevertheless: that of a form is `null` if its
    // page sends no referrer, and a development server forwards requests with its own.
    if (site === 'same-origin') return true
    if (origin !== undefined) return isTrusted(origin)
    return site === undefined || site === 'none'
  })
  let isRefusalLogged = false
  app.decorateRequest('assertSameOrigin', function () {
    if (this.isSameOrigin()) return
    const origin = this.headers.origin?.slice(0, maxOriginLength)
    if (!isRefusalLogged && origin !== undefined) {
      isRefusalLogged = true
      app.log.warn({ origin }, `request refused: it came from a page of ${origin}, which is neither the ` +
        'origin of ISSUER_URL nor in CORS_ORIGINS; if the page is yours, add its origin to CORS_ORIGINS')
    }
    throw crossSiteRequest(origin)
  })
  app.decorateRequest('refreshCookies', function () {
    const values = cookieValues(this.headers.cookie, name)
    if (values.length > 0) this.assertSameOrigin()
    return values
  })
  app.decorateReply('setRefreshCookie', function (token, maxAge) {
    return this.setCookie(name, token, { ...attributes, ...maxAge !== undefined && { maxAge } })
  })
  app.decorateReply('clearRefreshCookie', function () {
    return this.clearCookie(name, attributes)
  })
}, { name: 'refresh-cookie' })
