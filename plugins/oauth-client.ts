import type { FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import type { PresentedCredentials } from '../src/clients/client-lookup.ts'
import { isPublicClient } from '../src/clients/metadata.ts'
import type { Client } from '../src/clients/records.ts'
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
     * Authenticates a client by its registered method: `client_secret_basic` or `client_secret_post` (RFC
     * 6749 section 2.3.1), or by its id alone if it is public. Throws `invalid_client`, or `invalid_request`
     * if it authenticates in two ways.
     */
    authenticateClient: (request: FastifyRequest) => Promise<Client>
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
    const client = await app.clients.authenticate(readCredentials(request))
    if (!client) throw invalidClient('no client has this id, secret and method')
    return client
  })

  app.decorate('authenticateCaller', async (request: FastifyRequest): Promise<Caller> => {
    if (!/^Bearer /i.test(request.headers.authorization ?? '')) {
      const client = await app.authenticateClient(request)
      // Anyone can send the id of a public client. So it has no rights at this service.
      const scopes = isPublicClient(client) ? [] : client.scopes
      return { kind: 'client', clientId: client.client_id, scopes }
    }
    const claims = await app.verifyBearer(request)
    if (claims.sid !== undefined) return { kind: 'user', userId: claims.sub, sessionId: claims.sid }
    const client = await app.clients.find(claims.client_id)
    if (!client) throw invalidToken(true, 'the client was deleted')
    // A scope that the client has lost since the token was issued is no longer valid.
    const scopes = claims.scope.split(' ').filter(scope => client.scopes.includes(scope))
    return { kind: 'client', clientId: client.client_id, scopes }
  })
}, { name: 'oauth-client', dependencies: ['access-token', 'clients'] })

function readCredentials ({ headers: { authorization }, body }: FastifyRequest): PresentedCredentials {
  const form = (body ?? {}) as { client_id?: unknown, client_secret?: unknown }
  // A parameter without a value counts as absent (RFC 6749 section 3.1).
  const hasSecret = form.client_secret !== undefined && form.client_secret !== ''
  if (authorization === undefined) {
    const { client_id: id, client_secret: secret } = form
    if (typeof id !== 'string') throw invalidClient('no client credentials')
    if (!hasSecret) return { id, method: 'none' }
    if (typeof secret !== 'string') throw invalidClient('malformed client secret')
    return { id, secret, method: 'client_secret_post' }
  }
  const { id, secret } = readBasic(authorization)
  const hasOtherId = form.client_id !== undefined && form.client_id !== id
  if (hasSecret || hasOtherId) throw invalidRequest('The client authenticated in two ways.')
  return { id, secret, method: 'client_secret_basic' }
}

function readBasic (authorization: string): { id: string, secret: string } {
  const [, basic] = /^Basic +([A-Za-z0-9+/=_-]+) *$/i.exec(authorization) ?? []
  if (basic === undefined) throw invalidClient('unsupported authorization scheme')
  const pair = Buffer.from(basic, 'base64').toString()
  const colon = pair.indexOf(':')
  const id = formDecode(pair.slice(0, colon))
  const secret = formDecode(pair.slice(colon + 1))
  if (colon < 0 || id === undefined || secret === undefined) {
    throw invalidClient('malformed Basic credentials')
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
