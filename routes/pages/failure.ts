import type { FastifyRequest } from 'fastify'
import type { Language } from '../../src/mails.ts'
import { passwordReasons, type Problem } from '../../src/problem.ts'
import type { Outcome } from './page.ts'
import type { Words } from './words.ts'

/** How a page tells of a failure. What was typed is kept, as far as it can be of use. */
export function failed (problem: Problem, said: Words, language: Language, request: FastifyRequest, minLength: number): Outcome {
  const again = { kind: 'failed' as const, token: tokenOf(request.body) }
  switch (problem.code) {
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

/** What a form that may be anything has as the token of a link, if that may be one. */
function tokenOf (body: unknown): string | undefined {
  const token: unknown = Object(body).token
  return typeof token === 'string' && /^lkl_[\w-]{1,196}$/.test(token) ? token : undefined
}

function inTime (seconds: number, language: Language): string {
  const format = new Intl.RelativeTimeFormat(language)
  return seconds < 120 ? format.format(seconds, 'second') : format.format(Math.ceil(seconds / 60), 'minute')
}
