import * as audit from '../audit.ts'
import type { Queryable } from '../db.ts'
import type { Revocation } from '../revocations.ts'
import { endAll } from '../sessions/own.ts'
import { assertAnotherAdmin } from './last-admin.ts'

/** Removes an account; undefined where there is none. Gives what verifiers must know. Throws `last_admin`. */
export async function remove (tx: Queryable, id: string, origin: audit.Origin): Promise<Revocation[] | undefined> {
  await assertAnotherAdmin(tx, id)
  const ended = await endAll(tx, id, undefined, 'account_deleted', origin)
  const [user] = await tx.query('delete from users where id = $1 returning id', [id])
  if (!user) return undefined
  await audit.record(tx, 'user.deleted', { userId: id }, origin)
  return ended
}
