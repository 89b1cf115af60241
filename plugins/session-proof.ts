import type { FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { Problem } from '../src/http/problem.ts'
import { introspectRefreshToken, isAccessTokenActive } from '../src/sessions/introspection.ts'

/** A live session, and its user. */
interface ShownSession { id: string, userId: string }

declare module 'fastify' {
  interface FastifyInstance {
    /**
     * The sessions that a request shows: by a refresh cookie that could be exchanged now, and by a bearer
     * token. They are only read. Throws `cross_site_request` if a foreign page sent the cookie.
     */
    shownSessions: (request: FastifyRequest) => Promise<ShownSession[]>
  }
}

export interface SessionProofOptions {
  /** Seconds. */
  refreshToken: number
  retryWindow: number | undefined
}

/** Lets a public route find out whether its caller is signed in. */
export default fp(async function sessionProof (app, lifetimes: SessionProofOptions) {
  async function byCookie (request: FastifyRequest): Promise<ShownSession[]> {
    const values = request.refreshCookies()
    const read = await Promise.all(values.map(async value => await app.keyring.readRefreshToken(value)))
    const [token, ...others] = read.filter(token => token !== undefined)
    // If there are two, a neighbouring origin planted one of them.
    if (!token || others.length > 0) return []
    const state = await introspectRefreshToken(app.db, token, lifetimes)
    return state ? [{ id: token.sessionId, userId: state.userId }] : []
  }

  async function byBearer (request: FastifyRequest): Promise<ShownSession[]> {
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

  app.decorate('shownSessions', async request => [...await byCookie(request), ...await byBearer(request)])
}, { name: 'session-proof', dependencies: ['refresh-cookie', 'access-token', 'keyring', 'database'] })
