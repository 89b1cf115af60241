import { Type } from '@sinclair/typebox'
import type { FastifyRequest } from 'fastify'
import type { Client } from '../../src/clients/records.ts'
import { grantConsent } from '../../src/delegation/consents.ts'
import { signInExpired } from '../../src/delegation/problems.ts'
import type { PendingAuthorization } from '../../src/delegation/sealed-request.ts'
import type { LinkLives } from '../../src/mail/mail-context.ts'
import type { BrowserSession } from '../../src/sessions/browser-session.ts'
import { originOf, strict, type Typed } from '../typed.ts'
import { advance, findSession, requireClient, respond, type Visit } from './authorization-flow.ts'
import { renderConsent } from './consent-view.ts'
import type { PageContext } from './context.ts'
import { problemPage } from './error-view.ts'
import { languageFor, rememberLanguage } from './language.ts'
import { pageHeaders } from './layout.ts'
import { assertOwnForm } from './page-request.ts'

export interface ConsentOptions { context: PageContext, links: LinkLives }

interface ConsentQuestion {
  sealed: string
  pending: PendingAuthorization
  client: Client
  /** Undefined if the user who was asked is not signed in any more. */
  session: BrowserSession | undefined
}

/** The page on which a user allows a client what it requests. Opening it changes nothing. */
const consent: Typed<ConsentOptions> = async (app, { context, links }) => {
  const config = {
    renderProblem: async (problem: Parameters<typeof problemPage>[1], request: FastifyRequest) =>
      problemPage(context, problem, request)
  }
  const sealedRequest = Type.String({ maxLength: 8_192 })

  async function readQuestion (request: FastifyRequest, sealed: string): Promise<ConsentQuestion> {
    const pending = app.sealedRequests.unseal(sealed)
    if (pending?.kind !== 'authorization' || pending.consentOf === undefined) throw signInExpired()
    const client = await requireClient(request, pending.request)
    const session = await findSession({ request, links }, client.client_id)
    return { sealed, pending, client, session: session?.id === pending.consentOf ? session : undefined }
  }

  /** Another user, or no user, is signed in now: the request begins again. */
  const restart = async (visit: Visit, { pending: { request: authorization }, client }: ConsentQuestion) =>
    await advance(visit, { authorization, client, progress: { hasSignedIn: false, hasConsented: false } })

  app.get('/consent', {
    schema: { hide: true, querystring: Type.Object({ request: sealedRequest }) }, config
  }, async (request, reply) => {
    const question = await readQuestion(request, request.query.request)
    const { sealed, pending, client, session } = question
    if (!session) return await restart({ request, reply, context, links }, question)
    const language = languageFor(request, context.issuer)
    rememberLanguage(request, reply, context.issuer)
    const { redirectUri, scope, audience } = pending.request
    const page = renderConsent(context, {
      language,
      continuation: { sealed, clientName: client.name },
      isUnverified: false,
      redirectHost: destinationOf(redirectUri),
      scopes: scope,
      resources: audience.map(destinationOf),
      account: session.user.email
    })
    return reply.headers(pageHeaders(language)).send(page)
  })

  app.post('/consent', {
    schema: {
      hide: true,
      body: strict({
        request: sealedRequest, decision: Type.Union([Type.Literal('allow'), Type.Literal('cancel')])
      })
    },
    onRequest: assertOwnForm,
    config
  }, async (request, reply) => {
    const question = await readQuestion(request, request.body.request)
    const { pending: { request: authorization, hasSignedIn = false }, client, session } = question
    const visit = { request, reply, context, links }
    if (!session) return await restart(visit, question)
    if (request.body.decision === 'cancel') {
      const response = {
        error: 'access_denied' as const, error_description: 'The user did not give consent.'
      }
      return respond(visit, { authorization, client, response })
    }
    const { scope, audience } = authorization
    const granted = { userId: session.user.id, clientId: client.client_id, scope, audience }
    await grantConsent(app.db, granted, { ...originOf(request), actorId: session.user.id })
    return await advance(visit, { authorization, client, progress: { hasSignedIn, hasConsented: true } })
  })
}

/** Returns the host of a URI, or its scheme if that belongs to a native application. */
function destinationOf (uri: string): string {
  const { host, protocol } = new URL(uri)
  return host === '' ? protocol.slice(0, -1) : host
}

export default consent
