import { Type } from '@sinclair/typebox'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { confirm } from '../../src/accounts/confirmation.ts'
import { signInWithLink } from '../../src/accounts/magic-link.ts'
import { resetPassword } from '../../src/accounts/password-reset.ts'
import type { Language } from '../../src/http/language.ts'
import type { Problem } from '../../src/http/problem.ts'
import { currentPassword, linkToken, newPassword } from '../schemas.ts'
import { signInRequestOf, type SignInOptions } from '../sign-in.ts'
import { originOf, strict, type Typed } from '../typed.ts'
import type { PageContext } from './context.ts'
import { continueAfterSignIn, recallContinuation } from './continuation.ts'
import { languageFor, rememberLanguage } from './language.ts'
import { pageHeaders } from './layout.ts'
import { failureOutcome } from './mailed-link-failure.ts'
import type { PageOutcome } from './mailed-link-outcome.ts'
import { paths, renderMailedLink, texts } from './mailed-link-view.ts'
import { assertOwnForm, pageContextOf } from './page-request.ts'
import { readRefusedForm } from './refused-form.ts'
import type { PagePurpose } from './texts/mailed-links.ts'

export interface MailedLinksOptions { context: PageContext, signIn: SignInOptions }

/**
 * The pages that mailed links open. Opening a page changes nothing, because mail scanners open links too.
 * Only submitting its form does what the link is for.
 */
const mailedLinks: Typed<MailedLinksOptions> = async (app, { context, signIn }) => {
  const renderPage = (purpose: PagePurpose, language: Language, outcome: PageOutcome) =>
    renderMailedLink({ ...context, purpose, language, outcome })
  /** The configuration that the routes of all forms share. */
  const formConfig = (purpose: PagePurpose) => ({
    limit: 'password' as const,
    renderProblem: async (problem: Problem, request: FastifyRequest) => {
      const language = languageFor(request, context.issuer)
      await readRefusedForm(request)
      const outcome = failureOutcome(problem, { request, language, minLength: context.minLength })
      return { headers: pageHeaders(language), page: renderPage(purpose, language, outcome) }
    }
  })
  // The next page has an address of its own, so that going back or reloading submits nothing.
  const redirectToDone = (purpose: PagePurpose, reply: FastifyReply) =>
    reply.redirect(`${context.basePath}${paths[purpose]}/done`, 303)

  for (const purpose of Object.keys(paths) as PagePurpose[]) {
    app.get(paths[purpose], { schema: { hide: true } }, async (request, reply) => {
      const language = languageFor(request, context.issuer)
      rememberLanguage(request, reply, context.issuer)
      const text = texts[language].pages[purpose].introduction
      return reply.headers(pageHeaders(language)).send(renderPage(purpose, language, { kind: 'asked', text }))
    })
    if (purpose === 'magic_link') continue
    app.get(`${paths[purpose]}/done`, { schema: { hide: true } }, async (request, reply) => {
      const language = languageFor(request, context.issuer)
      rememberLanguage(request, reply, context.issuer)
      const text = texts[language].pages[purpose].doneText
      return reply.headers(pageHeaders(language)).send(renderPage(purpose, language, { kind: 'done', text }))
    })
  }

  app.post(paths.email_verification, {
    schema: {
      hide: true,
      body: strict({
        token: linkToken,
        password: Type.Optional(currentPassword),
        new_password: Type.Optional(newPassword),
        // The methods that the page offered. If the confirmation fails, the page offers the same again.
        methods: Type.Optional(Type.String({ maxLength: 100 }))
      })
    },
    onRequest: assertOwnForm,
    config: formConfig('email_verification')
  }, async (request, reply) => {
    const { token, password, new_password: newPassword } = request.body
    const registrationId = request.registrationId()
    const sessions = await app.findProvenSessions(request)
    const evidence = { registrationId, sessions, password, newPassword }
    const requestContext = pageContextOf(request, context, signIn)
    const confirmation = { token, evidence, device: request.device, ticket: requestContext.ticket }
    await confirm(app, confirmation, requestContext)
    reply.clearRegistrationCookie()
    return redirectToDone('email_verification', reply)
  })

  app.post(paths.password_reset, {
    schema: { hide: true, body: strict({ token: linkToken, new_password: newPassword }) },
    onRequest: [assertOwnForm, app.admitPassword],
    config: formConfig('password_reset')
  }, async (request, reply) => {
    const { token, new_password: chosen } = request.body
    await resetPassword(app, { token, newPassword: chosen }, pageContextOf(request, context, signIn))
    return redirectToDone('password_reset', reply)
  })

  app.post(paths.magic_link, {
    schema: { hide: true, body: strict({ token: linkToken, remember: Type.Optional(Type.Literal('true')) }) },
    onRequest: assertOwnForm,
    config: { ...formConfig('magic_link'), counted: 'logins' }
  }, async (request, reply) => {
    const { token, remember } = request.body
    const signInRequest = await signInRequestOf(
      request, signIn, { remember: remember === 'true', isOnPage: true })
    const completion = await signInWithLink(app.db, token, signInRequest, originOf(request))
    return await continueAfterSignIn(request, reply, completion, {
      context, signIn, continuation: await recallContinuation(request, reply, context)
    })
  })
}

export default mailedLinks
