import type { FastifyError, FastifyRequest, FastifySchemaValidationError } from 'fastify'
import fp from 'fastify-plugin'
import * as oauth from '../src/http/oauth-error.ts'
import { document, mediaType, Problem, type ProblemDefinition } from '../src/http/problem.ts'
import { overloaded, problems, validationFailed } from '../src/http/problems.ts'
import { describeViolations, summarize } from '../src/http/schema-violations.ts'
import { namesHtml } from '../src/http/text-page.ts'

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Renders a failure of the route as a page for a person, instead of a problem document. */
    renderProblem?: (problem: Problem, request: FastifyRequest) => Promise<ProblemPage>
  }
  interface FastifyRequest {
    /** The code of the problem, or of the OAuth error, that the request was answered with. */
    problemCode: string | undefined
  }
}

/** A page that tells a person about a failure. */
export interface ProblemPage { headers: Record<string, string>, page: string }

export interface ProblemsOptions {
  issuer: string
  /** Renders a failure of a route without pages of its own. */
  renderPage: (problem: Problem, request: FastifyRequest) => ProblemPage
  /** Whether the log already says that the database is not available. */
  isOutageLogged: () => boolean
}

/**
 * Turns every failure of every route into a problem document (RFC 9457), an OAuth error or a page. An
 * unexpected error shows the client nothing of its text.
 */
export default fp(async function problemResponses (app, options: ProblemsOptions) {
  const { issuer, renderPage, isOutageLogged } = options
  app.decorateRequest('problemCode', undefined)

  app.setErrorHandler<FastifyError>(async (error, request, reply) => {
    const failure = error instanceof Problem || error instanceof oauth.OAuthError ? error : translate(error)
    request.problemCode = failure.code
    logFailure(request, failure, error)
    const { renderProblem } = request.routeOptions.config
    if (failure instanceof Problem && (renderProblem || isPageWanted(request, failure))) {
      const { headers, page } = renderProblem
        ? await renderProblem(failure, request)
        : renderPage(failure, request)
      return await reply.code(failure.status).headers({ ...failure.headers, ...headers }).send(page)
    }
    const { type, body } = render(failure, request)
    return await reply
      .code(failure.status)
      .headers({ ...failure.headers, 'cache-control': 'no-store' })
      .type(type)
      .serializer((document: unknown) => JSON.stringify(document))
      .send(body)
  })

  function render (
    failure: Problem | oauth.OAuthError, request: FastifyRequest
  ): { type: string, body: object } {
    if (failure instanceof oauth.OAuthError || request.routeOptions.config.errors === 'oauth') {
      return { type: 'application/json; charset=utf-8', body: oauth.document(oauth.translate(failure)) }
    }
    return { type: mediaType, body: document(issuer, failure, request.id) }
  }

  function logFailure (request: FastifyRequest, failure: Problem | oauth.OAuthError, error: Error): void {
    const { log } = request
    if (failure.status === 500) return log.error({ err: error }, 'request failed with an unexpected error')
    const { code, cause } = failure
    if (cause === undefined) return
    const detail = cause instanceof Error ? { code, err: cause } : { code, cause }
    // The outage is logged once, and the failed attempts are counted.
    const isKnown = code === 'database_unavailable' && isOutageLogged()
    if (isKnown) log.debug(detail, 'request refused')
    else if (failure.status >= 500) log.warn(detail, 'request failed')
    else log.info(detail, 'request refused')
  }
}, { name: 'problems' })

// The failures that a person can meet who opens an address of the service.
const statusesWithPage = [400, 403, 404, 405, 429, 500, 503]

/**
 * Whether a failure is shown as a page, because a person opened an address in a browser. Operations of the
 * API always answer with problem documents.
 */
const isPageWanted = ({ method, headers, routeOptions: { schema } }: FastifyRequest, { status }: Problem) =>
  statusesWithPage.includes(status) && ['GET', 'HEAD'].includes(method) &&
  schema?.operationId === undefined && namesHtml(headers.accept)

const definitionByStatus: Record<number, ProblemDefinition> = {
  404: problems.not_found,
  405: problems.method_not_allowed,
  408: problems.request_timeout,
  413: problems.payload_too_large,
  415: problems.unsupported_media_type,
  431: problems.headers_too_large
}

/** The problem of an error that is not a Problem, without anything that a client must not know. */
function translate (error: FastifyError): Problem {
  if (error.validation) return invalid(error.validation, error.validationContext)
  if (error.name === 'AbortError') return overloaded(1)
  const status = error.statusCode ?? 500
  if (status >= 500) return new Problem(problems.internal_error)
  const definition = definitionByStatus[status]
  if (definition) return new Problem(definition)
  return validationFailed(
    error.code === 'FST_ERR_BAD_URL' ? 'The path is not valid.' : 'The body is not valid JSON in UTF-8.'
  )
}

function invalid (violations: FastifySchemaValidationError[], context: string | undefined): Problem {
  const described = describeViolations(violations)
  return validationFailed(summarize(described, context), described)
}
