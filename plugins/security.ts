import type { OutgoingHttpHeaders } from 'node:http'
import cors from '@fastify/cors'
import helmet from '@fastify/helmet'
import fp from 'fastify-plugin'
import type { Trust } from '../src/config.ts'
import { httpsRequired, validationFailed } from '../src/problem.ts'

export interface SecurityOptions {
  issuer: string
  corsOrigins: readonly string[]
  trustProxy: Trust | undefined
}

/** The headers of every response, and who may call from where. */
export default fp(async function security (app, { issuer, corsOrigins, trustProxy }: SecurityOptions) {
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
      reply.helmet()
      headers = { ...reply.raw.getHeaders() }
    }
    done()
  })

  // RFC 9112 section 3.2: one Host, which HTTP/1.0 alone may leave out.
  app.addHook('onRequest', ({ raw: { httpVersion, rawHeaders } }, _reply, done) => {
    let hosts = 0
    for (let index = 0; index < rawHeaders.length; index += 2) if (rawHeaders[index]?.toLowerCase() === 'host') hosts++
    done(hosts === 1 || (hosts === 0 && httpVersion === '1.0') ? undefined : validationFailed('The request does not name one host.'))
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

  if (https && trustProxy) {
    app.addHook('onRequest', async request => {
      const peer = request.socket.remoteAddress
      if (request.headers['x-forwarded-proto'] !== undefined && request.protocol === 'http' && trustProxy(peer)) throw httpsRequired()
    })
  }
}, { name: 'security' })
