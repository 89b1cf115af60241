import type { CookieSerializeOptions } from '@fastify/cookie'
import fp from 'fastify-plugin'
import { cookieValues } from '../src/http/cookie-header.ts'
import { cookieName } from '../src/http/cookie-name.ts'
import { mint, parse, registrationSecrets } from '../src/accounts/registration-token.ts'
import type { KeyEncryptionKeys } from '../src/crypto/sealing.ts'

declare module 'fastify' {
  interface FastifyRequest {
    /**
     * The registration that this browser made, if its cookie is authentic and there is only one. Throws
     * `cross_site_request` if a page of another site sent the cookie.
     */
    registrationId: () => string | undefined
  }
  interface FastifyReply {
    /** Records that this browser made the registration. */
    setRegistrationCookie: (registrationId: string, maxAgeSeconds: number) => FastifyReply
    /** Clears the cookie if the request carried one. */
    clearRegistrationCookie: () => FastifyReply
  }
}

export interface RegistrationCookieOptions { issuer: string, keys: KeyEncryptionKeys }

/** Keeps a cookie that proves who made a registration, and so who set its password. */
export default fp(async function registrationCookie (app, { issuer, keys }: RegistrationCookieOptions) {
  const name = cookieName(issuer, 'registration')
  const secrets = registrationSecrets(keys)
  const secure = issuer.startsWith('https:')
  const attributes: CookieSerializeOptions = { path: '/', httpOnly: true, sameSite: 'strict', secure }

  app.decorateRequest('registrationId', function () {
    const values = cookieValues(this.headers.cookie, name)
    if (values.length > 0) this.assertSameOrigin()
    const ids = values.flatMap(value => parse(value, secrets) ?? [])
    // If there are two, a neighbouring origin planted one of them.
    return ids.length === 1 ? ids[0] : undefined
  })
  app.decorateReply('setRegistrationCookie', function (registrationId, maxAge) {
    return this.setCookie(name, mint(secrets[0], registrationId), { ...attributes, maxAge })
  })
  app.decorateReply('clearRegistrationCookie', function () {
    const isSent = cookieValues(this.request.headers.cookie, name).length > 0
    return isSent ? this.clearCookie(name, attributes) : this
  })
}, { name: 'registration-cookie', dependencies: ['refresh-cookie'] })
