import type { CookieSerializeOptions } from '@fastify/cookie'
import fp from 'fastify-plugin'
import { cookieValues } from '../src/http/cookie-header.ts'
import { cookieName } from '../src/http/cookie-name.ts'
import {
  decodeDevice, deviceLifetimeSeconds, deviceSecrets, encodeDevice, forgetAccount, recordSignIn, type Device
} from '../src/authentication/known-device.ts'
import type { KeyEncryptionKeys } from '../src/crypto/sealing.ts'

declare module 'fastify' {
  interface FastifyRequest {
    /** The device that sent the request. Undefined if no one has signed in on it before. */
    readonly device: Device | undefined
  }
  interface FastifyReply {
    /** Records that the user signed in on this device. `now` is the database's time. */
    setDeviceCookie: (userId: string, now: Date) => FastifyReply
    /** Removes the user from the device cookie. */
    forgetOnDevice: (userId: string) => FastifyReply
  }
}

export interface DeviceCookieOptions { issuer: string, keys: KeyEncryptionKeys }

/**
 * The cookie by which a device is known to accounts. It proves an earlier sign-in and grants nothing else.
 */
export default fp(async function deviceCookie (app, { issuer, keys }: DeviceCookieOptions) {
  const name = cookieName(issuer, 'device')
  const secrets = deviceSecrets(keys)
  const attributes: CookieSerializeOptions = {
    path: '/',
    httpOnly: true,
    sameSite: 'strict',
    secure: issuer.startsWith('https:'),
    maxAge: deviceLifetimeSeconds
  }

  app.decorateRequest('device', {
    getter () {
      for (const value of cookieValues(this.headers.cookie, name)) {
        const device = decodeDevice(value, secrets)
        if (device) return device
      }
      return undefined
    }
  })
  app.decorateReply('setDeviceCookie', function (userId, now) {
    const device = recordSignIn(this.request.device, userId, now)
    return this.setCookie(name, encodeDevice(secrets[0], device), attributes)
  })
  app.decorateReply('forgetOnDevice', function (userId) {
    const { device } = this.request
    if (!device) return this
    const remaining = forgetAccount(device, userId)
    if (!remaining) return this.clearCookie(name, attributes)
    return this.setCookie(name, encodeDevice(secrets[0], remaining), attributes)
  })
}, { name: 'device-cookie', dependencies: ['refresh-cookie'] })
