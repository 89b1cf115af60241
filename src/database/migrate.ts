import { readdirSync, readFileSync } from 'node:fs'
import { setTimeout as pause } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import pg from 'pg'
import { becomeOwner, OwnershipError } from './owner.ts'
import {
  inspect, repair, type Finding, type InspectionTarget, type RoleSeparation, type RuntimeRole
} from './privileges.ts'
import { declaredObjects, type DeclaredObjects } from './declared-objects.ts'
import { digest } from '../crypto/sealing.ts'

export interface Migration { version: number, name: string, sql: string, checksum: string }

/** The schema in the database and the migrations of this program do not fit: waiting does not help. */
export class MigrationError extends Error {}

const folder = fileURLToPath(new URL('../../../migrations/', import.meta.url))
// An arbitrary constant, the same in every version: who holds it migrates.
const lock = 7308332182714018
const repairLock = 7308332182714021

/** The migrations of a folder of `NNN-name.sql`, in order and without gaps. */
export function read (from = folder): Migration[] {
  return readdirSync(from).filter(file => file.endsWith('.sql')).sort().map((file, index) => {
    const version = Number(/^(\d{3})-[a-z0-9-]+\.sql$/.exec(file)?.[1])
    if (version !== index + 1) throw new MigrationError(`${file} should be migration ${index + 1}, named NNN-name.sql`)
    const sql = readFileSync(`${from}/${file}`, 'utf8').replaceAll('\r\n', '\n')
    return { version, name: file, sql, checksum: digest(sql).toString('hex') }
  })
}

export interface MigrateOptions {
  /** A database address of a role that is a member of `latchkey_owner`, which then owns everything. */
  ownerUrl?: string | undefined
  /** Called once with what was found about roles and privileges. */
  onPrivileges?: (report: PrivilegeReport) => void
}

type OnPrivileges = MigrateOptions['onPrivileges']

/** How far the service's role is separated from the owner, what was repaired, and what is left to do. */
export interface PrivilegeReport {
  separation: RoleSeparation
  /** The role that the service logs in as. */
  runtime: string
  repaired: Finding[]
  remaining: Finding[]
}

/**
 * Applies the migrations that the database does not have, each once and whole, also when several instances
 * try at once; then checks and repairs privileges. Gives the names of those applied. Throws a MigrationError
 * if history was edited, has a hole, or is longer than this program's, or if the owner's role lacks rights.
 */
export async function migrate (
  url: string, migrations = read(), options: MigrateOptions = {}): Promise<string[]> {
  const { ownerUrl, onPrivileges } = options
  const service = ownerUrl === undefined ? undefined : await connected(url, identify)
  const declared = (last: number) => declaredObjects(migrations.slice(0, last))

  return await connected(ownerUrl ?? url, async client => {
    await alone(client)
    const runtime = service ?? await identify(client)
    if (ownerUrl !== undefined) await prepareOwner(client, runtime, declared(migrations.length))
    const target = { runtime, declared: declared(migrations.length) }
    const exists = await hasHistory(client, runtime.schema)
    const missing = check(migrations, exists ? await readHistory(client, target, onPrivileges) : [])
    if (exists && missing.length > 0 && ownerUrl === undefined) await assertOwner(client, missing)
    if (!exists) {
      await client.query(`create table schema_migrations (
        version integer primary key, name text not null, checksum text not null,
        applied_at timestamptz not null default now())`)
    }
    for (const migration of missing) {
      await apply(client, migration, async () => {
        // What a migration creates is usable by the service, and by no other role, once it is committed.
        const { findings } = await inspect(client, { runtime, declared: declared(migration.version) })
        await repair(client, findings)
      })
    }
    onPrivileges?.(await checkAndRepair(client, target))
    return missing.map(({ name }) => name)
  })
}

/** Checks what the service relies on in the database, and repairs what its role may. Changes nothing else. */
export async function checkPrivileges (url: string, migrations = read()): Promise<PrivilegeReport> {
  return await connected(url, async client => {
    const runtime = await identify(client)
    return await checkAndRepair(client, { runtime, declared: declaredObjects(migrations) })
  })
}

interface Identity extends RuntimeRole { database: string }

