import { setTimeout as pause } from 'node:timers/promises'
import pg from 'pg'
import type { RuntimeRole } from './privileges/inspection.ts'

/**
 * The timeout of a short query, which a frozen connection would otherwise block forever. A migration has no
 * timeout, because it may take long.
 */
export const shortQuery = { query_timeout: 10_000 }

/** Calls `work` with a connection to a database. Throws if the database cannot be reached. */
export async function withClient<T> (url: string, work: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = new pg.Client({
    connectionString: url,
    application_name: 'latchkey migrate',
    connectionTimeoutMillis: 2_000,
    keepAlive: true
  })
  // Without a listener, the error of a lost connection would end the process.
  client.on('error', () => {})
  try {
    await client.connect().catch((cause: Error) => {
      // A host with two addresses fails twice, in an error without a message.
      const reason = cause instanceof AggregateError
        ? cause.errors.map(error => error.message).join(', ')
        : cause.message
      const message = `the database at ${client.host}:${client.port} cannot be reached: ${reason}`
      throw new Error(message, { cause })
    })
    return await work(client)
  } finally {
    await client.end().catch(() => {})
  }
}

// An arbitrary constant, the same in every version of Latchkey.
const migrationLock = 7308332182714018
const lockTimeoutMs = 30_000
const lockPollIntervalMs = 50

/**
 * Takes the lock that only one migrating instance can hold. Throws if another instance holds it for too long,
 * because the machine of that instance may have failed.
 */
export async function lockMigrations (client: pg.Client): Promise<void> {
  for (const end = Date.now() + lockTimeoutMs; ; await pause(lockPollIntervalMs)) {
    const { rows: [row] } = await client.query<{ isLocked: boolean }>({
      text: 'select pg_try_advisory_lock($1) as "isLocked"', values: [migrationLock], ...shortQuery
    })
    if (row?.isLocked) return
    if (Date.now() > end) {
      throw new Error(`another instance has been migrating for ${lockTimeoutMs / 1_000} s`)
    }
  }
}

/** The role of a connection, its schema, and the database that it leads to. */
export interface ConnectionIdentity extends RuntimeRole { database: string }

// Equal for two connections if they lead to the same database of the same server.
const databaseIdentity = `(
  select concat_ws(' ', datname, oid, pg_postmaster_start_time()) from pg_database
  where datname = current_database()
)`

/**
 * Identifies the role of a connection and its schema: that of the service's tables, or else the first of its
 * search_path. Throws if the role may use no schema.
 */
export async function identify (client: pg.Client): Promise<ConnectionIdentity> {
  const { rows: [row] } = await client.query<{ name: string, schema: string | null, database: string }>({
    text: `
      select current_user::text as name, coalesce(
        (
          select nspname from pg_class join pg_namespace on pg_namespace.oid = relnamespace
          where pg_class.oid = to_regclass('schema_migrations')
        ),
        current_schema()
      )::text as schema, ${databaseIdentity} as database`,
    ...shortQuery
  })
  if (row?.schema) return { ...row, schema: row.schema }
  throw new Error(`role ${row?.name} may use no schema of its search_path in the database: ` +
    `run as a superuser "grant usage on schema public to ${pg.escapeIdentifier(row?.name ?? '')}"`)
}

/** Identifies the role that logged in, and the database that it leads to. */
export async function identifyLogin (client: pg.Client): Promise<{ name: string, database: string }> {
  const { rows: [row] } = await client.query<{ name: string, database: string }>(
    `select session_user::text as name, ${databaseIdentity} as database`)
  if (!row) throw new Error('the database does not identify the role of the connection')
  return row
}
