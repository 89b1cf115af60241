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

/** Why a refresh token was refused, for the log. The names are public. */
export interface RefusedRefresh {
  sessionId: string
  /** The generation of the refused token. */
  presented: number
  /** The generation of the current token; null if the session had ended. */
  confirmed: number | null
  /** Whether it was a reuse, which has ended the session. */
  replayed: boolean
}

/** The cause is for the log. */
export const invalidRefreshToken = (cause?: RefusedRefresh | string) =>
  new Problem(problems.invalid_refresh_token, { cause })
