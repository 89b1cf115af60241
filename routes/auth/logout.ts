import { Type } from '@sinclair/typebox'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { Problem } from '../../src/http/problem.ts'
import { validationFailed } from '../../src/http/problems.ts'
import { end } from '../../src/sessions/ending.ts'
import { refreshToken } from '../schemas.ts'
import { noBody, originOf, strict, type Typed } from '../typed.ts'

const logout: Typed = async (app) => {
  app.post('/logout', {
    schema: {
      operationId: 'logout',
      tags: ['Sign-in'],
      summary: 'Sign out',
      description: 'Ends the session of the refresh token (any of the session\'s, in the cookie or the body) or of the bearer token, and clears the cookie. Where there is nothing to end, nothing happens.',
      security: [{ refreshCookie: [] }, { bearer: [] }, {}],
      body: strict({ refresh_token: Type.Optional(refreshToken) }, { examples: [{}, { refresh_token: 'lkr_AQIDBAUG…' }] }),
      response: { 204: { type: 'null', description: 'The session has ended, or there was none.' } }
    },
    preValidation: noBody,
    config: { optionalBody: true, problems: ['cross_site_request', 'database_unavailable'] }
  }, async (request, reply) => {
    const cookies = request.refreshCookies()
    const { refresh_token: sent } = request.body
    if (sent !== undefined && cookies.length > 0) throw validationFailed('The refresh token came both in the cookie and in the body.')
    const ids = new Set<string>()
    for (const token of [...sent === undefined ? [] : [sent], ...cookies]) {
      const authentic = await app.keyring.readRefreshToken(token)
      if (authentic) ids.add(authentic.sessionId)
    }
    const borne = await bearerSession(app, request)
    if (borne !== undefined) ids.add(borne)
    if (ids.size > 0) await end(app.db, [...ids], 'logout', originOf(request))
    if (sent === undefined) reply.clearRefreshCookie()
    return reply.code(204).send()
  })
}

/** The session of the bearer token, if there is a valid one. */
async function bearerSession (app: FastifyInstance, request: FastifyRequest): Promise<string | undefined> {
  if (request.headers.authorization === undefined) return undefined
  try {
    return (await app.verifyBearer(request)).sid
  } catch (error) {
    if (error instanceof Problem && error.code === 'invalid_token') return undefined
    throw error
  }
}

export default logout
