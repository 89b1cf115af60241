import { Problem } from './problem.ts'

/** The failures of the OAuth endpoints (RFC 6749 section 5.2, RFC 6750 section 3.1, RFC 8707 section 2). */
export const oauthErrors = {
  invalid_request: {
    status: 400,
    meaning: 'A parameter is missing, repeated or malformed, or the client authenticated in two ways.'
  },
  invalid_client: { status: 401, meaning: 'The client is unknown, or its authentication failed.' },
  unauthorized_client: { status: 400, meaning: 'The client is not registered for this grant type.' },
  invalid_token: { status: 401, meaning: 'The bearer token is not valid.' },
  unsupported_grant_type: { status: 400, meaning: 'The grant type is not supported.' },
  invalid_grant: {
    status: 400,
    meaning: 'The code or refresh token is not valid, or was issued to another client.'
  },
  invalid_scope: { status: 400, meaning: 'A scope is malformed, or not granted to the client.' },
  invalid_target: {
    status: 400,
    meaning: 'A resource or audience is not an absolute URI without a fragment, or the client may not ' +
      'request tokens for it.'
  },
  insufficient_scope: { status: 403, meaning: 'The client lacks the required scope.' },
  access_denied: { status: 403, meaning: 'The request is not allowed.' },
  server_error: { status: 500, meaning: 'The service failed unexpectedly.' },
  temporarily_unavailable: {
    status: 503,
    meaning: 'The service cannot answer now. The request is safe to repeat after the number of seconds in ' +
      '`Retry-After`.'
  }
} as const satisfies Record<string, { status: number, meaning: string }>

export type OAuthErrorCode = keyof typeof oauthErrors

export interface OAuthErrorOptions {
  detail?: string
  headers?: Record<string, string>
  status?: number
  /** For the log only. */
  cause?: unknown
}

/** A failure of an OAuth endpoint. Everything except `cause` is public. */
export class OAuthError extends Error {
  readonly code: OAuthErrorCode
  readonly status: number
  readonly headers: Record<string, string>

  constructor (code: OAuthErrorCode, options: OAuthErrorOptions = {}) {
    const { status, meaning } = oauthErrors[code]
    super(options.detail ?? meaning, { cause: options.cause })
    this.name = 'OAuthError'
    this.code = code
    this.status = options.status ?? status
    this.headers = options.headers ?? {}
  }
}

/** The response body of an error. RFC 6749 section 5.2 limits the characters of the description. */
export const document = ({ code, message }: OAuthError) =>
  ({ error: code, error_description: message.replaceAll(/["\\]/g, "'").replaceAll(/[^\x20-\x7e]/g, '?') })

const codeByStatus: Record<number, OAuthErrorCode> = {
  401: 'invalid_token',
  403: 'access_denied',
  429: 'temporarily_unavailable',
  500: 'server_error',
  503: 'temporarily_unavailable'
}

/** The OAuth error of a failure. */
export function translate (failure: Problem | OAuthError): OAuthError {
  if (failure instanceof OAuthError) return failure
  const { code, status, headers, cause } = failure
  const oauthCode = code === 'forbidden' ? 'insufficient_scope' : codeByStatus[status] ?? 'invalid_request'
  return new OAuthError(oauthCode, { detail: detailOf(failure), headers, status, cause })
}

function detailOf ({ code, message, members }: Problem): string {
  if (code === 'unsupported_media_type') return 'Bodies are application/x-www-form-urlencoded.'
  const [violation] = Array.isArray(members['errors']) ? members['errors'] : []
  return violation ? `${message} ${violation.pointer.slice(1)} ${violation.detail}` : message
}

export const invalidRequest = (detail: string) => new OAuthError('invalid_request', { detail })
/** RFC 6749 section 5.2 requires the header only after Basic authentication. It does no harm otherwise. */
export const invalidClient = (cause?: unknown) => new OAuthError('invalid_client', {
  headers: { 'www-authenticate': 'Basic realm="latchkey", charset="UTF-8"' }, cause
})
export const unauthorizedClient = () => new OAuthError('unauthorized_client')
export const unsupportedGrantType = () => new OAuthError('unsupported_grant_type')
export const invalidScope = (detail: string) => new OAuthError('invalid_scope', { detail })
export const invalidGrant = (detail: string, cause?: unknown) =>
  new OAuthError('invalid_grant', { detail, cause })
export const invalidTarget = (detail?: string) =>
  new OAuthError('invalid_target', { ...detail !== undefined && { detail } })

/** RFC 6750 section 3: the refusal of a request for a resource says how to send an access token. */
const bearerChallenge = (parameters: string) =>
  ({ 'www-authenticate': `Bearer realm="latchkey", ${parameters}` })
export const invalidBearerRequest = (detail: string) => new OAuthError('invalid_request', {
  detail, headers: bearerChallenge('error="invalid_request"')
})
export const insufficientScope = (scope: string) => new OAuthError('insufficient_scope', {
  detail: `The scope ${scope} is required.`,
  headers: bearerChallenge(`error="insufficient_scope", scope="${scope}"`)
})
