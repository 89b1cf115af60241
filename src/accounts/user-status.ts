import type * as audit from '../audit/events.ts'
import type { Queryable } from '../database/database.ts'
import { revokeAll } from '../one-time-tokens/revocation.ts'
import { endAll } from '../sessions/ending.ts'
import { assertAnotherAdmin } from '../users/last-admin.ts'
import type { UserStatus } from '../users/listing.ts'

const disable = `
  update users set disabled_at = now(), updated_at = now() where id = $1 and disabled_at is null
  returning record_event('user.disabled', $2, user_id => id)`
const enable = `
  update users set disabled_at = null, updated_at = now() where id = $1 and disabled_at is not null
  returning record_event('user.enabled', $2, user_id => id)`

/**
 * Disables a user, which ends their sessions and revokes their links, or enables them again. Does nothing if
 * the user already has the status. Throws `last_admin`.
 */
export async function setStatus (
  tx: Queryable, id: string, status: UserStatus, origin: audit.Origin
): Promise<void> {
  if (status === 'disabled') await assertAnotherAdmin(tx, id)
  const [changed] = await tx.query(status === 'disabled' ? disable : enable, [id, origin])
  if (!changed || status === 'active') return
  await revokeAll(tx, id)
  await endAll(tx, { userId: id }, 'account_disabled', origin)
}
