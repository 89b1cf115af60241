import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Completion } from '../../src/authentication/completion.ts'
import type { Lifetimes } from '../../src/sessions/session.ts'
import { answerSignIn } from '../sign-in.ts'
import type { Continuation, PageContext } from './context.ts'
import { languageFor } from './language.ts'
import { pageHeaders } from './layout.ts'
import { renderLeaving } from './leaving-view.ts'

export type { Continuation } from './context.ts'

export interface ContinueOptions {
  context: PageContext
  lifetimes: Lifetimes
  /** The request of the client, if the sign-in began with one. */
  continuation?: Continuation | undefined
}

/**
 * Reads the sealed request of a page's query or form. Returns undefined if there is none. Throws a Problem if
 * it is not valid any more.
 */
export async function readContinuation (_request: FastifyRequest): Promise<Continuation | undefined> {
  return undefined
}

/**
 * Completes a sign-in on a page: sets the cookies, and answers with the next page. `form-action 'self'` makes
 * browsers block a redirect to another origin that answers a form, so the application is reached by a page.
 */
export async function continueAfterSignIn (
  request: FastifyRequest, reply: FastifyReply, completion: Completion, options: ContinueOptions
): Promise<FastifyReply> {
  const { context, lifetimes } = options
  answerSignIn(reply, completion, { lifetimes, delivery: 'cookie' })
  if (context.homeUrl === undefined) return reply.redirect(`${context.basePath}/signed-in`, 303)
  const language = languageFor(request, context.issuer)
  const page = renderLeaving(context, { language, url: context.homeUrl, name: undefined })
  return reply.headers(pageHeaders(language)).send(page)
}
