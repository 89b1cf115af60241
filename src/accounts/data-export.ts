import * as audit from '../audit/events.ts'
import type { Database, Queryable } from '../database/database.ts'
import * as leases from '../jobs/leases.ts'
import { exportRunning } from '../http/problem.ts'

/** A part of what is held about a user: the tables that it is of, and its rows in the order of `cursor`, from the one after `$2` on. */
export interface Part { name: string, tables: readonly string[], text: string }

/** The columns of a user that are theirs to have: all but the password's hash. */
export const account = {
  name: 'personal-data.user',
  text: `
    select id, email, canonical_email, username, username_lookalike, name, roles, password_hash is not null as has_password, password_version, token_version,
      email_version, email_verified_at, disabled_at, devices_known_from, language, created_at, updated_at
    from users where id = $1`
}

// Of what somebody else did nobody is told from where.
const own = (value: string) => `case when coalesce(actor_id, $1) = $1 then ${value} end`

// A condition that a plan for any page finds its place in the index by.
const after = "id > coalesce($2::text, '00000000-0000-0000-0000-000000000000')::uuid"

// The same for a table that others may have filled. With an equality the planner might walk over the rows of
// all users in the order of their ids; a range of pairs has it take the index over both.
const pageOf = (owner: string) => `
  (${owner}, id) > ($1::uuid, coalesce($2::text, '00000000-0000-0000-0000-000000000000')::uuid)
  and (${owner}, id) <= ($1::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid)`

/** The tables that say of a row whose it is; each is in one of these parts. */
export const parts: readonly Part[] = [
  {
    name: 'sessions',
    tables: ['sessions', 'refresh_tokens'],
    text: `
      select id::text as cursor, id, methods, authenticated_at, remembered, user_agent, host(ip) as ip, created_at, last_used_at, expires_at, ended_at, end_reason
      from sessions left join refresh_tokens on session_id = id
      where ${pageOf('user_id')} order by user_id, id limit $3`
  },
  {
    name: 'links',
    tables: ['one_time_tokens'],
    text: `
      select encode(token_hash, 'hex') as cursor, purpose, email, created_at, expires_at
      from one_time_tokens where user_id = $1 and token_hash > decode(coalesce($2::text, ''), 'hex') order by token_hash limit $3`
  },
  {
    name: 'jobs',
    tables: ['jobs'],
    text: `
      select id::text as cursor, id, kind, attempts, created_at, run_at, expires_at
      from jobs where user_id = $1 and ${after} order by id limit $3`
  },
  {
    name: 'audit_events',
    tables: ['audit_events'],
    text: `
      select id::text as cursor, id, type, created_at, user_id, actor_id, client_id, session_id, ${own('host(ip)')} as ip, ${own('user_agent')} as user_agent, ${own('request_id')} as request_id, detail
      from audit_events where ${pageOf('user_id')} order by user_id, id limit $3`
  },
  {
    // Actions of the user on others, or on nobody. Who was affected, and how, is not their data. Each page is
    // read from all their actions, however few are shown, because there may be any number on their own
    // account.
    name: 'actions',
    tables: ['audit_events'],
    text: `
      with page as (
        select * from audit_events where actor_id is not null and ${pageOf('actor_id')}
        order by actor_id, id limit $3
      ), last as (
        select id::text as cursor, count(*) over ()::int as seen from page order by id desc limit 1
      )
      select last.cursor, last.seen, page.id, type, created_at, session_id, host(ip) as ip, user_agent, request_id
      from last left join page on actor_id is distinct from user_id order by page.id`
  }
]

// Rows: few enough that the event loop is held up for a few milliseconds at most.
const pageSize = 200

/** The rows of a page. A part that shows only some rows, or none, also says how many it read. */
type Page = Array<{ cursor: string, seen?: number, id?: string | null }>

async function * rows (db: Queryable, { name, text }: Part, userId: string): AsyncGenerator<object[]> {
  for (let after: string | null | undefined = null; after !== undefined;) {
    const statement = { name: `personal-data.${name}`, text }
    const page: Page = await db.query<Page[number]>(statement, [userId, after, pageSize])
    const { cursor, seen = page.length } = page.at(-1) ?? {}
    yield page.filter(({ id }) => id !== null).map(({ cursor: _cursor, seen: _seen, ...row }) => row)
    after = seen < pageSize ? undefined : cursor
  }
}

/** A running export. */
export interface Export {
  /** Pieces of one JSON document. */
  pieces: AsyncGenerator<string>
  /** Lets the user start another export; to be called if the reader is gone before the end. */
  release: () => Promise<void>
}

// Longer than a reader may take for a page.
const leaseSeconds = 60
const renewalIntervalMs = 10_000

/**
 * Exports all that is held about a user; undefined if there is no such user. At most one page of rows is in
 * memory, and no connection is held while a piece is waited for. The export is recorded in the audit log
 * first. Throws `too_many_requests` while another export of the user is running, on whichever instance.
 */
export async function collect (db: Database, userId: string, origin: audit.Origin): Promise<Export | undefined> {
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

async function * pages (db: Database, userId: string, user: object, lease: leases.Lease): AsyncGenerator<string> {
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
  // Everything is read: when the document has arrived, the user can start another export.
  await lease.release().catch(() => {})
  yield '}'
}
