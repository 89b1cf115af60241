import fp from 'fastify-plugin'
import type { Trust } from '../src/config/config.ts'
import { httpsRequired, validationFailed } from '../src/http/problems.ts'

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
  app.addHook('onRequest', async request => {
    const isForwarded = request.headers['x-forwarded-proto'] !== undefined
    if (isForwarded && request.protocol === 'http' && trustProxy(request.socket.remoteAddress)) {
      throw httpsRequired()
    }
  })
}, { name: 'transport', dependencies: ['rate-limit'] })
