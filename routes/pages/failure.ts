import type { FastifyRequest } from 'fastify'
import type { Language } from '../../src/http/language.ts'
import { confirmationMethods, passwordReasons, type ConfirmationMethod, type Problem } from '../../src/http/problem.ts'
import type { PageOutcome } from './page.ts'
import type { PageTexts } from './words.ts'

/** How a page tells of a failure. What was typed is kept, as far as it can be of use. */
export function failed (problem: Problem, said: PageTexts, language: Language, request: FastifyRequest, minLength: number): PageOutcome {
  const methods = methodsOf(problem, request.body)
  const again = { kind: 'failed' as const, token: tokenOf(request.body), methods }
  switch (problem.code) {
    case 'password_required': return { ...again, kind: 'asked', text: proofText(methods ?? [], said) }
    case 'invalid_credentials': {
      const { orNew, only } = said.wrongPassword
      return { ...again, text: methods?.includes('new_password') ? orNew : only, isPasswordWrong: true }
    }
    case 'link_expired': return { kind: 'failed', text: said.expired, final: true }
    case 'email_taken': return { kind: 'failed', text: said.taken, final: true }
    case 'password_rejected': return { ...again, text: said.rejected, reasons: reasonsOf(problem).map(reason => said.reasons[reason](minLength)) }
    case 'validation_failed': return { ...again, text: said.malformed }
    case 'cross_site_request': return { kind: 'failed', text: said.foreign }
    case 'too_many_requests': return { ...again, text: said.tooMany(inTime(Number(problem.headers['retry-after']), language)) }
    case 'overloaded':
    case 'database_unavailable':
    case 'shutting_down':
    case 'request_timeout': return { ...again, text: said.busy }
    default: return { ...again, text: said.fault(request.id) }
  }
}

const reasonsOf = ({ members: { reasons } }: Problem) => passwordReasons.filter(reason => Array.isArray(reasons) && reasons.includes(reason))

/** Says what would confirm the address. */
function proofText (methods: ConfirmationMethod[], { proof }: PageTexts): string {
  if (!methods.includes('password')) return methods.includes('new_password') ? proof.newPassword : proof.session
  return methods.includes('new_password') ? proof.either : proof.password
}

/** What would confirm the address, as the failure says, or else as the submitted form said. */
function methodsOf ({ members: { methods } }: Problem, body: unknown): ConfirmationMethod[] | undefined {
  const sent: unknown = Object(body).methods
  const named: unknown = methods ?? (typeof sent === 'string' ? sent.split(' ') : undefined)
  return Array.isArray(named) ? confirmationMethods.filter(method => named.includes(method)) : undefined
}

/** What a form that may be anything has as the token of a link, if that may be one. */
function tokenOf (body: unknown): string | undefined {
  const token: unknown = Object(body).token
  return typeof token === 'string' && /^lkl_[\w-]{1,196}$/.test(token) ? token : undefined
}

function inTime (seconds: number, language: Language): string {
  const format = new Intl.RelativeTimeFormat(language)
  return seconds < 120 ? format.format(seconds, 'second') : format.format(Math.ceil(seconds / 60), 'minute')
}
