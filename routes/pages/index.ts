import { Type } from '@sinclair/typebox'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { confirm } from '../../src/accounts/confirmation.ts'
import { signInWithLink } from '../../src/accounts/magic-link.ts'
import { resetPassword } from '../../src/accounts/password-reset.ts'
import { languageOf, type Language } from '../../src/http/language.ts'
import type { Problem } from '../../src/http/problem.ts'
import { currentPassword, linkToken, newPassword } from '../schemas.ts'
import { answerSignIn, signInRequestOf, type SignInOptions } from '../sign-in.ts'
import { contextOf, originOf, strict, type Typed } from '../typed.ts'
import assets from './assets.ts'
import { failureOutcome } from './failure.ts'
import type { PagePurpose } from './page-texts.ts'
import type { PageContext, PageOutcome } from './page-view.ts'
import { headers, paths, render, texts } from './page.ts'

export interface PagesOptions extends PageContext { signIn: SignInOptions }

const languageFor = (request: FastifyRequest) => languageOf(request.headers['accept-language']) ?? 'en'

/**
 * The pages that mailed links open. Opening a page changes nothing, because mail scanners open links too.
 * Only submitting its form does what the link is for.
 */
const pages: Typed<PagesOptions> = async (app, { signIn, ...context }) => {
  app.removeAllContentTypeParsers()
  app.addContentTypeParser(
    'application/x-www-form-urlencoded',
    { parseAs: 'string' },
    (_request, body, done) => {
      done(null, Object.fromEntries(new URLSearchParams(body.toString())))
    }
  )
  await app.register(assets)

  const renderPage = (purpose: PagePurpose, language: Language, outcome: PageOutcome) =>
    render({ ...context, purpose, language, outcome })
  /** The configuration that the routes of all forms share. */
  const formConfig = (purpose: PagePurpose) => ({
    limit: 'password' as const,
    renderProblem: (problem: Problem, request: FastifyRequest) => {
      const language = languageFor(request)
      const outcome = failureOutcome(problem, { request, language, minLength: context.minLength })
      return { headers: headers(language), page: renderPage(purpose, language, outcome) }
    }
  })
  const sendDone = (purpose: PagePurpose, request: FastifyRequest, reply: FastifyReply) => {
    const language = languageFor(request)
    const outcome = { kind: 'done' as const, text: texts[language].pages[purpose].doneText }
    return reply.headers(headers(language)).send(renderPage(purpose, language, outcome))
  }
  // Login CSRF: a link that another site posts would sign this browser in as the attacker.
  const assertSameOrigin = async (request: FastifyRequest) => { request.assertSameOrigin() }

  for (const purpose of Object.keys(paths) as PagePurpose[]) {
    const rendered = renderAll(purpose, context)
    app.get(paths[purpose], { schema: { hide: true } }, async (request, reply) => {
      const language = languageFor(request)
      return reply.headers(headers(language)).send(rendered[language])
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
    onRequest: assertSameOrigin,
    config: formConfig('email_verification')
  }, async (request, reply) => {
    const { token, password, new_password: newPassword } = request.body
    const registrationId = request.registrationId()
    const sessions = await app.findProvenSessions(request)
    const evidence = { registrationId, sessions, password, newPassword }
    const requestContext = contextOf(request, signIn.links)
    const confirmation = { token, evidence, device: request.device, ticket: requestContext.ticket }
    await confirm(app, confirmation, requestContext)
    reply.clearRegistrationCookie()
    return sendDone('email_verification', request, reply)
  })

  app.post(paths.password_reset, {
    schema: { hide: true, body: strict({ token: linkToken, new_password: newPassword }) },
    onRequest: [assertSameOrigin, app.admitPassword],
    config: formConfig('password_reset')
  }, async (request, reply) => {
    const { token, new_password: chosen } = request.body
    await resetPassword(app, { token, newPassword: chosen }, contextOf(request, signIn.links))
    return sendDone('password_reset', request, reply)
  })

  app.post(paths.magic_link, {
    schema: { hide: true, body: strict({ token: linkToken, remember: Type.Optional(Type.Literal('true')) }) },
    onRequest: assertSameOrigin,
    config: { ...formConfig('magic_link'), counted: 'logins' }
  }, async (request, reply) => {
    const { token, remember } = request.body
    const signInRequest = await signInRequestOf(request, signIn, { remember: remember === 'true' })
    const completion = await signInWithLink(app.db, token, signInRequest, originOf(request))
    answerSignIn(reply, completion, { lifetimes: signIn.lifetimes, delivery: 'cookie' })
    return sendDone('magic_link', request, reply)
  })
}

/**
 * Returns a page before its form is submitted, in every language. It depends on the request in no other way.
 */
function renderAll (purpose: PagePurpose, context: PageContext): Record<Language, string> {
  const renderIn = (language: Language) => {
    const text = texts[language].pages[purpose].introduction
    return render({ ...context, purpose, language, outcome: { kind: 'asked', text } })
  }
  return { en: renderIn('en'), de: renderIn('de') }
}

export default pages
