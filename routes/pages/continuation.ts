import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Completion } from '../../src/authentication/completion.ts'
import { signInExpired } from '../../src/delegation/problems.ts'
import type { PendingAuthorization } from '../../src/delegation/sealed-request.ts'
import { cookieValues } from '../../src/http/cookie-header.ts'
import { cookieName } from '../../src/http/cookie-name.ts'
import { answerSignIn, type SignInOptions } from '../sign-in.ts'
import { advance, redirectAway, requireClient } from './authorization-flow.ts'
import type { Continuation, PageContext } from './context.ts'

export type { Continuation } from './context.ts'

/** A continuation with the request that goes on. */
export interface PendingContinuation extends Continuation { pending: PendingAuthorization }

export interface ContinueOptions {
  context: PageContext
  signIn: SignInOptions
  /** The request of the client, if the sign-in began with one. */
  continuation?: PendingContinuation | undefined
}

/**
 * Reads the sealed request of a page's query or form. Returns undefined if there is none. Throws
 * `sign_in_expired` if it is not valid any more.
 */
export async function readContinuation (request: FastifyRequest): Promise<PendingContinuation | undefined> {
  const sealed = [request.query, request.body]
    .map((fields: unknown): unknown => Object(fields).request)
    .find(value => value !== undefined && value !== '')
  if (sealed === undefined) return undefined
  const continuation = typeof sealed === 'string' ? await openSealed(request, sealed) : undefined
  if (!continuation) throw signInExpired()
  return continuation
}

async function openSealed (
  request: FastifyRequest, sealed: string
): Promise<PendingContinuation | undefined> {
  const pending = request.server.sealedRequests.unseal(sealed)
  if (pending?.kind !== 'authorization') return undefined
  const client = await requireClient(request, pending.request)
  return { sealed, pending, clientName: client.name, loginHint: pending.request.loginHint }
}

// The sealed request in this cookie connects a mailed link with the browser that asked for it.
const requestCookie = 'request'
const requestCookieSeconds = 600
// Browsers drop larger cookies.
const maxCookieLength = 3_800

/** Remembers in the browser what comes after the sign-in by a mailed link. */
export function rememberContinuation (
  reply: FastifyReply, { issuer }: PageContext, continuation: Continuation | undefined
): void {
  if (!continuation || continuation.sealed.length > maxCookieLength) return
  reply.setCookie(cookieName(issuer, requestCookie), continuation.sealed, {
    ...cookieAttributes(issuer), maxAge: requestCookieSeconds
  })
}

/** Returns what `rememberContinuation` kept. Returns undefined if it is not valid any more. */
export async function findRemembered (
  request: FastifyRequest, { issuer }: PageContext
): Promise<PendingContinuation | undefined> {
  // If there are two, a neighbouring origin planted one of them.
  const [sealed, ...others] = cookieValues(request.headers.cookie, cookieName(issuer, requestCookie))
  if (sealed === undefined || others.length > 0) return undefined
  return await openSealed(request, sealed).catch(() => undefined)
}

/** Returns what `rememberContinuation` kept, and forgets it. */
export async function recallContinuation (
  request: FastifyRequest, reply: FastifyReply, context: PageContext
): Promise<PendingContinuation | undefined> {
  const name = cookieName(context.issuer, requestCookie)
  if (cookieValues(request.headers.cookie, name).length === 0) return undefined
  reply.clearCookie(name, cookieAttributes(context.issuer))
  return await findRemembered(request, context)
}

const cookieAttributes = (issuer: string) =>
  ({ path: '/', httpOnly: true, sameSite: 'lax' as const, secure: issuer.startsWith('https:') })

/** Completes a sign-in on a page: sets the cookies, and answers with the next page. */
export async function continueAfterSignIn (
  request: FastifyRequest, reply: FastifyReply, completion: Completion, options: ContinueOptions
): Promise<FastifyReply> {
  const { context, signIn: { lifetimes, links }, continuation } = options
  answerSignIn(reply, completion, { lifetimes, delivery: 'cookie' })
  const visit = { request, reply, context, links }
  if (continuation) {
    const { pending: { request: authorization } } = continuation
    const client = await requireClient(request, authorization)
    const progress = { hasSignedIn: true, hasConsented: false }
    return await advance(visit, { authorization, client, progress })
  }
  return context.homeUrl === undefined
    ? reply.redirect(`${context.basePath}/signed-in`, 303)
    : redirectAway(visit, context.homeUrl, undefined)
}
