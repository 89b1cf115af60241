import * as audit from '../audit/events.ts'
import type { Database, Queryable, Statement } from '../database/database.ts'
import { reschedule, type Job } from '../jobs/queue.ts'
import type { DeliveryOutcome } from './request.ts'
import type { SealedSecret } from './signature.ts'

// The order is that of the index with the jobs of each webhook. `any(array(…))` is evaluated once; a join
// could evaluate the subquery for each row, and find more than the limit.
const leasing: Statement = {
  name: 'webhooks.lease',
  text: `
    update jobs set attempts = attempts + 1, run_at = now() + make_interval(secs => $2)
    where id = any(array(
      select due.id from webhooks cross join lateral (
        select id, run_at from jobs where kind = 'webhook' and subject = webhooks.id and run_at <= now()
        order by subject, run_at
        limit greatest(0, case when failing_since is null then $3::int else 1 end
          - coalesce(($4::jsonb ->> webhooks.id::text)::int, 0))
        for update skip locked
      ) as due
      where paused_at is null and deleted_at is null
      order by row_number() over (partition by webhooks.id order by due.run_at)
        + coalesce(($4::jsonb ->> webhooks.id::text)::int, 0), due.run_at
      limit $1
    ))
    returning id, kind, user_id as "userId", subject, sealed, attempts, created_at as "createdAt",
      expires_at <= now() as expired`
}

export interface DeliveryLease {
  /** How many deliveries to lease. */
  limit: number
  leaseSeconds: number
  /** How many deliveries of one webhook run at the same time. A webhook that fails is probed with one. */
  maxPerWebhook: number
  /** How many deliveries of each webhook run now. */
  running: ReadonlyMap<string, number>
}

/**
 * Leases deliveries that are due: until the lease ends, no instance starts them again. Webhooks with the
 * fewest running deliveries come first, so slow ones do not delay the others.
 */
export async function lease (db: Queryable, request: DeliveryLease): Promise<Job[]> {
  const { limit, leaseSeconds, maxPerWebhook, running } = request
  const values = [limit, leaseSeconds, maxPerWebhook, JSON.stringify(Object.fromEntries(running))]
  return await db.query<Job>(leasing, values)
}

/** What is needed to send a delivery now. */
export interface DeliveryMessage {
  id: string
  webhookId: string
  url: string
  type: string
  data: Record<string, unknown>
  createdAt: Date
  /** Seconds since 1970, by the clock of the database. */
  now: number
  secrets: SealedSecret[]
}

const reading: Statement = {
  name: 'webhooks.read',
  text: `
    select webhook_deliveries.id, webhooks.id as "webhookId", url, type, data,
      webhook_deliveries.created_at as "createdAt",
      floor(extract(epoch from clock_timestamp()))::float8 as now,
      array(
        select id::text from webhook_secrets where webhook_id = webhooks.id order by created_at desc
      ) as "secretIds",
      array(
        select sealed_secret from webhook_secrets where webhook_id = webhooks.id order by created_at desc
      ) as "sealedSecrets"
    from webhook_deliveries join webhooks on webhooks.id = webhook_id
    where webhook_deliveries.id = $1 and webhook_deliveries.status = 'pending' and deleted_at is null`
}

// A redelivery in the meantime keeps the job.
const deletingIdleJob = `
  delete from jobs where id = $1 and attempts = $2
    and not exists (select from webhook_deliveries where id = $1 and status = 'pending')`

/** The message of a job. Undefined, and the job is deleted, if the delivery has ended in the meantime. */
export async function readMessage (
  db: Queryable, { id, attempts }: Job
): Promise<DeliveryMessage | undefined> {
  type Row = Omit<DeliveryMessage, 'secrets'> & { secretIds: string[], sealedSecrets: Buffer[] }
  const [row] = await db.query<Row>(reading, [id])
  if (!row) {
    await db.query(deletingIdleJob, [id, attempts])
    return undefined
  }
  const { secretIds, sealedSecrets, ...message } = row
  const secrets = sealedSecrets.map((sealed, index) => ({ id: secretIds[index] ?? '', sealed }))
  return { ...message, secrets }
}

