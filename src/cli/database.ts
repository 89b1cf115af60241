import { dataFolder, type Config } from '../config/config.ts'
import type { Database } from '../database/database.ts'

/** Calls `work` with the URL of the database. The embedded database is shared with a running service. */
export async function withUrl<Result> (
  { databaseUrl }: Config, work: (url: string) => Promise<Result>
): Promise<Result> {
  if (databaseUrl !== undefined) return await work(databaseUrl)
  const embeddedPostgres = await import('../database/embedded/embedded-postgres.ts')
  const database = await embeddedPostgres.start(dataFolder, { isExclusive: false })
  try {
    return await work(database.url)
  } finally {
    await database.stop()
  }
}

// No request waits for a command, so it can wait longer for a lock.
const lockTimeoutMs = 3_000

/**
 * Calls `work` with a connection to the database. Throws if the database cannot be reached, or if its schema
 * lacks migrations.
 */
export async function withDatabase<Result> (
  config: Config, work: (db: Database) => Promise<Result>
): Promise<Result> {
  const [{ connect }, { listPending }] = await Promise.all([
    import('../database/database.ts'), import('../database/migrate.ts')
  ])
  return await withUrl(config, async url => {
    const missing = await listPending(url)
    if (missing.length > 0) throw new Error(`the database lacks ${missing.join(', ')}: run latchkey migrate`)
    const db = connect({ url, connections: 1, lockTimeoutMs })
    try {
      return await work(db)
    } finally {
      await db.end()
    }
  })
}
