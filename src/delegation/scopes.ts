import type { Client } from '../clients/records.ts'
import { scopesOf, type Roles } from '../syntax/roles.ts'

/** The scope with which a client session outlives its browser session (OpenID Connect Core section 11). */
export const offlineAccess = 'offline_access'
// Rights at this service: of its own users, and of clients that act for themselves. No client gets them for a
// user.
const serviceScopes = ['account', 'introspect', 'revocations', 'sessions:end']

/**
 * Returns the scopes that a client gets for those that it requests; without a request, all of its scopes but
 * offline access. Unknown scopes are dropped (RFC 6749 section 3.3).
 */
export function grantableScopes (
  { scopes, grant_types: grantTypes }: Pick<Client, 'scopes' | 'grant_types'>, requested: string[] | undefined
): string[] {
  const wanted = requested ?? scopes.filter(scope => scope !== offlineAccess)
  return wanted.filter(scope => scopes.includes(scope) && !serviceScopes.includes(scope) &&
    (scope !== offlineAccess || grantTypes.includes('refresh_token')))
}

/**
 * Returns the scopes that a token of a user may have now. A scope that some role grants is one that only
 * users with such a role have; a client cannot get more rights than its user.
 */
export function effectiveScopes (roles: Roles, userRoles: readonly string[], granted: string[]): string[] {
  const ofRoles = new Set(Object.values(roles).flat())
  const ofUser = scopesOf(roles, userRoles)
  return granted.filter(scope => !ofRoles.has(scope) || ofUser.includes(scope))
}
