import { setTimeout as pause } from 'node:timers/promises'
import pg from 'pg'
import { declaredObjects, type DeclaredObjects } from './declared-objects.ts'
import {
  identify, identifyLogin, lockMigrations, shortQuery, withClient, type ConnectionIdentity
} from './migration-connection.ts'
import { MigrationError, readMigrations, type Migration } from './migration-files.ts'
import {
  createHistory, findMissing, hasHistory, readHistory, recordMigration, type AppliedMigration
} from './migration-history.ts'
import { becomeOwner, OwnershipError } from './owner.ts'
import { inspect, type InspectionTarget } from './privileges/inspection.ts'
import { inspectAndRepair, repair, type PrivilegeReport } from './privileges/repair.ts'

export interface MigrateOptions {
  /** A database address of a role that is a member of `latchkey_owner`, which then owns everything. */
  ownerUrl?: string | undefined
  /** Called once with what was found about roles and privileges. */
  onPrivileges?: (report: PrivilegeReport) => void
}

type OnPrivileges = MigrateOptions['onPrivileges']

/**
 * Applies the migrations that the database lacks, each in a transaction of its own, and inspects and repairs
 * privileges. Several instances may do so at once. Returns the names of the applied migrations. Throws a
 * MigrationError if the history does not fit the migrations, or if the owner's role lacks rights.
 */
export async function migrate (
  url: string, migrations = readMigrations(), options: MigrateOptions = {}
): Promise<string[]> {
  const { ownerUrl, onPrivileges } = options
  const service = ownerUrl === undefined ? undefined : await withClient(url, identify)
  const declaredUpTo = (version: number) => declaredObjects(migrations.slice(0, version))

  return await withClient(ownerUrl ?? url, async client => {
    await lockMigrations(client)
    const runtime = service ?? await identify(client)
    const target = { runtime, declared: declaredUpTo(migrations.length) }
    if (ownerUrl !== undefined) await prepareOwner(client, runtime, target.declared)
    const exists = await hasHistory(client, runtime.schema)
    const history = exists ? await readHistoryOrReport(client, target, onPrivileges) : []
    const missing = findMissing(migrations, history)
    if (exists && missing.length > 0 && ownerUrl === undefined) await assertOwner(client, missing)
    if (!exists) await createHistory(client)
    for (const migration of missing) {
      await apply(client, migration, { runtime, declared: declaredUpTo(migration.version) })
    }
    onPrivileges?.(await inspectAndRepair(client, target))
    return missing.map(({ name }) => name)
  })
}

/**
 * Lists the names of the migrations that the database lacks. Throws as `migrate` does, and changes no table.
 * If the role may not read the history, `onPrivileges` gets a report of what else it lacks.
 */
export async function listPending (
  url: string, migrations = readMigrations(), onPrivileges?: OnPrivileges
): Promise<string[]> {
  return await withClient(url, async client => {
    const runtime = await identify(client)
    const target = { runtime, declared: declaredObjects(migrations) }
    const exists = await hasHistory(client, runtime.schema)
    const history = exists ? await readHistoryOrReport(client, target, onPrivileges) : []
    return findMissing(migrations, history).map(({ name }) => name)
  })
}

/** Inspects the privileges that the service relies on, and repairs those that its role may repair. */
export async function checkPrivileges (url: string, migrations = readMigrations()): Promise<PrivilegeReport> {
  return await withClient(url, async client => {
    const runtime = await identify(client)
    return await inspectAndRepair(client, { runtime, declared: declaredObjects(migrations) })
  })
}

async function prepareOwner (
  client: pg.Client, runtime: ConnectionIdentity, declared: DeclaredObjects
): Promise<void> {
  const login = await identifyLogin(client)
  if (login.database !== runtime.database) {
    throw new MigrationError('DATABASE_OWNER_URL and DATABASE_URL lead to different databases')
  }
  if (login.name === runtime.name) {
    throw new MigrationError(`DATABASE_OWNER_URL and DATABASE_URL name the same role, ${login.name}: ` +
      'use two roles, or leave DATABASE_OWNER_URL unset')
  }
  try {
    await becomeOwner(client, { runtime, declared })
  } catch (error) {
    throw error instanceof OwnershipError ? new MigrationError(error.message, { cause: error }) : error
  }
}

/** Throws if another role must apply the missing migrations. It may do so at any time, so waiting helps. */
async function assertOwner (client: pg.Client, missing: Migration[]): Promise<void> {
  const { rows: [row] } = await client.query<{ owner: string, isOwner: boolean }>({
    text: `
      select pg_get_userbyid(relowner)::text as owner, pg_has_role(relowner, 'usage') as "isOwner"
      from pg_class where oid = to_regclass('schema_migrations')`,
    ...shortQuery
  })
  if (row?.isOwner !== false) return
  const names = missing.map(({ name }) => name).join(', ')
  throw new Error(`the database lacks ${names}, and its tables belong to the role ${row.owner}: ` +
    'run latchkey migrate with DATABASE_OWNER_URL')
}

const insufficientPrivilege = '42501'

async function readHistoryOrReport (
  client: pg.Client, target: InspectionTarget, onPrivileges: OnPrivileges
): Promise<AppliedMigration[]> {
  try {
    return await readHistory(client)
  } catch (cause) {
    if (!(cause instanceof pg.DatabaseError && cause.code === insufficientPrivilege)) throw cause
    onPrivileges?.(await inspectAndRepair(client, target))
    throw new Error(`role ${target.runtime.name} may not read schema_migrations: run latchkey migrate with ` +
      'DATABASE_OWNER_URL, or grant what docs/database-roles.md lists', { cause })
  }
}

const lockTimeoutMs = 1_000
const applyTimeoutMs = 30_000
const lockNotAvailable = '55P03'
const deadlockDetected = '40P01'

/**
 * Applies a migration in a transaction. It waits for the lock on a table only briefly, because requests wait
 * behind it, and then retries after a pause.
 */
async function apply (client: pg.Client, migration: Migration, target: InspectionTarget): Promise<void> {
  const { name, sql } = migration
  for (const end = Date.now() + applyTimeoutMs; ; await pause(lockTimeoutMs)) {
    await client.query('begin')
    try {
      await client.query(`set local lock_timeout = ${lockTimeoutMs}`)
      await client.query(sql)
      await recordMigration(client, migration)
      // Once the migration is committed, the service, and no other role, may use what it created.
      await repair(client, (await inspect(client, target)).findings)
      await client.query('commit')
      return
    } catch (cause) {
      await client.query('rollback').catch(() => {})
      const { code = '', message } = cause instanceof pg.DatabaseError ? cause : {}
      if (code === lockNotAvailable || code === deadlockDetected) {
        if (Date.now() < end) continue
        const message = `${name} could not be applied in ${applyTimeoutMs / 1_000} s: ` +
          'another transaction has locked its table'
        throw new Error(message, { cause })
      }
      // The next attempt may succeed after the loss of the connection (08), a lack of resources (53), or an
      // intervention by the operator (57).
      if (!(cause instanceof pg.DatabaseError) || /^(08|53|57)/.test(code)) throw cause
      throw new MigrationError(`${name} failed: ${message}`, { cause })
    }
  }
}
