import type { RejectionReason } from './token-rejection.ts'

/**
 * Why a request may not pass. `message` is for the caller, `reason` for the log. Neither contains a part of
 * the token.
 *
 * @example
 * try {
 *   const auth = await verifier.authenticate(request.headers.authorization)
 * } catch (error) {
 *   if (!(error instanceof AuthError)) throw error
 *   response.writeHead(error.statusCode, error.headers).end(error.message)
 * }
 */
export class AuthError extends Error {
  /** The status of the response: 401, 403 or 503 (RFC 6750 section 3.1). */
  readonly statusCode: number
  /** `token_required`, `invalid_token`, `insufficient_scope` or `verification_unavailable`. */
  readonly code: string
  /** Why, for the log. */
  readonly reason: string | undefined
  readonly #headers: Record<string, string>

  constructor (statusCode: number, code: string, message: string, extra: AuthErrorExtra) {
    super(message)
    this.name = 'AuthError'
    this.statusCode = statusCode
    this.code = code
    this.reason = extra.reason
    this.#headers = extra.headers
  }

  /** The headers of the response: the challenge (RFC 6750 section 3), or `Retry-After`. */
  get headers (): Record<string, string> {
    return this.#headers
  }
}

interface AuthErrorExtra { headers: Record<string, string>, reason?: string }

const challenge = (parameters = '') => ({ 'www-authenticate': `Bearer realm="latchkey"${parameters}` })

/** RFC 6750 section 3.1: a request without a token gets a challenge that names no error. */
export const tokenRequired = () =>
  new AuthError(401, 'token_required', 'An access token is required', { headers: challenge() })

export function invalidToken (reason: RejectionReason): AuthError {
  const message = 'The access token is not valid'
  const headers = challenge(`, error="invalid_token", error_description="${message}"`)
  return new AuthError(401, 'invalid_token', message, { headers, reason })
}

/** `scopes` are those that the request needs; none if it needs a role. */
export function insufficientScope (scopes: readonly string[] = []): AuthError {
  const scopeParameter = scopes.length > 0 ? `, scope="${scopes.join(' ')}"` : ''
  const headers = challenge(`, error="insufficient_scope"${scopeParameter}`)
  return new AuthError(403, 'insufficient_scope', 'The access token does not allow this', { headers })
}

/** Whether the token is valid cannot be known now. */
export const unavailable = (reason: string) =>
  new AuthError(503, 'verification_unavailable', 'The access token cannot be verified now', {
    headers: { 'retry-after': '1' }, reason
  })
