import type { FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { overloaded, requestTimeout } from '../src/http/problems.ts'

declare module 'fastify' {
  interface FastifyRequest {
    /** Aborted when the client has gone, or was told that the request took too long. */
    readonly deadline: AbortSignal
  }
  interface FastifyContextConfig {
    /** Whether the response is a stream without an end. Then only the request must arrive in time. */
    isEndless?: boolean
  }
}

interface RequestDeadline { reason?: unknown, controller?: AbortController }

/**
 * Limits the time of a request. Fastify's own `handlerTimeout` and `request.signal` do not serve: they listen
 * to the request's `close`, which Node.js emits as soon as the body is read.
 */
export default fp(async function deadline (app, { seconds }: { seconds: number }) {
  const deadlines = new WeakMap<FastifyRequest, RequestDeadline>()

  // Most requests end before their signal is needed. A signal costs more than everything else here.
  app.decorateRequest('deadline', {
    getter () {
      const deadline = deadlines.get(this)
      if (!deadline) throw new TypeError('the request has no deadline')
      deadline.controller ??= new AbortController()
      if (deadline.reason !== undefined) deadline.controller.abort(deadline.reason)
      return deadline.controller.signal
    }
  })
  app.addHook('onRequest', (request, reply, done) => {
    const deadline: RequestDeadline = {}
    deadlines.set(request, deadline)
    const abort = (reason: unknown) => {
      deadline.reason = reason
      deadline.controller?.abort(reason)
    }
    const { isEndless = false } = request.routeOptions.config
    const timer = setTimeout(() => {
      if (isEndless) return
      const problem = request.raw.complete === false
        ? requestTimeout()
        : overloaded(1, `no answer in ${seconds} s`)
      abort(problem)
      if (!reply.sent) reply.send(problem)
    }, seconds * 1_000)
    const { raw: { socket } } = request
    // Only one of several pipelined requests is being answered. Node.js reports the end of the client only to
    // it.
    if (!reply.raw.socket) {
      const onClose = () => { if (!reply.raw.socket) reply.raw.emit('close') }
      socket.setMaxListeners(0).once('close', onClose)
      reply.raw.once('close', () => socket.off('close', onClose))
    }
    reply.raw.once('close', () => {
      clearTimeout(timer)
      if (!reply.raw.writableFinished) abort(new DOMException('The client has gone.', 'AbortError'))
    })
    done()
  })
}, { name: 'deadline' })
