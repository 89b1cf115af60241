import { setTimeout as pause } from 'node:timers/promises'
import pg from 'pg'
import { declaredObjects } from './declared-objects.ts'
import {
  exclusively, identify, identifyLogin, lockMigrations, withClient, type ConnectionIdentity, type Owner
} from './migration-connection.ts'
import { MigrationError, readMigrations, type Migration } from './migration-files.ts'
import {
  createHistory, findHistory, findMissing, readHistory, recordMigration
} from './migration-history.ts'
import { assertMayMigrate, assertReadable, assertSameRole } from './migration-rights.ts'
import { becomeOwner, ownerRole, OwnershipError } from './owner.ts'
import { inspect, type InspectionTarget } from './privileges/inspection.ts'
import { inspectAndRepair, repair, type PrivilegeReport } from './privileges/repair.ts'

export interface MigrateOptions {
  /** A URL of the same database and role without a pooler. */
  directUrl?: string | undefined
  /** The URL of a role that is a member of `latchkey_owner`, which then owns everything. */
  ownerUrl?: string | undefined
  /** Called once with what was found about roles and privileges. */
  onPrivileges?: (report: PrivilegeReport) => void
}

type OnPrivileges = MigrateOptions['onPrivileges']

/**
 * Applies the migrations that the database lacks, each in a transaction of its own, and inspects and repairs
 * privileges. Several instances may do so at once. Returns the names of the applied migrations. Throws a
 * PermanentDatabaseError if the history does not fit the migrations, or if a role lacks rights.
 */
export async function migrate (
  serviceUrl: string, migrations = readMigrations(), options: MigrateOptions = {}
): Promise<string[]> {
  const { directUrl, ownerUrl, onPrivileges } = options
  const [url, variable] = ownerUrl !== undefined
    ? [ownerUrl, 'DATABASE_OWNER_URL']
    : directUrl !== undefined ? [directUrl, 'DATABASE_DIRECT_URL'] : [serviceUrl, undefined]
  const service = variable === undefined ? undefined : await withClient(serviceUrl, identify)

  return await withClient(url, async (client, { isPooled }) => {
    if (!isPooled) await lockMigrations(client)
    const runtime = service ?? await identify(client)
    const target = { runtime, declared: declaredObjects(migrations) }
    const owner = ownerUrl === undefined ? undefined : { role: ownerRole, schema: runtime.schema }
    if (owner) {
      await prepareOwner(client, target)
    } else {
      if (variable !== undefined) await assertSameRole(client, runtime)
      await assertReadable(client, target, onPrivileges)
    }
    const applied: string[] = []
    for (;;) {
      const name = await applyNext(client, { migrations, runtime, owner })
      if (name === undefined) break
      applied.push(name)
    }
    onPrivileges?.(await inspectAndRepair(client, target, owner))
    return applied
  }, variable)
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
    await assertReadable(client, { runtime, declared: declaredObjects(migrations) }, onPrivileges)
    const exists = await findHistory(client, runtime.schema) !== 'missing'
    return findMissing(migrations, exists ? await readHistory(client) : []).map(({ name }) => name)
  })
}

/** Throws if the database cannot be reached at a URL, or if the service cannot work with its role there. */
export async function assertUsable (url: string, variable: string): Promise<void> {
  await withClient(url, identify, variable)
}

/** Inspects the privileges that the service relies on, and repairs those that its role may repair. */
export async function checkPrivileges (url: string, migrations = readMigrations()): Promise<PrivilegeReport> {
  return await withClient(url, async client => {
    const runtime = await identify(client)
    return await inspectAndRepair(client, { runtime, declared: declaredObjects(migrations) })
  })
}

async function prepareOwner (client: pg.Client, target: InspectionTarget & { runtime: ConnectionIdentity }) {
  const { runtime } = target
  const login = await identifyLogin(client)
  if (login.database !== runtime.database) {
    throw new MigrationError('DATABASE_OWNER_URL and DATABASE_URL lead to different databases')
  }
  if (login.name === runtime.name) {
    throw new MigrationError(`DATABASE_OWNER_URL and DATABASE_URL name the same role, ${login.name}: ` +
      'use two roles, or leave DATABASE_OWNER_URL unset')
  }
  try {
    await becomeOwner(client, target)
  } catch (error) {
    throw error instanceof OwnershipError ? new MigrationError(error.message, { cause: error }) : error
  }
}

const lockTimeoutMs = 1_000
const applyTimeoutMs = 30_000
const lockNotAvailable = '55P03'
const deadlockDetected = '40P01'

interface MigrationContext {
  migrations: readonly Migration[]
  runtime: ConnectionIdentity
  owner: Owner | undefined
}

/**
 * Applies the first migration that the database lacks, in a transaction, and returns its name. It waits for
 * the lock on a table only briefly, because requests wait behind it, and then retries after a pause.
 */
async function applyNext (client: pg.Client, context: MigrationContext): Promise<string | undefined> {
  for (const end = Date.now() + applyTimeoutMs; ; await pause(lockTimeoutMs)) {
    let migration: Migration | undefined
    try {
      return await exclusively(client, context.owner, async () => {
        const { migrations, runtime, owner } = context
        const exists = await findHistory(client, runtime.schema) !== 'missing'
        const missing = findMissing(migrations, exists ? await readHistory(client) : [])
        const [next] = missing
        if (!next) return undefined
        if (!owner) await assertMayMigrate(client, runtime, missing)
        migration = next
        if (!exists) await createHistory(client)
        await apply(client, next, { runtime, declared: declaredObjects(migrations.slice(0, next.version)) })
        return next.name
      })
    } catch (cause) {
      const { code = '', message } = cause instanceof pg.DatabaseError ? cause : {}
      if (!migration) throw cause
      const { name } = migration
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

/** Applies a migration in the open transaction. */
async function apply (client: pg.Client, migration: Migration, target: InspectionTarget): Promise<void> {
  await client.query(`set local lock_timeout = ${lockTimeoutMs}`)
  await client.query(migration.sql)
  await recordMigration(client, migration)
  // Once the migration is committed, the service, and no other role, may use what it created.
  await repair(client, (await inspect(client, target)).findings)
}
