import { Type } from '@sinclair/typebox'
import type { FastifyInstance, FastifyReply } from 'fastify'
import type { LinkLives } from '../../src/accounts/mail-context.ts'
import { issue } from '../../src/sessions/refresh-token.ts'
import type { CreatedSession } from '../../src/sessions/creation.ts'
import type { Lifetimes, LiveSession } from '../../src/sessions/session.ts'

/** What every sign-in takes beside its proof. */
export const signInOptions = {
  remember: Type.Optional(Type.Boolean({ description: 'Keep the session, and its cookie, beyond the end of the browser\'s.', default: false })),
  refresh_token_delivery: Type.Optional(Type.Unsafe<Delivery>({ type: 'string', enum: ['cookie', 'body'], description: 'Where the refresh token goes: into an HttpOnly cookie (for browsers), or into the response body (for other clients).', default: 'cookie' }))
}

export type Delivery = 'cookie' | 'body'

export interface SignInOptions {
  lifetimes: Lifetimes
  /** How many sessions a user may have. */
  sessionLimit: number
  /** Seconds that mailed links are good for. */
  links: LinkLives
  /** Whether an address must be proved before its account can be used. */
  requireVerification: boolean
}

/** The response to a sign-in on the device of this request, which is known from now on. */
export function signedIn (
  app: FastifyInstance, reply: FastifyReply, { session, ended }: CreatedSession,
  { lifetimes, delivery }: { lifetimes: Lifetimes, delivery: Delivery | undefined }
) {
  app.revocations.add(ended)
  const response = tokenResponse(app, reply, session, lifetimes, delivery)
  reply.setDeviceCookie(session.user.id, session.now)
  return response
}

/** The token response of a session that has just proved itself; in cookie delivery the cookie is set. */
export function tokenResponse (app: FastifyInstance, reply: FastifyReply, session: LiveSession, { refreshToken }: Lifetimes, delivery: Delivery = 'cookie') {
  const { id, user, remembered } = session
  const { accessToken, expiresIn } = app.signAccessToken(session)
  const { token, expiresInSeconds } = issue(app.keyring.mac(), session, refreshToken)
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
