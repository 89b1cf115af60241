import { validationFailed } from '../src/http/problems.ts'

/** The problem of a request that has a refresh token both in the cookie and in the body. */
export const refreshTokenSentTwice = () =>
  validationFailed('Send the refresh token in the cookie or in the body, not in both.')
