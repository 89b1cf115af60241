import { scopeSyntax } from './scope.ts'

/** The roles that there are, each with the scopes that it gives. */
export type Roles = Readonly<Record<string, readonly string[]>>

/** The roles that are there without being named. */
const always = ['user', 'admin']
// What every user is given: the use of their account here.
const account = 'account'
// What would end an item of the list, or its name, is no part of a name.
const nameSyntax = /^[^\s\p{C},=]{1,100}$/u
// Characters: with all of it a token is still shorter than anybody refuses.
const longest = 3_000

/** Reads `support,editor=articles:read+articles:write`: roles, each with scopes where it gives any. Throws an Error that says what would do. */
export function parse (text: string): Roles {
  const roles = new Map<string, readonly string[]>()
  for (const item of text.split(',').map(part => part.trim()).filter(Boolean)) {
    const [name = '', ...rest] = item.split('=').map(part => part.trim())
    const scopes = rest.flatMap(part => part.split('+'))
    if (!nameSyntax.test(name)) throw new Error(`must be names of at most 100 characters, comma separated and without blanks, each alone or as editor=articles:read+articles:write; "${name}" is none`)
    if (rest.length > 1 || !scopes.every(scope => scopeSyntax.test(scope))) throw new Error(`must give scopes as editor=articles:read+articles:write; what ${name} is given is none`)
    if (roles.has(name)) throw new Error(`must name each role once; ${name} comes twice`)
    roles.set(name, Object.freeze([...new Set(scopes)]))
  }
  const all = [...new Set([...always, ...roles.keys()])].map(name => [name, roles.get(name) ?? Object.freeze<string[]>([])] as const)
  if (Buffer.byteLength(JSON.stringify(all)) > longest) throw new Error(`must be shorter: tokens with all roles and scopes would be too long (${longest} bytes are the most)`)
  return Object.freeze(Object.fromEntries(all))
}

/** Whether there are roles of all these names. */
export const allowed = (roles: Roles, names: readonly string[]): boolean => names.every(name => Object.hasOwn(roles, name))

/** Of the roles that a user holds, those that there are, in an order that does not change; all of them, in theirs, where none was named beside those that are always there. */
export const held = (roles: Roles, names: readonly string[]): string[] => {
  if (Object.keys(roles).length > always.length) return Object.keys(roles).filter(name => names.includes(name))
  let length = 0
  return names.filter(name => always.includes(name) || (length += Buffer.byteLength(JSON.stringify(name))) < longest)
}

/** The scopes of a user's tokens: the use of the own account, and what the roles give, each once and in an order that does not change. */
export const scopesOf = (roles: Roles, names: readonly string[]): string[] =>
  [...new Set([account, ...held(roles, names).flatMap(name => roles[name] ?? [])])]

/** What a token must allow: any of these roles, and all of these scopes. */
export interface Demand { roles?: readonly string[], scopes?: readonly string[] }

/** Whether the claims of a token meet a demand; a client's own has no roles. */
export function meets ({ roles: has = [], scope }: { roles?: readonly string[] | undefined, scope: string }, { roles = [], scopes = [] }: Demand): boolean {
  const granted = scope.split(' ')
  return (roles.length === 0 || roles.some(role => has.includes(role))) && scopes.every(each => granted.includes(each))
}
