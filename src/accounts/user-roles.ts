import * as audit from '../audit/events.ts'
import type { Queryable } from '../database/database.ts'
import { validationFailed } from '../http/problems.ts'
import { areDefined, type Roles } from '../syntax/roles.ts'
import { revokeUserTokens } from '../tokens/revocations.ts'
import { assertAnotherAdmin } from '../users/last-admin.ts'

/** The role that is allowed to administer the service. */
export const admin = 'admin'

/** The roles that exist, and the lifetime of an access token in seconds. */
export interface RoleRules { roles: Roles, accessTokenSeconds: number }

/** The new roles of a user, and the rules that they must follow. */
export interface RoleAssignment { roles: readonly string[], rules: RoleRules }

/**
 * Gives a user these roles and no others. Does nothing if there is no such user, or nothing changes. If a
 * role is removed, revokes all access tokens of the user. Throws `validation_failed` for a role that does not
 * exist, and `last_admin`.
 */
export async function setRoles (
  tx: Queryable, id: string, { roles, rules }: RoleAssignment, origin: audit.Origin
): Promise<void> {
  if (!areDefined(rules.roles, roles)) {
    const violations = [{ pointer: '/roles', detail: 'must be roles that exist' }]
    throw validationFailed(`The roles are ${Object.keys(rules.roles).join(', ')}.`, violations)
  }
  const to = [...new Set(roles)]
  if (!to.includes(admin)) await assertAnotherAdmin(tx, id)
  const [before] = await tx.query<{ roles: string[] }>(
    'select roles from users where id = $1 for no key update', [id])
  if (!before) return
  const isNothingRemoved = before.roles.every(role => to.includes(role))
  if (isNothingRemoved && before.roles.length === to.length) return
  await tx.query('update users set roles = $2, updated_at = now() where id = $1', [id, to])
  await audit.record(tx, 'user.roles_changed', { userId: id, detail: { from: before.roles, to } }, origin)
  if (isNothingRemoved) return
  await revokeUserTokens(tx, id, { reason: 'roles_changed', accessTokenSeconds: rules.accessTokenSeconds })
}
