import * as audit from '../audit.ts'
import type { Queryable } from '../db.ts'
import type { Revocation } from '../revocations.ts'
import { assertAnotherAdmin } from './last-admin.ts'

/** The role of those who look after the others. */
export const admin = 'admin'

/** What a role may be called. */
export const roleSyntax = /^[a-z][a-z0-9:_-]{0,63}$/

/**
 * Gives a user these roles and no others, each once; nothing where there is no such user, or nothing changes. Gives what
 * verifiers must know. Throws `last_admin`.
 */
export async function setRoles (tx: Queryable, id: string, roles: readonly string[], origin: audit.Origin): Promise<Revocation[]> {
  const to = [...new Set(roles)]
  if (!to.includes(admin)) await assertAnotherAdmin(tx, id)
  const [before] = await tx.query<{ roles: string[] }>('select roles from users where id = $1 for no key update', [id])
  if (!before || (before.roles.length === to.length && before.roles.every(role => to.includes(role)))) return []
  await tx.query('update users set roles = $2, updated_at = now() where id = $1', [id, to])
  await audit.record(tx, 'user.roles_changed', { userId: id, detail: { from: before.roles, to } }, origin)
  return []
}
