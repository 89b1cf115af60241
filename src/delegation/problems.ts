import { defineProblems, Problem } from '../http/problem.ts'

export const problems = defineProblems({
  invalid_authorization_request: {
    status: [400],
    title: 'Invalid authorization request',
    meaning: 'An application sent you here with a client or a redirect URI that is not registered. Latchkey' +
      ' therefore cannot send you back. Tell the operator of the application.'
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

/** A request whose redirect URI is not proven. It gets a page, because a redirect could go anywhere. */
export const invalidAuthorizationRequest = (detail: string) =>
  new Problem(problems.invalid_authorization_request, { detail })
export const signInExpired = () => new Problem(problems.sign_in_expired)
