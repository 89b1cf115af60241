import { defineProblems, Problem } from '../http/problem.ts'

export const problems = defineProblems({
  invalid_refresh_token: {
    status: [401],
    title: 'Invalid refresh token',
    meaning: 'The refresh token is missing, unknown, expired, revoked or superseded. Sign in again.'
  }
})

declare module '../http/problem.ts' {
  interface ProblemCodes extends Record<keyof typeof problems, true> {}
}

/** The cause is a RefusedRefresh, for the log. */
export const invalidRefreshToken = (cause?: unknown) => new Problem(problems.invalid_refresh_token, { cause })
