import { EventEmitter } from 'node:events'
import fp from 'fastify-plugin'
import { databaseUnavailable } from '../src/http/problems.ts'
import { retry } from '../src/jobs/retry.ts'
import type { SubscribeToRevocations } from '../src/tokens/revocation-feed.ts'
import { RevocationLog, type RevocationEntry } from '../src/tokens/revocation-log.ts'
import { readSince } from '../src/tokens/revocation-reader.ts'
import { revoked } from '../src/tokens/revocations.ts'
import type { RevocableClaims } from './verifier/claims.ts'

declare module 'fastify' {
  interface FastifyInstance {
    revocations: {
      /**
       * Whether the token of these claims was revoked: alone, with its session, or with all tokens of its
       * user. Throws as `assertKnown` does.
       */
      isRevoked: (token: RevocableClaims) => boolean
      /**
       * Throws `database_unavailable` before the first read of the log or after an idle time, and if the last
       * read is too old.
       */
      assertKnown: () => void
      isLoaded: () => boolean
      /** Fulfilled when the log has been read for the first time. */
      loaded: Promise<void>
      /** Gives a reader the entries after a position, then every new entry until `stop`. */
      follow: SubscribeToRevocations
    }
  }
}

// The short timeout detects a connection that does not answer. After a failure, the database may only be
// slow.
const readTimeoutMs = 1_000
const readTimeoutAfterFailureMs = 5_000
const defaultPollIntervalMs = 1_000

export interface RevocationsPluginOptions {
  /**
   * Seconds for which the log is trusted while the database is unavailable. Undefined means no limit.
   */
  staleLimitSeconds: number | undefined
  /** Milliseconds between reads that make up for lost notifications; a second by default. */
  pollIntervalMs?: number | undefined
}

/** The revocation log in memory, so that the check of a token needs no database query. */
export default fp(async function revocations (app, options: RevocationsPluginOptions) {
  const { staleLimitSeconds, pollIntervalMs: maxPollIntervalMs = defaultPollIntervalMs } = options
  const closing = new AbortController()
  // A notification arrives at once. The poll makes up for lost notifications.
  const pollIntervalMs = Math.min(maxPollIntervalMs, (staleLimitSeconds ?? Infinity) * 250)
  const log = new RevocationLog()
  const emitter = new EventEmitter<{ entries: [RevocationEntry[]] }>().setMaxListeners(0)
  let readAt: number | undefined
  let reading: Promise<void> | undefined
  let isReadNeeded = false
  let hasFailed = false
  // While the service was idle, other instances may have revoked tokens. In an outage of the database that
  // began while this instance read every second, none can have.
  let isBehind = false

  const emit = (entries: RevocationEntry[]) => { if (entries.length > 0) emitter.emit('entries', entries) }

  async function readNew () {
    const startedAt = performance.now()
    const timeoutMs = hasFailed ? readTimeoutAfterFailureMs : readTimeoutMs
    const entries = log.merge(await readSince(app.db, log.snapshot, timeoutMs)) ??
      log.merge(await readSince(app.db, undefined, timeoutMs))
    readAt = startedAt
    hasFailed = false
    isBehind = false
    emit(entries ?? [])
  }
  // Only one read runs at a time. A revocation that is announced during a read may be missing from its
  // result.
  function read () {
    isReadNeeded = reading !== undefined
    reading ??= readNew().catch((error: unknown) => {
      hasFailed = true
      throw error
    }).finally(() => {
      reading = undefined
      if (isReadNeeded && !closing.signal.aborted) read().catch(() => {})
    })
    return reading
  }

  const warn = (error: unknown) =>
    app.log[app.databaseOutage.consequenceLevel]({ err: error }, 'revocation log not read; retrying')
  // An outage is logged once, not every second.
  let isOutageLogged = false
  const readAndLog = () => read().then(() => { isOutageLogged = false }, (error: unknown) => {
    if (!isOutageLogged && !closing.signal.aborted) warn(error)
    isOutageLogged = true
  })

  const loaded = app.migrated.then(() => retry(read, {
    intervalMs: pollIntervalMs,
    signal: closing.signal,
    isFinal: () => false,
    onFailure: warn
  }))
  loaded.catch(() => {})
  app.notifications.on('latchkey_revocations', () => { void readAndLog() })
  const stopPolling = app.idleness.repeat(pollIntervalMs, () => {
    if (readAt !== undefined) void readAndLog()
  })
  app.idleness.addRefresher(async () => {
    if (readAt === undefined) return
    isBehind = true
    await readAndLog()
  })

  function assertKnown () {
    if (readAt === undefined) throw databaseUnavailable('revocation log not read yet')
    if (isBehind) throw databaseUnavailable('revocation log not read since the service was idle')
    if (staleLimitSeconds !== undefined && performance.now() - readAt > staleLimitSeconds * 1_000) {
      throw databaseUnavailable('revocation log not read for too long')
    }
  }

  app.decorate('revocations', {
    loaded,
    isLoaded: () => readAt !== undefined,
    assertKnown,
    isRevoked (token) {
      assertKnown()
      return log.isRevoked(token)
    },
    follow (position, onEntries) {
      const missing = log.after(position)
      if (missing.length > 0) onEntries(missing)
      emitter.on('entries', onEntries)
      return { position: () => log.position, stop: () => { emitter.off('entries', onEntries) } }
    }
  })

  // A revocation by this process takes effect at once, before it arrives from the database.
  app.db.subscribe(revoked, revocations => emit(log.add(revocations)))

  app.addHook('onClose', async () => {
    closing.abort()
    stopPolling()
    await reading?.catch(() => {})
  })
}, { name: 'revocations', dependencies: ['database', 'idleness', 'notifications'] })
