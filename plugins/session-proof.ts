import type { FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { Problem } from '../src/http/problem.ts'
import { introspectRefreshToken, isAccessTokenActive } from '../src/sessions/introspection.ts'

/** A live session, and its user. */
interface CallerSession { id: string, userId: string }

declare module 'fastify' {
  interface FastifyInstance {
    /**
     * Finds the sessions that a request proves: by a refresh cookie that could be exchanged now, and by a
     * bearer token. Changes nothing. Throws `cross_site_request` if a page of another site sent the cookie.
     */
    findProvenSessions: (request: FastifyRequest) => Promise<CallerSession[]>
  }
}

export interface SessionProofOptions {
  /** The lifetime of a refresh token. */
  refreshTokenSeconds: number
  retryWindowSeconds: number | undefined
}

/** Lets a public route find the sessions of its caller. */
export default fp(async function sessionProof (app, lifetimes: SessionProofOptions) {
  async function findByCookie (request: FastifyRequest): Promise<CallerSession[]> {
    const values = request.refreshCookies()
    const read = await Promise.all(values.map(async value => await app.keyring.readRefreshToken(value)))
    const [token, ...others] = read.filter(token => token !== undefined)
    // If there are two, a neighbouring origin planted one of them.
    if (!token || others.length > 0) return []
    const state = await introspectRefreshToken(app.db, token, lifetimes)
    return state?.clientId === null ? [{ id: token.sessionId, userId: state.userId }] : []
  }

  async function findByBearer (request: FastifyRequest): Promise<CallerSession[]> {
    if (request.headers.authorization === undefined) return []
    try {
      const claims = await app.verifyBearer(request)
      if (claims.sid === undefined || !await isAccessTokenActive(app.db, claims)) return []
      return [{ id: claims.sid, userId: claims.sub }]
    } catch (error) {
      if (error instanceof Problem && error.code === 'invalid_token') return []
      throw error
    }
  }

  app.decorate('findProvenSessions', async request =>
    [...await findByCookie(request), ...await findByBearer(request)])
}, { name: 'session-proof', dependencies: ['refresh-cookie', 'access-token', 'keyring', 'database'] })
