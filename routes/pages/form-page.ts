import type { FastifyContextConfig, FastifyReply, FastifyRequest } from 'fastify'
import { Problem } from '../../src/http/problem.ts'
import type { Continuation, PageContext, PageState } from './context.ts'
import { readContinuation } from './continuation.ts'
import { renderError, translatedPath } from './error-view.ts'
import { languageFor, rememberLanguage } from './language.ts'
import { pageHeaders } from './layout.ts'
import { readRefusedForm, typedOf } from './refused-form.ts'

/** Renders a page with a form. */
export type FormPage = (context: PageContext, state: PageState) => string

/** Answers with the page of a form that was not submitted yet. */
export async function sendFormPage (
  request: FastifyRequest, reply: FastifyReply, context: PageContext, page: FormPage
): Promise<FastifyReply> {
  const continuation = await readContinuation(request)
  const language = languageFor(request, context.issuer)
  rememberLanguage(request, reply, context.issuer)
  const typed: Record<string, string> = continuation?.loginHint === undefined
    ? {}
    : { identifier: continuation.loginHint, email: continuation.loginHint }
  const state = { language, continuation, typed, requestId: request.id }
  return reply.headers(pageHeaders(language)).send(page(context, state))
}

/** The configuration of a route that renders its failures as the page of its form. */
export const refusedAs = (
  context: PageContext, page: FormPage
): Pick<FastifyContextConfig, 'renderProblem'> => ({
  renderProblem: async (problem, request) => {
    const language = languageFor(request, context.issuer)
    const headers = pageHeaders(language)
    if (problem.code !== 'cross_site_request') await readRefusedForm(request)
    const continuation = await findContinuation(request)
    if (request.method !== 'POST' || continuation instanceof Problem) {
      const path = translatedPath(request)
      return { headers, page: renderError(context, { language, problem, requestId: request.id, path }) }
    }
    const typed = problem.code === 'cross_site_request' ? {} : typedOf(request.body)
    return { headers, page: page(context, { language, continuation, typed, problem, requestId: request.id }) }
  }
})

/** Returns the problem, instead of throwing it, if the sealed request is not valid any more. */
async function findContinuation (request: FastifyRequest): Promise<Continuation | Problem | undefined> {
  try {
    return await readContinuation(request)
  } catch (error) {
    if (error instanceof Problem) return error
    return undefined
  }
}
