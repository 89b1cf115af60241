import { defineProblems, Problem } from '../http/problem.ts'

/** The reasons for which a password is rejected. */
export const passwordReasons = [
  'too_short', 'too_long', 'too_common', 'breached', 'contains_email', 'contains_name', 'contains_service'
] as const
export type PasswordReason = typeof passwordReasons[number]

export const problems = defineProblems({
  password_rejected: {
    status: [422],
    title: 'Password rejected',
    meaning: 'The password breaks the rules that `reasons` names: `too_short`, `too_long`, `too_common` ' +
      '(attackers try it first), `breached` (it is known from a breach elsewhere), `contains_email`, ' +
      '`contains_name` or `contains_service`. Choose a longer phrase of your own.',
    members: {
      reasons: {
        type: 'array',
        items: { type: 'string', enum: [...passwordReasons] },
        description: 'With `password_rejected`: each violated rule.'
      }
    }
  }
})

declare module '../http/problem.ts' {
  interface ProblemCodes extends Record<keyof typeof problems, true> {}
}

const reasonTexts: Record<PasswordReason, string> = {
  too_short: 'is too short',
  too_long: 'is too long',
  too_common: 'is one of the most common passwords',
  breached: 'is known from a breach elsewhere',
  contains_email: 'contains the email address',
  contains_name: 'contains the name or username',
  contains_service: 'contains the name of the service'
}

/** Says in words what is wrong with the password. */
export function passwordRejected (reasons: PasswordReason[]): Problem {
  const texts = new Intl.ListFormat('en').format(reasons.map(reason => reasonTexts[reason]))
  const advice = reasons.includes('too_long') ? 'Choose another one.' : 'Choose a longer phrase of your own.'
  return new Problem(problems.password_rejected, {
    detail: `The password ${texts}. ${advice}`, members: { reasons }
  })
}
