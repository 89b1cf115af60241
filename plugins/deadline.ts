import fp from 'fastify-plugin'
import { overloaded, requestTimeout } from '../src/problem.ts'

declare module 'fastify' {
  interface FastifyRequest {
    /** Aborted when the client has gone, or was told that it took too long: from then on nobody waits for an answer. */
    deadline: AbortSignal
  }
}

/**
 * Bounds the time a request may take. Fastify's own `handlerTimeout` and `request.signal` do not serve: they
 * listen to the request's `close`, which Node emits as soon as the body is read.
 */
export default fp(async function deadline (app, { seconds }: { seconds: number }) {
  app.decorateRequest('deadline')
  app.addHook('onRequest', async (request, reply) => {
    const controller = new AbortController()
    request.deadline = controller.signal
    const timer = setTimeout(() => {
      const late = request.raw.complete === false ? requestTimeout() : overloaded(1, `no answer in ${seconds} s`)
      controller.abort(late)
      if (!reply.sent) reply.send(late)
    }, seconds * 1_000)
    reply.raw.once('close', () => {
      clearTimeout(timer)
      if (!reply.raw.writableFinished) controller.abort(new DOMException('The client has gone.', 'AbortError'))
    })
  })
}, { name: 'deadline' })
