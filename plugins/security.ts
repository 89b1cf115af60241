import type { OutgoingHttpHeaders } from 'node:http'
import cors from '@fastify/cors'
import helmet from '@fastify/helmet'
import fp from 'fastify-plugin'
import { isLocalOrigin } from '../src/http/origin.ts'

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Whether pages of every origin may read what the route serves, without credentials. */
    isPublicDocument?: boolean
  }
}

export interface SecurityOptions {
  issuer: string
  corsOrigins: readonly string[]
  /** Whether every http origin of this machine is allowed. */
  allowLocalOrigins: boolean
}

const preflightMaxAgeSeconds = 600

/** The security headers of every response, and the origins whose pages may read it. */
export default fp(async function security (app, { issuer, corsOrigins, allowLocalOrigins }: SecurityOptions) {
  app.addHook('onRequest', (request, reply, done) => {
    reply.headers({ 'x-request-id': request.id, 'cache-control': 'no-store' })
    done()
  })

  await app.register(helmet, {
    global: false,
    // For responses that are no pages. Each page sets a policy of its own.
    contentSecurityPolicy: {
      useDefaults: false,
      directives: {
        defaultSrc: ["'none'"], baseUri: ["'none'"], formAction: ["'none'"], frameAncestors: ["'none'"]
      }
    },
    strictTransportSecurity: issuer.startsWith('https:'),
    // CORS decides what other origins can read.
    crossOriginResourcePolicy: { policy: 'cross-origin' },
    xFrameOptions: { action: 'deny' }
  })

  // Helmet creates its middleware for each request, with the same headers each time. They are computed once.
  let headers: OutgoingHttpHeaders | undefined
  app.addHook('onRequest', (_request, reply, done) => {
    if (headers) {
      reply.headers(headers)
    } else {
      // The headers of this response alone, such as `connection: close`, do not belong to the others.
      const own = new Set(reply.raw.getHeaderNames())
      reply.helmet()
      headers = Object.fromEntries(Object.entries(reply.raw.getHeaders()).filter(([name]) => !own.has(name)))
    }
    done()
  })

  app.addHook('onRoute', ({ method, url, config }) => {
    if (!config?.isPublicDocument) return
    Object.assign(config, { cors: { origin: '*', credentials: false, methods: ['GET', 'HEAD'] } })
    // The plugin would answer a preflight as one of a route that it does not know.
    if (method === 'GET') app.options(url, { schema: { hide: true }, config }, async () => {})
  })
  const isAllowed = (origin: string) =>
    corsOrigins.includes(origin) || (allowLocalOrigins && isLocalOrigin(origin))
  await app.register(cors, {
    origin: (origin, answer) => { answer(null, origin !== undefined && isAllowed(origin) ? origin : false) },
    credentials: true,
    // Without `allowedHeaders`, all headers are allowed that a preflight asks for. Tracing adds many.
    methods: ['GET', 'HEAD', 'POST', 'PATCH', 'PUT', 'DELETE'],
    exposedHeaders: [
      'x-request-id', 'retry-after', 'www-authenticate', 'ratelimit-limit', 'ratelimit-remaining',
      'ratelimit-reset'
    ],
    maxAge: preflightMaxAgeSeconds,
    strictPreflight: false
  })
}, { name: 'security' })
