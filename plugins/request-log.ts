import fp from 'fastify-plugin'
import { addressOf } from '../src/http/client-network.ts'

export interface RequestLogOptions {
  /** Whether a line has the path, and not only its route. The query is never logged. */
  logsPaths: boolean
}

/**
 * Logs one line per request: its method, route, status and problem code, and how long it took. The status is
 * null if the client had gone before it was sent. No line has headers, bodies or queries, which carry
 * secrets.
 */
export default fp(async function requestLog (app, { logsPaths }: RequestLogOptions) {
  // The fields are chosen here, so the logger need not search them for secrets.
  const log = app.log.child({}, { redact: [] })
  app.addHook('onRequest', (request, reply, done) => {
    const { method, id, routeOptions: { url: route } } = request
    // The address is not known any more when the connection is closed.
    const ip = addressOf(request.ip) ?? null
    const path = logsPaths ? pathOf(request.raw.url) : undefined
    const { raw } = reply
    raw.once('close', () => {
      const { problemCode: code } = request
      log.info({
        request_id: id,
        method,
        route: route ?? null,
        ...path !== undefined && { path },
        status: raw.headersSent ? raw.statusCode : null,
        ...code !== undefined && { code },
        ms: Math.round(reply.elapsedTime * 10) / 10,
        ip
      }, 'request')
    })
    done()
  })
}, { name: 'request-log', dependencies: ['problems'] })

/** The path of a URL. `?…` stands for a query, because it may contain a token. */
function pathOf (url = ''): string {
  const [path = '', query] = url.split('?')
  return query === undefined ? path : `${path}?…`
}