/** The role of the service and its schema: that of its tables, or else the first of its search_path. */
async function identify (client: pg.Client): Promise<Identity> {
  const { rows: [row] } = await client.query<{ name: string, schema: string | null, database: string }>({
    text: `
      select current_user::text as name, coalesce(
        (select nspname from pg_class join pg_namespace on pg_namespace.oid = relnamespace
          where pg_class.oid = to_regclass('schema_migrations')), current_schema())::text as schema,
        ${databaseIdentity} as database`,
    ...soon
  })
  if (row?.schema) return { ...row, schema: row.schema }
  throw new Error(`role ${row?.name} may use no schema of its search_path in the database: ` +
    `run as a superuser "grant usage on schema public to ${pg.escapeIdentifier(row?.name ?? '')}"`)
}

// Equal for two connections if they lead to the same database of the same server.
const databaseIdentity = `(select concat_ws(' ', datname, oid, pg_postmaster_start_time()) from pg_database
  where datname = current_database())`

async function prepareOwner (client: pg.Client, runtime: Identity, declared: DeclaredObjects): Promise<void> {
  const { rows: [row] } = await client.query<{ name: string, database: string }>(
    `select session_user::text as name, ${databaseIdentity} as database`)
  if (row?.database !== runtime.database) {
    throw new MigrationError('DATABASE_OWNER_URL and DATABASE_URL lead to different databases')
  }
  if (row.name === runtime.name) {
    throw new MigrationError(`DATABASE_OWNER_URL and DATABASE_URL name the same role, ${row.name}: ` +
      'use two roles, or leave DATABASE_OWNER_URL unset')
  }
  try {
    await becomeOwner(client, { runtime, declared })
  } catch (error) {
    throw error instanceof OwnershipError ? new MigrationError(error.message, { cause: error }) : error
  }
}

const hasHistory = async (client: pg.Client, schema: string) => (await client.query<{ exists: boolean }>({
  text: "select exists (select from pg_tables where schemaname = $1 and tablename = 'schema_migrations')",
  values: [schema],
  ...soon
})).rows[0]?.exists === true

/** Throws if another role has to apply what is missing. It may do so at any time, so waiting helps. */
async function assertOwner (client: pg.Client, missing: Migration[]): Promise<void> {
  const { rows: [row] } = await client.query<{ owner: string, isOwner: boolean }>({
    text: `
      select pg_get_userbyid(relowner)::text as owner, pg_has_role(relowner, 'usage') as "isOwner"
      from pg_class where oid = to_regclass('schema_migrations')`,
    ...soon
  })
  if (row?.isOwner !== false) return
  const names = missing.map(({ name }) => name).join(', ')
  throw new Error(`the database lacks ${names}, and its tables belong to the role ${row.owner}: ` +
    'run latchkey migrate with DATABASE_OWNER_URL')
}

/** Inspects, repairs under a lock what can be repaired, and inspects again. */
async function checkAndRepair (client: pg.Client, target: InspectionTarget): Promise<PrivilegeReport> {
  const before = await inspect(client, target)
  const report = { separation: before.separation, runtime: target.runtime.name }
  const { rows: [current] } = await client.query<{ name: string }>('select current_user::text as name')
  // A role that owns nothing can repair nothing. It must not try, because even a futile grant disturbs
  // others.
  const isPowerless = before.separation === 'separate' && current?.name === target.runtime.name
  const isDone = before.findings.length === 0 || isPowerless
  if (isDone) return { ...report, repaired: [], remaining: before.findings }
  await client.query('begin')
  try {
    await client.query(`set local lock_timeout = ${patience}`)
    // Concurrent grants on one object fail, so instances repair one at a time.
    await client.query('select pg_advisory_xact_lock($1)', [repairLock])
    await repair(client, (await inspect(client, target)).findings)
    await client.query('commit')
  } catch (error) {
    await client.query('rollback').catch(() => {})
    if (!(error instanceof pg.DatabaseError && error.code === lockNotHad)) throw error
  }
  const { findings: remaining } = await inspect(client, target)
  const isLeft = (finding: Finding) =>
    remaining.some(({ object, problem }) => object === finding.object && problem === finding.problem)
  return { ...report, repaired: before.findings.filter(finding => !isLeft(finding)), remaining }
}

// Milliseconds: for a lock, and for all attempts to get it.
const patience = 1_000
const persistence = 30_000
const lockNotHad = '55P03'
const deadlockDetected = '40P01'
const insufficientPrivilege = '42501'

