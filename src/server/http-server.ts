import type { Socket } from 'node:net'
import { SerializerSelector } from '@fastify/fast-json-stringify-compiler'
import Fastify, { LogController, type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify'
import app, { type AppOptions } from '../app.ts'
import { newId } from '../crypto/random.ts'
import { createPathMapping } from '../http/base-path.ts'
import { document, mediaType, type Problem } from '../http/problem.ts'
import { methodNotAllowed, validationFailed } from '../http/problems.ts'
import { compileOnce } from './compile-once.ts'
import type { DrainingServer } from './draining-server.ts'
import { createListener } from './http-listener.ts'
import { lingerOnClose } from './lingering-close.ts'
import { createLogOutput, loggerOptions, type LogOutput } from './log-output.ts'
import { takeTurns } from './pipelining.ts'
import { buildValidator } from './query-validation.ts'
import { defaultHeaders, refuse, unreadableRequest } from './refusal.ts'

export interface ServerOptions extends Omit<AppOptions, 'logsPaths'> {
  /** How long a connection must have been idle before closing the server ends it. */
  idleMs?: number
}

const maxBodyBytes = 64 * 1_024
const requestId = /^[A-Za-z0-9][A-Za-z0-9._~+/=:-]{0,63}$/
const buildValidatorOnce = compileOnce(buildValidator)
const buildSerializerOnce = compileOnce(SerializerSelector())
const allowedMethods = ['GET', 'HEAD', 'POST', 'PATCH']

/** The server, not yet listening. It logs to standard output unless another output is given. */
export function build (
  options: ServerOptions, output: LogOutput = createLogOutput(options.config)
): FastifyInstance {
  const { config, idleMs = 0 } = options
  const { issuer, trustProxy } = config
  const listener = createListener(config, idleMs)
  const toRoute = createPathMapping(issuer)
  const server: FastifyInstance = Fastify({
    logger: { ...loggerOptions(config.logLevel), stream: output },
    logController: new LogController({ disableRequestLogging: true, requestIdLogLabel: 'request_id' }),
    genReqId: ({ headers: { 'x-request-id': given } }) =>
      typeof given === 'string' && requestId.test(given) ? given : newId(),
    trustProxy: trustProxy ?? false,
    rewriteUrl: ({ url = '' }) => toRoute(url),
    bodyLimit: maxBodyBytes,
    serverFactory: handle => listener.on('request', takeTurns(handle)),
    // The server closes connections by itself, and answers until it has.
    forceCloseConnections: false,
    return503OnClosing: false,
    schemaController: {
      compilersFactory: { buildValidator: buildValidatorOnce, buildSerializer: buildSerializerOnce }
    },
    clientErrorHandler: (error, socket) => {
      const problem = unreadableRequest(error)
      const isPostponed = problem.status === 408 &&
        listener.postponeTimeout(socket, () => refuseUnreadable(server, socket, problem, issuer))
      if (!isPostponed) refuseUnreadable(server, socket, problem, issuer)
    },
    frameworkErrors: (_error, request: FastifyRequest, reply: FastifyReply) => {
      const problem = server.rateLimiting.countUnrouted(request.raw) ??
        validationFailed('The path is not valid.')
      const { code, status } = problem
      request.log.info({ method: request.method, route: null, status, code }, 'request')
      const headers = { ...defaultHeaders(issuer), ...problem.headers, 'x-request-id': request.id }
      const body = JSON.stringify(document(issuer, problem, request.id))
      void reply.code(status).headers({ ...headers, 'content-type': mediaType }).send(body)
    }
  })
  closeConnectionsInTurn(server, listener, options.isDraining)
  // Node.js would refuse an unknown expectation, which a server may ignore (RFC 9110 section 10.1.1).
  listener.on('checkExpectation', (request, response) => { listener.emit('request', request, response) })
  listener.on('connect', (request, socket: Socket) => {
    // Node.js has removed its listeners from the socket. Without one for errors, a reset would end the
    // process.
    socket.on('error', () => {})
    refuse(server.rateLimiting.countUnrouted(request) ?? methodNotAllowed(allowedMethods), socket, issuer)
    // A peer that does not close its side would keep the connection for ever.
    lingerOnClose(socket)
    socket.destroySoon()
  })
  server.register(app, { ...options, logsPaths: output.terminal !== undefined })
  return server
}

function refuseUnreadable (server: FastifyInstance, socket: Socket, problem: Problem, issuer: string): void {
  // A client that is merely slow sends little. Over the limit a client gets no answer at all.
  if (socket.writable && problem.status !== 408 && server.rateLimiting.countUnrouted(socket)) {
    socket.destroy()
    return
  }
  const id = refuse(problem, socket, issuer)
  if (id === undefined) return
  const { code, status } = problem
  // Browsers open connections in advance, and may never use them.
  if (status === 408 && socket.bytesRead === 0) return
  server.log.info({ request_id: id, method: null, route: null, status, code }, 'request')
}

/** Tells the client in time which response is the last of its connection (RFC 9112 section 9.6). */
function closeConnectionsInTurn (
  server: FastifyInstance, listener: DrainingServer, isShuttingDown: () => boolean = () => false
): void {
  const isDraining = () => listener.isDraining || isShuttingDown()
  server.addHook('onRequest', (request, reply, done) => {
    if (!isDraining() || listener.isServable(request.raw)) done()
    else reply.hijack()
  })
  // Decided when the response is sent, because its request may have come before the shutdown. Fastify says
  // `close` in every response, which loses the answers to requests that were pipelined behind it.
  server.addHook('onSend', (request, reply, _payload, done) => {
    if (isDraining()) {
      reply.header('connection', listener.endConnectionWith(request.raw) ? 'close' : 'keep-alive')
    }
    done()
  })
  // Node.js announces the last request of a connection and then goes on, and does not count HTTP/1.0.
  server.addHook('onRequest', ({ raw: { httpVersion, socket } }, { raw }, done) => {
    const isLast = 'maxRequestsOnConnectionReached' in raw && raw.maxRequestsOnConnectionReached === true
    if (isLast || httpVersion === '1.0') {
      raw.setHeader('connection', 'close')
      lingerOnClose(socket)
    }
    done()
  })
}
