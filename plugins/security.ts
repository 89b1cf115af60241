import type { OutgoingHttpHeaders } from 'node:http'
import cors from '@fastify/cors'
import helmet from '@fastify/helmet'
import fp from 'fastify-plugin'

export interface SecurityOptions {
  issuer: string
  corsOrigins: readonly string[]
}

/** The headers of every response, and who may call from where. */
export default fp(async function security (app, { issuer, corsOrigins }: SecurityOptions) {
  const https = issuer.startsWith('https:')

  app.addHook('onRequest', (request, reply, done) => {
    reply.headers({ 'x-request-id': request.id, 'cache-control': 'no-store' })
    done()
  })

  await app.register(helmet, {
    global: false,
    // For what is no page; those that are have their own.
    contentSecurityPolicy: { useDefaults: false, directives: { defaultSrc: ["'none'"], baseUri: ["'none'"], formAction: ["'none'"], frameAncestors: ["'none'"] } },
    strictTransportSecurity: https,
    // Other origins read what CORS lets them.
    crossOriginResourcePolicy: { policy: 'cross-origin' },
    xFrameOptions: { action: 'deny' }
  })

  // Helmet makes its middleware anew for each request, and the same headers each time: they are made once.
  let headers: OutgoingHttpHeaders | undefined
  app.addHook('onRequest', (_request, reply, done) => {
    if (headers) {
      reply.headers(headers)
    } else {
      // What this response alone has, such as `connection: close`, is not for all others.
      const own = new Set(reply.raw.getHeaderNames())
      reply.helmet()
      headers = Object.fromEntries(Object.entries(reply.raw.getHeaders()).filter(([name]) => !own.has(name)))
    }
    done()
  })

  await app.register(cors, {
    origin: (origin, answer) => { answer(null, origin !== undefined && corsOrigins.includes(origin) ? origin : false) },
    credentials: true,
    methods: ['GET', 'HEAD', 'POST', 'PATCH', 'PUT', 'DELETE'],
    allowedHeaders: ['authorization', 'content-type', 'x-request-id'],
    exposedHeaders: ['x-request-id', 'retry-after', 'www-authenticate', 'ratelimit-limit', 'ratelimit-remaining', 'ratelimit-reset'],
    maxAge: 600,
    strictPreflight: false
  })
}, { name: 'security' })
