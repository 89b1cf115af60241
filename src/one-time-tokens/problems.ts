import { defineProblems, Problem, retryAfter } from '../http/problem.ts'
import { problems as httpProblems } from '../http/problems.ts'

export const problems = defineProblems({
  link_expired: {
    status: [410],
    title: 'Link invalid or expired',
    meaning: 'The link was used before, it has expired, or the account has changed since it was sent. ' +
      'Request a new one.'
  }
})

declare module '../http/problem.ts' {
  interface ProblemCodes extends Record<keyof typeof problems, true> {}
}

export const linkExpired = () => new Problem(problems.link_expired)

/** `seconds` until the address can be changed again. */
export const tooManyAddressChanges = (seconds: number) => new Problem(httpProblems.too_many_requests, {
  detail: 'The email address of this account has been changed too often. Try again later.',
  headers: retryAfter(seconds)
})
