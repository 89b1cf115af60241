import fp from 'fastify-plugin'
import { connect, type Database } from '../src/database/database.ts'
import { PermanentDatabaseError } from '../src/database/connection-error.ts'
import { assertUsable, checkPrivileges, listPending, migrate } from '../src/database/migrate.ts'
import { assertSufficient } from '../src/database/migration-rights.ts'
import { Outage, recordOutages } from '../src/database/outage.ts'
import { describeFinding } from '../src/database/privileges/finding.ts'
import type { PrivilegeReport } from '../src/database/privileges/repair.ts'
import { retry } from '../src/jobs/retry.ts'

declare module 'fastify' {
  interface FastifyInstance {
    db: Database
    /** Whether the database is unavailable, and since when. */
    databaseOutage: Outage
    /**
     * Fulfilled when the schema is up to date, even after a long outage. Rejected if it cannot be brought up
     * to date.
     */
    migrated: Promise<void>
  }
}

export interface DatabasePluginOptions {
  url: string
  /** The URL without a pooler; undefined if it is `url`. */
  directUrl: string | undefined
  /** The URL to migrate with; `url` if undefined. */
  ownerUrl: string | undefined
  migrateOnStart: boolean
  isProduction: boolean
  /** How long a statement may wait for a lock; 250 ms by default. */
  lockTimeoutMs?: number | undefined
}

const retryIntervalMs = 1_000

/** The connections to Postgres, and its schema. */
export default fp(async function database (app, options: DatabasePluginOptions) {
  const { url, directUrl, ownerUrl, migrateOnStart, lockTimeoutMs } = options
  const closing = new AbortController()
  const outage = new Outage({
    onFailure: error => {
      if (!closing.signal.aborted) {
        app.log.warn({ err: error }, 'database not available; retrying until it is')
      }
    },
    onRecovery: ({ seconds, failedAttempts }) =>
      app.log.info({ seconds, failed_attempts: failedAttempts }, 'database is back')
  })
  const pool = connect({ url, lockTimeoutMs, onError: error => outage.recordFailure(error) })
  const db = recordOutages(pool, outage)
  const report = reportPrivileges(app.log, options)
  const onPrivileges = (found: PrivilegeReport) => {
    report(found)
    assertSufficient(found)
  }

  const migrated = retry(async () => {
    if (migrateOnStart) {
      const names = await migrate(url, undefined, { directUrl, ownerUrl, onPrivileges })
      if (names.length > 0) {
        app.log.info({ count: names.length, migrations: names }, 'database schema migrated')
      }
    } else {
      if (directUrl !== undefined) await assertUsable(directUrl, 'DATABASE_DIRECT_URL')
      const missing = await listPending(url, undefined, onPrivileges)
      const names = missing.join(', ')
      if (missing.length > 0) throw new Error(`the database lacks ${names}: run latchkey migrate`)
      onPrivileges(await checkPrivileges(url))
    }
    outage.recordSuccess()
  }, {
    intervalMs: retryIntervalMs,
    signal: closing.signal,
    isFinal: error => error instanceof PermanentDatabaseError,
    onFailure: error => outage.recordFailure(error)
  })
  migrated.catch(() => {})

  app.decorate('db', db)
  app.decorate('databaseOutage', outage)
  app.decorate('migrated', migrated)
  app.addHook('onClose', async () => {
    closing.abort()
    await db.end()
  })
}, { name: 'database' })

type PrivilegeLog = Record<'info' | 'warn', (detail: object, message: string) => void>

/**
 * Logs the problems with the privileges in the database. A start is retried, so each finding is logged once.
 */
function reportPrivileges (log: PrivilegeLog, { isProduction }: DatabasePluginOptions) {
  const logged = new Set<string>()
  const warnOnce = (detail: object, message: string) => {
    if (!logged.has(message)) log.warn(detail, message)
    logged.add(message)
  }
  return ({ separation, runtime, repaired, remaining }: PrivilegeReport): void => {
    for (const finding of repaired) log.info(describeFinding(finding), 'database privileges repaired')
    for (const finding of remaining) {
      const { object, problem, sql } = describeFinding(finding)
      const advice = `run as its owner or as a superuser: ${sql}`
      warnOnce({ object, problem, sql }, `database privileges: ${object}: ${problem}; ${advice}`)
    }
    if (separation !== 'separate' && isProduction) {
      warnOnce({ role: runtime }, separationWarnings[separation](runtime))
    }
  }
}

const separationWarnings = {
  single: (role: string) => `the database role ${role} owns the audit log, so it can grant itself the right` +
    ' to change it: set DATABASE_OWNER_URL for latchkey migrate (docs/database-roles.md)',
  superuser: (role: string) => `the database role ${role} is a superuser, so it can change the audit log: ` +
    'run the service as another role (docs/database-roles.md)'
}
