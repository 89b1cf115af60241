import { Type } from '@sinclair/typebox'
import type { FastifyRequest } from 'fastify'
import { signInExpired } from '../../src/delegation/problems.ts'
import type { PendingSignOut } from '../../src/delegation/sealed-request.ts'
import { signOut } from '../../src/delegation/sign-out.ts'
import type { LinkLives } from '../../src/mail/mail-context.ts'
import type { BrowserSession } from '../../src/sessions/browser-session.ts'
import { allowMissingBody, originOf, strict, type Typed } from '../typed.ts'
import { findSession, findSessionToEnd, redirectAway, type Visit } from './authorization-flow.ts'
import type { PageContext } from './context.ts'
import { problemPage } from './error-view.ts'
import { languageFor, rememberLanguage } from './language.ts'
import { pageHeaders } from './layout.ts'
import { assertOwnForm } from './page-request.ts'
import { renderSignedIn, renderSignedOut, renderSignOut } from './sign-out-view.ts'

export interface SignOutOptions { context: PageContext, links: LinkLives }

/**
 * Ends the browser session with its client sessions, and the first-party session of the refresh cookie.
 * Clears both cookies.
 */
export async function signOutBrowser (
  { request, reply }: Visit, session: BrowserSession | undefined
): Promise<void> {
  const { server: app } = request
  const cookies = request.isSameOrigin() ? request.refreshCookies() : []
  const tokens = await Promise.all(cookies.map(async value => await app.keyring.readRefreshToken(value)))
  const ids = [session?.id, ...tokens.map(token => token?.sessionId)].filter(id => id !== undefined)
  if (ids.length > 0) {
    const actor = session && { actorId: session.user.id }
    await signOut(app.db, [...new Set(ids)], { ...originOf(request), ...actor })
  }
  reply.clearBrowserCookie()
  if (cookies.length > 0) reply.clearRefreshCookie()
}

/** The pages of a person who is signed in, to sign out of this browser. */
const signOutPages: Typed<SignOutOptions> = async (app, { context, links }) => {
  const config = {
    renderProblem: async (problem: Parameters<typeof problemPage>[1], request: FastifyRequest) =>
      problemPage(context, problem, request)
  }
  const sealedRequest = Type.Optional(Type.String({ maxLength: 8_192 }))

  function readPending (sealed: string | undefined): PendingSignOut | undefined {
    if (sealed === undefined) return undefined
    const pending = app.sealedRequests.unseal(sealed)
    if (pending?.kind !== 'sign_out') throw signInExpired()
    return pending
  }

  app.get('/sign-out', {
    schema: { hide: true, querystring: Type.Object({ request: sealedRequest }) }, config
  }, async (request, reply) => {
    const { request: sealed } = request.query
    readPending(sealed)
    const language = languageFor(request, context.issuer)
    rememberLanguage(request, reply, context.issuer)
    const session = await findSession({ request, links })
    const page = renderSignOut(context, { language, sealed, account: session?.user.email })
    return reply.headers(pageHeaders(language)).send(page)
  })

  app.post('/sign-out', {
    schema: {
      hide: true,
      body: strict({
        request: sealedRequest,
        decision: Type.Optional(Type.Union([Type.Literal('stay'), Type.Literal('sign-out')]))
      })
    },
    onRequest: assertOwnForm,
    preValidation: allowMissingBody,
    config
  }, async (request, reply) => {
    const { request: sealed, decision = 'sign-out' } = request.body
    const pending = readPending(sealed)
    const visit = { request, reply, context, links }
    if (decision === 'sign-out') await signOutBrowser(visit, await findSessionToEnd(visit))
    if (decision === 'stay') return reply.redirect(`${context.basePath}/signed-in`, 303)
    return pending?.redirectUrl === undefined
      ? reply.redirect(`${context.basePath}/signed-out`, 303)
      : redirectAway(visit, pending.redirectUrl, pending.clientName)
  })

  app.get('/signed-in', { schema: { hide: true }, config }, async (request, reply) => {
    const language = languageFor(request, context.issuer)
    rememberLanguage(request, reply, context.issuer)
    const session = await findSession({ request, links })
    if (!session) return reply.redirect(`${context.basePath}/sign-in`, 303)
    const page = renderSignedIn(context, { language, account: session.user.email })
    return reply.headers(pageHeaders(language)).send(page)
  })

  app.get('/signed-out', { schema: { hide: true } }, async (request, reply) => {
    const language = languageFor(request, context.issuer)
    rememberLanguage(request, reply, context.issuer)
    return reply.headers(pageHeaders(language)).send(renderSignedOut(context, { language }))
  })
}

export default signOutPages
