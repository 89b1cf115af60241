import fp from 'fastify-plugin'
import { describe } from '../src/database/privileges.ts'
import { connect, type Database } from '../src/database/database.ts'
import { checkPrivileges, migrate, MigrationError, pending, type PrivilegeReport } from '../src/database/migrate.ts'
import { retryUntilSuccess } from '../src/jobs/retry.ts'

declare module 'fastify' {
  interface FastifyInstance {
    db: Database
    /** Fulfilled when the schema is up to date, however long the database is away; rejected where it cannot be. */
    migrated: Promise<void>
  }
}

export interface DatabasePluginOptions {
  url: string
  /** The address to migrate with; that of `url` if undefined. */
  ownerUrl: string | undefined
  migrateOnStart: boolean
  production: boolean
}

/** The connections to Postgres, and its schema. */
export default fp(async function database (app, options: DatabasePluginOptions) {
  const { url, ownerUrl, migrateOnStart, production } = options
  const closing = new AbortController()
  const db = connect({ url, onError: error => app.log.warn({ err: error }, 'a database connection was lost') })

  // A start is tried again until it succeeds: each finding is logged once.
  const logged = new Set<string>()
  function onPrivileges ({ separation, runtime, repaired, remaining }: PrivilegeReport) {
    for (const finding of repaired) app.log.info(describe(finding), 'database privileges repaired')
    for (const finding of remaining) {
      const { object, problem, sql } = describe(finding)
      const message = `database privileges: ${object}: ${problem}; run as its owner or as a superuser: ${sql}`
      if (!logged.has(message)) app.log.warn({ object, problem, sql }, message)
      logged.add(message)
    }
    const advice = separation === 'separate' ? undefined : unprotected[separation](runtime)
    if (production && advice !== undefined && !logged.has(advice)) app.log.warn({ role: runtime }, advice)
    if (advice !== undefined) logged.add(advice)
  }

  const migrated = retryUntilSuccess(async () => {
    if (migrateOnStart) {
      const names = await migrate(url, undefined, { ownerUrl, onPrivileges })
      for (const name of names) app.log.info({ migration: name }, 'the database schema was migrated')
    } else {
      const missing = await pending(url, undefined, onPrivileges)
      if (missing.length > 0) throw new Error(`the database lacks ${missing.join(', ')}: run latchkey migrate`)
      onPrivileges(await checkPrivileges(url))
    }
  }, {
    intervalMs: 1_000,
    signal: closing.signal,
    isFinal: error => error instanceof MigrationError,
    onFailure: error => app.log.warn({ err: error }, 'the database is not ready; trying again')
  })
  migrated.catch(() => {})

  app.decorate('db', db)
  app.decorate('migrated', migrated)
  app.addHook('onClose', async () => {
    closing.abort()
    await db.end()
  })
}, { name: 'database' })

const unprotected = {
  single: (role: string) => `the database role ${role} owns the audit log and so can give itself the right` +
    ' to change it: set DATABASE_OWNER_URL for latchkey migrate (docs/database-roles.md)',
  superuser: (role: string) => `the database role ${role} is a superuser and so can change the audit log: ` +
    'run the service as another role (docs/database-roles.md)'
}
