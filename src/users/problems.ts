import { defineProblems, Problem } from '../http/problem.ts'

export const problems = defineProblems({
  invalid_credentials: {
    status: [401, 403],
    title: 'Invalid credentials',
    meaning: 'The email address, username or password is wrong. The response does not say which. With' +
      ' status 403, a signed-in caller had to confirm their password, but it is wrong, or the account has' +
      ' no password and the last sign-in is not recent. Status 403 also means that the password that' +
      ' confirms an address is wrong. Correct the password, or sign in again.'
  },
  account_disabled: {
    status: [403],
    title: 'Account disabled',
    meaning: 'The password was correct, but an administrator has disabled this account.'
  },
  email_taken: {
    status: [409],
    title: 'Email address taken',
    meaning: 'An account with this email address exists. Addresses that differ only in case are the same.'
  },
  username_taken: {
    status: [409],
    title: 'Username taken',
    meaning: 'An account has this username or a similar one, or the name is reserved. Names are similar if' +
      ' they differ only in case, in `_`, `.` and `-`, or in characters that look alike: 0 and o; 1, i and' +
      ' l; rn and m; vv and w. Choose another username.'
  },
  external_id_taken: {
    status: [409],
    title: 'External id taken',
    meaning: 'Another account has this external id.'
  },
  last_admin: {
    status: [409],
    title: 'Last administrator',
    meaning: 'This is the only enabled administrator, and the service needs one. Give another account the ' +
      'role `admin` first.'
  }
})

declare module '../http/problem.ts' {
  interface ProblemCodes extends Record<keyof typeof problems, true> {}
}

export const invalidCredentials = () => new Problem(problems.invalid_credentials, {
  detail: 'The email address, username or password is wrong.'
})
/** For a signed-in caller who must confirm the password. */
export const forbiddenCredentials = () => new Problem(problems.invalid_credentials, {
  status: 403, detail: 'The current password is wrong.'
})

export const accountDisabled = () => new Problem(problems.account_disabled)
export const emailTaken = () => new Problem(problems.email_taken)
export const usernameTaken = () => new Problem(problems.username_taken)
export const externalIdTaken = () => new Problem(problems.external_id_taken)
export const lastAdmin = () => new Problem(problems.last_admin)
