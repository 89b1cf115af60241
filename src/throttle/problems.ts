import { Problem, retryAfter } from '../http/problem.ts'
import { problems } from '../http/problems.ts'

/** `seconds` until the next password is verified. */
export const tooManyFailures = (seconds: number) => new Problem(problems.too_many_requests, {
  detail: 'Too many wrong passwords were given for this account, or from this network. ' +
    `Try again in ${Math.ceil(seconds)} seconds.`,
  headers: retryAfter(seconds)
})
