/** Why a password may be refused. */
export const passwordReasons = ['too_short', 'too_long', 'too_common', 'breached', 'contains_email', 'contains_name', 'contains_service'] as const
export type PasswordReason = typeof passwordReasons[number]

/** What may be shown, beside a mailed link, to confirm an address. */
export const confirmationMethods = ['session', 'password', 'new_password'] as const
export type ConfirmationMethod = typeof confirmationMethods[number]

/**
 * The closed catalogue of failures a client may see, as problem details (RFC 9457).
 * `meaning` is what the page behind the problem's `type` says.
 */
export const catalogue = {
  validation_failed: { status: [400], title: 'The request is not valid', meaning: 'The body, query or path does not fit the schema, or the JSON does not parse. `errors` names each offending place by JSON pointer. Nothing was changed; correct the request and send it again.' },
  invalid_credentials: { status: [401, 403], title: 'The credentials are not valid', meaning: 'No account has this e-mail address or username, or the password is wrong. Which of the two is never told. Status 403 has one of two meanings. A signed-in caller was asked for the password once more: it is wrong, or the account has none and the sign-in is not recent enough to do without. Or the password that should confirm an address is wrong: correct it and send the request again.' },
  invalid_token: { status: [401], title: 'The access token is not valid', meaning: 'The bearer token is missing, malformed, expired or revoked, was not signed by this service, or is not an access token for this audience. Refresh the session for a new one.' },
  invalid_refresh_token: { status: [401], title: 'The refresh token is not valid', meaning: 'The refresh token is missing, unknown, expired, revoked or was used before. Sign in again.' },
  forbidden: { status: [403], title: 'The caller may not do this', meaning: 'The access token is good, but the role or the scope that this needs is missing, or it is a client\'s own where a user\'s is needed.' },
  account_disabled: { status: [403], title: 'The account is disabled', meaning: 'The password was right, but an administrator has disabled this account.' },
  email_not_verified: { status: [403], title: 'The e-mail address is not verified', meaning: 'The password was right, but nobody has proved yet to own the address of the account. Open the link that was mailed there, or ask for another one.' },
  https_required: { status: [403], title: 'HTTPS is required', meaning: 'A trusted proxy reported that this request came over plain HTTP, while the service is published over HTTPS. Credentials sent this way may have been read; repeat the request over HTTPS.' },
  cross_site_request: { status: [403], title: 'The request came from a foreign site', meaning: 'A request that carries the refresh cookie or the registration cookie was sent by a page whose origin is neither the service\'s own nor one of the origins that the operator allows (`CORS_ORIGINS`).' },
  not_found: { status: [404], title: 'There is nothing here', meaning: 'No such route or resource, or one that is not the caller\'s.' },
  method_not_allowed: { status: [405], title: 'The method is not allowed here', meaning: 'The route exists, but not with this method. The `Allow` header lists those it has.' },
  request_timeout: { status: [408], title: 'The request took too long to arrive', meaning: 'The headers or the body did not arrive within the time the service waits for them.' },
  email_taken: { status: [409], title: 'The e-mail address is taken', meaning: 'An account with this e-mail address exists. Addresses are compared without regard to case.' },
  password_required: {
    status: [409],
    title: 'Proof of who set the password is required',
    meaning: 'The link proves that you read the mail of this address, but not that you set the password of the account. Repeat the request with one of the proofs that `methods` names. `session`: the refresh cookie or the access token of a session of the account. `password`: its password. `new_password`: a new password, which replaces the one that was set before. Nothing was changed, and the link stays valid.'
  },
  username_taken: { status: [409], title: 'The username is taken', meaning: 'An account has this username or one that looks like it, or the name is reserved. Neither case nor `_`, `.` and `-` count, and these look alike: 0 and o; 1, i and l; rn and m; vv and w.' },
  last_admin: { status: [409], title: 'This is the last administrator', meaning: 'Without this account nobody could administer the service. Give another one the role `admin` first.' },
  link_expired: { status: [410], title: 'The link is not good any more', meaning: 'It was used before, is too old, or what it was for has changed since. Ask for another one.' },
  payload_too_large: { status: [413], title: 'The body is too large', meaning: 'The request body is over the limit of 64 KiB.' },
  unsupported_media_type: { status: [415], title: 'The media type is not supported', meaning: 'Bodies are `application/json` in UTF-8.' },
  password_rejected: { status: [422], title: 'The password is not accepted', meaning: 'The password breaks a rule; `reasons` names each: `too_short`, `too_long`, `too_common` and `breached` (it is among those that are tried first, or known from a breach elsewhere), `contains_email`, `contains_name`, `contains_service`. A longer phrase of your own is the best answer to all of them.' },
  too_many_requests: { status: [429], title: 'Too many requests', meaning: 'This network has sent more requests than the limit allows, or too many wrong passwords were given for this account or from this network. An export is also refused while another one of the account is running, and a change of address if there were too many. Wait for the number of seconds in `Retry-After`.' },
  headers_too_large: { status: [431], title: 'The headers are too large', meaning: 'The request headers are over the limit of 16 KiB.' },
  internal_error: { status: [500], title: 'Something went wrong here', meaning: 'An error on the side of the service. It is in the service\'s log under the request id that `instance` gives.' },
  overloaded: { status: [503], title: 'The service is busy', meaning: 'More work arrived than the service accepts at a time. Nothing was done; the request is safe to repeat after the number of seconds in `Retry-After`.' },
  database_unavailable: { status: [503], title: 'The database is not available', meaning: 'The service cannot reach its database now. It says nothing about credentials or sessions, and nobody is signed out for it. The request is safe to repeat after the number of seconds in `Retry-After`.' },
  shutting_down: { status: [503], title: 'The service is shutting down', meaning: 'This instance is about to stop. Another one, or this one after its restart, will answer.' }
} as const satisfies Record<string, { status: readonly number[], title: string, meaning: string }>

