import fp from 'fastify-plugin'
import { derive, type KeyEncryptionKeys } from '../src/crypto/sealing.ts'
import {
  createSignInThrottle, type SignInThrottle, type ThrottleLimits
} from '../src/throttle/sign-in-throttle.ts'

declare module 'fastify' {
  interface FastifyInstance { throttle: SignInThrottle }
}

export interface ThrottleOptions { limits: ThrottleLimits, keys: KeyEncryptionKeys }

/** Throttles failed sign-ins. The counters are in the database, so all instances share them. */
export default fp(async function throttlePlugin (app, { limits, keys: [key] }: ThrottleOptions) {
  app.decorate('throttle', createSignInThrottle(limits, derive(key, 'throttle')))
}, { name: 'throttle' })
