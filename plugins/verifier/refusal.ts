/** Why a request may not pass: `message` is for the caller, `reason` for the log; neither has a part of the token. */
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

  /** Headers of the answer. */
  get headers (): Record<string, string> {
    return this.#headers
  }
}

const challenge = (parameters = '') => ({ 'www-authenticate': `Bearer realm="latchkey"${parameters}` })

/** RFC 6750 section 3.1: where no token came, no error is named. */
export const tokenRequired = () => new Refusal(401, 'token_required', 'An access token is required', challenge())

export const invalidToken = (reason: string) =>
  new Refusal(401, 'invalid_token', 'The access token is not valid', challenge(', error="invalid_token", error_description="The access token is not valid"'), reason)

/** `scopes` are those that the request needs, where it is scopes that it needs. */
export const insufficientScope = (scopes: readonly string[] = []) =>
  new Refusal(403, 'insufficient_scope', 'The access token does not allow this', challenge(`, error="insufficient_scope"${scopes.length > 0 ? `, scope="${scopes.join(' ')}"` : ''}`))

/** Nobody can tell now whether the token is valid. */
export const unavailable = (reason: string) =>
  new Refusal(503, 'verification_unavailable', 'The access token cannot be verified now', { 'retry-after': '1' }, reason)
