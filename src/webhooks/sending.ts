import * as audit from '../audit/events.ts'
import type { Database, Queryable, Statement } from '../database/database.ts'
import { reschedule, type Job } from '../jobs/queue.ts'
import type { Outcome } from './request.ts'

// In the order of the index that has the jobs of each webhook together; as an array, as in jobs.ts.
const claiming: Statement = {
  name: 'webhooks.claim',
  text: `
    update jobs set attempts = attempts + 1, run_at = now() + make_interval(secs => $2)
    where id = any(array(
      select due.id from webhooks cross join lateral (
        select id, run_at from jobs where kind = 'webhook' and subject = webhooks.id and run_at <= now() order by subject, run_at
        limit greatest(0, case when failing_since is null then $3::int else 1 end - coalesce(($4::jsonb ->> webhooks.id::text)::int, 0))
        for update skip locked
      ) as due
      where paused_at is null and deleted_at is null
      order by row_number() over (partition by webhooks.id order by due.run_at) + coalesce(($4::jsonb ->> webhooks.id::text)::int, 0), due.run_at limit $1
    ))
    returning id, kind, user_id as "userId", subject, sealed, attempts, created_at as "createdAt", expires_at <= now() as expired`
}

/**
 * Begins up to `most` deliveries that are due; none of them is begun again within `lease` seconds. Of one webhook
 * those under way, which `running` counts, are at most `share`; of one that fails, one at a time finds out. Whoever has
 * fewer of them comes first, so that many that are slow hold up no other.
 */
export async function claim (db: Queryable, most: number, lease: number, share: number, running: ReadonlyMap<string, number>): Promise<Job[]> {
  return await db.query<Job>(claiming, [most, lease, share, JSON.stringify(Object.fromEntries(running))])
}

/** A delivery to be sent now. */
export interface Message {
  id: string
  webhookId: string
  url: string
  type: string
  data: Record<string, unknown>
  createdAt: Date
  /** Seconds since 1970, by the clock of the database. */
  now: number
  secrets: Array<{ id: string, sealed: Buffer }>
}

const reading: Statement = {
  name: 'webhooks.read',
  text: `
    select webhook_deliveries.id, webhooks.id as "webhookId", url, type, data, webhook_deliveries.created_at as "createdAt", floor(extract(epoch from clock_timestamp()))::float8 as now,
      array(select id::text from webhook_secrets where webhook_id = webhooks.id order by created_at desc) as "secretIds",
      array(select sealed_secret from webhook_secrets where webhook_id = webhooks.id order by created_at desc) as "sealedSecrets"
    from webhook_deliveries join webhooks on webhooks.id = webhook_id
    where webhook_deliveries.id = $1 and webhook_deliveries.status = 'pending' and deleted_at is null`
}

// Unless it was asked for once more since.
const idle = "delete from jobs where id = $1 and attempts = $2 and not exists (select from webhook_deliveries where id = $1 and status = 'pending')"

/** The message of a job; undefined where it was sent, given up or removed meanwhile, and then the job is gone, too. */
export async function read (db: Queryable, { id, attempts }: Job): Promise<Message | undefined> {
  const [row] = await db.query<Omit<Message, 'secrets'> & { secretIds: string[], sealedSecrets: Buffer[] }>(reading, [id])
  if (!row) {
    await db.query(idle, [id, attempts])
    return undefined
  }
  const { secretIds, sealedSecrets, ...message } = row
  return { ...message, secrets: sealedSecrets.map((sealed, index) => ({ id: secretIds[index] ?? '', sealed })) }
}

// A delivery ends with its job: one that ended later could be that of a delivery that was asked for once more meanwhile.
const ended = 'delete from jobs where id = $1'
const attempted = 'insert into webhook_attempts (delivery_id, milliseconds, response_status, error) values ($1, $2, $3, $4)'

const delivered: Statement = {
  name: 'webhooks.delivered',
  text: `
    with attempted as (${attempted}), reached as (
      update webhooks set failing_since = null, failures = 0 where id = $5 and failing_since is not null
    ), ended as (${ended})
    update webhook_deliveries set status = 'delivered', attempts = attempts + 1, finished_at = now(), response_status = $3, error = null where id = $1`
}

/** Writes down that a message was delivered, which ends its job. */
export async function succeeded (db: Queryable, { id, webhookId }: Message, { milliseconds, status }: Outcome): Promise<void> {
  await db.query(delivered, [id, milliseconds, status, null, webhookId])
}

/** What a failure has led to. */
export interface Consequence {
  /** Whether the message is given up. */
  final: boolean
  /** Why nothing is sent to the webhook any more, where that is new. */
  paused: 'failing' | 'gone' | undefined
}

const gone = 410
// What else is waited for before a webhook that nothing reaches is paused.
const most = 20
const longest = "interval '24 hours'"

/**
 * Writes down that an attempt failed. The message is given up, and its job ends, where its time is over before the next
 * one in `wait` seconds, and put off until then otherwise. The webhook is paused where it says that it is gone, or nothing has
 * reached it for a day and 20 attempts; then its messages are kept.
 */
export async function failed (db: Database, job: Job, { id, webhookId }: Message, { milliseconds, status, error }: Outcome, wait: number): Promise<Consequence> {
  return await db.transaction(async tx => {
    await tx.query('update webhooks set failing_since = coalesce(failing_since, now()), failures = failures + 1 where id = $1', [webhookId])
    const [pause] = await tx.query<{ reason: 'failing' | 'gone' }>(`
      update webhooks set paused_at = now(), paused_reason = case when $2 then 'gone' else 'failing' end
      where id = $1 and paused_at is null and deleted_at is null and ($2 or (failures >= ${most} and failing_since <= now() - ${longest}))
      returning paused_reason as reason`, [webhookId, status === gone])
    if (pause) await audit.record(tx, 'webhook.paused', { detail: { webhook_id: webhookId, reason: pause.reason } }, {})
    await tx.query(attempted, [id, milliseconds, status ?? null, error ?? null])
    const [delivery] = await tx.query<{ status: string }>(`
      with verdict as (
        select paused_at is null and (select expires_at from jobs where id = $1) <= now() + make_interval(secs => $5) as final from webhooks where id = $2
      )
      update webhook_deliveries set attempts = attempts + 1, response_status = $3, error = $4,
        status = case when final then 'failed' else status end, finished_at = case when final then now() end
      from verdict where id = $1 and status = 'pending' returning status`, [id, webhookId, status ?? null, error ?? null, wait])
    const final = delivery?.status !== 'pending'
    if (!final) await reschedule(tx, job, wait)
    else if (delivery) await tx.query(ended, [id])
    return { final, paused: pause?.reason }
  })
}

/** Leaves a job that was begun to whoever is next, at once. */
export async function release (db: Queryable, { id, attempts }: Job): Promise<void> {
  await db.query('update jobs set attempts = attempts - 1, run_at = now() where id = $1 and attempts = $2', [id, attempts])
}
