import Fastify, { type FastifyInstance } from 'fastify'
import verifier, { type VerifierOptions } from '../../plugins/verifier/fastify.ts'
import { waitFor } from './polling.ts'
import type { Teardown } from './teardown.ts'

/** A response of `fetch`. A test that reads members of the body names their types. */
export interface FetchedResponse<Body = Record<string, unknown>> {
  status: number
  headers: Headers
  body: Body
}

/** A service with the verifier, on a free port. */
export interface Consumer {
  app: FastifyInstance
  logs: Array<Record<string, unknown>>
  get: (path: string, token?: string, scheme?: string) => Promise<FetchedResponse>
  /** Sends a request that needs a token, and returns the status. */
  status: (token: string) => Promise<number>
  /** Injects such requests at the same moment, without the network, and returns their statuses. */
  statuses: (tokens: string[]) => Promise<number[]>
}

export const credentials = { clientId: 'orders: the client', clientSecret: 'a secret%&+ö' }

/**
 * Starts a consuming service with a few routes, which stops with the test. If `ready` is true, it waits until
 * the service has the keys.
 */
export async function start (
  t: Teardown,
  issuer: { url: string },
  options: Partial<VerifierOptions> = {},
  ready = true
): Promise<Consumer> {
  const logs: Consumer['logs'] = []
  const app = Fastify({
    logger: {
      level: 'debug',
      stream: {
        write: (line: string) => {
          logs.push(JSON.parse(line))
        }
      }
    }
  })
  t.teardown(async () => {
    await app.close()
  })
  await app.register(verifier, { issuer: issuer.url, audience: 'urn:orders', ...options })
  app.get('/open', async () => ({ open: true }))
  app.get('/forgotten', async request => request.auth)
  app.get('/me', { onRequest: app.requireAuth }, async request => request.auth)
  app.get(
    '/twice',
    { onRequest: app.requireAuth, preHandler: [app.requireRole('user'), app.requireScope('account')] },
    async request => request.auth
  )
  app.get('/admin', { onRequest: app.requireRole('admin', 'root') }, async request => request.auth)
  app.get(
    '/orders',
    { preHandler: app.requireScope('orders:read', 'orders:write') },
    async request => request.auth
  )
  await app.register(async scope => {
    scope.setErrorHandler(
      async (error, _request, reply) => await reply.code(418).send({ own: true, error: String(error) })
    )
    scope.addHook('onRequest', app.requireAuth)
    scope.get('/own-errors', async request => request.auth)
  })
  const url = await app.listen({ host: '127.0.0.1', port: 0 })
  if (ready) await waitFor(() => app.verifier.health().keys.age !== null)
  const get: Consumer['get'] = async (path, token, scheme = 'Bearer') => {
    const response = await fetch(
      url + path,
      token === undefined ? {} : { headers: { authorization: `${scheme} ${token}` } }
    )
    return { status: response.status, headers: response.headers, body: Object(await response.json()) }
  }
  const inject = async (token: string) =>
    (await app.inject({ url: '/me', headers: { authorization: `Bearer ${token}` } })).statusCode
  return {
    app,
    logs,
    get,
    status: async token => (await get('/me', token)).status,
    statuses: async tokens => await Promise.all(tokens.map(inject))
  }
}