export type Code = keyof typeof catalogue

export interface Extra {
  /** Where the code has several: the first unless it is given. */
  status?: number
  /** What is different about this occurrence, for the caller. */
  detail?: string
  /** Response headers. */
  headers?: Record<string, string>
  /** Further members of the problem document (RFC 9457 section 3.2). */
  members?: Record<string, unknown>
  /** For the log alone. */
  cause?: unknown
}

/** A failure to be told to the client: `code` and `detail` are public, `cause` is for the log. */
export class Problem extends Error {
  readonly code: Code
  readonly status: number
  readonly title: string
  readonly headers: Record<string, string>
  readonly members: Record<string, unknown>

  constructor (code: Code, { status = catalogue[code].status[0], detail, headers = {}, members = {}, cause }: Extra = {}) {
    const { title, meaning } = catalogue[code]
    super(detail ?? meaning, { cause })
    this.name = 'Problem'
    this.code = code
    this.status = status
    this.title = title
    this.headers = headers
    this.members = members
  }
}

/** The media type of a problem document (RFC 9457). */
export const mediaType = 'application/problem+json'

/** The problem document of a failure; `instance` is the request's id. */
export const document = (issuer: string, { code, status, title, message, members }: Problem, instance: string) =>
  ({ type: `${issuer}/problems/${code}`, title, status, detail: message, instance, code, ...members })

/** An offending place in the request: a JSON pointer (RFC 6901), and what is wrong there. */
export interface Violation { pointer: string, detail: string }

const retryAfter = (seconds: number) => ({ 'retry-after': String(Math.max(1, Math.ceil(seconds))) })

export const validationFailed = (detail: string, errors: Violation[] = []) =>
  new Problem('validation_failed', { detail, members: { errors } })
