import fp from 'fastify-plugin'
import type { Trust } from '../src/config/config.ts'
import { httpsRequired, validationFailed } from '../src/http/problems.ts'

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Whether health checks ask for this route. They come over plain HTTP even if the service is https. */
    isProbe?: boolean
  }
}

export interface TransportOptions {
  issuer: string
  trustProxy: Trust | undefined
}

const forwardingHeaders = ['x-forwarded-for', 'forwarded', 'x-forwarded-proto'] as const

/**
 * Refuses requests that do not name one host, or that came over plain HTTP, after counting them. Warns about
 * a proxy that is not trusted.
 */
export default fp(async function transport (app, { issuer, trustProxy }: TransportOptions) {
  // RFC 9112 section 3.2: one Host header. Only HTTP/1.0 can omit it.
  app.addHook('onRequest', ({ raw: { httpVersion, rawHeaders } }, _reply, done) => {
    const hosts = rawHeaders.filter((name, index) => index % 2 === 0 && name.toLowerCase() === 'host').length
    const isValid = hosts === 1 || (hosts === 0 && httpVersion === '1.0')
    done(isValid ? undefined : validationFailed('The request does not name one host.'))
  })

  // Once per process, because clients that connect directly may send such headers, too.
  let isWarned = false
  app.addHook('onRequest', (request, _reply, done) => {
    done()
    const peer = request.socket.remoteAddress
    if (isWarned || peer === undefined || trustProxy?.(peer) === true) return
    const header = forwardingHeaders.find(name => request.headers[name] !== undefined)
    if (header === undefined) return
    isWarned = true
    app.log.warn({ peer, header }, `forwarding header ignored: ${header} came from ${peer}, which is not ` +
      'in ' +
      'TRUST_PROXY; if this is your proxy, add it, because until then its clients share one rate limit')
  })

  if (!issuer.startsWith('https:') || !trustProxy) return
  let isRefusalLogged = false
  app.addHook('onRequest', async request => {
    const value = request.headers['x-forwarded-proto']
    const peer = request.socket.remoteAddress
    if (value === undefined || request.routeOptions.config.isProbe) return
    if (request.protocol !== 'http' || !trustProxy(peer)) return
    if (!isRefusalLogged) {
      isRefusalLogged = true
      app.log.warn({ header: 'x-forwarded-proto', value, peer }, 'request refused: X-Forwarded-Proto is ' +
        `${JSON.stringify(value)} in requests from ${peer}, which is in TRUST_PROXY, but ISSUER_URL is ` +
        'https; if another proxy in front terminates TLS, let this one pass its X-Forwarded-Proto on')
    }
    throw httpsRequired()
  })
}, { name: 'transport', dependencies: ['rate-limit'] })
