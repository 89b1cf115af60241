import fp from 'fastify-plugin'
import { derive, type KeyEncryptionKeys } from '../src/crypto/sealing.ts'
import { throttle, type Throttle, type ThrottleLimits } from '../src/throttle/sign-in-throttle.ts'

declare module 'fastify' {
  interface FastifyInstance { throttle: Throttle }
}

export interface ThrottleOptions { limits: ThrottleLimits, keys: KeyEncryptionKeys }

/** What bounds the guesses at passwords and codes, on all instances together. */
export default fp(async function loginThrottle (app, { limits, keys: [key] }: ThrottleOptions) {
  app.decorate('throttle', throttle(limits, derive(key, 'throttle')))
}, { name: 'throttle' })