export const invalidCredentials = () => new Problem('invalid_credentials', { detail: 'No account has this e-mail address or username, or the password is wrong.' })
/** Of a caller who is signed in, and was asked for the password all the same. */
export const forbiddenCredentials = () => new Problem('invalid_credentials', { status: 403, detail: 'The current password is wrong.' })
/** Of a caller whose account has no password, and who signed in too long ago to go without. */
export const signInAgain = () => new Problem('invalid_credentials', { status: 403, detail: 'The account has no password, and the last sign-in is more than five minutes ago. Sign in again.' })
export const invalidRefreshToken = (cause?: unknown) => new Problem('invalid_refresh_token', { cause })
/** RFC 6750 section 3.1. */
export const forbidden = () => new Problem('forbidden', { headers: { 'www-authenticate': 'Bearer realm="latchkey", error="insufficient_scope"' } })
export const accountDisabled = () => new Problem('account_disabled')
export const emailNotVerified = () => new Problem('email_not_verified')
export const httpsRequired = () => new Problem('https_required')
export const crossSiteRequest = () => new Problem('cross_site_request')
export const notFound = () => new Problem('not_found')
export const methodNotAllowed = (allowed: string[]) => new Problem('method_not_allowed', { headers: { allow: allowed.join(', ') } })
/** The connection is of no further use: the rest of the request may still come. */
export const requestTimeout = () => new Problem('request_timeout', { headers: { connection: 'close' } })
/** `methods` names what would confirm the address. */
export const passwordRequired = (methods: ConfirmationMethod[]) =>
  new Problem('password_required', { members: { methods } })
/** The password that was to confirm an address is wrong. */
export const wrongConfirmingPassword = (methods: ConfirmationMethod[]) =>
  new Problem('invalid_credentials', { status: 403, detail: 'The password is wrong.', members: { methods } })
export const emailTaken = () => new Problem('email_taken')
export const usernameTaken = () => new Problem('username_taken')
export const lastAdmin = () => new Problem('last_admin')
export const linkExpired = () => new Problem('link_expired')
export const passwordRejected = (reasons: PasswordReason[]) => new Problem('password_rejected', { members: { reasons } })

/** `presented` tells a missing token from a bad one: RFC 6750 section 3.1 names an error for the latter only. */
export const invalidToken = (presented: boolean, cause?: unknown) => new Problem('invalid_token', {
  headers: { 'www-authenticate': presented ? 'Bearer realm="latchkey", error="invalid_token", error_description="The access token is not valid"' : 'Bearer realm="latchkey"' },
  cause
})

/** `seconds` until the limit's window ends. */
export const tooManyRequests = (seconds: number) => new Problem('too_many_requests', { detail: 'This network has sent more requests than the limit allows.', headers: retryAfter(seconds) })
// An export usually ends long before its lease does.
const maxExportWaitSeconds = 5
/** `seconds` until the lease of the running export expires, which happens only if its instance died. */
export const exportRunning = (seconds: number) => new Problem('too_many_requests', {
  detail: 'An export of this account is still running. Wait until it has ended, then try again.',
  headers: retryAfter(Math.min(seconds, maxExportWaitSeconds))
})
/** `seconds` until the next password is judged. */
export const tooManyFailures = (seconds: number) => new Problem('too_many_requests', { detail: 'Too many wrong passwords were given for this account, or from this network.', headers: retryAfter(seconds) })
/** `seconds` until the address may be changed again. */
export const tooManyAddressChanges = (seconds: number) => new Problem('too_many_requests', {
  detail: 'The e-mail address of this account has been changed too often. Try again later.',
  headers: retryAfter(seconds)
})
/** `seconds` until there is likely to be room. */
export const overloaded = (seconds: number, cause?: unknown) => new Problem('overloaded', { headers: retryAfter(seconds), cause })
export const databaseUnavailable = (cause: unknown) => new Problem('database_unavailable', { headers: retryAfter(1), cause })
export const shuttingDown = () => new Problem('shutting_down', { headers: retryAfter(5) })
