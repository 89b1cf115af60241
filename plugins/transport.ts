import fp from 'fastify-plugin'
import type { Trust } from '../src/config/config.ts'
import { httpsRequired, validationFailed } from '../src/http/problem.ts'

export interface TransportOptions {
  issuer: string
  trustProxy: Trust | undefined
}

const forwardingHeaders = ['x-forwarded-for', 'forwarded', 'x-forwarded-proto'] as const

/**
 * Refuses requests that name no host or came over plain HTTP, after counting them. Warns about a proxy that is
 * not trusted.
 */
export default fp(async function transport (app, { issuer, trustProxy }: TransportOptions) {
  // RFC 9112 section 3.2: one Host, which HTTP/1.0 alone may leave out.
  app.addHook('onRequest', ({ raw: { httpVersion, rawHeaders } }, _reply, done) => {
    let hosts = 0
    for (let index = 0; index < rawHeaders.length; index += 2) if (rawHeaders[index]?.toLowerCase() === 'host') hosts++
    done(hosts === 1 || (hosts === 0 && httpVersion === '1.0') ? undefined : validationFailed('The request does not name one host.'))
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
    app.log.warn({ peer, header }, `${header} came from ${peer}, which TRUST_PROXY does not name, and is ignored. ` +
      'If this is your proxy, add it to TRUST_PROXY: until then all clients behind it share one rate limit.')
  })

  if (issuer.startsWith('https:') && trustProxy) {
    app.addHook('onRequest', async request => {
      const peer = request.socket.remoteAddress
      if (request.headers['x-forwarded-proto'] !== undefined && request.protocol === 'http' && trustProxy(peer)) throw httpsRequired()
    })
  }
}, { name: 'transport', dependencies: ['rate-limit'] })
