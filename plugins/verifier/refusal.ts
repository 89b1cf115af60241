/**
 * Why a request is refused. `message` is for the caller and `reason` for the log. Neither contains a part of
 * the token. Fastify answers with `statusCode` and `code`.
 */
export class Refusal extends Error {
  readonly statusCode: number
  readonly code: string
  readonly reason: string | undefined
  readonly #headers: Record<string, string>

  constructor (statusCode: number, code: string, message: string, headers: Record<string, string>, reason?: string) {
    super(message)
    this.name = 'Refusal'
    this.statusCode = statusCode
    this.code = code
    this.reason = reason
    this.#headers = headers
  }

  /** The headers of the response. A getter, so that loggers do not serialize them. */
  get headers (): Record<string, string> {
    return this.#headers
  }
}

const challenge = (parameters = '') => ({ 'www-authenticate': `Bearer realm="latchkey"${parameters}` })

/** 401 for a request without a token. RFC 6750 section 3.1: it names no error. */
export const tokenRequired = () => new Refusal(401, 'token_required', 'An access token is required', challenge())

/** 401 for a token that is not valid (RFC 6750 section 3.1). */
export const invalidToken = (reason: string) =>
  new Refusal(401, 'invalid_token', 'The access token is not valid', challenge(', error="invalid_token", error_description="The access token is not valid"'), reason)

/**
 * 403 for a token without the role or scopes (RFC 6750 section 3.1). `scopes` are those that the request
 * needs.
 */
export const insufficientScope = (scopes: readonly string[] = []) =>
  new Refusal(403, 'insufficient_scope', 'The access token does not allow this', challenge(`, error="insufficient_scope"${scopes.length > 0 ? `, scope="${scopes.join(' ')}"` : ''}`))

/** 503 if the token cannot be verified now. The response has `Retry-After: 1` (seconds). */
export const unavailable = (reason: string) =>
  new Refusal(503, 'verification_unavailable', 'The access token cannot be verified now', { 'retry-after': '1' }, reason)
