import { defineProblems, Problem } from '../http/problem.ts'

export const problems = defineProblems({
  invalid_authorization_request: {
    status: [400],
    title: 'Invalid authorization request',
    meaning: 'An application sent you here with a client or a redirect URI that is missing, repeated or not' +
      ' registered. Latchkey therefore cannot send you back. Tell the operator of the application.'
  },
  sign_in_expired: {
    status: [400],
    title: 'Sign-in expired',
    meaning: 'The sign-in took longer than ten minutes, its address was changed, or the application is no' +
      ' longer registered for it. Go back to the application and start again.'
  }
})

declare module '../http/problem.ts' {
  interface ProblemCodes extends Record<keyof typeof problems, true> {}
}

/** What is wrong with the client or the redirect URI of an authorization request. */
export type AuthorizationFault =
  'client_id_missing' | 'client_unknown' | 'redirect_uri_missing' | 'redirect_uri_unregistered'

/**
 * An authorization request without a valid client and redirect URI. The user gets a page, because a redirect
 * could lead to an attacker's site (open redirect). The page says what is wrong, in the user's language.
 */
export class InvalidAuthorizationRequest extends Problem {
  readonly fault: AuthorizationFault

  constructor (fault: AuthorizationFault) {
    super(problems.invalid_authorization_request)
    this.fault = fault
  }
}

export const signInExpired = () => new Problem(problems.sign_in_expired)
