import pg from 'pg'
import { PermanentDatabaseError } from './connection-error.ts'
import { identifyLogin, shortQuery, type ConnectionIdentity } from './migration-connection.ts'
import { MigrationError, type Migration } from './migration-files.ts'
import { findHistory } from './migration-history.ts'
import { describeFinding, isBlocking, quote } from './privileges/finding.ts'
import type { InspectionTarget } from './privileges/inspection.ts'
import { inspectAndRepair, type PrivilegeReport } from './privileges/repair.ts'

// Whether a role has the rights to migrate, and the service's role those to work. What it lacks is said with
// the SQL that grants it.

const maxProblems = 3

/** Throws unless DATABASE_DIRECT_URL and DATABASE_URL lead to one database with one role. */
export async function assertSameRole (client: pg.Client, service: ConnectionIdentity): Promise<void> {
  const direct = await identifyLogin(client)
  if (direct.database !== service.database) {
    throw new MigrationError('DATABASE_DIRECT_URL and DATABASE_URL lead to different databases')
  }
  if (direct.name !== service.name) {
    throw new MigrationError(`DATABASE_DIRECT_URL names the role ${direct.name}, and DATABASE_URL the role ` +
      `${service.name}: use the same role, or set DATABASE_OWNER_URL for a role that owns the tables`)
  }
}

/**
 * Throws if the role may not apply migrations. If another role must, it may do so at any time, so waiting
 * helps.
 */
export async function assertMayMigrate (
  client: pg.Client, { name, schema }: ConnectionIdentity, missing: readonly Migration[]
): Promise<void> {
  const { rows: [row] } = await client.query<{ owner: string | null, isOwner: boolean, mayCreate: boolean }>({
    text: `
      select pg_get_userbyid(relowner)::text as owner, pg_has_role(relowner, 'usage') as "isOwner",
        has_schema_privilege(pg_namespace.oid, 'create') as "mayCreate"
      from pg_namespace
      left join pg_class on relnamespace = pg_namespace.oid and relname = 'schema_migrations'
      where nspname = $1`,
    values: [schema],
    ...shortQuery
  })
  if (row?.isOwner === false) {
    const names = missing.map(({ name }) => name).join(', ')
    throw new Error(`the database lacks ${names}, and its tables belong to the role ${row.owner}: ` +
      'run latchkey migrate with DATABASE_OWNER_URL')
  }
  if (row?.mayCreate !== false) return
  throw new PermanentDatabaseError(`role ${name} may not create tables in the schema ${schema}: ` +
    `run as a superuser "grant create on schema ${quote(schema)} to ${quote(name)}", ` +
    'or set DATABASE_OWNER_URL for latchkey migrate (docs/database-roles.md)')
}

/** Throws, after a report, if there is a history that the role may not read. */
export async function assertReadable (
  client: pg.Client, target: InspectionTarget, onPrivileges: ((report: PrivilegeReport) => void) | undefined
): Promise<void> {
  const { runtime } = target
  if (await findHistory(client, runtime.schema) !== 'unreadable') return
  const report = await inspectAndRepair(client, target)
  onPrivileges?.(report)
  assertSufficient(report)
}

/** Throws if requests would fail because the service's role lacks privileges. The message has the grants. */
export function assertSufficient ({ runtime, remaining }: PrivilegeReport): void {
  const blocking = remaining.filter(isBlocking).map(describeFinding)
  if (blocking.length === 0) return
  const problems = blocking.slice(0, maxProblems).map(({ object, problem }) => `${object}: ${problem}`)
  const others = blocking.length - problems.length
  const listed = `${problems.join(', ')}${others > 0 ? `, and ${others} more` : ''}`
  throw new PermanentDatabaseError(`role ${runtime} lacks privileges in the database (${listed}): ` +
    'run latchkey migrate with DATABASE_OWNER_URL, or run as the owner of the tables or as a superuser ' +
    `"${blocking.map(({ sql }) => sql).join('; ')}"`)
}
