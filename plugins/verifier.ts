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

/** A request, as far as these hooks know it: whatever its body, query and headers are typed as. */
export interface Authenticated {
  raw: { headers: { authorization?: string | undefined } }
  [verified]: Verified | undefined
}

/** What was found, and by which verifier: another one may be for another audience. */
interface Verified { auth: Auth, by: object }

/** A hook for `onRequest`, `preValidation` or `preHandler`, of a route or a scope. */
export type AuthHook = (
  request: Authenticated,
  reply: { headers: (values: Record<string, string>) => unknown },
  done: (error?: Error) => void
) => void

export interface VerifierHealth {
  /** Whether valid tokens are accepted now. */
  ready: boolean
  keys: KeysHealth
  /** Null without client credentials: then no feed is followed. */
  feed: FeedHealth | null
}

declare module 'fastify' {
  interface FastifyInstance {
    /** Lets requests with a valid access token pass. */
    requireAuth: AuthHook
    /** Lets those pass whose token is valid and has any of these roles. */
    requireRole: (...roles: string[]) => AuthHook
    /** Lets those pass whose token is valid and has all of these scopes. */
    requireScope: (...scopes: string[]) => AuthHook
    verifier: { health: () => VerifierHealth }
  }
  interface FastifyRequest {
    /** What the request's token says. Throws where none of the three hooks ran before. */
    readonly auth: Auth
    [verified]: Verified | undefined
  }
}

const maxStartDelayMs = 2_000
// RFC 6749 section 3.3.
const scopeSyntax = /^[\x21\x23-\x5b\x5d-\x7e]+$/

/** Verifies the access tokens of a Latchkey in any service, without a request to it for each. */
export default fp(async function verifier (app: FastifyInstance, options: VerifierOptions) {
  const settings = checkOptions(options)
  const { issuer, algorithms, credentials, failClosedAfter = Infinity } = settings
  const { log } = app
  const closeController = new AbortController()
  const { signal: closing } = closeController
  const discover = createDiscovery(issuer, log, closing)
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
