import type { FastifyError, FastifyRequest, FastifySchemaValidationError } from 'fastify'
import fp from 'fastify-plugin'
import * as oauth from '../src/http/oauth-error.ts'
import { document, mediaType, overloaded, Problem, validationFailed, type Code, type Violation } from '../src/http/problem.ts'

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Tells a failure of the route to a person, in the place of a problem document. */
    tell?: (problem: Problem, request: FastifyRequest) => { headers: Record<string, string>, page: string }
  }
}

export interface ProblemsOptions { issuer: string }

/** Turns every failure of every route into a problem document, or what OAuth has for it, the unexpected ones without a word of their own. */
export default fp(async function problems (app, { issuer }: ProblemsOptions) {
  app.setErrorHandler<FastifyError>(async (error, request, reply) => {
    const failure = error instanceof Problem || error instanceof oauth.OAuthError ? error : translate(error)
    log(request, failure, error)
    const { tell } = request.routeOptions.config
    if (tell && failure instanceof Problem) {
      const { headers, page } = tell(failure, request)
      return await reply.code(failure.status).headers({ ...failure.headers, ...headers }).send(page)
    }
    const { type, body } = worded(failure, request)
    return await reply
      .code(failure.status)
      .headers({ ...failure.headers, 'cache-control': 'no-store' })
      .type(type)
      .serializer((document: unknown) => JSON.stringify(document))
      .send(body)
  })

  function worded (failure: Problem | oauth.OAuthError, { id, routeOptions: { config } }: FastifyRequest): { type: string, body: object } {
    if (failure instanceof oauth.OAuthError || config.errors === 'oauth') return { type: 'application/json; charset=utf-8', body: oauth.document(oauth.translate(failure)) }
    return { type: mediaType, body: document(issuer, failure, id) }
  }
}, { name: 'problems' })

const byStatus: Record<number, Code> = { 404: 'not_found', 405: 'method_not_allowed', 408: 'request_timeout', 413: 'payload_too_large', 415: 'unsupported_media_type', 431: 'headers_too_large' }

/** What a client may know of an error that is not a Problem. */
export function translate (error: FastifyError): Problem {
  if (error.validation) return invalid(error.validation, error.validationContext)
  if (error.name === 'AbortError') return overloaded(1)
  const status = error.statusCode ?? 500
  if (status >= 500) return new Problem('internal_error')
  const code = byStatus[status]
  if (code) return new Problem(code)
  return validationFailed(error.code === 'FST_ERR_BAD_URL' ? 'The path is not valid.' : 'The body is not JSON in UTF-8.')
}

// A hostile body may break the schema in thousands of places: that many are told.
const most = 16

function invalid (violations: FastifySchemaValidationError[], context: string | undefined): Problem {
  const errors = violations.slice(0, most).map(({ keyword, instancePath, params, message }): Violation => {
    const property = keyword === 'required' ? params['missingProperty'] : keyword === 'additionalProperties' ? params['additionalProperty'] : undefined
    const pointer = typeof property === 'string' ? `${instancePath}/${property.slice(0, 64).replaceAll('~', '~0').replaceAll('/', '~1')}` : instancePath
    const detail = keyword === 'required' ? 'is required' : keyword === 'additionalProperties' ? 'is not a known property' : keyword === 'pattern' ? 'has characters that are not allowed' : message ?? 'is not valid'
    return { pointer, detail }
  })
  return validationFailed(`The ${context === 'querystring' ? 'query' : context ?? 'request'} does not fit the schema.`, errors)
}

function log ({ log }: FastifyRequest, problem: Problem | oauth.OAuthError, error: Error) {
  if (problem.status === 500) return log.error({ err: error }, 'a request failed unexpectedly')
  const { code, cause } = problem
  if (cause === undefined) return
  const detail = cause instanceof Error ? { code, err: cause } : { code, cause }
  const message = problem instanceof Problem ? problem.title : problem.message
  if (problem.status >= 500) log.warn(detail, message)
  else log.info(detail, message)
}
