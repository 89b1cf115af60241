import * as audit from '../audit/events.ts'
import type { Database, Queryable, Statement } from '../database/database.ts'
import { testType } from './events.ts'

/** An event on its way to a webhook. */
export interface Delivery {
  id: string
  type: string
  status: 'pending' | 'delivered' | 'failed'
  created_at: Date
  attempts: number
  /** When it is tried next, where it is pending and the webhook is not paused. */
  next_attempt_at: Date | null
  finished_at: Date | null
  response_status: number | null
  error: string | null
}

/** An attempt to send one. */
export interface Attempt { created_at: Date, milliseconds: number, response_status: number | null, error: string | null }

/** With what is sent, and the attempts so far, the newest first. */
export interface DeliveryWithLog extends Delivery { data: Record<string, unknown>, log: Attempt[] }

const columns = `webhook_deliveries.id, type, webhook_deliveries.status, webhook_deliveries.created_at, webhook_deliveries.attempts, finished_at, response_status, error,
  case when webhook_deliveries.status = 'pending' and webhooks.paused_at is null then jobs.run_at end as next_attempt_at`
const from = `webhook_deliveries join webhooks on webhooks.id = webhook_id and deleted_at is null
  left join jobs on jobs.kind = 'webhook' and jobs.id = webhook_deliveries.id`

export interface Filter { status?: Delivery['status'] | undefined, type?: string | undefined, before?: string | undefined, limit: number }

/** The deliveries of a webhook, the newest first, from the one after `before` on. */
export async function list (db: Queryable, webhookId: string, { status, type, before, limit }: Filter): Promise<Delivery[]> {
  return await db.query<Delivery>(`
    select ${columns} from ${from}
    where webhook_id = $1 and ($2::text is null or webhook_deliveries.status = $2) and ($3::text is null or type = $3) and ($4::uuid is null or webhook_deliveries.id < $4)
    order by webhook_deliveries.id desc limit $5`, [webhookId, status ?? null, type ?? null, before ?? null, limit])
}

/** A delivery of a webhook with its last attempts, up to a hundred; undefined where there is none. */
export async function find (db: Queryable, webhookId: string, id: string): Promise<DeliveryWithLog | undefined> {
  const [delivery] = await db.query<Delivery & { data: Record<string, unknown> }>(`select ${columns}, data from ${from} where webhook_id = $1 and webhook_deliveries.id = $2`, [webhookId, id])
  if (!delivery) return undefined
  const log = await db.query<Attempt>('select created_at, milliseconds, response_status, error from webhook_attempts where delivery_id = $1 order by id desc limit 100', [id])
  return { ...delivery, log }
}

// For how long something is tried: from when it happened, was asked for again, or the webhook was resumed.
const lives = "interval '3 days'"

/** Sends a delivery once more from the start, whatever became of it; gives it, or undefined where there is none. */
export async function repeat (db: Database, webhookId: string, id: string, origin: audit.Origin): Promise<Delivery | undefined> {
  return await db.transaction(async tx => {
    const [again] = await tx.query<{ id: string }>(`
      update webhook_deliveries set status = 'pending', finished_at = null
      from webhooks where webhooks.id = webhook_id and deleted_at is null and webhook_id = $1 and webhook_deliveries.id = $2 returning webhook_deliveries.id`, [webhookId, id])
    if (!again) return undefined
    await tx.query(`
      insert into jobs (id, kind, subject, expires_at) values ($2, 'webhook', $1, now() + ${lives})
      on conflict (id) do update set created_at = now(), attempts = 0, run_at = now(), expires_at = excluded.expires_at`, [webhookId, id])
    await audit.record(tx, 'webhook.redelivered', { detail: { webhook_id: webhookId, delivery_id: id } }, origin)
    return await one(tx, webhookId, id)
  })
}

