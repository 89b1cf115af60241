import { Type } from '@sinclair/typebox'
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Completion, SignInRequest, SignInRequirement } from '../src/authentication/completion.ts'
import type { LinkLives } from '../src/mail/mail-context.ts'
import { issue } from '../src/sessions/refresh-token.ts'
import type { Lifetimes, LiveSession } from '../src/sessions/session.ts'
import { replacedSessions } from './typed.ts'

export type TokenDelivery = 'cookie' | 'body'

/** The members that every sign-in accepts beside its proof. */
export const signInMembers = {
  remember: Type.Optional(Type.Boolean({
    description: 'Keep the session and its cookie after the browser is closed.', default: false
  })),
  refresh_token_delivery: Type.Optional(Type.Unsafe<TokenDelivery>({
    type: 'string',
    enum: ['cookie', 'body'],
    description: 'Where the refresh token is delivered: in an HttpOnly cookie, for browsers, or in the response body, ' +
      'for other clients.',
    default: 'cookie'
  }))
}

/** What the routes that sign in share. */
export interface SignInOptions {
  lifetimes: Lifetimes
  /** How many sessions a user may have. */
  sessionLimit: number
  /** For how many seconds mailed links are valid. */
  links: LinkLives
  /** What must hold before a session may exist, beside the proof. */
  requirements: readonly SignInRequirement[]
  /** Whether an address must be verified before its account can be used. */
  requireVerification: boolean
}

/** How a token response is made. */
export interface TokenResponseOptions { lifetimes: Lifetimes, delivery: TokenDelivery | undefined }

/** What a request asks of its session. */
export async function signInRequestOf (
  request: FastifyRequest,
  { lifetimes, sessionLimit, requirements }: Pick<SignInOptions, 'lifetimes' | 'sessionLimit' | 'requirements'>,
  { remember = false, delivery = 'cookie' }: { remember?: boolean | undefined, delivery?: TokenDelivery | undefined }
): Promise<SignInRequest> {
  const replaced = await replacedSessions(request, delivery)
  return { remember, lifetimes, sessionLimit, requirements, replaced }
}

/**
 * Answers a sign-in: the token response, with the cookies of the refresh token and of the known device.
 * Throws the problem of a sign-in that needs something more. Every way in answers with this function.
 */
export function answerSignIn (reply: FastifyReply, completion: Completion, options: TokenResponseOptions) {
  if ('pending' in completion) throw completion.pending
  const { session } = completion
  const response = tokenResponse(reply, session, options)
  reply.setDeviceCookie(session.user.id, session.now)
  return response
}

/**
 * The token response of a live session. In cookie delivery the cookie is set, and the body has no refresh
 * token.
 */
export function tokenResponse (
  reply: FastifyReply, session: LiveSession, { lifetimes, delivery = 'cookie' }: TokenResponseOptions
) {
  const { server: app } = reply
  const { id, user, remembered } = session
  const { accessToken, expiresIn } = app.signAccessToken(session)
  const { token, expiresInSeconds } = issue(app.keyring.getMacKey(), session, lifetimes.refreshToken)
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
