interface Entry {
  /** The statuses that the problem can have. The first one is the default. */
  status: readonly number[]
  title: string
  /** What happened and what to do, for the page of the problem. It is also the default detail. */
  meaning: string
}

/** The closed catalogue of problems that a client can get (RFC 9457). */
export const catalogue = {
  validation_failed: {
    status: [400],
    title: 'Request not valid',
    meaning: 'The body, query or path does not match the schema, or the body is not JSON. `errors` names ' +
      'each offending place by a JSON pointer. Nothing was changed. Correct the request and send it again.'
  },
  invalid_credentials: {
    status: [401, 403],
    title: 'Invalid credentials',
    meaning: 'No account has this e-mail address or username, or the password is wrong. The answer never ' +
      'says which. Status 403 has one of two meanings. A signed-in caller must confirm their password: it ' +
      'was wrong, or the account has no password and the last sign-in is not recent enough. Or the ' +
      'password that confirms an address is wrong: correct it and send the request again.'
  },
  invalid_token: {
    status: [401],
    title: 'Invalid access token',
    meaning: 'The access token is missing, malformed, expired or revoked, was not signed by this service, ' +
      'or has another audience. Refresh the session to get a new one.'
  },
  invalid_refresh_token: {
    status: [401],
    title: 'Invalid refresh token',
    meaning: 'The refresh token is missing, unknown, expired, revoked or superseded. Sign in again.'
  },
  forbidden: {
    status: [403],
    title: 'Not allowed',
    meaning: 'The access token is valid, but it lacks the required role or scope, or it belongs to a ' +
      'client and the route is for users.'
  },
  account_disabled: {
    status: [403],
    title: 'Account disabled',
    meaning: 'The password was correct, but an administrator has disabled this account.'
  },
  email_not_verified: {
    status: [403],
    title: 'E-mail address not verified',
    meaning: 'The password was correct, but the e-mail address of the account is not verified yet. Open ' +
      'the link in the mail that was sent to it, or request another one.'
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
    meaning: 'The route or the resource does not exist, or the resource belongs to somebody else.'
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
  email_taken: {
    status: [409],
    title: 'E-mail address taken',
    meaning: 'An account with this e-mail address exists. Case does not distinguish addresses.'
  },
  password_required: {
    status: [409],
    title: 'Proof of account ownership required',
    meaning: 'The link proves that you read the mail of this address, but not that you set the password of ' +
      'the account. Repeat the request with one of the proofs that `methods` names. `session`: the refresh ' +
      'cookie or the access token of a session of the account. `password`: the password of the account. ' +
      '`new_password`: a new password, which replaces the previous one. Nothing was changed, and the link ' +
      'stays valid.'
  },
  username_taken: {
    status: [409],
    title: 'Username taken',
    meaning: 'An account has this username or a similar one, or the name is reserved. Case, `_`, `.` and ' +
      '`-` do not distinguish names, nor do characters that look alike: 0 and o; 1, i and l; rn and m; vv ' +
      'and w.'
  },
  last_admin: {
    status: [409],
    title: 'Last administrator',
    meaning: 'Without this account, no one could administer the service. Give another account the role ' +
      '`admin` first.'
  },
  link_expired: {
    status: [410],
    title: 'Link invalid or expired',
    meaning: 'The link was used before, it has expired, or the account has changed since it was sent. ' +
      'Request a new one.'
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
  password_rejected: {
    status: [422],
    title: 'Password rejected',
    meaning: 'The password breaks the rules that `reasons` names: `too_short`, `too_long`, `too_common` ' +
      '(attackers try it first), `breached` (it is known from a breach elsewhere), `contains_email`, ' +
      '`contains_name` or `contains_service`. Choose a longer phrase of your own.'
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
      'sessions stay valid. Repeat the request after the number of seconds in `Retry-After`.'
  },
  shutting_down: {
    status: [503],
    title: 'Service shutting down',
    meaning: 'This instance is shutting down. Repeat the request: another instance, or this one after its ' +
      'restart, will answer.'
  }
} as const satisfies Record<string, Entry>

export type ProblemCode = keyof typeof catalogue
