import { setTimeout as pause } from 'node:timers/promises'
import pg from 'pg'
import { exclusively } from './migration-connection.ts'
import { quote, type Finding } from './privileges/finding.ts'
import { inspect, type InspectionTarget } from './privileges/inspection.ts'
import { lockPrivileges, repair } from './privileges/repair.ts'

/** The role without a login that owns the tables, if DATABASE_OWNER_URL is set. */
export const ownerRole = 'latchkey_owner'

/** The role of DATABASE_OWNER_URL lacks a right. The message has the SQL that grants it. */
export class OwnershipError extends Error {}

const lockTimeoutMs = 1_000
const takeoverTimeoutMs = 30_000
const lockNotAvailable = '55P03'
const deadlockDetected = '40P01'
const insufficientPrivilege = '42501'

const codeOf = (error: unknown) => error instanceof pg.DatabaseError ? error.code : undefined

/**
 * Makes `latchkey_owner` the owner of the schema's tables and functions, and creates that role if it is
 * missing. Takes over objects of other owners one by one, each together with the grants of the service's
 * role, so that a running service keeps working.
 * Throws an OwnershipError with the SQL to run if the role of the connection may not do that.
 */
export async function becomeOwner (client: pg.Client, target: InspectionTarget): Promise<void> {
  const { runtime } = target
  const { rows: [connected] } = await client.query<{ name: string }>('select session_user::text as name')
  const login = connected?.name ?? ''
  await createOwner(client, login)
  await assertMember(client, login)

  const owned = { ...target, owner: ownerRole }
  const { findings } = await inspect(client, owned)
  const containerFindings = findings.filter(({ kind }) => kind === 'database' || kind === 'schema')
  await exclusively(client, undefined, async () => await repair(client, containerFindings))
  await grantCreate(client, runtime.schema)
  for (const group of groupByTransaction(findings)) await takeOver(client, login, owned, group)
}

/** Creates the owner's role, unless it exists. */
async function createOwner (client: pg.Client, login: string): Promise<void> {
  try {
    await exclusively(client, undefined, async () => {
      const { rowCount } = await client.query('select from pg_roles where rolname = $1', [ownerRole])
      if (rowCount !== 0) return
      await client.query(`create role ${quote(ownerRole)} nologin`)
      // Since PostgreSQL 16, the creator administers the new role, but may not act as it without this grant.
      await client.query(`grant ${quote(ownerRole)} to ${quote(login)}`)
    })
  } catch (error) {
    if (codeOf(error) !== insufficientPrivilege) throw error
    throw new OwnershipError(`there is no role ${ownerRole}, and role ${login} may not create it: ` +
      `run as a superuser "create role ${ownerRole} nologin; grant ${ownerRole} to ${quote(login)}"`,
    { cause: error })
  }
}

async function assertMember (client: pg.Client, login: string): Promise<void> {
  try {
    await exclusively(client, undefined, async () => {
      await client.query(`set local role ${quote(ownerRole)}`)
    })
  } catch (error) {
    if (codeOf(error) !== insufficientPrivilege) throw error
    throw new OwnershipError(`role ${login} of DATABASE_OWNER_URL is not a member of ${ownerRole}: ` +
      `run as a superuser "grant ${ownerRole} to ${quote(login)}"`, { cause: error })
  }
}

async function grantCreate (client: pg.Client, schema: string): Promise<void> {
  const mayCreate = async () => {
    const { rows: [row] } = await client.query<{ mayCreate: boolean }>(
      "select has_schema_privilege($1, $2, 'create') as \"mayCreate\"", [ownerRole, schema])
    return row?.mayCreate === true
  }
  if (await mayCreate()) return
  const sql = `grant usage, create on schema ${quote(schema)} to ${quote(ownerRole)}`
  try {
    await exclusively(client, undefined, async () => {
      await lockPrivileges(client)
      if (!await mayCreate()) await client.query(sql)
    })
  } catch (error) {
    if (codeOf(error) !== insufficientPrivilege) throw error
  }
  if (!await mayCreate()) {
    throw new OwnershipError(`role ${ownerRole} may not create tables in the schema ${schema}: ` +
      `run as a superuser "${sql}"`)
  }
}

/**
 * Groups the objects of other owners by the transaction that takes them over. Functions that run with their
 * owner's rights work only on that owner's tables, so they are in one group with the audit log. The group is
 * small, because requests wait for it.
 */
function groupByTransaction (findings: readonly Finding[]): Finding[][] {
  const foreign = findings.filter(({ foreignOwner }) => foreignOwner !== undefined)
  const isLinked = ({ object, isDefiner = false }: Finding) =>
    isDefiner || /\.\W?(audit_events|erasures)\W?$/.test(object)
  const unlinked = foreign.filter(finding => !isLinked(finding))
  const groups = [foreign.filter(isLinked), ...unlinked.map(finding => [finding])]
  return groups.filter(group => group.length > 0)
}

async function takeOver (
  client: pg.Client, login: string, target: InspectionTarget, group: Finding[]
): Promise<void> {
  const objects = new Set(group.map(({ object }) => object))
  try {
    await retryLocks(async () => await exclusively(client, undefined, async () => {
      await client.query(`set local lock_timeout = ${lockTimeoutMs}`)
      for (const { sql } of group) for (const statement of sql) await client.query(statement)
      await client.query(`set local role ${quote(ownerRole)}`)
      const { findings } = await inspect(client, target)
      await repair(client, findings.filter(({ object }) => objects.has(object)))
    }))
  } catch (error) {
    if (codeOf(error) !== insufficientPrivilege) throw error
    const owner = quote(group[0]?.foreignOwner ?? '')
    const [grant, revoke] = [`grant ${owner} to ${quote(login)}`, `revoke ${owner} from ${quote(login)}`]
    const names = [...objects].join(', ')
    throw new OwnershipError(
      `role ${login} of DATABASE_OWNER_URL may not take over what role ${owner} owns (${names}): ` +
      `run as a superuser "${grant}", migrate again, and then run "${revoke}"`, { cause: error })
  }
}

/** Retries work that failed because another transaction had a lock, or because of a deadlock with it. */
async function retryLocks (work: () => Promise<void>): Promise<void> {
  for (const end = Date.now() + takeoverTimeoutMs; ; await pause(lockTimeoutMs)) {
    try {
      return await work()
    } catch (error) {
      const code = codeOf(error)
      if ((code !== lockNotAvailable && code !== deadlockDetected) || Date.now() > end) throw error
    }
  }
}
