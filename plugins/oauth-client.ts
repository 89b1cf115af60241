import type { FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import * as clients from '../src/clients/service-clients.ts'
import { invalidClient, invalidRequest } from '../src/http/oauth-error.ts'
import { invalidToken } from '../src/http/problems.ts'

/** Who calls an OAuth endpoint. */
export type Caller =
  { kind: 'client', clientId: string, scopes: string[] } |
  { kind: 'user', userId: string, sessionId: string }

declare module 'fastify' {
  interface FastifyContextConfig {
    /** In whose words the route's failures are told: those of RFC 9457, unless it says RFC 6749's. */
    errors?: 'oauth'
  }
  interface FastifyInstance {
    /**
     * The client that authenticates by `client_secret_basic` or `client_secret_post` (RFC 6749 section
     * 2.3.1); throws `invalid_client`.
     */
    authenticateClient: (request: FastifyRequest) => Promise<clients.Client>
    /**
     * The client, by its secret or its own access token, or the user of a bearer token; throws
     * `invalid_client` or `invalid_token`.
     */
    authenticateCaller: (request: FastifyRequest) => Promise<Caller>
  }
}

/** Authenticates the callers of OAuth endpoints. */
export default fp(async function oauthClient (app) {
  app.decorate('authenticateClient', async (request: FastifyRequest) => {
    const { id, secret } = credentials(request)
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
    if (!client) throw invalidToken(true, 'the client is gone')
    // What was taken from the client since is not the token's any more.
    return { kind: 'client', clientId: client.client_id, scopes: claims.scope.split(' ').filter(scope => client.scopes.includes(scope)) }
  })
}, { name: 'oauth-client', dependencies: ['access-token', 'database'] })

function credentials ({ headers: { authorization }, body }: FastifyRequest): { id: string, secret: string } {
  const form = (body ?? {}) as { client_id?: unknown, client_secret?: unknown }
  const [, basic] = /^Basic +([A-Za-z0-9+/=_-]+) *$/i.exec(authorization ?? '') ?? []
  if (basic === undefined) {
    if (authorization !== undefined) throw invalidClient('an authorization of another kind')
    if (typeof form.client_id !== 'string' || typeof form.client_secret !== 'string') throw invalidClient('no authentication')
    return { id: form.client_id, secret: form.client_secret }
  }
  const pair = Buffer.from(basic, 'base64').toString()
  const colon = pair.indexOf(':')
  const id = decoded(pair.slice(0, colon))
  const secret = decoded(pair.slice(colon + 1))
  if (colon < 0 || id === undefined || secret === undefined) throw invalidClient('an authorization that cannot be read')
  if (form.client_secret !== undefined || (form.client_id !== undefined && form.client_id !== id)) throw invalidRequest('The client authenticated in two ways.')
  return { id, secret }
}

/** RFC 6749 section 2.3.1: both are form-encoded before they are joined. */
function decoded (text: string): string | undefined {
  try {
    return decodeURIComponent(text.replaceAll('+', ' '))
  } catch {
    return undefined
  }
}
