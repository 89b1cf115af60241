import * as audit from '../audit/events.ts'
import type { Queryable } from '../database/database.ts'
import * as links from '../one-time-tokens/one-time-tokens.ts'
import type { Revocation } from '../tokens/revocations.ts'
import { endAll } from '../sessions/ending.ts'
import { assertAnotherAdmin } from '../users/last-admin.ts'
import type { Status } from '../users/listing.ts'

const setting = (disabledAt: string, before: string, type: 'user.disabled' | 'user.enabled') => `
  with changed as (
    update users set disabled_at = ${disabledAt}, updated_at = now() where id = $1 and disabled_at ${before} returning id
  ), audited as (${audit.insertion(type, { user: 'id' }, '$2', 'changed')}
  )
  select id from changed`
const disabling = setting('now()', 'is null', 'user.disabled')
const enabling = setting('null', 'is not null', 'user.enabled')

/**
 * Disables a user, whose sessions and links end with it, or enables them again; nothing where they are so already.
 * Gives what verifiers must know. Throws `last_admin`.
 */
export async function setStatus (tx: Queryable, id: string, status: Status, origin: audit.Origin): Promise<Revocation[]> {
  if (status === 'disabled') await assertAnotherAdmin(tx, id)
  const [changed] = await tx.query(status === 'disabled' ? disabling : enabling, [id, audit.parameter(origin)])
  if (!changed || status === 'active') return []
  await links.endAll(tx, id)
  return await endAll(tx, { userId: id }, 'account_disabled', origin)
}
