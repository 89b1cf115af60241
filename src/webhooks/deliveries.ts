import * as audit from '../audit/events.ts'
import type { Database, Queryable } from '../database/database.ts'
import { enqueued } from '../jobs/queue.ts'
import { testType } from './events.ts'

/** An event on its way to a webhook. */
export interface Delivery {
  id: string
  type: string
  status: 'pending' | 'delivered' | 'failed'
  created_at: Date
  attempts: number
  /** The time of the next attempt; null unless the delivery is pending and its webhook active. */
  next_attempt_at: Date | null
  finished_at: Date | null
  response_status: number | null
  error: string | null
}

/** One attempt to send a delivery. */
export interface DeliveryAttempt {
  created_at: Date
  milliseconds: number
  response_status: number | null
  error: string | null
}

/** A delivery with the data that is sent and its latest attempts, the newest first. */
export interface DeliveryWithLog extends Delivery { data: Record<string, unknown>, log: DeliveryAttempt[] }

const columns = `webhook_deliveries.id, type, webhook_deliveries.status, webhook_deliveries.created_at,
  webhook_deliveries.attempts, finished_at, response_status, error,
  case when webhook_deliveries.status = 'pending' and webhooks.paused_at is null then jobs.run_at end
    as next_attempt_at`

export interface DeliveryFilter {
  status?: Delivery['status'] | undefined
  type?: string | undefined
  /** The id after which the page starts. */
  before?: string | undefined
  limit: number
}

/** A page of the deliveries of a webhook, the newest first. */
export async function list (db: Queryable, webhookId: string, filter: DeliveryFilter): Promise<Delivery[]> {
  const { status = null, type = null, before = null, limit } = filter
  return await db.query<Delivery>(`
    select ${columns} from webhook_deliveries
    join webhooks on webhooks.id = webhook_id and deleted_at is null
    left join jobs on jobs.kind = 'webhook' and jobs.id = webhook_deliveries.id
    where webhook_id = $1
      and ($2::text is null or webhook_deliveries.status = $2)
      and ($3::text is null or type = $3)
      and ($4::uuid is null or webhook_deliveries.id < $4)
    order by webhook_deliveries.id desc limit $5`, [webhookId, status, type, before, limit])
}

type DeliveryRow = Omit<DeliveryWithLog, 'log'> & {
  attempted_at: Date | null, milliseconds: number, attempt_status: number | null, attempt_error: string | null
}

/**
 * A delivery of a webhook with its latest attempts, up to a hundred. It is read in one statement, so that the
 * status and the attempts agree although an attempt ends at the same moment.
 */
export async function find (
  db: Queryable, webhookId: string, id: string
): Promise<DeliveryWithLog | undefined> {
  const rows = await db.query<DeliveryRow>(`
    select ${columns}, data, attempted_at, milliseconds, attempt_status, attempt_error
    from webhook_deliveries
    join webhooks on webhooks.id = webhook_id and deleted_at is null
    left join jobs on jobs.kind = 'webhook' and jobs.id = webhook_deliveries.id
    left join lateral (
      select id as attempt_id, created_at as attempted_at, milliseconds, response_status as attempt_status,
        error as attempt_error
      from webhook_attempts where delivery_id = webhook_deliveries.id order by id desc limit 100
    ) as latest on true
    where webhook_id = $1 and webhook_deliveries.id = $2
    order by attempt_id desc`, [webhookId, id])
  const [row] = rows
  if (!row) return undefined
  const {
    attempted_at: _at, milliseconds: _duration, attempt_status: _status, attempt_error: _error, ...delivery
  } = row
  return { ...delivery, log: rows.flatMap(attemptOf) }
}

/** The attempt in a row, if there is one. */
function attemptOf (row: DeliveryRow): DeliveryAttempt[] {
  const { attempted_at: at, milliseconds, attempt_status: status, attempt_error: error } = row
  return at === null ? [] : [{ created_at: at, milliseconds, response_status: status, error }]
}

/**
 * How long a delivery is tried after a redelivery, after a test, and after its webhook was resumed. An event
 * has the same lifetime from the trigger of `audit_events`.
 */
export const lifetimeSeconds = 3 * 86_400

/** Sends a delivery again from the start, in any status. Undefined if it does not exist. */
export async function redeliver (
  db: Database, webhookId: string, id: string, origin: audit.Origin
): Promise<Delivery | undefined> {
  return await db.transaction(async tx => {
    const [reset] = await tx.query<{ id: string }>(`
      update webhook_deliveries set status = 'pending', finished_at = null
      from webhooks
      where webhooks.id = webhook_id and deleted_at is null and webhook_id = $1 and webhook_deliveries.id = $2
      returning webhook_deliveries.id`, [webhookId, id])
    if (!reset) return undefined
    await tx.query(`
      insert into jobs (id, kind, subject, expires_at)
      values ($2, 'webhook', $1, now() + make_interval(secs => $3))
      on conflict (id) do update set
        created_at = now(), attempts = 0, run_at = now(), expires_at = excluded.expires_at`,
    [webhookId, id, lifetimeSeconds])
    const detail = { webhook_id: webhookId, delivery_id: id }
    await audit.record(tx, 'webhook.redelivered', { detail }, origin)
    tx.publish(enqueued, 'webhook')
    return await findOne(tx, webhookId, id)
  })
}

/** Enqueues an event without content, to try a webhook out. Undefined if the webhook does not exist. */
export async function enqueueTest (
  db: Database, webhookId: string, origin: audit.Origin
): Promise<Delivery | undefined> {
  return await db.transaction(async tx => {
    const [delivery] = await tx.query<{ id: string }>(`
      with created as (
        insert into webhook_deliveries (webhook_id, type, data)
        select id, $2, jsonb_build_object('webhook_id', id) from webhooks where id = $1 and deleted_at is null
        returning id, webhook_id
      )
      insert into jobs (id, kind, subject, expires_at)
      select id, 'webhook', webhook_id, now() + make_interval(secs => $3) from created
      returning id`, [webhookId, testType, lifetimeSeconds])
    if (!delivery) return undefined
    const detail = { webhook_id: webhookId, delivery_id: delivery.id }
    await audit.record(tx, 'webhook.tested', { detail }, origin)
    tx.publish(enqueued, 'webhook')
    return await findOne(tx, webhookId, delivery.id)
  })
}

async function findOne (tx: Queryable, webhookId: string, id: string): Promise<Delivery | undefined> {
  const [delivery] = await tx.query<Delivery>(`
    select ${columns} from webhook_deliveries
    join webhooks on webhooks.id = webhook_id and deleted_at is null
    left join jobs on jobs.kind = 'webhook' and jobs.id = webhook_deliveries.id
    where webhook_id = $1 and webhook_deliveries.id = $2`, [webhookId, id])
  return delivery
}
