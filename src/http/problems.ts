import { defineProblems, Problem, retryAfter, type Violation } from './problem.ts'

/** The problems of HTTP and of the service as a whole. */
export const problems = defineProblems({
  validation_failed: {
    status: [400],
    title: 'Request not valid',
    meaning: 'The body, query or path does not match the schema, or the body is not JSON. `errors` names ' +
      'each offending place by a JSON pointer. Nothing was changed. Correct the request and send it again.',
    members: {
      errors: {
        type: 'array',
        items: { $ref: '#/components/schemas/Violation' },
        description: 'With `validation_failed`: each offending place.'
      }
    }
  },
  invalid_token: {
    status: [401],
    title: 'Invalid access token',
    meaning: 'The access token is missing, malformed, expired or revoked, was not signed by this service, ' +
      'or has another audience. Refresh the session to get a new one.'
  },
  forbidden: {
    status: [403],
    title: 'Not allowed',
    meaning: 'The access token is valid, but it lacks the required role or scope, or it belongs to a ' +
      'client and the route is for users.'
  },
  https_required: {
    status: [403],
    title: 'HTTPS required',
    meaning: 'A trusted proxy reported that this request came over plain HTTP, but the service is ' +
      'published over HTTPS. Others may have read the credentials that were sent. Repeat the request over ' +
      'HTTPS.'
  },
  cross_site_request: {
    status: [403],
    title: 'Cross-site request rejected',
    meaning: 'A page of another site sent the refresh cookie or the registration cookie. Only pages of the ' +
      'service and of the origins in `CORS_ORIGINS` may send them.'
  },
  not_found: {
    status: [404],
    title: 'Not found',
    meaning: 'The route or the resource does not exist, or the resource belongs to someone else.'
  },
  method_not_allowed: {
    status: [405],
    title: 'Method not allowed',
    meaning: 'The route exists, but not with this method. The `Allow` header lists its methods.'
  },
  request_timeout: {
    status: [408],
    title: 'Request timeout',
    meaning: 'The headers or the body of the request did not arrive in time. Send the request again.'
  },
  payload_too_large: {
    status: [413],
    title: 'Body too large',
    meaning: 'The request body exceeds the limit of 64 KiB.'
  },
  unsupported_media_type: {
    status: [415],
    title: 'Unsupported media type',
    meaning: 'The body must be `application/json` in UTF-8.'
  },
  too_many_requests: {
    status: [429],
    title: 'Too many requests',
    meaning: 'This network has sent more requests than the limit allows, or too many wrong passwords were ' +
      'given for this account or from this network. An export is also refused while another export of the ' +
      'account is running, and a change of address after too many changes. Wait for the number of seconds ' +
      'in `Retry-After`.'
  },
  headers_too_large: {
    status: [431],
    title: 'Headers too large',
    meaning: 'The request headers exceed the limit of 16 KiB.'
  },
  internal_error: {
    status: [500],
    title: 'Internal error',
    meaning: 'The service failed unexpectedly. Its log has the error under the request id in `instance`.'
  },
  overloaded: {
    status: [503],
    title: 'Service overloaded',
    meaning: 'The service has more work than it accepts at a time. Nothing was done. Repeat the request ' +
      'after the number of seconds in `Retry-After`.'
  },
  database_unavailable: {
    status: [503],
    title: 'Database not available',
    meaning: 'The service cannot reach its database now. The answer says nothing about credentials, and ' +
      'sessions stay valid. The request had no effect, or took effect completely. Repeat it after the ' +
      'number of seconds in `Retry-After`.'
  },
  shutting_down: {
    status: [503],
    title: 'Service shutting down',
    meaning: 'This instance is shutting down. Repeat the request: another instance, or this one after its ' +
      'restart, will answer.'
  }
})

declare module './problem.ts' {
  interface ProblemCodes extends Record<keyof typeof problems, true> {}
}

export const validationFailed = (detail: string, errors: Violation[] = []) =>
  new Problem(problems.validation_failed, { detail, members: { errors } })

/** RFC 6750 section 3.1 names an error only if a token was presented. */
export const invalidToken = (isPresented: boolean, cause?: unknown) => new Problem(problems.invalid_token, {
  ...!isPresented && { detail: 'No access token was sent. Send it as `Authorization: Bearer …`.' },
  headers: { 'www-authenticate': isPresented ? invalidTokenChallenge : 'Bearer realm="latchkey"' },
  cause
})
const invalidTokenChallenge =
  'Bearer realm="latchkey", error="invalid_token", error_description="The access token is not valid"'
/** RFC 6750 section 3.1. */
export const forbidden = () => new Problem(problems.forbidden, {
  headers: { 'www-authenticate': 'Bearer realm="latchkey", error="insufficient_scope"' }
})

export const httpsRequired = () => new Problem(problems.https_required)
/** `origin` is that of the page, if the browser named it. */
export const crossSiteRequest = (origin: string | undefined) => new Problem(problems.cross_site_request, {
  ...origin !== undefined && {
    detail: `The request came from a page of the origin ${origin}. Only pages of the service's own origin ` +
      '(`ISSUER_URL`) and of the origins in `CORS_ORIGINS` may send its cookies.'
  }
})
export const notFound = () => new Problem(problems.not_found, {
  detail: 'The resource does not exist, or it belongs to someone else.'
})
export const routeNotFound = () => new Problem(problems.not_found, { detail: 'There is no such route.' })
export const payloadTooLarge = () => new Problem(problems.payload_too_large)
export const methodNotAllowed = (allowed: string[]) =>
  new Problem(problems.method_not_allowed, { headers: { allow: allowed.join(', ') } })
/** The connection is closed, because the rest of the request may still arrive on it. */
export const requestTimeout = () =>
  new Problem(problems.request_timeout, { headers: { connection: 'close' } })

/** `seconds` until the limit's window ends. */
export const tooManyRequests = (seconds: number) => new Problem(problems.too_many_requests, {
  detail: 'This network has sent more requests than the limit allows.', headers: retryAfter(seconds)
})

/** `seconds` until the service is likely to have capacity. */
export const overloaded = (seconds: number, cause?: unknown) =>
  new Problem(problems.overloaded, { headers: retryAfter(seconds), cause })
const databaseRetrySeconds = 1
export const databaseUnavailable = (cause: unknown) =>
  new Problem(problems.database_unavailable, { headers: retryAfter(databaseRetrySeconds), cause })
const restartSeconds = 5
export const shuttingDown = () => new Problem(problems.shutting_down, { headers: retryAfter(restartSeconds) })
