import { Type } from '@sinclair/typebox'
import type { FastifyRequest } from 'fastify'
import { confirm } from '../../src/accounts/confirmation.ts'
import { signInWithLink } from '../../src/accounts/magic-link.ts'
import { resetPassword } from '../../src/accounts/password-reset.ts'
import { languageOf } from '../../src/http/language.ts'
import type { Language } from '../../src/http/language.ts'
import { currentPassword, linkToken, newPassword } from '../schemas.ts'
import { answerSignIn, signInRequestOf, type SignInOptions } from '../sign-in.ts'
import { contextOf, originOf, strict, type Typed } from '../typed.ts'
import assets from './assets.ts'
import { failed } from './failure.ts'
import { headers, paths, render, words, type PageOutcome, type PageContext } from './page.ts'
import type { PagePurpose } from './words.ts'

export interface PagesOptions extends PageContext { signIn: SignInOptions }

const spoken = (request: FastifyRequest) => languageOf(request.headers['accept-language']) ?? 'en'

/** The pages that mailed links lead to. Looking at one changes nothing: what the link is for is done by its form alone. */
const pages: Typed<PagesOptions> = async (app, { signIn, ...surroundings }) => {
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('application/x-www-form-urlencoded', { parseAs: 'string' }, (_request, body, done) => {
    done(null, Object.fromEntries(new URLSearchParams(body.toString())))
  })
  await app.register(assets)

  const page = (purpose: PagePurpose, request: FastifyRequest, outcome: PageOutcome) => render(purpose, spoken(request), surroundings, outcome)
  /** What the form of a page has in common with those of the others. */
  const form = (purpose: PagePurpose) => ({
    limit: 'password' as const,
    tell: (problem: Parameters<typeof failed>[0], request: FastifyRequest) => {
      const language = spoken(request)
      return { headers: headers(language), page: page(purpose, request, failed(problem, words[language], language, request, surroundings.minLength)) }
    }
  })
  const done = (purpose: PagePurpose, request: FastifyRequest) => page(purpose, request, { kind: 'done', text: words[spoken(request)].pages[purpose].told })
  // A link that somebody else posts would sign this browser in as them.
  const own = async (request: FastifyRequest) => { request.assertSameOrigin() }

  for (const purpose of Object.keys(paths) as PagePurpose[]) {
    const rendered = renderAll(purpose, surroundings)
    app.get(paths[purpose], { schema: { hide: true } }, async (request, reply) => {
      const language = spoken(request)
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
        // What the page offered. If the confirmation fails, the page offers the same again.
        methods: Type.Optional(Type.String({ maxLength: 100 }))
      })
    },
    onRequest: own,
    config: form('email_verification')
  }, async (request, reply) => {
    const { token, password, new_password: newPassword } = request.body
    const registrationId = request.registrationId()
    const evidence = { registrationId, sessions: await app.findProvenSessions(request), password, newPassword }
    const context = contextOf(request, signIn.links)
    const confirmation = { token, evidence, device: request.device, ticket: context.ticket }
    app.revocations.add(await confirm(app, confirmation, context))
    app.jobs.wake('mail')
    reply.clearRegistrationCookie()
    return reply.headers(headers(spoken(request))).send(done('email_verification', request))
  })

  app.post(paths.password_reset, {
    schema: { hide: true, body: strict({ token: linkToken, new_password: newPassword }) },
    onRequest: [own, app.admitPassword],
    config: form('password_reset')
  }, async (request, reply) => {
    const { token, new_password: chosen } = request.body
    app.revocations.add(await resetPassword(app, { token, newPassword: chosen }, contextOf(request, signIn.links)))
    app.jobs.wake('mail')
    return reply.headers(headers(spoken(request))).send(done('password_reset', request))
  })

  app.post(paths.magic_link, {
    schema: { hide: true, body: strict({ token: linkToken, remember: Type.Optional(Type.Literal('true')) }) },
    onRequest: own,
    config: { ...form('magic_link'), counted: 'logins' }
  }, async (request, reply) => {
    const { token, remember } = request.body
    const asked = await signInRequestOf(request, signIn, { remember: remember === 'true' })
    const completion = await signInWithLink(app.db, token, asked, originOf(request))
    answerSignIn(reply, completion, { lifetimes: signIn.lifetimes, delivery: 'cookie' })
    return reply.headers(headers(spoken(request))).send(done('magic_link', request))
  })
}

/** The page of a purpose before its form was sent, in every language. Nothing else in it depends on the request. */
function renderAll (purpose: PagePurpose, surroundings: PageContext): Record<Language, string> {
  const renderIn = (language: Language) => render(purpose, language, surroundings, { kind: 'asked', text: words[language].pages[purpose].lead })
  return { en: renderIn('en'), de: renderIn('de') }
}

export default pages
