import pg from 'pg'
import { inTransaction, type Owner } from '../migration-connection.ts'
import type { Finding } from './finding.ts'
import { inspect, type InspectionTarget, type RoleSeparation } from './inspection.ts'

/** How the service's role is separated from the owner, what was repaired, and what still needs repair. */
export interface PrivilegeReport {
  separation: RoleSeparation
  /** The role that the service logs in as. */
  runtime: string
  repaired: Finding[]
  remaining: Finding[]
}

// An arbitrary constant, the same in every version of Latchkey.
const repairLock = 7308332182714021
const lockTimeoutMs = 1_000
const lockNotAvailable = '55P03'

/**
 * Inspects, repairs under a lock what the role of the connection, or the owner, may repair, and inspects
 * again.
 */
export async function inspectAndRepair (
  client: pg.Client, target: InspectionTarget, owner?: Owner
): Promise<PrivilegeReport> {
  const before = await inspect(client, target)
  const report = { separation: before.separation, runtime: target.runtime.name }
  const { rows: [current] } = await client.query<{ name: string }>('select current_user::text as name')
  // A role that owns nothing can repair nothing. It must not try, because even a futile grant takes locks.
  const isPowerless = before.separation === 'separate' && current?.name === target.runtime.name
  if (before.findings.length === 0 || isPowerless) {
    return { ...report, repaired: [], remaining: before.findings }
  }
  try {
    await inTransaction(client, owner, async () => {
      await client.query(`set local lock_timeout = ${lockTimeoutMs}`)
      await lockPrivileges(client)
      await repair(client, (await inspect(client, target)).findings)
    })
  } catch (error) {
    if (!(error instanceof pg.DatabaseError && error.code === lockNotAvailable)) throw error
  }
  const { findings: remaining } = await inspect(client, target)
  const remains = (finding: Finding) =>
    remaining.some(({ object, problem }) => object === finding.object && problem === finding.problem)
  return { ...report, repaired: before.findings.filter(finding => !remains(finding)), remaining }
}

/**
 * Waits until no other transaction changes privileges. Concurrent grants on one object fail, so instances
 * change them one at a time.
 */
export async function lockPrivileges (client: pg.ClientBase): Promise<void> {
  await client.query('select pg_advisory_xact_lock($1)', [repairLock])
}

/**
 * Executes the statements of each finding in a savepoint of the open transaction. Skips a finding that the
 * role may not repair, or that waits too long for a lock.
 */
export async function repair (client: pg.ClientBase, findings: readonly Finding[]): Promise<void> {
  for (const { sql } of findings) {
    await client.query('savepoint repair')
    try {
      for (const statement of sql) await client.query(statement)
      await client.query('release savepoint repair')
    } catch (error) {
      if (!(error instanceof pg.DatabaseError) || /^(08|57)/.test(error.code ?? '')) throw error
      await client.query('rollback to savepoint repair')
    }
  }
}
