import pg from 'pg'
import { shortQuery } from './migration-connection.ts'
import { MigrationError, type Migration } from './migration-files.ts'

/** A migration as the table `schema_migrations` records it. */
export type AppliedMigration = Omit<Migration, 'sql'>

/** Finds the table that records migrations. */
export async function findHistory (
  client: pg.Client, schema: string
): Promise<'missing' | 'readable' | 'unreadable'> {
  const { rows: [row] } = await client.query<{ mayRead: boolean }>({
    text: `
      select has_table_privilege(pg_class.oid, 'select') as "mayRead"
      from pg_class join pg_namespace on pg_namespace.oid = relnamespace
      where nspname = $1 and relname = 'schema_migrations'`,
    values: [schema],
    ...shortQuery
  })
  if (!row) return 'missing'
  return row.mayRead ? 'readable' : 'unreadable'
}

/** Creates the table that records migrations. */
export async function createHistory (client: pg.Client): Promise<void> {
  await client.query(`
    create table schema_migrations (
      version integer primary key,
      name text not null,
      checksum text not null,
      applied_at timestamptz not null default now()
    )`)
}

/** Reads the migrations that were applied, in their order. */
export async function readHistory (client: pg.Client): Promise<AppliedMigration[]> {
  const { rows } = await client.query<AppliedMigration>({
    text: 'select version, name, checksum from schema_migrations order by version', ...shortQuery
  })
  return rows
}

/** Records that a migration was applied. */
export async function recordMigration (
  client: pg.Client, { version, name, checksum }: Migration
): Promise<void> {
  await client.query(
    'insert into schema_migrations (version, name, checksum) values ($1, $2, $3)', [version, name, checksum]
  )
}

/**
 * Compares the history of a database with the migrations, and returns those that are missing. Throws a
 * MigrationError if the history does not consist of the first of these migrations: migrations only go
 * forward.
 */
export function findMissing (
  migrations: readonly Migration[], history: readonly AppliedMigration[]
): Migration[] {
  for (const [index, { version, name, checksum }] of history.entries()) {
    const migration = migrations[version - 1]
    const expected = migrations[index]?.name ?? `migration ${index + 1}`
    if (!migration) {
      const last = migrations.at(-1)?.name ?? 'none'
      throw new MigrationError(
        `the database is newer than this program: it has ${name}, and the last one known here is ${last}`)
    }
    if (version !== index + 1) throw new MigrationError(`the database lacks ${expected}, but has ${name}`)
    if (migration.name !== name) {
      throw new MigrationError(
        `migration ${version} was applied as ${name}, but is ${migration.name} here: ${advice}`)
    }
    if (migration.checksum !== checksum) {
      throw new MigrationError(`${name} is not the file that was applied: ${advice}`)
    }
  }
  return migrations.slice(history.length)
}

const advice = 'restore the file, or use a database that this version of Latchkey has migrated'
