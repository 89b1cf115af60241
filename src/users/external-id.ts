import type * as audit from '../audit/events.ts'
import type { Queryable } from '../database/database.ts'
import { translateViolations } from './violations.ts'

/** The longest external id, in characters. */
export const maxExternalIdLength = 255

/**
 * Gives a user another external id, or none if it is null. Writes nothing if it is the same. Throws
 * `external_id_taken`.
 */
export async function setExternalId (
  tx: Queryable, id: string, externalId: string | null, origin: audit.Origin
): Promise<void> {
  await translateViolations(tx.query(`
    update users set external_id = $3, updated_at = now()
    where id = $1 and external_id is distinct from $3
    returning record_event('user.updated', $2, user_id => id, detail => '{"changed": ["external_id"]}')`,
  [id, origin, externalId]))
}
