import { scopeSyntax } from './scope.ts'

/** The defined roles, each with the scopes that it grants. */
export type Roles = Readonly<Record<string, readonly string[]>>

/** These roles are defined even if the configuration names none. */
const builtInRoles = ['user', 'admin']
/** Every user has this scope; it grants the use of the user's own account. */
const accountScope = 'account'
// A comma would end an item of the list, and an equals sign the name.
const nameSyntax = /^[^\s\p{C},=]{1,100}$/u
// With all roles and scopes, a token of this size still fits in every server's limit for headers.
const maxClaimBytes = 3_000

const example = 'editor=articles:read+articles:write'

/**
 * Parses roles such as `support,editor=articles:read+articles:write`: comma-separated names, each with the
 * scopes that it grants, if any. Throws an Error whose message continues the name of a variable.
 */
export function parse (text: string): Roles {
  const roles = new Map<string, readonly string[]>()
  for (const item of text.split(',').map(part => part.trim()).filter(Boolean)) {
    const [name = '', ...scopeLists] = item.split('=').map(part => part.trim())
    const scopes = scopeLists.flatMap(part => part.split('+'))
    if (!nameSyntax.test(name)) {
      const rule = `names of at most 100 characters without blanks, each alone or as ${example}`
      throw new Error(`must be a comma-separated list of ${rule}; "${name}" is not a valid name`)
    }
    if (scopeLists.length > 1 || !scopes.every(scope => scopeSyntax.test(scope))) {
      throw new Error(`must give scopes as in ${example}; the scopes of ${name} are not valid`)
    }
    if (roles.has(name)) throw new Error(`must name each role once; it names ${name} twice`)
    roles.set(name, Object.freeze([...new Set(scopes)]))
  }
  const defined = [...new Set([...builtInRoles, ...roles.keys()])]
    .map(name => [name, roles.get(name) ?? Object.freeze<string[]>([])] as const)
  if (Buffer.byteLength(JSON.stringify(defined)) > maxClaimBytes) {
    throw new Error(
      `must be shorter; all roles and scopes together may take ${maxClaimBytes} bytes in a token`
    )
  }
  return Object.freeze(Object.fromEntries(defined))
}

/** Returns whether every name is a defined role. */
export const areDefined = (roles: Roles, names: readonly string[]): boolean =>
  names.every(name => Object.hasOwn(roles, name))

/**
 * Returns those of a user's roles that are defined, in a constant order. If the configuration defines no
 * roles, all names count as far as they fit in a token, in the user's order.
 */
export const definedRoles = (roles: Roles, names: readonly string[]): string[] => {
  if (Object.keys(roles).length > builtInRoles.length) {
    return Object.keys(roles).filter(name => names.includes(name))
  }
  let bytes = 0
  const fits = (name: string) => (bytes += Buffer.byteLength(JSON.stringify(name))) < maxClaimBytes
  return names.filter(name => builtInRoles.includes(name) || fits(name))
}

/** Returns the scopes of a user's tokens without duplicates, in a constant order. */
export const scopesOf = (roles: Roles, names: readonly string[]): string[] =>
  [...new Set([accountScope, ...definedRoles(roles, names).flatMap(name => roles[name] ?? [])])]

/** What a token must grant: one of these roles, and all of these scopes. */
export interface AccessRequirement { roles?: readonly string[], scopes?: readonly string[] }

/** The claims that a requirement looks at. A client's own token has no roles. */
export interface GrantClaims { roles?: readonly string[] | undefined, scope: string }

/** Returns whether a token's claims meet a requirement. */
export function meetsRequirement (
  { roles: grantedRoles = [], scope }: GrantClaims, { roles = [], scopes = [] }: AccessRequirement
): boolean {
  const grantedScopes = scope.split(' ')
  const hasRole = roles.length === 0 || roles.some(role => grantedRoles.includes(role))
  return hasRole && scopes.every(required => grantedScopes.includes(required))
}
