import type { FastifyInstance, FastifyPluginOptions } from 'fastify'
import fp from 'fastify-plugin'
import type { Auth } from './auth.ts'
import { createHooks, verified, type Authenticated, type AuthHook, type Verified } from './auth-hook.ts'
import type { VerifierOptions } from './options.ts'
import { requireRole, requireScope } from './requirements.ts'
import { createVerifier, type Verifier } from './verifier.ts'

export type { Authenticated, AuthHook }
export * from './verifier.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /**
     * Requires a valid access token (RFC 9068 section 4).
     *
     * @example
     * app.get('/orders', { onRequest: app.requireAuth }, async ({ auth }) => ordersOf(auth.sub))
     */
    requireAuth: AuthHook
    /**
     * Requires a valid access token with at least one of these roles (RFC 9068 section 2.2.3.1). Throws an
     * Error at once if no role is given.
     *
     * @example
     * app.get('/reports', { onRequest: app.requireRole('admin', 'support') }, async () => reports())
     */
    requireRole: (...roles: string[]) => AuthHook
    /**
     * Requires a valid access token with all of these scopes (RFC 6749 section 3.3). Throws an Error at once
     * if no scope is given, or one that is not a scope token.
     *
     * @example
     * app.post('/orders', { onRequest: app.requireScope('orders:write') }, async () => newOrder())
     */
    requireScope: (...scopes: string[]) => AuthHook
    /**
     * The verifier itself: for a health check, or for tokens that do not come in a request's header.
     *
     * @example
     * app.get('/health', async (_request, reply) => {
     *   const health = app.verifier.health()
     *   return reply.code(health.ready ? 200 : 503).send(health)
     * })
     */
    verifier: Pick<Verifier, 'health' | 'verify'>
  }
  interface FastifyRequest {
    /** The claims of the request's token. Throws an Error if none of the three hooks ran before. */
    readonly auth: Auth
    [verified]: Verified | undefined
  }
}

/**
 * A Fastify plugin that verifies Latchkey's access tokens (RFC 9068) in another service. Requests do not wait
 * for Latchkey, except the first ones whose token names a new key: keys are found by discovery (RFC 8414) and
 * read in the background, and with client credentials the revocation feed is followed. If Latchkey is down,
 * known keys continue to work.
 *
 * It decorates the instance with `requireAuth`, `requireRole`, `requireScope` and `verifier`, and the request
 * with `auth`. Registering it throws an Error that names every problem of the options. The server becomes
 * ready once keys and feed were read, or after 2 seconds without them; until there are keys, tokens are
 * answered 503. `app.close()` ends all connections.
 *
 * @example
 * import Fastify from 'fastify'
 * import verifier from '@latchkey/verifier/fastify'
 *
 * const app = Fastify()
 * await app.register(verifier, {
 *   issuer: 'https://auth.example.com',
 *   audience: 'https://auth.example.com',
 *   clientId: process.env.CLIENT_ID,
 *   clientSecret: process.env.CLIENT_SECRET
 * })
 * app.get('/orders', { onRequest: app.requireAuth }, async ({ auth }) => ordersOf(auth.sub))
 */
export default fp(async function verifier (app: FastifyInstance, options: VerifierOptions) {
  // Fastify passes its own options to every plugin.
  const { prefix, logLevel, logSerializers, ...own }: VerifierOptions & FastifyPluginOptions = options
  const core = createVerifier({ log: app.log, ...own })

  const createHook = createHooks(core)

  app.decorateRequest(verified)
  app.decorateRequest<Auth, 'auth'>('auth', {
    getter () {
      const auth = this[verified]?.auth
      if (!auth) {
        throw new Error('request.auth is set only after app.requireAuth, app.requireRole or app.requireScope')
      }
      return auth
    }
  })
  app.decorate('requireAuth', createHook(() => {}))
  app.decorate('requireRole', (...roles) => createHook(requireRole(...roles)))
  app.decorate('requireScope', (...scopes) => createHook(requireScope(...scopes)))
  app.decorate('verifier', core)

  app.addHook('onReady', core.ready)
  app.addHook('onClose', async () => core.close())
}, { name: 'latchkey-verifier', fastify: '5.x' })
