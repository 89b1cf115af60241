import type { FastifyRequest } from 'fastify'
import type { RequestContext } from '../../src/authentication/request-context.ts'
import type { SignInOptions } from '../sign-in.ts'
import { contextOf } from '../typed.ts'
import type { PageContext } from './context.ts'
import { languageFor } from './language.ts'

/** Login CSRF: a form that another site posts would sign this browser in as the attacker. */
export const assertOwnForm = async (request: FastifyRequest): Promise<void> => { request.assertSameOrigin() }

/** Returns the context of a request for the domain functions. Its mails are in the language of the page. */
export function pageContextOf (
  request: FastifyRequest, { issuer }: PageContext, { links }: Pick<SignInOptions, 'links'>
): RequestContext {
  const context = contextOf(request, links)
  return { ...context, mail: { ...context.mail, language: languageFor(request, issuer) } }
}
