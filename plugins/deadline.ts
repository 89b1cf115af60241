import type { FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { overloaded, requestTimeout } from '../src/http/problem.ts'

declare module 'fastify' {
  interface FastifyRequest {
    /** Aborted when the client has gone, or was told that it took too long: from then on nobody waits for an answer. */
    readonly deadline: AbortSignal
  }
}

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Its answer is a stream that goes on: only the request has to arrive in time. */
    endless?: boolean
  }
}

interface End { reason?: unknown, controller?: AbortController }

/**
 * Bounds the time a request may take. Fastify's own `handlerTimeout` and `request.signal` do not serve: they
 * listen to the request's `close`, which Node emits as soon as the body is read.
 */
export default fp(async function deadline (app, { seconds }: { seconds: number }) {
  const ends = new WeakMap<FastifyRequest, End>()

  // Most requests are through before anybody asks for a signal, which costs more than the rest of this.
  app.decorateRequest('deadline', {
    getter () {
      const end = ends.get(this)
      if (!end) throw new TypeError('a request without a deadline')
      end.controller ??= new AbortController()
      if (end.reason !== undefined) end.controller.abort(end.reason)
      return end.controller.signal
    }
  })
  app.addHook('onRequest', (request, reply, done) => {
    const end: End = {}
    ends.set(request, end)
    const abort = (reason: unknown) => {
      end.reason = reason
      end.controller?.abort(reason)
    }
    const { endless = false } = request.routeOptions.config
    const timer = setTimeout(() => {
      if (endless) return
      const late = request.raw.complete === false ? requestTimeout() : overloaded(1, `no answer in ${seconds} s`)
      abort(late)
      if (!reply.sent) reply.send(late)
    }, seconds * 1_000)
    const { raw: { socket } } = request
    // Of requests that were sent at once only one is being answered: of the others Node does not say that the client has gone.
    if (!reply.raw.socket) {
      const closed = () => { if (!reply.raw.socket) reply.raw.emit('close') }
      socket.setMaxListeners(0).once('close', closed)
      reply.raw.once('close', () => socket.off('close', closed))
    }
    reply.raw.once('close', () => {
      clearTimeout(timer)
      if (!reply.raw.writableFinished) abort(new DOMException('The client has gone.', 'AbortError'))
    })
    done()
  })
}, { name: 'deadline' })
