import * as audit from '../audit/events.ts'
import type { Queryable, Statement } from '../database/database.ts'

// A page of the sessions in the order of their age, which is that of their ids. What somebody else has locked is left
// for the next round: nobody waits for this, and this for nobody. The locks are taken as they are when a session ends.
const clear: Statement = {
  name: 'sessions.clear',
  text: `
    with page as (
      select id, ended_at, expires_at from sessions where $1::uuid is null or id > $1 order by id limit $2
    ), expired as (
      select session_id from refresh_tokens join page on id = session_id
      where (expires_at < now() or last_used_at + make_interval(secs => $3) < now()) and access_expires_at < now()
      for update of refresh_tokens skip locked
    ), unrefreshable as (
      delete from refresh_tokens where session_id in (select session_id from expired)
    ), forgotten as (
      select id from sessions
      where id in (select id from page where ended_at < now() - interval '1 day') for update skip locked
    ), gone as (
      delete from sessions
      where id in (select session_id from expired union all select id from forgotten)
      returning id, user_id, ended_at
    ), audited as (${audit.insertion('session.ended', { user: 'user_id', session: 'id', detail: "'{\"reason\": \"expired\"}'::jsonb" }, "'{}'", '(select * from gone where ended_at is null) as gone')}
    )
    select (select count(*)::int from page) as seen, (select count(*)::int from gone) as cleared, (select id from page order by id desc limit 1) as last`
}

/** What a page was found to be: the id to go on after, undefined where it was the last; and how many sessions went. */
export interface Cleared { cleared: number, last: string | undefined }

/**
 * Clears away, of `most` sessions from the one after `after` on, those that have expired, those that were not
 * refreshed for `refreshToken` seconds, and those that ended more than a day ago.
 */
export async function clearExpired (db: Queryable, after: string | undefined, most: number, refreshToken: number): Promise<Cleared> {
  const [row] = await db.query<{ seen: number, cleared: number, last: string | null }>(clear, [after ?? null, most, refreshToken])
  return { cleared: row?.cleared ?? 0, last: row && row.seen === most ? row.last ?? undefined : undefined }
}

// It has no order, because for one the planner might walk over the sessions of all users.
const purge: Statement = {
  name: 'sessions.purge-ended',
  text: `
    with locked as (
      select id from sessions where user_id = $1 and ended_at is not null limit $2 for update skip locked
    ), purged as (
      delete from sessions where id in (select id from locked) returning 1
    )
    select count(*)::int as purged from purged`
}

const purgeBatch = 1_000

/**
 * Purges the ended sessions of a user, each batch in a transaction of its own. Call it before deleting the
 * user, because that deletes all remaining rows in one statement, and there may be any number of them.
 */
export async function purgeEnded (db: Queryable, userId: string): Promise<void> {
  for (let purged = purgeBatch; purged === purgeBatch;) {
    const [row] = await db.query<{ purged: number }>(purge, [userId, purgeBatch])
    purged = row?.purged ?? 0
  }
}
