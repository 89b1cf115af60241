import type { Auth } from './auth.ts'
import { insufficientScope } from './auth-error.ts'

// RFC 6749 section 3.3.
const scopeSyntax = /^[\x21\x23-\x5b\x5d-\x7e]+$/

/**
 * Something that a token must have. Throws an AuthError (403) if it does not.
 *
 * @example
 * const requireMember: Requirement = requireRole('member')
 */
export type Requirement = (auth: Auth) => void

/**
 * Requires one of these roles (RFC 9068 section 2.2.3.1). Throws an Error at once if no role is given.
 *
 * @example
 * const requireSupport = requireRole('admin', 'support')
 * requireSupport(await verifier.verify(token))
 */
export function requireRole (...roles: string[]): Requirement {
  if (roles.length === 0) throw new Error('requireRole needs a role')
  return auth => {
    if (!roles.some(role => auth.roles.includes(role))) throw insufficientScope()
  }
}

/**
 * Requires all of these scopes (RFC 6749 section 3.3). Throws an Error at once if no scope is given, or one
 * that is not a scope token.
 *
 * @example
 * const requireWriting = requireScope('orders:write')
 * requireWriting(await verifier.verify(token))
 */
export function requireScope (...scopes: string[]): Requirement {
  if (scopes.length === 0 || !scopes.every(scope => scopeSyntax.test(scope))) {
    throw new Error('requireScope needs scopes, each as an argument of its own')
  }
  return auth => {
    if (!scopes.every(scope => auth.scope.includes(scope))) throw insufficientScope(scopes)
  }
}