/** Applies one. Whoever has the table keeps others from it only while that is waited for, and then for a while not. */
async function apply (
  client: pg.Client, migration: Migration, beforeCommit: () => Promise<void>): Promise<void> {
  const { version, name, sql, checksum } = migration
  for (const end = Date.now() + persistence; ; await pause(patience)) {
    await client.query('begin')
    try {
      await client.query(`set local lock_timeout = ${patience}`)
      await client.query(sql)
      await client.query('insert into schema_migrations (version, name, checksum) values ($1, $2, $3)', [version, name, checksum])
      await beforeCommit()
      await client.query('commit')
      return
    } catch (cause) {
      await client.query('rollback').catch(() => {})
      const { code = '', message } = cause instanceof pg.DatabaseError ? cause : {}
      if (code === lockNotHad || code === deadlockDetected) {
        if (Date.now() < end) continue
        throw new Error(`${name} could not be applied in ${persistence / 1_000} s, for another transaction has its table`, { cause })
      }
      throw cause instanceof pg.DatabaseError && !/^(08|53|57)/.test(code) ? new MigrationError(`${name} failed: ${message}`, { cause }) : cause
    }
  }
}

/**
 * The names of the migrations that the database does not have. Throws as `migrate` does, and changes nothing.
 * If the role may not read the history, `onPrivileges` gets a report of what else it lacks.
 */
export async function pending (
  url: string, migrations = read(), onPrivileges?: OnPrivileges): Promise<string[]> {
  return await connected(url, async client => {
    const runtime = await identify(client)
    const target = { runtime, declared: declaredObjects(migrations) }
    const exists = await hasHistory(client, runtime.schema)
    const applied = exists ? await readHistory(client, target, onPrivileges) : []
    return check(migrations, applied).map(({ name }) => name)
  })
}

/** Waits for the lock, but not for good: its holder may be a machine that is no more. */
async function alone (client: pg.Client): Promise<void> {
  for (const end = Date.now() + 30_000; ;) {
    const { rows: [lockRow] } = await client.query<{ had: boolean }>({ text: 'select pg_try_advisory_lock($1) as had', values: [lock], ...soon })
    if (lockRow?.had) return
    if (Date.now() > end) throw new Error('another instance has been migrating for 30 s')
    await pause(50)
  }
}

// Of what takes no time a connection that is frozen must not take for ever; a migration takes as long as it takes.
const soon = { query_timeout: 10_000 }

type Applied = Omit<Migration, 'sql'>
const history = async (client: pg.Client) => (await client.query<Applied>({ text: 'select version, name, checksum from schema_migrations order by version', ...soon })).rows

async function readHistory (
  client: pg.Client, target: InspectionTarget, onPrivileges: OnPrivileges): Promise<Applied[]> {
  try {
    return await history(client)
  } catch (cause) {
    if (!(cause instanceof pg.DatabaseError && cause.code === insufficientPrivilege)) throw cause
    onPrivileges?.(await checkAndRepair(client, target))
    throw new Error(`role ${target.runtime.name} may not read schema_migrations: run latchkey migrate with ` +
      'DATABASE_OWNER_URL, or grant what docs/database-roles.md lists', { cause })
  }
}

function check (migrations: Migration[], applied: Applied[]): Migration[] {
  for (const [index, { version, name, checksum }] of applied.entries()) {
    const known = migrations[version - 1]
    if (!known) throw new MigrationError(`the database is newer than this program: it has ${name}, and the last one known here is ${migrations.at(-1)?.name ?? 'none'}`)
    if (version !== index + 1) throw new MigrationError(`the database lacks ${migrations[index]?.name ?? index + 1}, but has ${name}`)
    if (known.name !== name) throw new MigrationError(`migration ${version} was applied as ${name}, but is ${known.name} here`)
    if (known.checksum !== checksum) throw new MigrationError(`${name} was edited after it was applied: put it back, and write a new migration`)
  }
  return migrations.slice(applied.length)
}

async function connected<T> (url: string, work: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = new pg.Client({ connectionString: url, application_name: 'latchkey migrate', connectionTimeoutMillis: 2_000, keepAlive: true })
  client.on('error', () => {})
  try {
    await client.connect().catch((cause: Error) => {
      // A host with two addresses fails twice, in an error without a message.
      const reason = cause instanceof AggregateError ? cause.errors.map(each => each.message).join(', ') : cause.message
      throw new Error(`the database at ${client.host}:${client.port} cannot be reached: ${reason}; ` +
        'start it, or correct DATABASE_URL', { cause })
    })
    return await work(client)
  } finally {
    await client.end().catch(() => {})
  }
}
