import type { Queryable, Statement } from '../database/database.ts'

export const jobKinds = ['mail', 'webhook'] as const
export type JobKind = typeof jobKinds[number]

/** Work that was begun: until its time is over nobody else begins it. */
export interface Job {
  id: string
  kind: JobKind
  userId: string | null
  subject: string | null
  sealed: Buffer | null
  /** How often it was begun, this time included. */
  attempts: number
  createdAt: Date
  /** Whether it is of no use any more. */
  expired: boolean
}

/** What a job is about; each is an SQL expression over the rows it is made from. `lives` is in seconds. */
export interface Work { user?: string, subject?: string, sealed?: string, lives: string }

/** The part of a statement that adds a job for each row of `from` (what follows the word), so that it is written with the fact or not at all. */
export const insertion = (kind: JobKind, { user = 'null::uuid', subject = 'null::uuid', sealed = 'null::bytea', lives }: Work, from: string) => `
  insert into jobs (kind, user_id, subject, sealed, expires_at)
  select '${kind}', ${user}, ${subject}, ${sealed}, now() + make_interval(secs => ${lives}) from ${from}`

/**
 * A condition that always holds, and has the transaction end without waiting for the disk: for what may as well be done again
 * should the database crash within the second.
 */
export const hastily = "set_config('synchronous_commit', 'off', true) is not null"

// As an array, which is looked for once: a join could look again for each row, and find more than the limit.
const claiming: Statement = {
  name: 'jobs.claim',
  text: `
    update jobs set attempts = attempts + 1, run_at = now() + make_interval(secs => $3)
    where ${hastily} and id = any(array(select id from jobs where kind = $1 and run_at <= now() order by run_at limit $2 for update skip locked))
    returning id, kind, user_id as "userId", subject, sealed, attempts, created_at as "createdAt", expires_at <= now() as expired`
}

/** Begins up to `most` jobs that are due, the oldest first; none of them is begun again within `lease` seconds. */
export async function claim (db: Queryable, kind: JobKind, most: number, lease: number): Promise<Job[]> {
  const jobs = await db.query<Job>(claiming, [kind, most, lease])
  return jobs.sort((a, b) => a.createdAt.getTime() - b.createdAt.getTime())
}

/** Puts a job off for some seconds; whoever began it meanwhile keeps it. */
export async function putOff (db: Queryable, { id, attempts }: Job, seconds: number): Promise<void> {
  await db.query({ name: 'jobs.put-off', text: 'update jobs set run_at = now() + make_interval(secs => $3) where id = $1 and attempts = $2' }, [id, attempts, seconds])
}

/** Removes a job that is done, or given up; whoever began it meanwhile, or wants it done once more, keeps it. */
export async function remove (db: Queryable, { id, attempts }: Job): Promise<void> {
  await db.query({ name: 'jobs.remove', text: 'delete from jobs where id = $1 and attempts = $2' }, [id, attempts])
}

const backlogOf: Statement = {
  name: 'jobs.backlog',
  text: `
    with mails as (
      select created_at from jobs where kind = 'mail' order by run_at limit $1
    ), deliveries as (
      select waiting.created_at, paused_at is null and deleted_at is null as is_active
      from webhooks cross join lateral (
        select created_at from jobs where kind = 'webhook' and subject = webhooks.id order by run_at limit $1
      ) as waiting
    ), counted as (
      select 'mail' as kind, count(*) as jobs, min(created_at) as oldest from mails
      union all
      select 'webhook', count(*), min(created_at) filter (where is_active) from deliveries
    )
    select kind, jobs::int, coalesce(extract(epoch from now() - oldest), 0)::float8 as late
    from counted where jobs > 0`
}

/** How many jobs are counted at most: mails, and deliveries of each webhook. */
export const countedJobs = 10_000

/**
 * How many jobs of each kind there are, up to `countedJobs`, and for how many seconds the oldest of them has
 * been there that does not wait for a webhook to be resumed. It is asked often, and must cost the same with a
 * million jobs.
 */
export async function backlog (db: Queryable): Promise<Array<{ kind: JobKind, jobs: number, late: number }>> {
  return await db.query(backlogOf, [countedJobs])
}
