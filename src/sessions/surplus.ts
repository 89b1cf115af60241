import type { Queryable, Statement } from '../database/database.ts'

// The last user of a page may have more sessions than the page shows.
const page: Statement = {
  name: 'sessions.users-over-limit',
  text: `
    with page as (
      select user_id from (
        select (case when ended_at is null then user_id end) as user_id from sessions
        where ended_at is null and client_id is null
          and (case when ended_at is null then user_id end) > $1
        order by 1 limit $2
      ) as listed
    ), counted as (
      select user_id, count(*) as session_count from page group by user_id
    ), last as (
      select user_id from counted order by user_id desc limit 1
    )
    select user_id as "userId", (select count(*)::int from page) as "rowCount",
      user_id = (select user_id from last) as "isLast"
    from counted where session_count > $3 or user_id = (select user_id from last)`
}

export interface UsersOverLimit {
  /** Users who may have more sessions than the limit. */
  userIds: string[]
  /** The user after whom the next page begins; undefined if this was the last page. */
  last: string | undefined
}

/** Finds users with more than `sessionLimit` sessions among the next `pageSize` sessions, ordered by user. */
export async function findUsersOverLimit (
  db: Queryable, after: string | undefined, pageSize: number, sessionLimit: number
): Promise<UsersOverLimit> {
  const rows = await db.query<{ userId: string, rowCount: number, isLast: boolean }>(
    page, [after ?? '00000000-0000-0000-0000-000000000000', pageSize, sessionLimit])
  const isFull = rows.some(({ rowCount }) => rowCount === pageSize)
  return {
    userIds: rows.map(({ userId }) => userId),
    last: isFull ? rows.find(({ isLast }) => isLast)?.userId : undefined
  }
}

// end_surplus_sessions (migrations/014-delegated-login.sql).
const ending: Statement = {
  name: 'sessions.end-surplus',
  text: 'select surplus, ended from end_surplus_sessions($1, $2, $3)'
}

/**
 * Ends up to `batch` of a user's sessions beyond the newest ones that the limit allows; waits for no lock.
 * Returns whether there may be more to end now.
 */
export async function endSurplus (
  db: Queryable, userId: string, sessionLimit: number, batch: number
): Promise<boolean> {
  const [row] = await db.query<{ surplus: number, ended: number }>(ending, [userId, sessionLimit, batch])
  return row !== undefined && row.surplus === batch && row.ended > 0
}
