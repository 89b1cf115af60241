import { EventEmitter } from 'node:events'
import fp from 'fastify-plugin'
import { databaseUnavailable } from '../src/http/problem.ts'
import { retry } from '../src/jobs/retry.ts'
import { RevocationLog, type Claims, type Entry } from '../src/tokens/revocation-log.ts'
import { readSince } from '../src/tokens/revocation-reader.ts'
import type { Revocation } from '../src/tokens/revocations.ts'

declare module 'fastify' {
  interface FastifyInstance {
    revocations: {
      /** Whether the token of these claims has ended: by itself, with its session, or with all of its user's. Throws as `assertKnown` does. */
      has: (token: Claims) => boolean
      /** Throws `database_unavailable` until it is known what has ended, and when that was not heard for too long. */
      assertKnown: () => void
      /** Takes in what this process has ended, before it hears of it from the database. */
      add: (revocations: Revocation[]) => void
      isLoaded: () => boolean
      /** Fulfilled when the log was read for the first time. */
      loaded: Promise<void>
      /** What a reader at this position lacks, then whatever is new, until `stop`; the position of a reader that has all of it is given. */
      follow: (position: string | undefined, reader: (entries: Entry[]) => void) => { position: () => string, stop: () => void }
    }
  }
}

// Milliseconds that a look may take: so long where it is the connection that does not answer, and so long where the database is slow.
const [hasty, patient] = [1_000, 5_000]

export interface RevocationsPluginOptions {
  /** Seconds for which what is known may be trusted while the database is away; for ever, where undefined. */
  staleLimit: number | undefined
}

/** The ended sessions whose access tokens could still be alive, in memory: no check of a token asks the database. */
export default fp(async function revocations (app, { staleLimit }: RevocationsPluginOptions) {
  const closing = new AbortController()
  // Milliseconds. A notification comes at once; this is for those that are lost.
  const pollEvery = Math.min(1_000, (staleLimit ?? Infinity) * 250)
  const log = new RevocationLog()
  const news = new EventEmitter<{ entries: [Entry[]] }>().setMaxListeners(0)
  let heard: number | undefined
  let looking: Promise<void> | undefined
  let again = false
  let failing = false

  const tell = (entries: Entry[]) => { if (entries.length > 0) news.emit('entries', entries) }

  async function readOn () {
    const asked = performance.now()
    const patience = failing ? patient : hasty
    const entries = log.merge(await readSince(app.db, log.snapshot, patience)) ?? log.merge(await readSince(app.db, undefined, patience))
    heard = asked
    failing = false
    tell(entries ?? [])
  }
  // One at a time; what is told of while one is under way may not be in it.
  function lookSoon () {
    again = looking !== undefined
    looking ??= readOn().catch((error: unknown) => { failing = true; throw error }).finally(() => {
      looking = undefined
      if (again && !closing.signal.aborted) lookSoon().catch(() => {})
    })
    return looking
  }

  // An outage is told once, and not every second.
  let told = false
  const listen = () => lookSoon().then(() => { told = false }, (error: unknown) => {
    if (!told && !closing.signal.aborted) app.log[app.databaseOutage.consequenceLevel]({ err: error }, 'revocations could not be read; retrying')
    told = true
  })

  const loaded = app.migrated.then(() => retry(lookSoon, {
    intervalMs: pollEvery,
    signal: closing.signal,
    isFinal: () => false,
    onFailure: error => app.log[app.databaseOutage.consequenceLevel]({ err: error }, 'revocations could not be read; retrying')
  }))
  loaded.catch(() => {})
  app.notifications.on('latchkey_revocations', () => { void listen() })
  const timer = setInterval(() => { if (heard !== undefined) void listen() }, pollEvery)
  timer.unref()

  function assertKnown () {
    if (heard === undefined) throw databaseUnavailable('the revocation log was not read yet')
    if (staleLimit !== undefined && performance.now() - heard > staleLimit * 1_000) throw databaseUnavailable('the revocation log could not be read for too long')
  }

  app.decorate('revocations', {
    loaded,
    isLoaded: () => heard !== undefined,
    assertKnown,
    has (token) {
      assertKnown()
      return log.has(token)
    },
    add: revocations => tell(log.add(revocations)),
    follow (position, reader) {
      const lacking = log.after(position)
      if (lacking.length > 0) reader(lacking)
      news.on('entries', reader)
      return { position: () => log.position, stop: () => { news.off('entries', reader) } }
    }
  })

  app.addHook('onClose', async () => {
    closing.abort()
    clearInterval(timer)
    await looking?.catch(() => {})
  })
}, { name: 'revocations', dependencies: ['notifications'] })
