import Fastify from 'fastify'
import fp from 'fastify-plugin'
import { Problem } from '../src/http/problem.ts'
import { DrainingServer } from '../src/server/draining-server.ts'

export interface MetricsPortOptions {
  host: string
  port: number
}

const requestTimeoutMs = 5_000
const keepAliveTimeoutMs = 75_000
const maxConnections = 100

/** Serves `/metrics` on a separate port, which no proxy publishes. If the port is in use, the start fails. */
export default fp(async function metricsPort (app, { host, port }: MetricsPortOptions) {
  const listener = new DrainingServer({
    idleMs: 0,
    maxConnections,
    requestTimeout: requestTimeoutMs,
    keepAliveTimeout: keepAliveTimeoutMs
  })
  listener.setTimeout(requestTimeoutMs)
  // A scrape that has begun gets its answer, and an idle connection does not delay the shutdown.
  const server = Fastify({
    serverFactory: handle => listener.on('request', handle),
    forceCloseConnections: false
  })
  server.setErrorHandler(async (error, _request, reply) => {
    if (!(error instanceof Problem)) throw error
    return await reply.code(error.status).headers(error.headers).type('text/plain').send(`${error.title}\n`)
  })
  server.get('/metrics', async (_request, reply) =>
    reply.type(app.metrics.contentType).send(await app.metrics.text()))
  app.addHook('onReady', async () => {
    try {
      await server.listen({ host, port })
    } catch (error) {
      if (!(error instanceof Error && 'code' in error && error.code === 'EADDRINUSE')) throw error
      const message = `Port ${port} of ${host} is in use: choose another port for the metrics with ` +
        'METRICS_PORT.'
      throw new Error(message, { cause: error })
    }
  })
  app.addHook('onClose', async () => { await server.close() })
}, { name: 'metrics-port', dependencies: ['metrics'] })
