import * as audit from '../audit/events.ts'
import type { Queryable } from '../database/database.ts'
import { validationFailed } from '../http/problem.ts'
import { cutOff, type Revocation } from '../tokens/revocations.ts'
import { areDefined, type Roles } from '../syntax/roles.ts'
import { assertAnotherAdmin } from '../users/last-admin.ts'

/** The role of those who look after the others. */
export const admin = 'admin'

/** What there is to know of roles: which there are, and for how many seconds tokens say who has them. */
export interface RoleRules { roles: Roles, accessToken: number }

/**
 * Gives a user these roles and no others, each once; nothing where there is no such user, or nothing changes. Where one
 * is taken, no access token that the user has is good any more. Gives what verifiers must know. Throws
 * `validation_failed` for a role that there is not, and `last_admin`.
 */
export async function setRoles (tx: Queryable, id: string, given: readonly string[], { roles, accessToken }: RoleRules, origin: audit.Origin): Promise<Revocation[]> {
  if (!areDefined(roles, given)) throw validationFailed(`There are the roles ${Object.keys(roles).join(', ')}.`, [{ pointer: '/roles', detail: 'must be roles that there are' }])
  const to = [...new Set(given)]
  if (!to.includes(admin)) await assertAnotherAdmin(tx, id)
  const [before] = await tx.query<{ roles: string[] }>('select roles from users where id = $1 for no key update', [id])
  if (!before || (before.roles.length === to.length && before.roles.every(role => to.includes(role)))) return []
  await tx.query('update users set roles = $2, updated_at = now() where id = $1', [id, to])
  await audit.record(tx, 'user.roles_changed', { userId: id, detail: { from: before.roles, to } }, origin)
  return before.roles.every(role => to.includes(role)) ? [] : await cutOff(tx, id, { accessToken }, 'roles_changed')
}
