import { findProblem } from '../capabilities.ts'
import { oauthErrors, type OAuthErrorCode } from '../http/oauth-error.ts'
import { document, mediaType, Problem, type ProblemCode } from '../http/problem.ts'

// The responses of the API document that stand for failures.

/** A problem that an operation can have. */
export interface Failure { code: ProblemCode, status: number }

/** A response of the API document. */
export interface FailureResponse {
  description: string
  headers?: object
  content: Record<string, { schema: object, examples?: Record<string, object> }>
}

/** The problems that every request can have. */
const universalCodes: ProblemCode[] =
  ['validation_failed', 'https_required', 'request_timeout', 'headers_too_large', 'internal_error',
    'overloaded']
const bodyCodes: ProblemCode[] = ['payload_too_large', 'unsupported_media_type']

/** The problems that most operations have. `/docs` lists them once. */
export const commonCodes: ReadonlySet<ProblemCode> =
  new Set([...universalCodes, ...bodyCodes, 'too_many_requests', 'database_unavailable'])

export interface OperationTraits {
  hasBody: boolean
  isRateLimited: boolean
  /** The problems that the route names. */
  problems: ReadonlyArray<ProblemCode | Failure>
}

/** Every problem that an operation can have, each once. */
export function failuresOf ({ hasBody, isRateLimited, problems }: OperationTraits): Failure[] {
  const limitCodes: ProblemCode[] = isRateLimited ? ['too_many_requests'] : []
  // The problems of the route come first, because they matter most to a reader.
  const all = [...problems, ...universalCodes, ...hasBody ? bodyCodes : [], ...limitCodes]
  const failures = all.map(each => typeof each === 'string' ? withStatus(each) : each)
  return [...new Map(failures.map(failure => [exampleName(failure), failure])).values()]
}

const withStatus = (code: ProblemCode): Failure => ({ code, status: findProblem(code).status[0] })

/** The code. If the status is not the usual one of the code, the status follows. */
export const exampleName = ({ code, status }: Failure): string =>
  status === findProblem(code).status[0] ? code : `${code}_${status}`

const exampleId = '0199e8f2-6c1c-7000-8000-0a1b2c3d4e5f'

/** A problem document as the service would send it. */
export const problemExample = ({ code, status }: Failure, issuer: string) => ({
  summary: findProblem(code).title,
  value: document(issuer, new Problem(findProblem(code), { status }), exampleId)
})

const retryAfter = {
  'retry-after': {
    schema: { type: 'integer' }, description: 'The number of seconds after which to try again.'
  }
}
const retryStatuses = new Set([429, 503])

/** The response for the problems of an operation that have the same status. */
export function problemResponse (failures: Failure[]): FailureResponse {
  const codes = failures.map(({ code }) => code)
  return {
    description: codes.map(code => `\`${code}\`: ${uncapitalize(findProblem(code).title)}`).join('; '),
    ...failures.some(({ status }) => retryStatuses.has(status)) && { headers: retryAfter },
    content: {
      [mediaType]: {
        schema: restrict('Problem', 'code', codes),
        examples: Object.fromEntries(failures.map(failure =>
          [failure.code, { $ref: `#/components/examples/${exampleName(failure)}` }]))
      }
    }
  }
}

/** The response for the same problems of a page, which a person reads. */
export function pageResponse (failures: Failure[]): FailureResponse {
  const { content: _, ...response } = problemResponse(failures)
  return { ...response, content: { 'text/html': { schema: { type: 'string' } } } }
}

/** A title within a sentence. Acronyms stay. */
const uncapitalize = (title: string): string =>
  title.replace(/^[A-Z](?![A-Z])/, letter => letter.toLowerCase())

/** A schema with only these values of a property. */
const restrict = (schema: string, property: string, values: readonly string[]) => ({
  allOf: [{ $ref: `#/components/schemas/${schema}` }, {
    type: 'object', properties: { [property]: { enum: values } }
  }]
})

/** The codes that an OAuth operation can have, by status. `named` are those of the route. */
export function oauthFailuresOf (
  named: readonly OAuthErrorCode[], hasBody: boolean
): Map<number, OAuthErrorCode[]> {
  const codes = new Map<number, OAuthErrorCode[]>([
    [400, ['invalid_request']], [403, ['access_denied']], [408, ['invalid_request']],
    [429, ['temporarily_unavailable']], [431, ['invalid_request']], [500, ['server_error']],
    [503, ['temporarily_unavailable']]
  ])
  for (const status of hasBody ? [413, 415] : []) codes.set(status, ['invalid_request'])
  for (const code of named) {
    const { status } = oauthErrors[code]
    codes.set(status, [...codes.get(status) ?? [], code])
  }
  return codes
}

/** The response for the OAuth errors of an operation that have the same status. */
export function oauthResponse (status: number, codes: OAuthErrorCode[]): FailureResponse {
  return {
    description: codes.map(code => `\`${code}\`: ${oauthErrors[code].meaning}`).join(' '),
    ...retryStatuses.has(status) && { headers: retryAfter },
    content: {
      'application/json': {
        schema: restrict('OAuthError', 'error', codes),
        examples: Object.fromEntries(codes.map(error =>
          [error, { value: { error, error_description: oauthErrors[error].meaning } }]))
      }
    }
  }
}

/** Whether an OAuth response stands only for failures that every OAuth operation can have. */
export const isCommonOAuthFailure = (status: number, codes: readonly string[]): boolean =>
  status !== 400 && codes.every(code =>
    ['invalid_request', 'access_denied', 'server_error', 'temporarily_unavailable'].includes(code))
