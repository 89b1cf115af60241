import { Type } from '@sinclair/typebox'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { Problem } from '../../src/http/problem.ts'
import { endFirstParty } from '../../src/sessions/ending.ts'
import { revokeForgotten, type ProvenSession } from '../../src/sessions/forgotten.ts'
import { refreshTokenSentTwice } from '../refresh-token-source.ts'
import { refreshToken } from '../schemas.ts'
import type { SignInOptions } from '../sign-in.ts'
import { allowMissingBody, originOf, strict, type Typed } from '../typed.ts'

const logout: Typed<SignInOptions> = async (app, { lifetimes }) => {
  app.post('/logout', {
    schema: {
      operationId: 'logout',
      tags: ['Sign-in'],
      summary: 'Sign out',
      description: 'Ends the session of the refresh token, in the cookie or the body, or of the bearer' +
        ' token, and clears the cookie. A browser is also signed out of the pages of the service. Any' +
        ' refresh token of the session is accepted, even a superseded one. If there is no session to end,' +
        ' the response is the same.',
      security: [{ refreshCookie: [] }, { bearer: [] }, {}],
      body: strict({ refresh_token: Type.Optional(refreshToken) }, {
        examples: [{}, { refresh_token: 'lkr_AQIDBAUG…' }]
      }),
      response: { 204: { type: 'null', description: 'The session has ended, or there was none.' } }
    },
    preValidation: allowMissingBody,
    config: { isBodyOptional: true, problems: ['cross_site_request', 'database_unavailable'] }
  }, async (request, reply) => {
    const cookies = request.refreshCookies()
    const { refresh_token: bodyToken } = request.body
    if (bodyToken !== undefined && cookies.length > 0) throw refreshTokenSentTwice()
    const sessions = new Map<string, ProvenSession>()
    for (const token of [...bodyToken === undefined ? [] : [bodyToken], ...cookies]) {
      const authentic = await app.keyring.readRefreshToken(token)
      if (authentic) sessions.set(authentic.sessionId, { ...authentic, id: authentic.sessionId })
    }
    const bearerSession = await findBearerSession(app, request)
    if (bearerSession) sessions.set(bearerSession.id, bearerSession)
    const browserSession = await findBrowserSession(app, request)
    const ended = new Set([...sessions.keys(), ...browserSession ? [browserSession.id] : []])
    if (ended.size > 0) {
      await endFirstParty(app.db, [...ended], 'logout', originOf(request))
      const forgotten = await revokeForgotten(app.db, [...sessions.values()], lifetimes.accessTokenSeconds)
      for (const sessionId of forgotten) {
        request.log.warn({ sessionId }, 'the session is missing in the database: recent writes were lost')
      }
    }
    if (bodyToken === undefined) reply.clearRefreshCookie()
    if (browserSession) reply.clearBrowserCookie()
    return reply.code(204).send()
  })
}

/**
 * Returns the browser session of the request. Otherwise the next visit of a page would sign the user in again
 * without a question. A page of another site must not end it.
 */
const findBrowserSession = async (app: FastifyInstance, request: FastifyRequest) =>
  request.isSameOrigin() ? (await app.findBrowserSession(request)).session : undefined

/** Returns the session of the bearer token. Returns undefined if there is no valid token. */
async function findBearerSession (
  app: FastifyInstance, request: FastifyRequest
): Promise<ProvenSession | undefined> {
  if (request.headers.authorization === undefined) return undefined
  try {
    const { sid, sub, iat } = await app.verifyBearer(request)
    return sid === undefined ? undefined : { id: sid, userId: sub, issuedAt: new Date(iat * 1_000) }
  } catch (error) {
    if (error instanceof Problem && error.code === 'invalid_token') return undefined
    throw error
  }
}

export default logout
