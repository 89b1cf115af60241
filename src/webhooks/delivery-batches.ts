import type { Queryable, Statement } from '../database/database.ts'
import { enqueued } from '../jobs/queue.ts'
import { lifetimeSeconds } from './deliveries.ts'

// What changes many deliveries at once: a webhook is active again or has another secret, or they are too old.

/** Jobs that one statement changes. A paused webhook may have any number, because sign-ins add them. */
const jobBatch = 1_000

const resuming: Statement = {
  name: 'webhooks.resume-deliveries',
  text: `
    with waiting as (
      (select id from jobs where kind = 'webhook' and subject = $1 and run_at < $2 order by run_at limit $3)
      union all
      (select id from jobs where kind = 'webhook' and subject = $1 and run_at > now()
      order by run_at desc limit $3)
    ), renewed as (
      update jobs set created_at = now(), run_at = now(), attempts = 0,
        expires_at = now() + make_interval(secs => $4)
      where id = any(array(select id from waiting)) returning 1
    )
    select count(*)::int as renewed from renewed`
}

/**
 * Makes the deliveries kept for a webhook due, with a full lifetime again; in batches, each of which commits.
 */
export async function resumeDeliveries (db: Queryable, webhookId: string): Promise<void> {
  const [start] = await db.query<{ now: Date }>('select now()')
  for (let renewed = jobBatch; renewed >= jobBatch;) {
    const [row] = await db.query<{ renewed: number }>(
      resuming, [webhookId, start?.now, jobBatch, lifetimeSeconds])
    renewed = row?.renewed ?? 0
    if (renewed > 0) db.publish(enqueued, 'webhook')
  }
}

const retryingUnsigned: Statement = {
  name: 'webhooks.retry-unsigned',
  text: `
    with page as (
      select id, run_at from jobs
      where kind = 'webhook' and subject = $1 and run_at > greatest(now(), $2::timestamptz)
      order by run_at fetch first $3 rows with ties
    ), due as (
      update jobs set run_at = now()
      where id = any(array(
        select page.id from page join webhook_deliveries as unsigned on unsigned.id = page.id
        where unsigned.status = 'pending' and error = 'secret'
      ))
    )
    select max(run_at)::text as last, count(*)::int as seen from page`
}

/** Makes the deliveries due that no secret of their webhook could sign; in batches, each of which commits. */
export async function retryUnsigned (db: Queryable, webhookId: string): Promise<void> {
  for (let after: string | null = null; ;) {
    const [row]: Array<{ last: string | null, seen: number }> =
      await db.query(retryingUnsigned, [webhookId, after, jobBatch])
    if (row && row.seen > 0) db.publish(enqueued, 'webhook')
    if (!row || row.seen < jobBatch) return
    after = row.last
  }
}

/** How many deliveries may wait for one webhook. */
const maxPending = 100_000

// For up to an hour, a transaction that saw a webhook before its deletion may still add a delivery.
const purging: Statement = {
  name: 'webhooks.purge',
  text: `
    with old as (
      select id from webhook_deliveries where created_at < now() - interval '30 days' limit $1
    ), orphaned as (
      select webhook_deliveries.id from webhook_deliveries join webhooks on webhooks.id = webhook_id
      where deleted_at is not null limit $1
    ), purged as (
      delete from webhook_deliveries
      where id in (select id from old union select id from orphaned) returning id
    ), surplus as (
      select waiting.id from webhooks cross join lateral (
        select id from webhook_deliveries where webhook_id = webhooks.id and status = 'pending'
        order by id desc offset $2 limit $1
      ) as waiting where deleted_at is null limit $1
    ), dropped as (
      update webhook_deliveries set status = 'failed', finished_at = now(), error = 'dropped'
      where id in (select id from surplus) returning id
    ), deleted_jobs as (
      delete from jobs
      where kind = 'webhook' and id in (select id from purged union all select id from dropped)
    ), purged_webhooks as (
      delete from webhooks
      where deleted_at < now() - interval '1 hour'
        and not exists (select from webhook_deliveries where webhook_id = webhooks.id)
    )
    select least($1, greatest((select count(*) from purged), (select count(*) from dropped)))::int as purged`
}

/**
 * Purges deliveries that are older than 30 days or whose webhook was deleted, and drops the oldest of those
 * that wait for one webhook beyond `pendingLimit`. Up to `limit` of each; returns the larger number of the
 * two.
 */
export async function purge (db: Queryable, limit: number, pendingLimit = maxPending): Promise<number> {
  const [row] = await db.query<{ purged: number }>(purging, [limit, pendingLimit])
  return row?.purged ?? 0
}
