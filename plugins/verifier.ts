import { setTimeout as pause } from 'node:timers/promises'
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import { createTokenJudge, type Auth } from './verifier/access-token.ts'
import { AuthError, insufficientScope, tokenRequired, unavailable } from './verifier/auth-error.ts'
import { createIssuerKeys, type KeysHealth } from './verifier/keys.ts'
import { createDiscovery } from './verifier/metadata.ts'
import { checkOptions, type Algorithm, type VerifierOptions } from './verifier/options.ts'
import { createFeedClient, type FeedHealth } from './verifier/revocation-feed.ts'

export type { Algorithm, Auth, VerifierOptions }

const verified: unique symbol = Symbol('latchkey.verified')

/**
 * The part of a Fastify request that the hooks use. It fits a request of every body, query and header type.
 */
export interface Authenticated {
  raw: { headers: { authorization?: string | undefined } }
  [verified]: Verified | undefined
}

/**
 * The claims of the request's token, and which verifier found them: another one may be for another audience.
 */
interface Verified { auth: Auth, by: object }

/** A hook for `onRequest`, `preValidation` or `preHandler`, of a route or a scope. */
export type AuthHook = (
  request: Authenticated,
  reply: { headers: (values: Record<string, string>) => unknown },
  done: (error?: Error) => void
) => void

/**
 * How the verifier is doing, for a health check.
 *
 * @example
 * app.get('/health', async (_request, reply) => {
 *   const health = app.verifier.health()
 *   return reply.code(health.ready ? 200 : 503).send(health)
 * })
 */
export interface VerifierHealth {
  /** Whether valid tokens are accepted now: the keys are known, and `failClosedAfter` has not passed. */
  ready: boolean
  keys: KeysHealth
  /** Null without client credentials: then no feed is followed. */
  feed: FeedHealth | null
}

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
    verifier: {
      /** Returns the state of the keys and of the feed. It does no I/O. */
      health: () => VerifierHealth
    }
  }
  interface FastifyRequest {
    /** The claims of the request's token. Throws an Error if none of the three hooks ran before. */
    readonly auth: Auth
    [verified]: Verified | undefined
  }
}

const maxStartDelayMs = 2_000
// RFC 6749 section 3.3.
const scopeSyntax = /^[\x21\x23-\x5b\x5d-\x7e]+$/

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
 * import verifier from 'latchkey/verifier'
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
  const settings = checkOptions(options)
  const { algorithms, credentials, failClosedAfter = Infinity } = settings
  const { log } = app
  const closeController = new AbortController()
  const { signal: closing } = closeController
  const discover = createDiscovery(settings, log, closing)
  const keys = createIssuerKeys({ discover, algorithms, log, closing })
  const feed = credentials && createFeedClient({
    discover,
    credentials,
    feedTimeoutSeconds: settings.feedTimeout,
    clockToleranceSeconds: settings.clockTolerance,
    log,
    closing
  })
  const judgeToken = createTokenJudge(settings, keys, token => feed?.isRevoked(token) ?? false)
  const isFailedClosed = () => feed !== undefined && feed.lostSeconds() > failClosedAfter

  function authenticate ({ raw, [verified]: earlier }: Authenticated): Auth | Promise<Auth> {
    if (earlier?.by === settings) return earlier.auth
    const { authorization = '' } = raw.headers
    if (!/^bearer /i.test(authorization)) throw tokenRequired()
    if (isFailedClosed()) throw unavailable('revocation feed lost')
    return judgeToken(authorization.slice('Bearer '.length))
  }

  const createHook = (refuse: (auth: Auth) => AuthError | undefined): AuthHook => (request, reply, done) => {
    const fail = (error: unknown) => {
      // These headers stay if the service has an error handler of its own.
      if (error instanceof AuthError) reply.headers(error.headers)
      done(error instanceof Error ? error : new Error('the access token was not verified', { cause: error }))
    }
    const pass = (auth: Auth) => {
      request[verified] = { auth, by: settings }
      const refusal = refuse(auth)
      if (refusal) fail(refusal)
      else done()
    }
    let auth: Auth | Promise<Auth>
    try {
      auth = authenticate(request)
    } catch (error) {
      return fail(error)
    }
    // A cached token passes in the same tick.
    if (auth instanceof Promise) auth.then(pass, fail)
    else pass(auth)
  }

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
  app.decorate('requireAuth', createHook(() => undefined))
  app.decorate('requireRole', (...roles) => {
    if (roles.length === 0) throw new Error('app.requireRole needs a role')
    return createHook(auth => roles.some(role => auth.roles.includes(role)) ? undefined : insufficientScope())
  })
  app.decorate('requireScope', (...scopes) => {
    if (scopes.length === 0 || !scopes.every(scope => scopeSyntax.test(scope))) {
      throw new Error('app.requireScope needs scopes, each as an argument of its own')
    }
    const hasAll = (auth: Auth) => scopes.every(scope => auth.scope.includes(scope))
    return createHook(auth => hasAll(auth) ? undefined : insufficientScope(scopes))
  })
  app.decorate('verifier', {
    health: () => {
      const [keysHealth, feedHealth] = [keys.health(), feed?.health() ?? null]
      return { ready: keysHealth.age !== null && !isFailedClosed(), keys: keysHealth, feed: feedHealth }
    }
  })

  app.addHook('onReady', async () => {
    keys.start()
    feed?.start()
    if (!feed) log.info('no client credentials: tokens of ended sessions are accepted until they expire')
    const started = new AbortController()
    const maxDelay = pause(maxStartDelayMs, undefined, { signal: started.signal })
    await Promise.race([Promise.all([keys.loaded, feed?.synced]), maxDelay])
    started.abort()
  })
  app.addHook('onClose', async () => { closeController.abort() })
}, { name: 'latchkey-verifier', fastify: '5.x' })
