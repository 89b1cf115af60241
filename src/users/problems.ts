import { defineProblems, Problem } from '../http/problem.ts'

export const problems = defineProblems({
  invalid_credentials: {
    status: [401, 403],
    title: 'Invalid credentials',
    meaning: 'No account has this e-mail address or username, or the password is wrong. The answer never ' +
      'says which. Status 403 has one of two meanings. A signed-in caller must confirm their password: it ' +
      'was wrong, or the account has no password and the last sign-in is not recent enough. Or the ' +
      'password that confirms an address is wrong: correct it and send the request again.'
  },
  account_disabled: {
    status: [403],
    title: 'Account disabled',
    meaning: 'The password was correct, but an administrator has disabled this account.'
  },
  email_taken: {
    status: [409],
    title: 'E-mail address taken',
    meaning: 'An account with this e-mail address exists. Case does not distinguish addresses.'
  },
  username_taken: {
    status: [409],
    title: 'Username taken',
    meaning: 'An account has this username or a similar one, or the name is reserved. Case, `_`, `.` and ' +
      '`-` do not distinguish names, nor do characters that look alike: 0 and o; 1, i and l; rn and m; vv ' +
      'and w.'
  },
  last_admin: {
    status: [409],
    title: 'Last administrator',
    meaning: 'Without this account, no one could administer the service. Give another account the role ' +
      '`admin` first.'
  }
})

declare module '../http/problem.ts' {
  interface ProblemCodes extends Record<keyof typeof problems, true> {}
}

export const invalidCredentials = () => new Problem(problems.invalid_credentials, {
  detail: 'No account has this e-mail address or username, or the password is wrong.'
})
/** For a signed-in caller who must confirm the password. */
export const forbiddenCredentials = () => new Problem(problems.invalid_credentials, {
  status: 403, detail: 'The current password is wrong.'
})

export const accountDisabled = () => new Problem(problems.account_disabled)
export const emailTaken = () => new Problem(problems.email_taken)
export const usernameTaken = () => new Problem(problems.username_taken)
export const lastAdmin = () => new Problem(problems.last_admin)
