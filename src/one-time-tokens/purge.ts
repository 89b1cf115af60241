import type { Queryable, Statement } from '../database/database.ts'

const purge: Statement = {
  name: 'one-time-tokens.purge',
  text: `
    with purged_tokens as (
      delete from one_time_tokens where token_hash = any(array(
        select token_hash from one_time_tokens where expires_at < now() limit $1 for update skip locked
      )) returning 1
    ), purged_registrations as (
      delete from pending_registrations where id = any(array(
        select id from pending_registrations where expires_at < now() limit $1 for update skip locked
      )) returning 1
    )
    select greatest(
      (select count(*) from purged_tokens), (select count(*) from purged_registrations)
    )::int as purged`
}

/**
 * Purges expired tokens and pending registrations, up to `batchSize` of each. Returns the larger number of
 * both.
 */
export async function purgeExpired (db: Queryable, batchSize: number): Promise<number> {
  const [row] = await db.query<{ purged: number }>(purge, [batchSize])
  return row?.purged ?? 0
}
