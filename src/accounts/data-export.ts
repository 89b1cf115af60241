import * as audit from '../audit/events.ts'
import type { Database, Queryable } from '../database/database.ts'
import * as leases from '../jobs/leases.ts'
import { exportRunning } from '../http/problem.ts'

/**
 * A part of the personal data of a user. The statement selects the user's (`$1`) rows after a cursor (`$2`), up to
 * `$3` of them, ordered by `cursor`.
 */
export interface PersonalDataPart { name: string, tables: readonly string[], text: string }

/** The columns of a user that belong to the user: all except the password hash. */
export const account = {
  name: 'personal-data.user',
  text: `
    select id, email, canonical_email, username, username_lookalike, name, roles,
      password_hash is not null as has_password, password_version, token_version, email_version,
      email_verified_at, disabled_at, devices_known_from, language, created_at, updated_at
    from users where id = $1`
}

// The origin of an event belongs to the user only if no other user caused it.
const ownOrigin = (value: string) => `case when coalesce(actor_id, $1) = $1 then ${value} end`

// With this condition a plan for any page starts at the right place in the index.
const afterCursor = "id > coalesce($2::text, '00000000-0000-0000-0000-000000000000')::uuid"

// The same for a table that other users fill, too. With an equality the planner might read the rows of all users in
// the order of their ids. A range of pairs makes it use the index over both columns.
const pageOfOwner = (owner: string) => `
  (${owner}, id) > ($1::uuid, coalesce($2::text, '00000000-0000-0000-0000-000000000000')::uuid)
  and (${owner}, id) <= ($1::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid)`

/** Every table with a column that names a user is in one of these parts. */
export const parts: readonly PersonalDataPart[] = [
  {
    name: 'sessions',
    tables: ['sessions', 'refresh_tokens'],
    text: `
      select id::text as cursor, id, methods, authenticated_at, remembered, user_agent, host(ip) as ip, created_at,
        last_used_at, expires_at, ended_at, end_reason
      from sessions left join refresh_tokens on session_id = id
      where ${pageOfOwner('user_id')} order by user_id, id limit $3`
  },
  {
    name: 'links',
    tables: ['one_time_tokens'],
    text: `
      select encode(token_hash, 'hex') as cursor, purpose, email, created_at, expires_at
      from one_time_tokens
      where user_id = $1 and token_hash > decode(coalesce($2::text, ''), 'hex')
      order by token_hash limit $3`
  },
  {
    name: 'jobs',
    tables: ['jobs'],
    text: `
      select id::text as cursor, id, kind, attempts, created_at, run_at, expires_at
      from jobs where user_id = $1 and ${afterCursor} order by id limit $3`
  },
  {
    name: 'audit_events',
    tables: ['audit_events'],
    text: `
      select id::text as cursor, id, type, created_at, user_id, actor_id, client_id, session_id,
        ${ownOrigin('host(ip)')} as ip, ${ownOrigin('user_agent')} as user_agent,
        ${ownOrigin('request_id')} as request_id, detail
      from audit_events where ${pageOfOwner('user_id')} order by user_id, id limit $3`
  },
  {
    // Actions of the user on other accounts, or on none. Who was affected, and how, is not their data. Each page is
    // read from all their actions, even if few of them are shown, because most may be on their own account.
    name: 'actions',
    tables: ['audit_events'],
    text: `
      with page as (
        select * from audit_events where actor_id is not null and ${pageOfOwner('actor_id')}
        order by actor_id, id limit $3
      ), last as (
        select id::text as cursor, count(*) over ()::int as seen from page order by id desc limit 1
      )
      select last.cursor, last.seen, page.id, type, created_at, session_id, host(ip) as ip, user_agent, request_id
      from last left join page on actor_id is distinct from user_id order by page.id`
  }
]

// Few enough to hold up the event loop for a few milliseconds at most.
const pageRows = 200

/** The rows of a page. A part that shows only some rows, or none, also says how many it read. */
type Page = Array<{ cursor: string, seen?: number, id?: string | null }>

async function * rows (db: Queryable, { name, text }: PersonalDataPart, userId: string): AsyncGenerator<object[]> {
  for (let after: string | null | undefined = null; after !== undefined;) {
    const statement = { name: `personal-data.${name}`, text }
    const page: Page = await db.query<Page[number]>(statement, [userId, after, pageRows])
    const { cursor, seen = page.length } = page.at(-1) ?? {}
    yield page.filter(({ id }) => id !== null).map(({ cursor: _cursor, seen: _seen, ...row }) => row)
    after = seen < pageRows ? undefined : cursor
  }
}

/** A running export. */
export interface DataExport {
  /** Pieces of one JSON document. */
  pieces: AsyncGenerator<string>
  /** Lets the user start another export. Call it if the reader is gone before the end. */
  release: () => Promise<void>
}

// Longer than a client may take to read a page.
const leaseSeconds = 60
const renewalIntervalMs = 10_000

/**
 * Exports everything that is held about a user. Returns undefined if there is no such user. At most one page of rows
 * is in memory, and no connection is held while the client reads. The export is recorded in the audit log first.
 * Throws `too_many_requests` while another export of the user is running on any instance.
 */
export async function exportPersonalData (
  db: Database, userId: string, origin: audit.Origin
): Promise<DataExport | undefined> {
  const lease = await leases.acquire(db, `export ${userId}`, leaseSeconds)
  if ('secondsLeft' in lease) throw exportRunning(lease.secondsLeft)
  const { release } = lease
  try {
    const [user] = await db.query<object>(account, [userId])
    if (user) {
      await audit.record(db, 'user.exported', { userId }, origin)
      return { pieces: pages(db, userId, user, lease), release }
    }
  } catch (error) {
    await release().catch(() => {})
    throw error
  }
  await release()
  return undefined
}

async function * pages (
  db: Database, userId: string, user: object, lease: leases.Lease
): AsyncGenerator<string> {
  let renewedAt = performance.now()
  yield `{"user":${JSON.stringify(user)}`
  for (const part of parts) {
    yield `,"${part.name}":[`
    let comma = ''
    for await (const page of rows(db, part, userId)) {
      if (performance.now() - renewedAt > renewalIntervalMs) {
        await lease.renew()
        renewedAt = performance.now()
      }
      if (page.length === 0) continue
      yield comma + page.map(row => JSON.stringify(row)).join(',')
      comma = ','
    }
    yield ']'
  }
  // Everything is read. The user can start another export when the document has arrived.
  await lease.release().catch(() => {})
  yield '}'
}
