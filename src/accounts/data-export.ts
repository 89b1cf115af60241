import * as audit from '../audit/events.ts'
import type { PersonalDataPart } from '../capability.ts'
import type { Database } from '../database/database.ts'
import * as leases from '../jobs/named-leases.ts'
import { exportRunning } from './problems.ts'

/** The columns of a user that belong to the user: all except the password hash. */
export const account = {
  name: 'personal-data.user',
  text: `
    select id, external_id, email, canonical_email, username, username_lookalike, name, roles,
      password_hash is not null as has_password, password_version, token_version, email_version,
      email_verified_at, disabled_at, devices_known_from, language, created_at, updated_at
    from users where id = $1`
}

// A page of this size blocks the event loop for a few milliseconds at most.
const pageRows = 200

/** The rows of a page. A part that leaves rows out also returns how many it read, as `seen`. */
type ExportRows = Array<{ cursor: string, seen?: number, id?: string | null }>

// A page is read from an index that has the rows in its order. Where the planner expects few rows, it would
// rather read and sort all rows of the user, for each page again.
export const readsInOrder = {
  name: 'personal-data.reads-in-order', text: "select set_config('enable_sort', 'off', true)"
}

async function * readRows (
  db: Database, { name, text }: PersonalDataPart, userId: string
): AsyncGenerator<object[]> {
  const statement = { name: `personal-data.${name}`, text }
  const readPage = async (after: string | null) => await db.transaction<ExportRows>(async tx => {
    await tx.query(readsInOrder)
    return await tx.query(statement, [userId, after, pageRows])
  })
  for (let after: string | null | undefined = null; after !== undefined;) {
    const page: ExportRows = await readPage(after)
    const { cursor, seen = page.length } = page.at(-1) ?? {}
    yield page.filter(({ id }) => id !== null).map(({ cursor: _cursor, seen: _seen, ...row }) => row)
    after = seen < pageRows ? undefined : cursor
  }
}

/** A running export. */
export interface DataExport {
  /** Pieces of one JSON document. */
  pieces: AsyncGenerator<string>
  /** Lets the user start another export. Call it if the reader disconnects before the end. */
  release: () => Promise<void>
}

// Longer than a client may take to read a page.
const leaseSeconds = 60
const renewalIntervalMs = 10_000

/**
 * Exports all data about a user: the account and the parts that the capabilities declare.
 * Returns undefined if there is no such user. At most one page of rows is in memory, and no connection is
 * held while the client reads. The export is recorded in the audit log first. Throws `too_many_requests`
 * while another export of the user is running on any instance.
 */
export async function exportPersonalData (
  db: Database, userId: string, parts: readonly PersonalDataPart[], origin: audit.Origin
): Promise<DataExport | undefined> {
  const lease = await leases.acquire(db, `export ${userId}`, leaseSeconds)
  if ('secondsLeft' in lease) throw exportRunning(lease.secondsLeft)
  const { release } = lease
  try {
    const [user] = await db.query<object>(account, [userId])
    if (user) {
      await audit.record(db, 'user.exported', { userId }, origin)
      return { pieces: serialize(db, { userId, user, parts, lease }), release }
    }
  } catch (error) {
    await release().catch(() => {})
    throw error
  }
  await release()
  return undefined
}

/** The user with their columns, the other parts of the export, and its lease. */
interface ExportRun { userId: string, user: object, parts: readonly PersonalDataPart[], lease: leases.Lease }

/** Yields the pieces of the JSON document. */
async function * serialize (
  db: Database, { userId, user, parts, lease }: ExportRun
): AsyncGenerator<string> {
  let renewedAt = performance.now()
  yield `{"user":${JSON.stringify(user)}`
  for (const part of parts) {
    yield `,"${part.name}":[`
    let separator = ''
    for await (const page of readRows(db, part, userId)) {
      if (performance.now() - renewedAt > renewalIntervalMs) {
        await lease.renew()
        renewedAt = performance.now()
      }
      if (page.length === 0) continue
      yield separator + page.map(row => JSON.stringify(row)).join(',')
      separator = ','
    }
    yield ']'
  }
  // All rows were read. The user can start another export when the document has arrived.
  await lease.release().catch(() => {})
  yield '}'
}
