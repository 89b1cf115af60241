import { dataFolder, type Config } from '../config/config.ts'
import type { Database } from '../database/database.ts'

/** Calls `work` with the URL of the database. The embedded one is shared with a service that runs on it. */
export async function withUrl<Result> (
  { databaseUrl }: Config, work: (url: string) => Promise<Result>
): Promise<Result> {
  if (databaseUrl !== undefined) return await work(databaseUrl)
  const embeddedPostgres = await import('../database/embedded/embedded-postgres.ts')
  const database = await embeddedPostgres.start(dataFolder, { exclusive: false })
  try {
    return await work(database.url)
  } finally {
    await database.stop()
  }
}

// No request waits for a command, so it can wait longer for a lock.
const lockTimeoutMs = 3_000

/**
 * The same on a connection, where the schema is that of this program; throws where it is not, or the database
 * is away.
 */
export async function withDatabase<T> (config: Config, work: (db: Database) => Promise<T>): Promise<T> {
  const [{ connect }, { listPending }] = await Promise.all([import('../database/database.ts'), import('../database/migrate.ts')])
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
