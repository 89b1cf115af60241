import fp from 'fastify-plugin'
import { connect, type Database } from '../src/db.ts'
import { migrate, MigrationError, pending } from '../src/migrate.ts'
import { untilItSucceeds } from '../src/retry.ts'

declare module 'fastify' {
  interface FastifyInstance {
    db: Database
    /** Fulfilled when the schema is up to date, however long the database is away; rejected where it cannot be. */
    migrated: Promise<void>
  }
}

export interface DatabasePluginOptions {
  url: string
  migrateOnStart: boolean
}

/** The connections to Postgres, and its schema. */
export default fp(async function database (app, { url, migrateOnStart }: DatabasePluginOptions) {
  const closing = new AbortController()
  const db = connect({ url, onError: error => app.log.warn({ err: error }, 'a database connection was lost') })

  const migrated = untilItSucceeds(async () => {
    if (migrateOnStart) {
      for (const name of await migrate(url)) app.log.info({ migration: name }, 'the database schema was migrated')
    } else {
      const missing = await pending(url)
      if (missing.length > 0) throw new Error(`the database lacks ${missing.join(', ')}: run latchkey migrate`)
    }
  }, {
    every: 1_000,
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
