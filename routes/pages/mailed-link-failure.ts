import type { FastifyRequest } from 'fastify'
import { type ConfirmationMethod, confirmationMethods } from '../../src/accounts/problems.ts'
import type { Language } from '../../src/http/language.ts'
import type { Problem } from '../../src/http/problem.ts'
import { passwordReasons } from '../../src/passwords/problems.ts'
import { formatDelay } from './failure.ts'
import type { PageOutcome } from './mailed-link-outcome.ts'
import { texts } from './mailed-link-view.ts'
import { failureTexts } from './texts/failures.ts'
import type { MailedLinkTexts } from './texts/mailed-links.ts'

/** Where a page shows a failure. */
export interface FailureContext { request: FastifyRequest, language: Language, minLength: number }

/** Returns what a page shows for a failure. It keeps the input that can be used again. */
export function failureOutcome (
  problem: Problem, { request, language, minLength }: FailureContext
): PageOutcome {
  const pageTexts = texts[language]
  const sharedTexts = failureTexts[language]
  const methods = methodsOf(problem, request.body)
  const retry = { kind: 'failed' as const, token: tokenOf(request.body), methods }
  switch (problem.code) {
    case 'password_required': return { ...retry, kind: 'asked', text: proofText(methods ?? [], pageTexts) }
    case 'invalid_credentials': {
      const { orNewPassword, passwordOnly } = pageTexts.wrongPassword
      const text = methods?.includes('new_password') ? orNewPassword : passwordOnly
      return { ...retry, text, isPasswordWrong: true }
    }
    case 'link_expired': return { kind: 'failed', text: pageTexts.linkExpired, isFinal: true }
    case 'email_taken': return { kind: 'failed', text: pageTexts.addressTaken, isFinal: true }
    case 'password_rejected': {
      const reasons = reasonsOf(problem).map(reason => sharedTexts.passwordReasons[reason](minLength))
      return { ...retry, text: sharedTexts.passwordRejected, reasons }
    }
    case 'validation_failed': return { ...retry, text: pageTexts.malformed }
    case 'cross_site_request': return { kind: 'failed', text: pageTexts.crossSite }
    case 'too_many_requests': {
      const when = formatDelay(Number(problem.headers['retry-after']), language)
      return { ...retry, text: `${sharedTexts.tooManyTitle}. ${sharedTexts.tooMany(when)}` }
    }
    case 'overloaded':
    case 'database_unavailable':
    case 'shutting_down':
    case 'request_timeout': return { ...retry, text: sharedTexts.unavailable }
    default: return { ...retry, text: pageTexts.unexpectedError(request.id) }
  }
}

const reasonsOf = ({ members: { reasons } }: Problem) =>
  passwordReasons.filter(reason => Array.isArray(reasons) && reasons.includes(reason))

/** Returns the text that says what confirms the address. */
function proofText (methods: ConfirmationMethod[], { proof }: MailedLinkTexts): string {
  if (!methods.includes('password')) {
    return methods.includes('new_password') ? proof.newPassword : proof.session
  }
  return methods.includes('new_password') ? proof.anyPassword : proof.password
}

/**
 * Returns the ways to confirm the address: those that the failure names, or else those of the submitted form.
 */
function methodsOf ({ members: { methods } }: Problem, body: unknown): ConfirmationMethod[] | undefined {
  const submitted: unknown = Object(body).methods
  const named: unknown = methods ?? (typeof submitted === 'string' ? submitted.split(' ') : undefined)
  return Array.isArray(named) ? confirmationMethods.filter(method => named.includes(method)) : undefined
}

/** Returns the link's token from an unvalidated form, if it can be one. */
function tokenOf (body: unknown): string | undefined {
  const token: unknown = Object(body).token
  return typeof token === 'string' && /^lkl_[\w-]{1,196}$/.test(token) ? token : undefined
}
