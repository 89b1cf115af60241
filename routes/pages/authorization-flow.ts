import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Client } from '../../src/clients/records.ts'
import { matchRedirectUri } from '../../src/clients/redirect-uris.ts'
import { issueCode } from '../../src/delegation/authorization-codes.ts'
import type { AuthorizationRequest } from '../../src/delegation/authorization-request.ts'
import { responseUrl, type AuthorizationResponse } from '../../src/delegation/authorization-response.ts'
import { decide, type NextStep, type RequestProgress } from '../../src/delegation/decision.ts'
import { signInExpired } from '../../src/delegation/problems.ts'
import { maxSealedLength, type PendingAuthorization } from '../../src/delegation/sealed-request.ts'
import { notification, type LinkLives } from '../../src/mail/mail-context.ts'
import {
  endReused, type BrowserSession, type BrowserSessionState
} from '../../src/sessions/browser-session.ts'
import { mailContextOf, originOf } from '../typed.ts'
import type { PageContext } from './context.ts'
import { languageFor } from './language.ts'
import { pageHeaders } from './layout.ts'
import { renderRedirectPage } from './redirect-view.ts'

/** A request of a browser for a page. */
export interface Visit {
  request: FastifyRequest
  reply: FastifyReply
  context: PageContext
  links: LinkLives
}

/** An authorization request at the point where it goes on. */
export interface AuthorizationState {
  authorization: AuthorizationRequest
  client: Client
  progress: RequestProgress
}

/**
 * Finds the browser session of a request, and what its user has allowed a client. If a copy of a superseded
 * cookie is used, the session ends.
 */
export const findSession = async (
  visit: Pick<Visit, 'request' | 'links'>, clientId?: string
): Promise<BrowserSession | undefined> => (await findSessions(visit, clientId))?.session

/** Finds the session that a sign-out ends: also one whose new cookie the browser has not received. */
export async function findSessionToEnd (visit: Visit): Promise<BrowserSession | undefined> {
  const found = await findSessions(visit)
  return found?.session ?? found?.unconfirmed
}

async function findSessions (
  { request, links }: Pick<Visit, 'request' | 'links'>, clientId?: string
): Promise<BrowserSessionState | undefined> {
  const { server: app } = request
  const found = await app.findBrowserSession(request, clientId)
  const { reused } = found
  if (!reused) return found
  // An instance that was paused serves a request late. Its browser may have given up, and has a newer cookie.
  request.deadline.throwIfAborted()
  const origin = originOf(request)
  const mail = notification(mailContextOf(request, links), 'session_replayed', origin)
  await endReused(app.db, reused, mail, origin)
  return undefined
}

/** Takes an authorization request to its next step, and answers with it. */
export async function advance (visit: Visit, state: AuthorizationState): Promise<FastifyReply> {
  const { server: app } = visit.request
  const { authorization: request, client, progress } = state
  const session = await findSession(visit, client.client_id)
  const step = decide({ request, client, session, progress })
  if (step.kind !== 'code') return answerStep(visit, state, step)
  const code = await issueCode(app.db, request, step.session)
  if (code !== undefined) return respond(visit, { ...state, response: { code } })
  // The session has ended meanwhile.
  const notSignedIn = decide({ request, client, session: undefined, progress })
  return answerStep(visit, state, notSignedIn)
}

function answerStep (visit: Visit, state: AuthorizationState, step: NextStep): FastifyReply {
  const pending: PendingAuthorization = { kind: 'authorization', request: state.authorization }
  switch (step.kind) {
    case 'sign_in': return openPage(visit, state, { path: '/sign-in', pending })
    case 'sign_up': return openPage(visit, state, { path: '/sign-up', pending })
    case 'consent': return openPage(visit, state, {
      path: '/consent',
      pending: { ...pending, consentOf: step.session.id, hasSignedIn: state.progress.hasSignedIn }
    })
    case 'error': return respond(visit, {
      ...state, response: { error: step.code, error_description: step.description }
    })
    // Only a session that is still there has a code.
    case 'code': throw signInExpired()
  }
}

interface NextPage { path: string, pending: PendingAuthorization }

function openPage (visit: Visit, state: AuthorizationState, { path, pending }: NextPage): FastifyReply {
  const { request, reply, context } = visit
  const sealed = request.server.sealedRequests.seal(pending)
  if (sealed.length > maxSealedLength) {
    const response = { error: 'invalid_request' as const, error_description: 'The request is too long.' }
    return respond(visit, { ...state, response })
  }
  return reply.redirect(`${context.basePath}${path}?request=${sealed}`, 303)
}

/** What a client is told, and where. */
export interface ResponseToClient {
  authorization: Pick<AuthorizationRequest, 'redirectUri' | 'state'>
  client: Pick<Client, 'name'>
  response: AuthorizationResponse
}

/** Sends the browser back to the client with a response. */
export function respond (visit: Visit, { authorization, client, response }: ResponseToClient): FastifyReply {
  return redirectAway(visit, responseUrl(authorization, response, visit.context.issuer), client.name)
}

/**
 * Sends the browser to another origin. `form-action 'self'` makes browsers block a redirect to another origin
 * that answers a form, so after a form it is a page that moves on by itself.
 */
export function redirectAway (
  { request, reply, context }: Visit, url: string, name: string | undefined
): FastifyReply {
  if (request.method !== 'POST') return reply.redirect(url, 303)
  const language = languageFor(request, context.issuer)
  return reply.headers(pageHeaders(language)).send(renderRedirectPage(context, { language, url, name }))
}

/**
 * Finds the client of a pending request. Throws `sign_in_expired` if it was deleted meanwhile, or if the
 * response must not go to this redirect URI any more.
 */
export async function requireClient (
  { server: app }: FastifyRequest, { clientId, redirectUri }: AuthorizationRequest
): Promise<Client> {
  const client = await app.clients.find(clientId)
  const isAllowed = client?.grant_types.includes('authorization_code') === true &&
    matchRedirectUri(client, redirectUri)
  if (!isAllowed) throw signInExpired()
  return client
}
