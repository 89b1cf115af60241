import { EventEmitter } from 'node:events'
import fp from 'fastify-plugin'
import { databaseUnavailable } from '../src/problem.ts'
import { untilItSucceeds } from '../src/retry.ts'
import { RevocationLog, type Entry } from '../src/revocation-log.ts'
import { since, type Revocation } from '../src/revocations.ts'

declare module 'fastify' {
  interface FastifyInstance {
    revocations: {
      /** Whether this session, or this token, has ended. Throws `database_unavailable` until that is known, and when it has not been heard for too long. */
      has: (id: string) => boolean
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

export interface RevocationsPluginOptions {
  /** Seconds for which what is known may be trusted while the database is away; for ever, where undefined. */
  staleLimit: number | undefined
}

// Milliseconds. A notification comes at once; this is for those that are lost.
const pollEvery = 1_000

/** The ended sessions whose access tokens could still be alive, in memory: no check of a token asks the database. */
export default fp(async function revocations (app, { staleLimit }: RevocationsPluginOptions) {
  const closing = new AbortController()
  const log = new RevocationLog()
  const news = new EventEmitter<{ entries: [Entry[]] }>().setMaxListeners(0)
  let heard: number | undefined
  let looking: Promise<void> | undefined
  let again = false

  const tell = (entries: Entry[]) => { if (entries.length > 0) news.emit('entries', entries) }

  async function look () {
    const asked = performance.now()
    const found = await since(app.db, log.settled)
    heard = asked
    tell(log.merge(found))
    log.forget(found.now.getTime() - 60_000)
  }
  // One at a time; what is told of while one is under way may not be in it.
  function lookSoon () {
    again = looking !== undefined
    looking ??= look().finally(() => {
      looking = undefined
      if (again && !closing.signal.aborted) lookSoon().catch(() => {})
    })
    return looking
  }

  let failing = false
  const listen = () => lookSoon().then(() => { failing = false }, (error: unknown) => {
    if (!failing && !closing.signal.aborted) app.log.warn({ err: error }, 'the revocation log could not be read; trying again')
    failing = true
  })

  const loaded = app.migrated.then(() => untilItSucceeds(lookSoon, {
    every: pollEvery,
    signal: closing.signal,
    isFinal: () => false,
    onFailure: error => app.log.warn({ err: error }, 'the revocation log could not be read; trying again')
  }))
  loaded.catch(() => {})
  app.notifications.on('latchkey_revocations', listen)
  const timer = setInterval(() => { if (heard !== undefined) listen() }, pollEvery)
  timer.unref()

  app.decorate('revocations', {
    loaded,
    isLoaded: () => heard !== undefined,
    has (id) {
      if (heard === undefined) throw databaseUnavailable('the revocation log was not read yet')
      if (staleLimit !== undefined && performance.now() - heard > staleLimit * 1_000) throw databaseUnavailable('the revocation log could not be read for too long')
      return log.has(id)
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
