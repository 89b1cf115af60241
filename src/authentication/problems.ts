import { defineProblems, Problem } from '../http/problem.ts'
import { problems as userProblems } from '../users/problems.ts'

export const problems = defineProblems({
  email_not_verified: {
    status: [403],
    title: 'Email address not verified',
    meaning: 'The password was correct, but the email address of the account is not verified yet. Open ' +
      'the link in the mail that was sent to it, or request another one.'
  }
})

declare module '../http/problem.ts' {
  interface ProblemCodes extends Record<keyof typeof problems, true> {}
}

export const emailNotVerified = () => new Problem(problems.email_not_verified)

/** The problem of a caller whose account has no password and whose last sign-in is not recent. */
export const signInAgain = () => new Problem(userProblems.invalid_credentials, {
  status: 403,
  detail: 'The account has no password, and the last sign-in is more than five minutes ago. Sign in again.'
})
