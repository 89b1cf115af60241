import type { CookieSerializeOptions } from '@fastify/cookie'
import fp from 'fastify-plugin'
import { cookieValues } from '../src/http/cookie-header.ts'
import {
  decodeDevice, deviceLifetimeSeconds, deviceSecrets, encodeDevice, forgetAccount, recordSignIn, type Device
} from '../src/authentication/known-device.ts'
import type { KeyEncryptionKeys } from '../src/crypto/sealing.ts'

declare module 'fastify' {
  interface FastifyRequest {
    /** The device that the request comes from, as far as it was here before. */
    readonly device: Device | undefined
  }
  interface FastifyReply {
    /** Remembers that the user signed in on this device, at that time of the database's. */
    setDeviceCookie: (userId: string, now: Date) => FastifyReply
    /** Has the device forget the user. */
    forgetOnDevice: (userId: string) => FastifyReply
  }
}

export interface DeviceCookieOptions { issuer: string, keys: KeyEncryptionKeys }

/** The name of the device cookie of a service published at this origin. */
export const deviceCookieName = (issuer: string) => issuer.startsWith('https:') ? '__Host-device' : 'device'

/** The cookie by which a device is known: whoever has it is no stranger to the accounts in it, and nothing more. */
export default fp(async function deviceCookie (app, { issuer, keys }: DeviceCookieOptions) {
  const name = deviceCookieName(issuer)
  const secrets = deviceSecrets(keys)
  const attributes: CookieSerializeOptions = { path: '/', httpOnly: true, sameSite: 'strict', secure: issuer.startsWith('https:'), maxAge: deviceLifetimeSeconds }

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
    return this.setCookie(name, encodeDevice(secrets[0], recordSignIn(this.request.device, userId, now)), attributes)
  })
  app.decorateReply('forgetOnDevice', function (userId) {
    const { device } = this.request
    const left = device && forgetAccount(device, userId)
    if (!left) return device ? this.clearCookie(name, attributes) : this
    return this.setCookie(name, encodeDevice(secrets[0], left), attributes)
  })
}, { name: 'device-cookie', dependencies: ['refresh-cookie'] })
