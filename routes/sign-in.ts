import { Type } from '@sinclair/typebox'
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Completion, SignInRequest, SignInRequirement } from '../src/authentication/completion.ts'
import type { LinkLives } from '../src/mail/mail-context.ts'
import { issue } from '../src/sessions/refresh-token.ts'
import type { Lifetimes, LiveSession } from '../src/sessions/session.ts'
import { findReplacedSessions } from './typed.ts'

export type TokenDelivery = 'cookie' | 'body'

/** The members that every sign-in accepts in addition to its proof. */
export const signInMembers = {
  remember: Type.Optional(Type.Boolean({
    description: 'Whether the cookie survives closing the browser. The session can then last longer.',
    default: false
  })),
  refresh_token_delivery: Type.Optional(Type.Unsafe<TokenDelivery>({
    type: 'string',
    enum: ['cookie', 'body'],
    description: 'Where the refresh token is delivered: in an HttpOnly cookie (for browsers), or in the' +
      ' response body (for other clients).',
    default: 'cookie'
  }))
}

/** The options that all routes that sign in share. */
export interface SignInOptions {
  lifetimes: Lifetimes
  /** How many sessions a user may have. */
  sessionLimit: number
  /** For how many seconds mailed links are valid. */
  links: LinkLives
  /** What must hold, in addition to the proof, before a session is created. */
  requirements: readonly SignInRequirement[]
  /** Whether an address must be verified before its account can be used. */
  requiresVerification: boolean
}

export interface TokenResponseOptions { lifetimes: Lifetimes, delivery: TokenDelivery | undefined }

/** What the caller chooses about the new session. */
export interface SessionChoice {
  remember?: boolean | undefined
  delivery?: TokenDelivery | undefined
  /** Whether the sign-in is on a page: it creates a browser session. */
  isOnPage?: boolean
}

/** Returns the request for the new session, including the sessions that it replaces. */
export async function signInRequestOf (
  request: FastifyRequest,
  options: Pick<SignInOptions, 'lifetimes' | 'sessionLimit' | 'requirements'>,
  { remember = false, delivery = 'cookie', isOnPage = false }: SessionChoice
): Promise<SignInRequest> {
  const { lifetimes, sessionLimit, requirements } = options
  const replaced = await findReplacedSessions(request, delivery)
  const browser = isOnPage ? request.issueBrowserToken() : undefined
  // A browser that has given up may have signed in again meanwhile. A late sign-in would end that session.
  request.deadline.throwIfAborted()
  return { isRemembered: remember, lifetimes, sessionLimit, requirements, replaced, browser }
}

/**
 * Returns the token response of a sign-in, and sets the cookies: of the refresh token, of the known device
 * and, for a sign-in on a page, of the browser session.
 * Throws the problem of a sign-in that needs something more. Every way to sign in ends with this function.
 */
export function answerSignIn (reply: FastifyReply, completion: Completion, options: TokenResponseOptions) {
  if ('pending' in completion) throw completion.pending
  const { session } = completion
  const response = tokenResponse(reply, session, options)
  if (reply.request.issuedBrowserToken !== undefined) {
    const seconds = Math.floor((session.expiresAt.getTime() - session.now.getTime()) / 1_000)
    reply.setBrowserCookie(session.remembered ? seconds : undefined)
  }
  reply.setDeviceCookie(session.user.id, session.now)
  return response
}

/**
 * Returns the token response of a live session. With cookie delivery, it sets the cookie, and the body has no
 * refresh token.
 */
export function tokenResponse (
  reply: FastifyReply, session: LiveSession, { lifetimes, delivery = 'cookie' }: TokenResponseOptions
) {
  const { server: app } = reply
  const { id, user, remembered } = session
  const { accessToken, expiresIn } = app.signAccessToken(session)
  const { token, expiresInSeconds } = issue(app.keyring.getMacKey(), session, lifetimes.refreshTokenSeconds)
  if (delivery === 'cookie') reply.setRefreshCookie(token, remembered ? expiresInSeconds : undefined)
  return {
    access_token: accessToken,
    token_type: 'Bearer' as const,
    expires_in: expiresIn,
    ...delivery === 'body' && { refresh_token: token },
    refresh_token_expires_in: expiresInSeconds,
    session_id: id,
    user
  }
}