// A delivery and its job end in one transaction. A job deleted later could belong to a redelivery by then.
const recordingSuccess: Statement = {
  name: 'webhooks.record-success',
  text: `
    with attempt as (
      insert into webhook_attempts (delivery_id, milliseconds, response_status) values ($1, $2, $3)
    ), reached as (
      update webhooks set failing_since = null, failures = 0 where id = $4 and failing_since is not null
    ), deleted_job as (
      delete from jobs where id = $1
    )
    update webhook_deliveries
    set status = 'delivered', attempts = attempts + 1, finished_at = now(), response_status = $3, error = null
    where id = $1`
}

/** Records that a message was delivered, which ends its job. */
export async function recordSuccess (
  db: Queryable, { id, webhookId }: DeliveryMessage, { milliseconds, status }: DeliveryOutcome
): Promise<void> {
  await db.query(recordingSuccess, [id, milliseconds, status, webhookId])
}

/** What follows from a failure. */
export interface FailureConsequence {
  /** Whether the delivery has failed for good. */
  isFinal: boolean
  /** Why the webhook is paused, if this failure paused it. */
  paused: 'failing' | 'gone' | undefined
}

const goneStatus = 410

const deletingJob = 'delete from jobs where id = $1'
const insertingAttempt = `
  insert into webhook_attempts (delivery_id, milliseconds, response_status, error) values ($1, $2, $3, $4)`
const countingFailure = `
  update webhooks set failing_since = coalesce(failing_since, now()), failures = failures + 1 where id = $1`
// An unreachable webhook is paused after 20 failures and 24 hours.
const pausing = `
  update webhooks set paused_at = now(), paused_reason = case when $2 then 'gone' else 'failing' end
  where id = $1 and paused_at is null and deleted_at is null
    and ($2 or (failures >= 20 and failing_since <= now() - interval '24 hours'))
  returning paused_reason as reason`
// The deliveries of a paused webhook are kept.
const recordingFailure = `
  with decision as (
    select paused_at is null
      and (select expires_at from jobs where id = $1) <= now() + make_interval(secs => $5) as is_final
    from webhooks where id = $2
  )
  update webhook_deliveries set attempts = attempts + 1, response_status = $3, error = $4,
    status = case when is_final then 'failed' else status end, finished_at = case when is_final then now() end
  from decision where id = $1 and status = 'pending' returning status`

export interface FailedDelivery {
  job: Job
  message: DeliveryMessage
  outcome: DeliveryOutcome
  /** Seconds until the next attempt. */
  delaySeconds: number
}

/**
 * Records a failed attempt. If the delivery would expire before the next attempt, it has failed, and its job
 * ends; otherwise the job is rescheduled. The webhook is paused if it answers 410, or if it was unreachable
 * for long.
 */
export async function recordFailure (db: Database, failed: FailedDelivery): Promise<FailureConsequence> {
  const { job, message: { id, webhookId }, outcome: { milliseconds, status, error }, delaySeconds } = failed
  return await db.transaction(async tx => {
    await tx.query(countingFailure, [webhookId])
    const isGone = status === goneStatus
    const [pause] = await tx.query<{ reason: 'failing' | 'gone' }>(pausing, [webhookId, isGone])
    if (pause) {
      const detail = { webhook_id: webhookId, reason: pause.reason }
      await audit.record(tx, 'webhook.paused', { detail }, {})
    }
    await tx.query(insertingAttempt, [id, milliseconds, status ?? null, error ?? null])
    const values = [id, webhookId, status ?? null, error ?? null, delaySeconds]
    const [delivery] = await tx.query<{ status: string }>(recordingFailure, values)
    const isFinal = delivery?.status !== 'pending'
    if (!isFinal) await reschedule(tx, job, delaySeconds)
    else if (delivery) await tx.query(deletingJob, [id])
    return { isFinal, paused: pause?.reason }
  })
}

/** Ends the lease of a job that was not attempted, so that another instance starts it at once. */
export async function releaseLease (db: Queryable, { id, attempts }: Job): Promise<void> {
  await db.query(`
    update jobs set attempts = attempts - 1, run_at = now() where id = $1 and attempts = $2`, [id, attempts])
}
