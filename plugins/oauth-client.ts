import type { FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import * as clients from '../src/clients/service-clients.ts'
import { invalidClient, invalidRequest } from '../src/http/oauth-error.ts'
import { invalidToken } from '../src/http/problems.ts'

/** The caller of an OAuth endpoint. */
export type Caller =
  { kind: 'client', clientId: string, scopes: string[] } |
  { kind: 'user', userId: string, sessionId: string }

declare module 'fastify' {
  interface FastifyContextConfig {
    /** The format of the route's failures: OAuth errors (RFC 6749), or by default problems (RFC 9457). */
    errors?: 'oauth'
  }
  interface FastifyInstance {
    /**
     * Authenticates a client by `client_secret_basic` or `client_secret_post` (RFC 6749 section 2.3.1).
     * Throws `invalid_client`.
     */
    authenticateClient: (request: FastifyRequest) => Promise<clients.Client>
    /**
     * Authenticates a client by its secret or its own access token, or a user by a bearer token. Throws
     * `invalid_client` or `invalid_token`.
     */
    authenticateCaller: (request: FastifyRequest) => Promise<Caller>
  }
}

/** Authenticates the callers of OAuth endpoints. */
export default fp(async function oauthClient (app) {
  app.decorate('authenticateClient', async (request: FastifyRequest) => {
    const { id, secret } = readCredentials(request)
    const client = await clients.authenticate(app.db, id, secret)
    if (!client) throw invalidClient('no client has this id and secret')
    return client
  })

  app.decorate('authenticateCaller', async (request: FastifyRequest): Promise<Caller> => {
    if (!/^Bearer /i.test(request.headers.authorization ?? '')) {
      const { client_id: clientId, scopes } = await app.authenticateClient(request)
      return { kind: 'client', clientId, scopes }
    }
    const claims = await app.verifyBearer(request)
    if (claims.sid !== undefined) return { kind: 'user', userId: claims.sub, sessionId: claims.sid }
    const client = await clients.find(app.db, claims.client_id)
    if (!client) throw invalidToken(true, 'the client was deleted')
    // A scope that the client has lost since the token was issued is no longer valid.
    const scopes = claims.scope.split(' ').filter(scope => client.scopes.includes(scope))
    return { kind: 'client', clientId: client.client_id, scopes }
  })
}, { name: 'oauth-client', dependencies: ['access-token', 'database'] })

interface ClientCredentials { id: string, secret: string }

function readCredentials ({ headers: { authorization }, body }: FastifyRequest): ClientCredentials {
  const form = (body ?? {}) as { client_id?: unknown, client_secret?: unknown }
  const [, basic] = /^Basic +([A-Za-z0-9+/=_-]+) *$/i.exec(authorization ?? '') ?? []
  if (basic === undefined) {
    if (authorization !== undefined) throw invalidClient('unsupported authorization scheme')
    const { client_id: id, client_secret: secret } = form
    if (typeof id !== 'string' || typeof secret !== 'string') throw invalidClient('no client credentials')
    return { id, secret }
  }
  const pair = Buffer.from(basic, 'base64').toString()
  const colon = pair.indexOf(':')
  const id = formDecode(pair.slice(0, colon))
  const secret = formDecode(pair.slice(colon + 1))
  if (colon < 0 || id === undefined || secret === undefined) {
    throw invalidClient('malformed Basic credentials')
  }
  const hasOtherId = form.client_id !== undefined && form.client_id !== id
  if (form.client_secret !== undefined || hasOtherId) {
    throw invalidRequest('The client authenticated in two ways.')
  }
  return { id, secret }
}

/** RFC 6749 section 2.3.1: the id and the secret are form-encoded before they are joined. */
function formDecode (text: string): string | undefined {
  try {
    return decodeURIComponent(text.replaceAll('+', ' '))
  } catch {
    return undefined
  }
}
