import { InvalidAuthorizationRequest } from '../../src/delegation/problems.ts'
import type { Language } from '../../src/http/language.ts'
import type { Problem } from '../../src/http/problem.ts'
import { passwordReasons } from '../../src/passwords/problems.ts'
import type { PageContext, PageState } from './context.ts'
import { failureTexts } from './texts/failures.ts'

/** What a page says about a failure. */
export interface FormFailure {
  title: string
  text: string
  items?: string[]
  /** The fields that are wrong. */
  fields: readonly string[]
}

/** Returns what a page says about the problem of its form; undefined if there is none. */
export function failureOf (
  { minLength }: PageContext, { problem, language }: PageState
): FormFailure | undefined {
  if (!problem) return undefined
  const texts = failureTexts[language]
  const refused = (text: string, ...fields: string[]) => ({ title: texts.refused, text, fields })
  switch (problem.code) {
    case 'invalid_credentials': return refused(texts.invalidCredentials, 'identifier', 'password')
    case 'account_disabled': return refused(texts.accountDisabled)
    case 'email_not_verified': return refused(texts.emailNotVerified)
    case 'email_taken': return refused(texts.emailTaken, 'email')
    case 'password_rejected': return {
      title: texts.refused,
      text: texts.passwordRejected,
      items: reasonsOf(problem).map(reason => texts.passwordReasons[reason](minLength)),
      fields: ['password']
    }
    case 'validation_failed': {
      const fields = invalidFields(problem)
      const isEmail = fields.length === 1 && fields[0] === 'email'
      // The form to sign in has the address in its field for the identifier.
      return isEmail
        ? refused(texts.invalidEmail, 'email', 'identifier')
        : refused(texts.incomplete, ...fields)
    }
    case 'cross_site_request': return refused(texts.crossSite)
    default: return { ...describeProblem(problem, language), fields: [] }
  }
}

/** Returns the title and the text of a problem that has to do with no form. */
export function describeProblem (problem: Problem, language: Language): { title: string, text: string } {
  const texts = failureTexts[language]
  const { status, headers } = problem
  if (problem.code === 'sign_in_expired') return { title: texts.expiredTitle, text: texts.expired }
  if (problem instanceof InvalidAuthorizationRequest) {
    // The fault is for the developer of the application.
    const text = `${texts.invalidRequest} ${texts.authorizationFaults[problem.fault]}`
    return { title: texts.invalidRequestTitle, text }
  }
  if (status === 404) return { title: texts.notFoundTitle, text: texts.notFound }
  if (status === 429) {
    const text = texts.tooMany(formatDelay(Number(headers['retry-after'] ?? 60), language))
    return { title: texts.tooManyTitle, text }
  }
  if (status === 503 || status === 408) return { title: texts.unavailableTitle, text: texts.unavailable }
  if (status < 500) return { title: texts.notAllowedTitle, text: texts.notAllowed }
  return { title: texts.unexpectedTitle, text: texts.unexpected }
}

const reasonsOf = ({ members: { reasons } }: Problem) =>
  passwordReasons.filter(reason => Array.isArray(reasons) && reasons.includes(reason))

/** Returns the names of the fields that break the schema. */
function invalidFields ({ members: { errors } }: Problem): string[] {
  const violations: unknown[] = Array.isArray(errors) ? errors : []
  return violations.flatMap(violation => {
    const pointer: unknown = Object(violation).pointer
    return typeof pointer === 'string' ? [pointer.slice(1)] : []
  })
}

/** Returns a delay in words, such as "in 30 seconds". */
export function formatDelay (seconds: number, language: Language): string {
  const format = new Intl.RelativeTimeFormat(language)
  return seconds < 120 ? format.format(seconds, 'second') : format.format(Math.ceil(seconds / 60), 'minute')
}
