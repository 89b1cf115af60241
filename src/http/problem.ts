import { catalogue, type ProblemCode } from './problem-catalogue.ts'

/** The reasons for which a password is rejected. */
export const passwordReasons = [
  'too_short', 'too_long', 'too_common', 'breached', 'contains_email', 'contains_name', 'contains_service'
] as const
export type PasswordReason = typeof passwordReasons[number]

/** What can be presented, together with a mailed link, to confirm an address. */
export const confirmationMethods = ['session', 'password', 'new_password'] as const
export type ConfirmationMethod = typeof confirmationMethods[number]

export interface ProblemOptions {
  /** The default is the first status of the code. */
  status?: number
  /** What is specific to this occurrence. The default is the meaning of the code. */
  detail?: string
  /** Response headers. */
  headers?: Record<string, string>
  /** Further members of the problem document (RFC 9457 section 3.2). */
  members?: Record<string, unknown>
  /** For the log only. */
  cause?: unknown
}

/** A failure that the client is told: everything except `cause` is public. */
export class Problem extends Error {
  readonly code: ProblemCode
  readonly status: number
  readonly title: string
  readonly headers: Record<string, string>
  readonly members: Record<string, unknown>

  constructor (code: ProblemCode, options: ProblemOptions = {}) {
    const { title, meaning, status: [defaultStatus] } = catalogue[code]
    super(options.detail ?? meaning, { cause: options.cause })
    this.name = 'Problem'
    this.code = code
    this.status = options.status ?? defaultStatus
    this.title = title
    this.headers = options.headers ?? {}
    this.members = options.members ?? {}
  }
}

/** The media type of a problem document (RFC 9457). */
export const mediaType = 'application/problem+json'

/** The problem document of a failure. `instance` is the request's id. */
export const document = (
  issuer: string, { code, status, title, message, members }: Problem, instance: string
) =>
  ({ type: `${issuer}/problems/${code}`, title, status, detail: message, instance, code, ...members })

/** An offending place in the request: a JSON pointer (RFC 6901), and what is wrong there. */
export interface Violation { pointer: string, detail: string }

const retryAfter = (seconds: number) => ({ 'retry-after': String(Math.max(1, Math.ceil(seconds))) })

export const validationFailed = (detail: string, errors: Violation[] = []) =>
  new Problem('validation_failed', { detail, members: { errors } })

export const invalidCredentials = () => new Problem('invalid_credentials', {
  detail: 'No account has this e-mail address or username, or the password is wrong.'
})
/** For a signed-in caller who must confirm the password. */
export const forbiddenCredentials = () => new Problem('invalid_credentials', {
  status: 403, detail: 'The current password is wrong.'
})
/** For a caller whose account has no password, and whose last sign-in is not recent. */
export const signInAgain = () => new Problem('invalid_credentials', {
  status: 403,
  detail: 'The account has no password, and the last sign-in is more than five minutes ago. Sign in again.'
})
/** For a password that was to confirm an address. `methods` names what would confirm it. */
export const wrongConfirmingPassword = (methods: ConfirmationMethod[]) => new Problem('invalid_credentials', {
  status: 403, detail: 'The password is wrong.', members: { methods }
})

/** RFC 6750 section 3.1 names an error only if a token was presented. */
export const invalidToken = (isPresented: boolean, cause?: unknown) => new Problem('invalid_token', {
  headers: { 'www-authenticate': isPresented ? invalidTokenChallenge : 'Bearer realm="latchkey"' },
  cause
})
const invalidTokenChallenge =
  'Bearer realm="latchkey", error="invalid_token", error_description="The access token is not valid"'
export const invalidRefreshToken = (cause?: unknown) => new Problem('invalid_refresh_token', { cause })
/** RFC 6750 section 3.1. */
export const forbidden = () => new Problem('forbidden', {
  headers: { 'www-authenticate': 'Bearer realm="latchkey", error="insufficient_scope"' }
})

export const accountDisabled = () => new Problem('account_disabled')
export const emailNotVerified = () => new Problem('email_not_verified')
export const httpsRequired = () => new Problem('https_required')
export const crossSiteRequest = () => new Problem('cross_site_request')
export const notFound = () => new Problem('not_found')
export const methodNotAllowed = (allowed: string[]) =>
  new Problem('method_not_allowed', { headers: { allow: allowed.join(', ') } })
/** The connection is closed, because the rest of the request may still arrive on it. */
export const requestTimeout = () => new Problem('request_timeout', { headers: { connection: 'close' } })
/** `methods` names what would confirm the address. */
export const passwordRequired = (methods: ConfirmationMethod[]) =>
  new Problem('password_required', { members: { methods } })
export const emailTaken = () => new Problem('email_taken')
export const usernameTaken = () => new Problem('username_taken')
export const lastAdmin = () => new Problem('last_admin')
export const linkExpired = () => new Problem('link_expired')
export const passwordRejected = (reasons: PasswordReason[]) =>
  new Problem('password_rejected', { members: { reasons } })

/** `seconds` until the limit's window ends. */
export const tooManyRequests = (seconds: number) => new Problem('too_many_requests', {
  detail: 'This network has sent more requests than the limit allows.', headers: retryAfter(seconds)
})
// An export usually ends long before its lease does.
const maxExportWaitSeconds = 5
/** `seconds` until the lease of the running export expires, which happens only if its instance died. */
export const exportRunning = (seconds: number) => new Problem('too_many_requests', {
  detail: 'An export of this account is still running. Wait until it has ended, then try again.',
  headers: retryAfter(Math.min(seconds, maxExportWaitSeconds))
})
/** `seconds` until the next password is verified. */
export const tooManyFailures = (seconds: number) => new Problem('too_many_requests', {
  detail: 'Too many wrong passwords were given for this account, or from this ' +
    'network.',
  headers: retryAfter(seconds)
})
/** `seconds` until the address can be changed again. */
export const tooManyAddressChanges = (seconds: number) => new Problem('too_many_requests', {
  detail: 'The e-mail address of this account has been changed too often. Try again later.',
  headers: retryAfter(seconds)
})

/** `seconds` until the service is likely to have capacity. */
export const overloaded = (seconds: number, cause?: unknown) =>
  new Problem('overloaded', { headers: retryAfter(seconds), cause })
const databaseRetrySeconds = 1
export const databaseUnavailable = (cause: unknown) =>
  new Problem('database_unavailable', { headers: retryAfter(databaseRetrySeconds), cause })
const restartSeconds = 5
export const shuttingDown = () => new Problem('shutting_down', { headers: retryAfter(restartSeconds) })
