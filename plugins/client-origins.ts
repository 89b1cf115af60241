import fp from 'fastify-plugin'
import { isLocalOrigin } from '../src/http/origin.ts'

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Whether pages on the origins of registered redirect URIs may use the route, without credentials. */
    isForClientOrigins?: boolean
  }
}

export interface ClientOriginsOptions {
  corsOrigins: readonly string[]
  /** Whether every http origin of this machine is allowed. */
  allowLocalOrigins: boolean
}

const methods = ['GET', 'HEAD', 'POST']

/**
 * Lets the pages of clients use the routes of OAuth that are for them, such as the token endpoint. They need
 * no credentials of the browser, because these routes read no cookies.
 */
export default fp(async function clientOrigins (app, options: ClientOriginsOptions) {
  const { corsOrigins, allowLocalOrigins } = options
  const findOrigin = async (origin: string | undefined): Promise<string | false> => {
    if (origin === undefined) return false
    const isConfigured = corsOrigins.includes(origin) || (allowLocalOrigins && isLocalOrigin(origin))
    return isConfigured || await app.clients.isRedirectOrigin(origin) ? origin : false
  }
  const preflights = new Set<string>()
  app.addHook('onRoute', ({ url, config }) => {
    if (!config?.isForClientOrigins) return
    Object.assign(config, { cors: { origin: findOrigin, credentials: false, methods } })
    if (preflights.has(url)) return
    preflights.add(url)
    // The plugin for CORS would answer a preflight as one of a route that it does not know.
    app.options(url, { schema: { hide: true }, config }, async () => {})
  })
}, { name: 'client-origins', dependencies: ['clients', 'security'] })
