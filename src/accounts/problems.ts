import { defineProblems, Problem, retryAfter } from '../http/problem.ts'
import { problems as httpProblems } from '../http/problems.ts'
import { problems as userProblems } from '../users/problems.ts'

/** What can be presented, together with a mailed link, to confirm an address. */
export const confirmationMethods = ['session', 'password', 'new_password'] as const
export type ConfirmationMethod = typeof confirmationMethods[number]

export const problems = defineProblems({
  password_required: {
    status: [409],
    title: 'Proof of account ownership required',
    meaning: 'The link proves that you read the mail of this address, but not that you set the password of ' +
      'the account. Repeat the request with one of the proofs that `methods` names. `session`: the refresh ' +
      'cookie or the access token of a session of the account. `password`: the password of the account. ' +
      '`new_password`: a new password, which replaces the previous one. Nothing was changed, and the link ' +
      'stays valid.',
    members: {
      methods: {
        type: 'array',
        items: { type: 'string', enum: [...confirmationMethods] },
        description: 'With `password_required`, and with `invalid_credentials` for a mailed link: ' +
          'the proofs that are accepted.'
      }
    }
  }
})

declare module '../http/problem.ts' {
  interface ProblemCodes extends Record<keyof typeof problems, true> {}
}

/** `methods` names what would confirm the address. */
export const passwordRequired = (methods: ConfirmationMethod[]) =>
  new Problem(problems.password_required, { members: { methods } })

/** The problem of a wrong password that should confirm an address. `methods` names what would confirm it. */
export const wrongConfirmingPassword = (methods: ConfirmationMethod[]) =>
  new Problem(userProblems.invalid_credentials, {
    status: 403, detail: 'The password is wrong.', members: { methods }
  })

// An export usually ends long before its lease does.
const maxExportWaitSeconds = 5
/** `seconds` until the lease of the running export expires, which happens only if its instance died. */
export const exportRunning = (seconds: number) => new Problem(httpProblems.too_many_requests, {
  detail: 'An export of this account is still running. Wait until it has ended, then try again.',
  headers: retryAfter(Math.min(seconds, maxExportWaitSeconds))
})
