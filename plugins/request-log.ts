import fp from 'fastify-plugin'

/** One line a request: what was asked of which route, and how it went. Neither headers nor bodies nor the query. */
export default fp(async function requestLog (app) {
  // What stands in a line is chosen here: there is nothing to look for and to take out.
  const lines = app.log.child({}, { redact: [] })
  app.addHook('onResponse', (request, reply, done) => {
    const { method, ip, id, routeOptions: { url: route } } = request
    lines.info({ request_id: id, method, route: route ?? null, status: reply.statusCode, ms: Math.round(reply.elapsedTime * 10) / 10, ip }, 'request')
    done()
  })
  app.addHook('onRequestAbort', async ({ log, method, routeOptions: { url: route } }) => {
    log.info({ method, route: route ?? null }, 'the client went away')
  })
}, { name: 'request-log' })
