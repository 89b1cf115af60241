import type { Queryable, Statement } from '../database/database.ts'
import { createTopic } from '../database/effects.ts'

export const jobKinds = ['mail', 'webhook', 'backchannel_logout'] as const
export type JobKind = typeof jobKinds[number]

/** The kinds of jobs that this process has enqueued. Its workers subscribe, and look for jobs at once. */
export const enqueued = createTopic<JobKind>('enqueued')

/** A leased job: until its lease ends, no other worker leases it. */
export interface Job {
  id: string
  kind: JobKind
  userId: string | null
  subject: string | null
  sealed: Buffer | null
  /** How many attempts were started, this one included. */
  attempts: number
  createdAt: Date
  /** Whether the job has become useless. */
  expired: boolean
}

/**
 * A condition that always holds. It makes the transaction commit asynchronously, without waiting for the
 * disk. Use it for work that may be repeated if the database crashes within the second.
 */
export const withAsyncCommit = "set_config('synchronous_commit', 'off', true) is not null"

// The ids are an array, so that they are selected once. A join could select again for each row, and lease
// more jobs than the limit.
const leaseDue: Statement = {
  name: 'jobs.lease',
  text: `
    update jobs set attempts = attempts + 1, run_at = now() + make_interval(secs => $3)
    where ${withAsyncCommit} and id = any(array(
      select id from jobs where kind = $1 and run_at <= now() order by run_at limit $2
      for update skip locked
    ))
    returning id, kind, user_id as "userId", subject, sealed, attempts, created_at as "createdAt",
      expires_at <= now() as expired`
}

/** Leases up to `batchSize` due jobs for `leaseSeconds`, the oldest first. */
export async function lease (
  db: Queryable, kind: JobKind, batchSize: number, leaseSeconds: number
): Promise<Job[]> {
  const jobs = await db.query<Job>(leaseDue, [kind, batchSize, leaseSeconds])
  return jobs.sort((a, b) => a.createdAt.getTime() - b.createdAt.getTime())
}

const postpone: Statement = {
  name: 'jobs.reschedule',
  text: 'update jobs set run_at = now() + make_interval(secs => $3) where id = $1 and attempts = $2'
}

/** Schedules the next attempt in so many seconds. Does nothing if another worker has leased the job since. */
export async function reschedule (db: Queryable, { id, attempts }: Job, seconds: number): Promise<void> {
  await db.query(postpone, [id, attempts, seconds])
}

const deleteDone: Statement = {
  name: 'jobs.delete',
  text: 'delete from jobs where id = $1 and attempts = $2'
}

/**
 * Deletes a job that is finished or given up. Does nothing if another worker has leased the job since, or if
 * it was requested again.
 */
export async function deleteJob (db: Queryable, { id, attempts }: Job): Promise<void> {
  await db.query(deleteDone, [id, attempts])
}
