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

/** A request, as far as these hooks know it: whatever its body, query and headers are typed as. */
export interface Authenticated {
  raw: { headers: { authorization?: string | undefined } }
  [verified]: Verified | undefined
}

/** What was found, and by which verifier: another one may be for another audience. */
interface Verified { auth: Auth, by: object }

/** A hook for `onRequest`, `preValidation` or `preHandler`, of a route or a scope. */
export type AuthHook = (request: Authenticated, reply: { headers: (values: Record<string, string>) => unknown }, done: (error?: Error) => void) => void

export interface VerifierHealth {
  /** Whether valid tokens are accepted now. */
  ready: boolean
  keys: keyring.KeysHealth
  /** Null without client credentials: then no feed is followed. */
  feed: revocationFeed.FeedHealth | null
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

const patience = 2_000
const scopeToken = /^[\x21\x23-\x5b\x5d-\x7e]+$/

/** Verifies the access tokens of a Latchkey in any service, without a request to it for each. */
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
    // Not a tick is lost where the answer is known.
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
