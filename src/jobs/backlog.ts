import type { Queryable, Statement } from '../database/database.ts'
import type { JobKind } from './queue.ts'

/** The jobs of a kind that are waiting. */
export interface Backlog {
  kind: JobKind
  /** How many there are, up to `maxCountedJobs`. */
  jobs: number
  /** For how many seconds the oldest of them has been waiting that does not wait for a paused webhook. */
  lateSeconds: number
}

const count: Statement = {
  name: 'jobs.backlog',
  text: `
    with mails as (
      select created_at from jobs where kind = 'mail' order by run_at limit $1
    ), logouts as (
      select created_at from jobs where kind = 'backchannel_logout' order by run_at limit $1
    ), deliveries as (
      select waiting.created_at, paused_at is null and deleted_at is null as is_active
      from webhooks cross join lateral (
        select created_at from jobs where kind = 'webhook' and subject = webhooks.id order by run_at limit $1
      ) as waiting
    ), counted as (
      select 'mail' as kind, count(*) as jobs, min(created_at) as oldest from mails
      union all
      select 'backchannel_logout', count(*), min(created_at) from logouts
      union all
      select 'webhook', count(*), min(created_at) filter (where is_active) from deliveries
    )
    select kind, jobs::int, coalesce(extract(epoch from now() - oldest), 0)::float8 as "lateSeconds"
    from counted where jobs > 0`
}

/** How many jobs of a kind are counted at most, and how many deliveries of each webhook. */
export const maxCountedJobs = 10_000

/**
 * Reads how many jobs of each kind are waiting, and for how long. It runs often, so its cost does not grow
 * with the number of jobs.
 */
export async function readBacklog (db: Queryable): Promise<Backlog[]> {
  return await db.query<Backlog>(count, [maxCountedJobs])
}
