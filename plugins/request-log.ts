import fp from 'fastify-plugin'
import { addressOf } from '../src/http/client-network.ts'

/**
 * One line a request: what was asked of which route, and how it went; the status is null where the client had gone
 * before it was told. Neither headers nor bodies nor the query.
 */
export default fp(async function requestLog (app) {
  // What stands in a line is chosen here: there is nothing to look for and to take out.
  const lines = app.log.child({}, { redact: [] })
  app.addHook('onRequest', (request, reply, done) => {
    const { method, id, routeOptions: { url: route } } = request
    // Not known any more when the connection is closed.
    const ip = addressOf(request.ip) ?? null
    const { raw } = reply
    raw.once('close', () => {
      lines.info({ request_id: id, method, route: route ?? null, status: raw.headersSent ? raw.statusCode : null, ms: Math.round(reply.elapsedTime * 10) / 10, ip }, 'request')
    })
    done()
  })
}, { name: 'request-log' })
