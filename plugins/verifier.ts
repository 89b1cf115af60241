import { setTimeout as pause } from 'node:timers/promises'
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import { judge, type Auth } from './verifier/access-token.ts'
import * as keyring from './verifier/keys.ts'
import { discover } from './verifier/metadata.ts'
import { check, type Algorithm, type VerifierOptions } from './verifier/options.ts'
import { insufficientScope, Refusal, tokenRequired, unavailable } from './verifier/refusal.ts'
import * as revocationFeed from './verifier/revocation-feed.ts'

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

/**
 * A hook for `onRequest`, `preValidation` or `preHandler`, of a route or of a whole scope.
 *
 * It sets `request.auth`, or passes an error to Fastify with one of these codes (RFC 6750 section 3.1):
 *
 * | status | code | when |
 * | --- | --- | --- |
 * | 401 | `token_required` | the request has no bearer token |
 * | 401 | `invalid_token` | the token is malformed, expired or revoked, or is not for this audience |
 * | 403 | `insufficient_scope` | the token lacks the role or scope |
 * | 503 | `verification_unavailable` | the token cannot be verified now; `Retry-After` says for how long |
 *
 * 401 and 403 have the header `WWW-Authenticate`. An error handler of your own keeps these headers.
 */
export type AuthHook = (request: Authenticated, reply: { headers: (values: Record<string, string>) => unknown }, done: (error?: Error) => void) => void

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
  /** The issuer's public keys. */
  keys: keyring.KeysHealth
  /** The revocation feed; null without client credentials, because no feed is followed then. */
  feed: revocationFeed.FeedHealth | null
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

const patience = 2_000
const scopeToken = /^[\x21\x23-\x5b\x5d-\x7e]+$/

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
  const settings = check(options)
  const { issuer, algorithms, credentials, failClosedAfter = Infinity } = settings
  const closing = new AbortController()
  const metadata = discover(issuer, app.log, closing.signal)
  const keys = keyring.prepare(metadata, algorithms, app.log, closing.signal)
  const feed = credentials && revocationFeed.prepare(metadata, { ...settings, credentials }, app.log, closing.signal)
  const judgeToken = judge(settings, keys, token => feed?.isEnded(token) ?? false)
  const isClosed = () => feed !== undefined && feed.lostFor() > failClosedAfter

  function authenticate ({ raw, [verified]: before }: Authenticated): Auth | Promise<Auth> {
    if (before?.by === settings) return before.auth
    const { authorization = '' } = raw.headers
    if (!/^bearer /i.test(authorization)) throw tokenRequired()
    if (isClosed()) throw unavailable('the revocation feed is lost')
    return judgeToken(authorization.slice('Bearer '.length))
  }

  const hook = (refuse: (auth: Auth) => Refusal | undefined): AuthHook => (request, reply, done) => {
    const fail = (error: unknown) => {
      // A service's own error handler keeps them.
      if (error instanceof Refusal) reply.headers(error.headers)
      done(error instanceof Error ? error : new Error('the access token could not be verified', { cause: error }))
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
    // If the answer is known, the request does not wait for another turn of the event loop.
    if (auth instanceof Promise) auth.then(pass, fail)
    else pass(auth)
  }

  app.decorateRequest(verified)
  app.decorateRequest<Auth, 'auth'>('auth', {
    getter () {
      const auth = this[verified]?.auth
      if (!auth) throw new Error('request.auth is there only after app.requireAuth, app.requireRole or app.requireScope')
      return auth
    }
  })
  app.decorate('requireAuth', hook(() => undefined))
  app.decorate('requireRole', (...roles) => {
    if (roles.length === 0) throw new Error('app.requireRole needs a role')
    return hook(auth => roles.some(role => auth.roles.includes(role)) ? undefined : insufficientScope())
  })
  app.decorate('requireScope', (...scopes) => {
    if (scopes.length === 0 || !scopes.every(scope => scopeToken.test(scope))) throw new Error('app.requireScope needs scopes, each a text of its own')
    return hook(auth => scopes.every(scope => auth.scope.includes(scope)) ? undefined : insufficientScope(scopes))
  })
  app.decorate('verifier', {
    health: () => {
      const [keysHealth, feedHealth] = [keys.health(), feed?.health() ?? null]
      return { ready: keysHealth.age !== null && !isClosed(), keys: keysHealth, feed: feedHealth }
    }
  })

  app.addHook('onReady', async () => {
    keys.start()
    feed?.start()
    if (!feed) app.log.info('no client credentials: tokens of ended sessions are accepted until they expire')
    const enough = new AbortController()
    await Promise.race([Promise.all([keys.loaded, feed?.synced]), pause(patience, undefined, { signal: enough.signal })])
    enough.abort()
  })
  app.addHook('onClose', async () => { closing.abort() })
}, { name: 'latchkey-verifier', fastify: '5.x' })
