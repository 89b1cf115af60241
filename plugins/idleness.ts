import fp from 'fastify-plugin'
import { Idleness } from '../src/jobs/idleness.ts'

declare module 'fastify' {
  interface FastifyInstance {
    idleness: Idleness
  }
}

export interface IdlenessPluginOptions {
  /** Seconds between reads of the database while no requests come; undefined to read as often as always. */
  intervalSeconds: number | undefined
  /** Milliseconds without a request after which the service is idle. */
  afterMs?: number | undefined
}

const defaultAfterMs = 60_000

/** Notices when no requests come. Health checks are none. */
export default fp(async function idlenessPlugin (app, options: IdlenessPluginOptions) {
  const { intervalSeconds, afterMs = defaultAfterMs } = options
  const idleness = new Idleness({
    afterMs, intervalMs: intervalSeconds === undefined ? undefined : intervalSeconds * 1_000
  })
  app.decorate('idleness', idleness)
  if (intervalSeconds === undefined) return
  app.addHook('onRequest', async (request, reply) => {
    // Health checks come whether or not the service is used.
    if (request.routeOptions.config.isProbe) return
    let hasEnded = false
    const end = () => {
      if (!hasEnded) idleness.end()
      hasEnded = true
    }
    // The second comes alone if the client disconnects.
    reply.raw.once('finish', end).once('close', end)
    await idleness.begin()
  })
}, { name: 'idleness' })
