import { setTimeout as pause } from 'node:timers/promises'
import pg from 'pg'
import { beginWith, open, requiredSettings, type ConnectionState, type Settings } from './connection.ts'
import { PermanentDatabaseError } from './connection-error.ts'
import { assertSuitable } from './suitability.ts'
import type { RuntimeRole } from './privileges/inspection.ts'

/**
 * The timeout of a short query, which a frozen connection would otherwise block forever. A migration has no
 * timeout, because it may take long.
 */
export const shortQuery = { query_timeout: 10_000 }

// A database that sleeps takes seconds to wake up.
const connectTimeoutMs = 10_000
// A migration may take long, so the timeouts that its role has by default do not apply.
const settings: Settings = {
  ...requiredSettings, statement_timeout: '0', lock_timeout: '0', idle_in_transaction_session_timeout: '0'
}

/** Calls `work` with a connection to a database. Throws if the database cannot be reached. */
export async function withClient<T> (
  url: string, work: (client: pg.Client, state: ConnectionState) => Promise<T>, variable?: string
): Promise<T> {
  const { client, state } = await open(url, {
    applicationName: 'latchkey migrate', connectTimeoutMs, settings, variable
  })
  try {
    await assertSuitable(client)
    return await work(client, state)
  } finally {
    await client.end().catch(() => {})
  }
}

/** The role that owns what a transaction creates, and its schema, which is then the whole search path. */
export interface Owner { role: string, schema: string }

/**
 * Runs `work` in a transaction. It makes its own settings and, if an owner is given, acts as that role,
 * because a pooler keeps nothing of the session.
 */
export async function inTransaction<T> (
  client: pg.Client, owner: Owner | undefined, work: () => Promise<T>
): Promise<T> {
  await client.query(beginWith(settings))
  try {
    if (owner) {
      await client.query(`set local role ${pg.escapeIdentifier(owner.role)}`)
      await client.query(`set local search_path = ${pg.escapeIdentifier(owner.schema)}`)
    }
    const result = await work()
    await client.query('commit')
    return result
  } catch (error) {
    await client.query('rollback').catch(() => {})
    throw error
  }
}

// An arbitrary constant, the same in every version of Latchkey.
const migrationLock = 7308332182714018
const lockTimeoutMs = 30_000
const lockPollIntervalMs = 50

/**
 * Takes the lock that only one migrating instance can hold, for the session. Throws if another instance holds
 * it for too long, because the machine of that instance may have failed.
 */
export async function lockMigrations (client: pg.Client): Promise<void> {
  await pollLock(async () =>
    await tryLock(client, 'pg_try_advisory_lock') ? { result: undefined } : undefined)
}

/**
 * Runs `work` in a transaction that has the same lock, because a pooler would leave the lock of a session to
 * other sessions.
 */
export async function exclusively<T> (
  client: pg.Client, owner: Owner | undefined, work: () => Promise<T>
): Promise<T> {
  return await pollLock(async () => await inTransaction(client, owner, async () =>
    await tryLock(client, 'pg_try_advisory_xact_lock') ? { result: await work() } : undefined))
}

async function pollLock<T> (attempt: () => Promise<{ result: T } | undefined>): Promise<T> {
  for (const end = Date.now() + lockTimeoutMs; ; await pause(lockPollIntervalMs)) {
    const outcome = await attempt()
    if (outcome) return outcome.result
    if (Date.now() > end) {
      throw new Error(`another instance has been migrating for ${lockTimeoutMs / 1_000} s`)
    }
  }
}

async function tryLock (
  client: pg.Client, name: 'pg_try_advisory_lock' | 'pg_try_advisory_xact_lock'
): Promise<boolean> {
  const { rows: [row] } = await client.query<{ isLocked: boolean }>({
    text: `select ${name}($1) as "isLocked"`, values: [migrationLock], ...shortQuery
  })
  return row?.isLocked === true
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
 * search_path. Throws a PermanentDatabaseError if the role may use no schema.
 */
export async function identify (client: pg.Client): Promise<ConnectionIdentity> {
  const { rows: [row] } = await client.query<SchemaRow>({
    text: `
      select current_user::text as name, coalesce(
        (
          select nspname from pg_class join pg_namespace on pg_namespace.oid = relnamespace
          where pg_class.oid = to_regclass('schema_migrations')
        ),
        current_schema()
      )::text as schema, ${databaseIdentity} as database, current_setting('search_path') as "searchPath",
      array(
        select nspname::text from pg_namespace
        where not has_schema_privilege(oid, 'usage') and nspname = any (array(
          select trim(both ' "' from name) from unnest(
            string_to_array(replace(current_setting('search_path'), '$user', current_user), ',')) as name
        ))
      ) as unusable`,
    ...shortQuery
  })
  if (!row) throw new Error('the database does not identify the role of the connection')
  const { name, schema, database, searchPath, unusable: [unusable] } = row
  if (schema !== null) return { name, schema, database }
  const role = pg.escapeIdentifier(name)
  if (unusable !== undefined) {
    throw new PermanentDatabaseError(`role ${name} may use no schema of its search_path (${searchPath}): ` +
      `run as a superuser "grant usage on schema ${pg.escapeIdentifier(unusable)} to ${role}"`)
  }
  throw new PermanentDatabaseError(`no schema of the search_path of role ${name} (${searchPath}) exists: ` +
    `run as a superuser "alter role ${role} in database ${pg.escapeIdentifier(client.database ?? '')} ` +
    'set search_path = public", or create the schema')
}

interface SchemaRow extends Omit<ConnectionIdentity, 'schema'> {
  schema: string | null
  searchPath: string
  /** The schemas of the search_path that the role may not use. */
  unusable: string[]
}

/** Identifies the role that logged in, and the database that it leads to. */
export async function identifyLogin (client: pg.Client): Promise<{ name: string, database: string }> {
  const { rows: [row] } = await client.query<{ name: string, database: string }>(
    `select session_user::text as name, ${databaseIdentity} as database`)
  if (!row) throw new Error('the database does not identify the role of the connection')
  return row
}
