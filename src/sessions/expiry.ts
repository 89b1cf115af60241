import type { Queryable, Statement } from '../database/database.ts'

// A page of the sessions in the order of their ids, which is that of their age. Rows that are locked are left
// for the next round, so that housekeeping waits for no request. The token family is locked before the
// session, as when a session ends.
const purge: Statement = {
  name: 'sessions.purge-expired',
  text: `
    with page as (
      select id, ended_at, expires_at, is_offline or (client_id is null and not is_browser) as can_idle
      from sessions
      where $1::uuid is null or id > $1 order by id limit $2
    ), expired as (
      select session_id from refresh_tokens join page on id = session_id
      where (
          expires_at < now() or (can_idle and last_used_at + make_interval(secs => $3) < now())
        )
        and access_expires_at < now()
      for update of refresh_tokens skip locked
    ), deleted as (
      delete from refresh_tokens where session_id in (select session_id from expired)
    ), outdated as (
      select id from sessions
      where id in (select id from page where ended_at < now() - interval '1 day') for update skip locked
    ), purged as (
      delete from sessions
      where id in (select session_id from expired union all select id from outdated)
      returning id, user_id, client_id, ended_at
    ), recorded as (
      insert into audit_events (type, user_id, session_id, detail)
      select 'session.ended', user_id, id, '{"reason": "expired"}' from purged where ended_at is null
    ), notified as (
      -- As end_sessions does for the sessions that end before they expire.
      insert into jobs (id, kind, user_id, subject, expires_at)
      select purged.id, 'backchannel_logout', user_id, clients.id, now() + interval '1 day'
      from purged join clients on clients.id = purged.client_id
      where ended_at is null and backchannel_logout_uri is not null
      on conflict do nothing
    )
    select
      (select count(*)::int from page) as seen, (select count(*)::int from purged) as purged,
      (select id from page order by id desc limit 1) as last`
}

export interface PurgedPage {
  /** How many sessions were purged. */
  purged: number
  /** The id after which the next page begins; undefined if this was the last page. */
  last: string | undefined
}

/** A page of the table of sessions; `after` is undefined for the first one. */
export interface PageToPurge {
  after: string | undefined
  limit: number
  /** The lifetime of a refresh token. */
  refreshTokenSeconds: number
}

/**
 * Purges, in one page of the table, the sessions that have expired, those that can no longer be refreshed
 * (a browser session needs no refresh, and its sign-out must still reach the clients that never refresh), and
 * those that ended more than a day ago.
 */
export async function purgeExpired (
  db: Queryable, { after, limit, refreshTokenSeconds }: PageToPurge
): Promise<PurgedPage> {
  const [row] = await db.query<{ seen: number, purged: number, last: string | null }>(
    purge, [after ?? null, limit, refreshTokenSeconds])
  return { purged: row?.purged ?? 0, last: row && row.seen === limit ? row.last ?? undefined : undefined }
}

// Without `order by`: to sort, the planner might read the sessions of all users.
const purgeOfUser: Statement = {
  name: 'sessions.purge-ended',
  text: `
    with locked as (
      select id from sessions where user_id = $1 and ended_at is not null limit $2 for update skip locked
    ), purged as (
      delete from sessions where id in (select id from locked) returning 1
    )
    select count(*)::int as purged from purged`
}

const batchSize = 1_000

/**
 * Purges the ended sessions of a user, each batch in a transaction of its own. Call it before deleting the
 * user, because that deletes all remaining rows in one statement, and there may be any number of them.
 */
export async function purgeEnded (db: Queryable, userId: string): Promise<void> {
  for (let purged = batchSize; purged === batchSize;) {
    const [row] = await db.query<{ purged: number }>(purgeOfUser, [userId, batchSize])
    purged = row?.purged ?? 0
  }
}