/** Sends an event that tells nothing, to try a webhook out; gives the delivery, or undefined where there is no such webhook. */
export async function test (db: Database, webhookId: string, origin: audit.Origin): Promise<Delivery | undefined> {
  return await db.transaction(async tx => {
    const [made] = await tx.query<{ id: string }>(`
      with made as (
        insert into webhook_deliveries (webhook_id, type, data) select id, $2, jsonb_build_object('webhook_id', id) from webhooks where id = $1 and deleted_at is null returning id, webhook_id
      )
      insert into jobs (id, kind, subject, expires_at) select id, 'webhook', webhook_id, now() + ${lives} from made returning id`, [webhookId, testType])
    if (!made) return undefined
    await audit.record(tx, 'webhook.tested', { detail: { webhook_id: webhookId, delivery_id: made.id } }, origin)
    return await one(tx, webhookId, made.id)
  })
}

async function one (tx: Queryable, webhookId: string, id: string): Promise<Delivery | undefined> {
  const [delivery] = await tx.query<Delivery>(`select ${columns} from ${from} where webhook_id = $1 and webhook_deliveries.id = $2`, [webhookId, id])
  return delivery
}

// Jobs that are changed at a time. There may be any number, because sign-ins add them while a webhook is
// paused.
const jobBatch = 1_000

const renew: Statement = {
  name: 'webhooks.renew-jobs',
  text: `
    with waiting as (
      (select id from jobs where kind = 'webhook' and subject = $1 and run_at < $2 order by run_at limit $3)
      union all
      (select id from jobs where kind = 'webhook' and subject = $1 and run_at > now()
      order by run_at desc limit $3)
    ), renewed as (
      update jobs set created_at = now(), run_at = now(), attempts = 0, expires_at = now() + ${lives}
      where id = any(array(select id from waiting)) returning 1
    )
    select count(*)::int as renewed from renewed`
}

/**
 * Makes the deliveries kept for a webhook due, with a full lifetime again; in batches, each of which commits.
 */
export async function keepUntil (db: Queryable, webhookId: string): Promise<void> {
  const [start] = await db.query<{ now: Date }>('select now()')
  for (let renewed = jobBatch; renewed >= jobBatch;) {
    const [row] = await db.query<{ renewed: number }>(renew, [webhookId, start?.now, jobBatch])
    renewed = row?.renewed ?? 0
  }
}

const sign: Statement = {
  name: 'webhooks.sign-jobs',
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

/**
 * Makes due what could not be sent to a webhook because it had no secret; in batches, each of which commits.
 */
export async function signAgain (db: Queryable, webhookId: string): Promise<void> {
  for (let after: string | null = null; ;) {
    const [row]: Array<{ last: string | null, seen: number }> = await db.query(sign, [webhookId, after, jobBatch])
    if (!row || row.seen < jobBatch) return
    after = row.last
  }
}

// For an hour transactions that saw a webhook before it was deleted may still add to it.
const clear = {
  name: 'webhooks.clear',
  text: `
    with old as (
      select id from webhook_deliveries where created_at < now() - interval '30 days' limit $1
    ), orphaned as (
      select webhook_deliveries.id from webhook_deliveries join webhooks on webhooks.id = webhook_id where deleted_at is not null limit $1
    ), removed as (
      delete from webhook_deliveries where id in (select id from old union select id from orphaned) returning id
    ), superfluous as (
      select kept.id from webhooks cross join lateral (
        select id from webhook_deliveries where webhook_id = webhooks.id and status = 'pending' order by id desc offset $2 limit $1
      ) as kept where deleted_at is null limit $1
    ), dropped as (
      update webhook_deliveries set status = 'failed', finished_at = now(), error = 'dropped' where id in (select id from superfluous) returning id
    ), idle as (
      delete from jobs where kind = 'webhook' and id in (select id from removed union all select id from dropped)
    ), gone as (
      delete from webhooks where deleted_at < now() - interval '1 hour' and not exists (select from webhook_deliveries where webhook_id = webhooks.id)
    )
    select least($1, greatest((select count(*) from removed), (select count(*) from dropped)))::int as removed`
}

/**
 * Removes deliveries of more than 30 days ago and of webhooks that are gone, and gives up the oldest that wait for a
 * webhook where more than `kept` do: `most` of each; gives how many of the most.
 */
export async function forget (db: Queryable, most: number, kept = 100_000): Promise<number> {
  const [row] = await db.query<{ removed: number }>(clear, [most, kept])
  return row?.removed ?? 0
}
