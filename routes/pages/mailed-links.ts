import { Type } from '@sinclair/typebox'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { confirm } from '../../src/accounts/confirmation.ts'
import { previewLink } from '../../src/accounts/link-preview.ts'
import type { LinkKind } from '../../src/accounts/link-requests.ts'
import { signInWithLink } from '../../src/accounts/magic-link.ts'
import { resetPassword } from '../../src/accounts/password-reset.ts'
import { Problem } from '../../src/http/problem.ts'
import { findConfirmedAddress } from '../../src/one-time-tokens/confirmed.ts'
import { currentPassword, linkToken, newPassword } from '../schemas.ts'
import { signInRequestOf, type SignInOptions } from '../sign-in.ts'
import { originOf, strict, type Typed } from '../typed.ts'
import type { PageContext } from './context.ts'
import { continueAfterSignIn, findRemembered, recallContinuation } from './continuation.ts'
import { languageFor, rememberLanguage } from './language.ts'
import { pageHeaders } from './layout.ts'
import { linkFailureOf, mailedLinkPaths as paths, readOpenLink, tokenIn } from './mailed-link-state.ts'
import {
  renderConfirmed, renderInvalidLink, renderDone, renderOpening, renderOpenLink
} from './mailed-link-views.ts'
import { assertOwnForm, pageContextOf } from './page-request.ts'
import { readRefusedForm, typedOf } from './refused-form.ts'

export interface MailedLinksOptions { context: PageContext, signIn: SignInOptions }

/** What the page of an open link says about it. Its forms submit it too, and a refusal shows it again. */
const shown = {
  username: Type.Optional(Type.String({ maxLength: 1_000 })),
  purpose: Type.Optional(Type.String({ maxLength: 100 })),
  methods: Type.Optional(Type.String({ maxLength: 100 }))
}

/**
 * The pages that mailed links open. Opening a page changes nothing, because mail scanners open links too, and
 * so does its first form, which shows what the link is for. Only the form after that uses the link.
 */
const mailedLinks: Typed<MailedLinksOptions> = async (app, { context, signIn }) => {
  // A person may paste the whole link.
  app.addHook('preValidation', (request, _reply, done) => {
    const { token }: { token?: unknown } = Object(request.body)
    if (typeof token === 'string') request.body = { ...Object(request.body), token: tokenIn(token) }
    done()
  })

  const send = (request: FastifyRequest, reply: FastifyReply, page: string) =>
    reply.headers(pageHeaders(languageFor(request, context.issuer))).send(page)

  const renderProblem = (kind: LinkKind) => async (problem: Problem, request: FastifyRequest) => {
    const language = languageFor(request, context.issuer)
    const isOwn = problem.code !== 'cross_site_request'
    if (isOwn) await readRefusedForm(request)
    const link = isOwn ? readOpenLink(request.body, kind, problem) : undefined
    const failure = linkFailureOf(context, problem, language, link?.methods ?? [])
    const page = { kind, language, failure }
    const isOpening = request.routeOptions.url === `${paths[kind]}/open`
    const pasted = isOwn ? typedOf(request.body)['token'] : undefined
    return {
      headers: pageHeaders(language),
      page: problem.code === 'link_expired'
        ? renderInvalidLink(context, { kind, language, lives: signIn.links })
        : isOpening || link === undefined
          ? renderOpening(context, { ...page, pasted })
          : renderOpenLink(context, { ...page, link })
    }
  }
  /** The configuration that the routes of all forms share. */
  const formConfig = (kind: LinkKind) => ({ limit: 'password' as const, renderProblem: renderProblem(kind) })

  // The next page has an address of its own, so that going back or reloading submits nothing.
  const redirectToDone = (kind: LinkKind, reply: FastifyReply) =>
    reply.redirect(`${context.basePath}${paths[kind]}/done`, 303)

  /** Says that the address is confirmed already, if the link did it. Throws the problem of any other link. */
  const sendIfConfirmed = async (
    request: FastifyRequest, reply: FastifyReply, { token, problem }: { token: string, problem: unknown }
  ) => {
    const isExpired = problem instanceof Problem && problem.code === 'link_expired'
    const address = isExpired ? await findConfirmedAddress(app.db, token) : undefined
    if (address === undefined) throw problem
    const language = languageFor(request, context.issuer)
    return send(request, reply, renderConfirmed(context, { kind: 'email_verification', language, address }))
  }

  for (const kind of Object.keys(paths) as LinkKind[]) {
    // A person who comes back to a page that answered a form gets the page without the form.
    for (const path of [paths[kind], `${paths[kind]}/open`]) {
      app.get(path, { schema: { hide: true } }, async (request, reply) => {
        rememberLanguage(request, reply, context.issuer)
        const language = languageFor(request, context.issuer)
        return send(request, reply, renderOpening(context, { kind, language }))
      })
    }
    app.get(`${paths[kind]}/done`, { schema: { hide: true } }, async (request, reply) => {
      rememberLanguage(request, reply, context.issuer)
      const language = languageFor(request, context.issuer)
      const continuation = await findRemembered(request, context)
      return send(request, reply, renderDone(context, { kind, language, continuation }))
    })
    app.post(`${paths[kind]}/open`, {
      schema: { hide: true, body: strict({ token: linkToken }) },
      onRequest: assertOwnForm,
      config: formConfig(kind)
    }, async (request, reply) => {
      const { token } = request.body
      const language = languageFor(request, context.issuer)
      const evidence = {
        registrationId: request.registrationId(), sessions: await app.findProvenSessions(request)
      }
      const cookieSeconds = signIn.links.emailVerificationSeconds
      try {
        const preview = await previewLink(app.db, { kind, token, evidence, cookieSeconds })
        const link = { ...preview, token, isRemembered: false }
        return send(request, reply, renderOpenLink(context, { kind, language, link }))
      } catch (problem) {
        if (kind !== 'email_verification') throw problem
        return await sendIfConfirmed(request, reply, { token, problem })
      }
    })
  }

  app.post(paths.email_verification, {
    schema: {
      hide: true,
      body: strict({
        token: linkToken,
        password: Type.Optional(currentPassword),
        new_password: Type.Optional(newPassword),
        ...shown
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
    try {
      await confirm(app, confirmation, requestContext)
    } catch (problem) {
      return await sendIfConfirmed(request, reply, { token, problem })
    }
    reply.clearRegistrationCookie()
    return redirectToDone('email_verification', reply)
  })

  app.post(paths.password_reset, {
    schema: { hide: true, body: strict({ token: linkToken, new_password: newPassword, ...shown }) },
    onRequest: [assertOwnForm, app.assertHashingCapacity],
    config: formConfig('password_reset')
  }, async (request, reply) => {
    const { token, new_password: chosen } = request.body
    await resetPassword(app, { token, newPassword: chosen }, pageContextOf(request, context, signIn))
    return redirectToDone('password_reset', reply)
  })

  app.post(paths.magic_link, {
    schema: {
      hide: true,
      body: strict({ token: linkToken, remember: Type.Optional(Type.Literal('true')), ...shown })
    },
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
