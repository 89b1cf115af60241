import { isDeepStrictEqual } from 'node:util'
import * as audit from '../audit/events.ts'
import type { Database, Queryable } from '../database/database.ts'
import { newId } from '../crypto/random.ts'
import { retainedSecrets, type SecretRotation } from '../crypto/secret-rotation.ts'
import { resumeDeliveries, retryUnsigned } from './delivery-batches.ts'
import type { NewSecret } from './signature.ts'

/** A URL to which events of accounts and sessions are sent. */
export interface Webhook {
  id: string
  url: string
  events: string[]
  description: string | null
  status: 'active' | 'paused'
  paused_at: Date | null
  paused_reason: 'asked' | 'failing' | 'gone' | null
  /** The time of the first failed attempt since the last success. */
  failing_since: Date | null
  created_at: Date
  updated_at: Date
}

/** A webhook with its new secret, which is shown only this once. */
export interface WebhookWithSecret extends Webhook { secret: string }

const columns = `id, url, events, description,
  case when paused_at is null then 'active' else 'paused' end as status, paused_at, paused_reason,
  failing_since, created_at, updated_at`

const auditDetail = ({ id, events }: Webhook) => ({ webhook_id: id, events })

export interface NewWebhook { url: string, events: string[], description?: string | null }

const inserting = `
  insert into webhooks (id, url, events, description) values ($1, $2, $3, $4) returning ${columns}`
const insertingSecret = 'insert into webhook_secrets (id, webhook_id, sealed_secret) values ($1, $2, $3)'

/** Creates a webhook with its first secret. */
export async function create (
  db: Database, { url, events, description = null }: NewWebhook, newSecret: NewSecret, origin: audit.Origin
): Promise<WebhookWithSecret> {
  const { id: secretId, secret, sealed } = newSecret
  return await db.transaction(async tx => {
    const [webhook] = await tx.query<Webhook>(inserting, [newId(), url, [...new Set(events)], description])
    if (!webhook) throw new Error('the webhook was not inserted')
    await tx.query(insertingSecret, [secretId, webhook.id, sealed])
    await audit.record(tx, 'webhook.created', { detail: auditDetail(webhook) }, origin)
    return { ...webhook, secret }
  })
}

/** A page of a list, the newest first: up to `limit` entries after the id `before`. */
export interface WebhookPage { before: string | undefined, limit: number }

/** Lists a page of the webhooks, the newest first. */
export async function list (db: Queryable, { before, limit }: WebhookPage): Promise<Webhook[]> {
  return await db.query<Webhook>(`
    select ${columns} from webhooks
    where deleted_at is null and ($1::uuid is null or id < $1)
    order by id desc limit $2`, [before ?? null, limit])
}

/** Finds a webhook that has not been deleted. */
export async function find (db: Queryable, id: string): Promise<Webhook | undefined> {
  const [webhook] = await db.query<Webhook>(
    `select ${columns} from webhooks where deleted_at is null and id = $1`, [id])
  return webhook
}

export interface WebhookChange {
  url?: string
  events?: string[]
  description?: string | null
  status?: 'active' | 'paused'
}

const locking = `select ${columns} from webhooks where deleted_at is null and id = $1 for no key update`
const updating = `
  update webhooks set
    url = coalesce($2, url),
    events = coalesce($3, events),
    description = case when $4 then $5 else description end,
    updated_at = now(),
    paused_at = case when $6 then null when $7 then now() else paused_at end,
    paused_reason = case when $6 then null when $7 then 'asked' else paused_reason end,
    failing_since = case when $6 or $2 <> url then null else failing_since end,
    failures = case when $6 or $2 <> url then 0 else failures end
  where id = $1 returning ${columns}`

/**
 * The webhook after the change, undefined if there is none. If nothing differs, nothing is written. When a
 * webhook becomes active, its failures are forgotten, and the deliveries kept for it are due at once.
 */
export async function update (
  db: Database, id: string, change: WebhookChange, origin: audit.Origin
): Promise<Webhook | undefined> {
  const { url, description, status } = change
  const events = change.events && [...new Set(change.events)]
  // Nothing is sent until the webhook is active, so this may come first, without a lock on the webhook.
  if (status === 'active' && (await find(db, id))?.status === 'paused') await resumeDeliveries(db, id)
  return await db.transaction(async tx => {
    const [before] = await tx.query<Webhook>(locking, [id])
    if (!before) return undefined
    const isResumed = status === 'active' && before.status === 'paused'
    const isPaused = status === 'paused' && before.status === 'active'
    const differences = {
      url: url !== undefined && url !== before.url,
      events: events !== undefined && !isDeepStrictEqual(events, before.events),
      description: description !== undefined && description !== before.description,
      status: isResumed || isPaused
    }
    const changed = Object.entries(differences).flatMap(([name, differs]) => differs ? [name] : []).sort()
    if (changed.length === 0) return before
    const descriptionValues = [description !== undefined, description ?? null]
    const values = [id, url ?? null, events ?? null, ...descriptionValues, isResumed, isPaused]
    const [webhook] = await tx.query<Webhook>(updating, values)
    if (!webhook) return undefined
    const detail = { ...auditDetail(webhook), changed, ...differences.status && { status } }
    await audit.record(tx, 'webhook.updated', { detail }, origin)
    return webhook
  })
}

const deleting = `
  update webhooks set deleted_at = now() where id = $1 and deleted_at is null returning ${columns}`

/**
 * Deletes a webhook with its secrets; returns whether it existed. No further attempt starts. Housekeeping
 * purges its deliveries later.
 */
export async function deleteWebhook (db: Database, id: string, origin: audit.Origin): Promise<boolean> {
  return await db.transaction(async tx => {
    const [webhook] = await tx.query<Webhook>(deleting, [id])
    if (!webhook) return false
    await tx.query('delete from webhook_secrets where webhook_id = $1', [id])
    await audit.record(tx, 'webhook.deleted', { detail: auditDetail(webhook) }, origin)
    return true
  })
}

// Two rotations at the same time wait for each other. Without the lock they would leave a third secret
// behind.
const lockingForSecret = `select ${columns} from webhooks where deleted_at is null and id = $1 for update`
const deletingSecrets = `
  delete from webhook_secrets where id in (
    select id from webhook_secrets where webhook_id = $1 order by created_at desc offset $2)`

export interface WebhookSecretRotation extends SecretRotation { newSecret: NewSecret }

/**
 * Gives a webhook a new secret; every valid secret signs the deliveries. Those that could not be signed
 * before are due at once. Undefined if the webhook does not exist.
 */
export async function rotateSecret (
  db: Database, id: string, rotation: WebhookSecretRotation, origin: audit.Origin
): Promise<WebhookWithSecret | undefined> {
  const { id: secretId, secret, sealed } = rotation.newSecret
  const rotated = await db.transaction(async tx => {
    const [webhook] = await tx.query<Webhook>(lockingForSecret, [id])
    if (!webhook) return undefined
    await tx.query(deletingSecrets, [id, retainedSecrets(rotation)])
    await tx.query(insertingSecret, [secretId, id, sealed])
    const detail = { webhook_id: id, replaced: rotation.endsOlder }
    await audit.record(tx, 'webhook.secret_rotated', { detail }, origin)
    return { ...webhook, secret }
  })
  if (rotated) await retryUnsigned(db, id)
  return rotated
}
