import { isDeepStrictEqual } from 'node:util'
import * as audit from '../audit/events.ts'
import type { Database, Queryable } from '../database/database.ts'
import { newId } from '../crypto/random.ts'
import { keepUntil, signAgain } from './deliveries.ts'
import type { NewSecret } from './signature.ts'

/** Where news of accounts and sessions is sent to. */
export interface Webhook {
  id: string
  url: string
  events: string[]
  description: string | null
  status: 'active' | 'paused'
  paused_at: Date | null
  paused_reason: 'asked' | 'failing' | 'gone' | null
  /** Since when no attempt has succeeded. */
  failing_since: Date | null
  created_at: Date
  updated_at: Date
}

/** A webhook with a secret that was just made, and is shown this once. */
export interface WebhookWithSecret extends Webhook { secret: string }

// Of secrets, one more than are in use at a time only while one is replaced.
const live = 2

const columns = `id, url, events, description, case when paused_at is null then 'active' else 'paused' end as status,
  paused_at, paused_reason, failing_since, created_at, updated_at`

const told = ({ id, events }: Webhook) => ({ webhook_id: id, events })

export interface NewWebhook { url: string, events: string[], description?: string | null }

/** Makes a webhook with its first secret. */
export async function create (db: Database, { url, events, description = null }: NewWebhook, { id, secret, sealed }: NewSecret, origin: audit.Origin): Promise<WebhookWithSecret> {
  return await db.transaction(async tx => {
    const [webhook] = await tx.query<Webhook>(`
      insert into webhooks (id, url, events, description) values ($1, $2, $3, $4) returning ${columns}`, [newId(), url, [...new Set(events)], description])
    if (!webhook) throw new Error('a webhook was not inserted')
    await tx.query('insert into webhook_secrets (id, webhook_id, sealed_secret) values ($1, $2, $3)', [id, webhook.id, sealed])
    await audit.record(tx, 'webhook.created', { detail: told(webhook) }, origin)
    return { ...webhook, secret }
  })
}

/** The webhooks, the newest first, from the one after `before` on. */
export async function list (db: Queryable, { before, limit }: { before: string | undefined, limit: number }): Promise<Webhook[]> {
  return await db.query<Webhook>(`select ${columns} from webhooks where deleted_at is null and ($1::uuid is null or id < $1) order by id desc limit $2`, [before ?? null, limit])
}

/** The webhook of this id; undefined where there is none. */
export async function find (db: Queryable, id: string): Promise<Webhook | undefined> {
  const [webhook] = await db.query<Webhook>(`select ${columns} from webhooks where deleted_at is null and id = $1`, [id])
  return webhook
}

export interface WebhookChange { url?: string, events?: string[], description?: string | null, status?: 'active' | 'paused' }

/**
 * Changes what is named, and returns the webhook; undefined if there is none. If nothing differs, nothing is
 * written. A webhook that becomes active has a clean record, and what was kept for it is due at once.
 */
export async function update (db: Database, id: string, change: WebhookChange, origin: audit.Origin): Promise<Webhook | undefined> {
  const { url, description, status } = change
  const events = change.events && [...new Set(change.events)]
  // This comes before it becomes active: nothing is sent until then, and the webhook is not locked meanwhile.
  if (status === 'active' && (await find(db, id))?.status === 'paused') await keepUntil(db, id)
  return await db.transaction(async tx => {
    const [before] = await tx.query<Webhook>(`select ${columns} from webhooks where deleted_at is null and id = $1 for no key update`, [id])
    if (!before) return undefined
    const resumed = status === 'active' && before.status === 'paused'
    const paused = status === 'paused' && before.status === 'active'
    const isNew = {
      url: url !== undefined && url !== before.url,
      events: events !== undefined && !isDeepStrictEqual(events, before.events),
      description: description !== undefined && description !== before.description,
      status: resumed || paused
    }
    const changed = Object.entries(isNew).flatMap(([name, differs]) => differs ? [name] : []).sort()
    if (changed.length === 0) return before
    const [webhook] = await tx.query<Webhook>(`
      update webhooks set url = coalesce($2, url), events = coalesce($3, events), description = case when $4 then $5 else description end, updated_at = now(),
        paused_at = case when $6 then null when $7 then now() else paused_at end,
        paused_reason = case when $6 then null when $7 then 'asked' else paused_reason end,
        failing_since = case when $6 or $2 <> url then null else failing_since end,
        failures = case when $6 or $2 <> url then 0 else failures end
      where id = $1 returning ${columns}`, [id, url ?? null, events ?? null, description !== undefined, description ?? null, resumed, paused])
    if (!webhook) return undefined
    await audit.record(tx, 'webhook.updated', { detail: { ...told(webhook), changed, ...isNew.status && { status } } }, origin)
    return webhook
  })
}

/** Removes a webhook with its secrets; gives whether there was one. Nothing more is begun to be sent; the log of deliveries is cleared away later. */
export async function remove (db: Database, id: string, origin: audit.Origin): Promise<boolean> {
  return await db.transaction(async tx => {
    const [gone] = await tx.query<Webhook>(`update webhooks set deleted_at = now() where id = $1 and deleted_at is null returning ${columns}`, [id])
    if (!gone) return false
    await tx.query('delete from webhook_secrets where webhook_id = $1', [id])
    await audit.record(tx, 'webhook.deleted', { detail: told(gone) }, origin)
    return true
  })
}

/**
 * Gives a webhook a new secret; the one before signs, too, until the next one is made, or no more where `replace`.
 * What could not be signed before is due at once.
 * Undefined where there is no such webhook.
 */
export async function addSecret (db: Database, id: string, { id: secretId, secret, sealed }: NewSecret, { replace }: { replace: boolean }, origin: audit.Origin): Promise<WebhookWithSecret | undefined> {
  const added = await db.transaction(async tx => {
    // Locked, so that two at a time leave no third one behind.
    const [webhook] = await tx.query<Webhook>(`select ${columns} from webhooks where deleted_at is null and id = $1 for update`, [id])
    if (!webhook) return undefined
    await tx.query(`
      delete from webhook_secrets where id in (
        select id from webhook_secrets where webhook_id = $1 order by created_at desc offset $2)`, [id, replace ? 0 : live - 1])
    await tx.query('insert into webhook_secrets (id, webhook_id, sealed_secret) values ($1, $2, $3)', [secretId, id, sealed])
    await audit.record(tx, 'webhook.secret_rotated', { detail: { webhook_id: id, replaced: replace } }, origin)
    return { ...webhook, secret }
  })
  if (added) await signAgain(db, id)
  return added
}
