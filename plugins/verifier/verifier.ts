import { setTimeout as pause } from 'node:timers/promises'
import { createTokenJudge } from './access-token.ts'
import type { Auth } from './auth.ts'
import { AuthError, tokenRequired, unavailable } from './auth-error.ts'
import { createIssuerKeys, type KeysHealth } from './keys.ts'
import type { VerifierLog } from './log.ts'
import { createDiscovery } from './metadata.ts'
import type { Algorithm, VerifierOptions } from './options.ts'
import { requireRole, requireScope, type Requirement } from './requirements.ts'
import { createFeedClient, type FeedHealth } from './revocation-feed.ts'
import { checkOptions } from './settings.ts'

export { AuthError, requireRole, requireScope }
export type { Algorithm, Auth, FeedHealth, KeysHealth, Requirement, VerifierLog, VerifierOptions }

/**
 * How the verifier is doing, for a health check.
 *
 * @example
 * { ready: true, keys: { count: 2, age: 41, failing: false }, feed: { followed: true, downSince: null } }
 */
export interface VerifierHealth {
  /** Whether valid tokens are accepted now: the keys are known, and `failClosedAfter` has not passed. */
  ready: boolean
  keys: KeysHealth
  /** Null without client credentials: then no feed is followed. */
  feed: FeedHealth | null
}

/** Verifies Latchkey's access tokens (RFC 9068). It needs no framework. */
export interface Verifier {
  /**
   * Returns the claims of an access token. Rejects with an AuthError: 401 if the token is not valid, 503 if
   * that cannot be known now. The first call waits for the keys, for 2 seconds at most.
   *
   * @example
   * const { sub, roles } = await verifier.verify(token)
   */
  verify: (token: string) => Promise<Auth>
  /**
   * The same for the value of the header `Authorization` (RFC 6750 section 2.1). Await it: a token that was
   * verified before is answered at once, and a failure may be thrown at once.
   *
   * @example
   * const { sub } = await verifier.authenticate(request.headers.authorization)
   */
  authenticate: (authorization: string | undefined) => Auth | Promise<Auth>
  /**
   * Starts to read the keys and to follow the feed, unless it has started. Resolves when both were read, or
   * after 2 seconds without them. `verify` and `authenticate` call it themselves.
   *
   * @example
   * await verifier.ready()
   * server.listen(8080)
   */
  ready: () => Promise<void>
  /**
   * Returns the state of the keys and of the feed. It does no I/O.
   *
   * @example
   * response.statusCode = verifier.health().ready ? 200 : 503
   */
  health: () => VerifierHealth
  /**
   * Ends all connections. Known keys continue to work.
   *
   * @example
   * process.once('SIGTERM', () => verifier.close())
   */
  close: () => void
}

const maxStartDelayMs = 2_000

/**
 * Creates a verifier of Latchkey's access tokens for any framework. Requests do not wait for Latchkey, except
 * the first ones whose token names a new key: keys are found by discovery (RFC 8414) and read in the
 * background, and with client credentials the revocation feed is followed. Throws an Error that names every
 * problem of the options.
 *
 * @example
 * const issuer = 'https://auth.example.com'
 * const verifier = createVerifier({ issuer, audience: issuer })
 * const { sub } = await verifier.authenticate(request.headers.authorization)
 */
export function createVerifier (options: VerifierOptions): Verifier {
  const settings = checkOptions(options)
  const { algorithms, credentials, failClosedAfter = Infinity, log } = settings
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

  async function start (): Promise<void> {
    keys.start()
    feed?.start()
    if (!feed) log.info({}, 'no client credentials: tokens of ended sessions are accepted until they expire')
    const started = new AbortController()
    const maxDelay = pause(maxStartDelayMs, undefined, { signal: started.signal })
    await Promise.race([Promise.all([keys.loaded, feed?.synced]), maxDelay])
    started.abort()
    isReady = true
  }

  let starting: Promise<void> | undefined
  let isReady = false
  const ready = async () => await (starting ??= start())

  function judge (token: string): Auth | Promise<Auth> {
    if (!isReady) return ready().then(() => judge(token))
    if (isFailedClosed()) throw unavailable('revocation feed lost')
    return judgeToken(token)
  }

  return {
    verify: async token => await judge(token),
    authenticate (authorization = '') {
      if (!/^bearer /i.test(authorization)) throw tokenRequired()
      return judge(authorization.slice('Bearer '.length))
    },
    ready,
    health () {
      const [keysHealth, feedHealth] = [keys.health(), feed?.health() ?? null]
      return { ready: keysHealth.age !== null && !isFailedClosed(), keys: keysHealth, feed: feedHealth }
    },
    close: () => closeController.abort()
  }
}
