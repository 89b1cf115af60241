import type { EventEmitter } from 'node:events'
import type { Socket } from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'
import AjvCompiler from '@fastify/ajv-compiler'
import { SerializerSelector } from '@fastify/fast-json-stringify-compiler'
import Fastify, { LogController, type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify'
import pino from 'pino'
import app, { type AppOptions } from './app.ts'
import { dataFolder, exitCode, type Config } from './config/config.ts'
import { compileOnce } from './server/compile-once.ts'
import { DrainingServer } from './server/draining-server.ts'
import * as embeddedPostgres from './database/embedded/embedded-postgres.ts'
import { blamed, keyEncryptionKeys } from './config/key-encryption.ts'
import { lingerOnClose } from './server/lingering-close.ts'
import { takeTurns } from './server/pipelining.ts'
import { document, mediaType, methodNotAllowed, validationFailed } from './http/problem.ts'
import { queryParser } from './http/query.ts'
import { newId } from './crypto/random.ts'
import { plain, refuse, unreadable } from './server/refusal.ts'
import { version } from './version.ts'

/** Standard output; a line does not wait until the one before it is written. */
const standardOutput = () => pino.destination({ dest: 1, sync: false })

export interface ServerOptions extends AppOptions {
  /** How long a connection must have been idle before closing the server ends it. */
  idleMs?: number
}

/** The server, not yet listening; it logs to standard output unless it is given another place. */
export function build (options: ServerOptions, stream: { write: (line: string) => void } = standardOutput()): FastifyInstance {
  const { issuer, trustProxy, requestTimeout, keepAliveTimeout } = options.config
  const timeout = requestTimeout * 1_000
  const listener = new DrainingServer({
    idleMs: options.idleMs ?? 0,
    maxConnections: 10_000,
    requestTimeout: timeout,
    headersTimeout: Math.min(5_000, timeout),
    connectionsCheckingInterval: 1_000,
    keepAliveTimeout: keepAliveTimeout * 1_000,
    requireHostHeader: false
  })
  // For a connection on which nothing moves during a request. Between two requests `keepAliveTimeout` counts.
  listener.setTimeout(timeout + 5_000)
  listener.maxRequestsPerSocket = maxRequestsPerSocket
  const server: FastifyInstance = Fastify({
    logger: { ...logging(options.config.logLevel), stream },
    logController: new LogController({ disableRequestLogging: true, requestIdLogLabel: 'request_id' }),
    genReqId: ({ headers: { 'x-request-id': given } }) => typeof given === 'string' && requestId.test(given) ? given : newId(),
    trustProxy: trustProxy ?? false,
    bodyLimit: 64 * 1024,
    serverFactory: handle => listener.on('request', takeTurns(handle)),
    // The server closes connections by itself, and answers until it has.
    forceCloseConnections: false,
    return503OnClosing: false,
    schemaController: {
      compilersFactory: { buildValidator: compileOnce(buildValidator), buildSerializer: compileOnce(SerializerSelector()) }
    },
    clientErrorHandler: (error, socket) => {
      const problem = unreadable(error)
      const refuseUnreadable = () => {
        // Who is only slow sends little. Over the limit there is not even an answer.
        if (socket.writable && problem.status !== 408 && server.rateLimiting.countUnrouted(socket)) {
          socket.destroy()
          return
        }
        const id = refuse(problem, socket, issuer)
        if (id === undefined) return
        server.log.info({ request_id: id, method: null, route: null, status: problem.status }, 'request')
      }
      const isPostponed = problem.status === 408 && listener.postponeTimeout(socket, refuseUnreadable)
      if (!isPostponed) refuseUnreadable()
    },
    frameworkErrors: (_error, request: FastifyRequest, reply: FastifyReply) => {
      const problem = server.rateLimiting.countUnrouted(request.raw) ?? validationFailed('The path is not valid.')
      request.log.info({ method: request.method, route: null, status: problem.status }, 'request')
      return reply.code(problem.status).headers({ ...plain(issuer), ...problem.headers, 'x-request-id': request.id, 'content-type': mediaType }).send(JSON.stringify(document(issuer, problem, request.id)))
    }
  })
  const isDraining = () => listener.isDraining || options.isDraining?.() === true
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
  // Node announces the last request of a connection and then goes on, and does not count HTTP/1.0.
  server.addHook('onRequest', ({ raw: { httpVersion, socket } }, { raw }, done) => {
    const isLast = 'maxRequestsOnConnectionReached' in raw && raw.maxRequestsOnConnectionReached === true
    if (isLast || httpVersion === '1.0') {
      raw.setHeader('connection', 'close')
      lingerOnClose(socket)
    }
    done()
  })
  // An expectation that is not known is none of ours (RFC 9110 section 10.1.1); a tunnel is not to be had.
  listener.on('checkExpectation', (request, response) => { listener.emit('request', request, response) })
  listener.on('connect', (request, socket: Socket) => {
    // Node.js has removed its listeners from the socket. Without one for errors, a reset would end the process.
    socket.on('error', () => {})
    const limited = server.rateLimiting.countUnrouted(request)
    refuse(limited ?? methodNotAllowed(['GET', 'HEAD', 'POST', 'PATCH']), socket, issuer)
    // A peer that does not close its side would keep the connection for ever.
    lingerOnClose(socket)
    socket.destroySoon()
  })
  server.register(app, options)
  return server
}

// Real clients send far fewer on a connection. More would let a stranger keep the event loop busy for
// seconds.
const maxRequestsPerSocket = 1_000

const requestId = /^[A-Za-z0-9][A-Za-z0-9._~+/=:-]{0,63}$/

const compilers = AjvCompiler()
const customOptions = { removeAdditional: false, allErrors: true, coerceTypes: false } as const

/** Compiles validators that convert no types. A query is text: its integers and booleans are parsed before. */
const buildValidator: ReturnType<typeof AjvCompiler> = schemas => {
  const compile = compilers(schemas, { customOptions })
  return route => {
    const validate = compile(route)
    if (!(typeof route === 'object' && 'httpPart' in route && route.httpPart === 'querystring')) return validate
    const parse = queryParser(route.schema)
    const validateQuery = (query: unknown) => {
      parse(query)
      const isValid = validate(query)
      Object.assign(validateQuery, { errors: validate.errors })
      return isValid
    }
    return Object.assign(validateQuery, validate)
  }
}

/** JSON lines; of an error only what is no user's, for drivers put rows and parameters into theirs. */
const logging = (level: string) => ({
  level,
  serializers: { err: describe },
  redact: ['password', 'token', 'access_token', 'refresh_token', 'authorization', 'cookie'].flatMap(name => [name, `*.${name}`])
})

interface LoggedError { [key: string]: unknown, type: string, message: string, stack: string }

function describe (error: Error): LoggedError {
  const { name, stack = '', cause } = error
  // A host with two addresses fails twice, in an error without a message.
  const message = error instanceof AggregateError ? error.errors.map(each => String(each)).join(', ') : error.message
  return { type: name, message, stack, ...'code' in error && { code: error.code }, ...cause instanceof Error && { cause: describe(cause) } }
}

/**
 * Runs the service, with the embedded database where none is configured, until `signals` tells of one or a fault that time
 * does not mend ends the process: exit code 0 as asked, 1 failed, 78 the configuration does not fit.
 * Throws where it cannot start.
 */
export async function serve (config: Config, signals: EventEmitter): Promise<void> {
  const stopping = new AbortController()
  const isDraining = () => stopping.signal.aborted
  let database: embeddedPostgres.EmbeddedPostgres | undefined
  let server: FastifyInstance | undefined
  const log = (level: 'info' | 'error' | 'fatal', message: string, detail: object = {}) => server?.log[level](detail, message)

  async function start () {
    if (config.databaseUrl === undefined) database = await embeddedPostgres.start(dataFolder, { log: (message, detail) => log('info', message, detail) })
    if (isDraining()) return
    server = build({
      config,
      databaseUrl: config.databaseUrl ?? database?.url ?? '',
      keyEncryptionKeys: keyEncryptionKeys(config),
      isDraining,
      idleMs: Math.min(1_000, (config.shutdownTimeout - config.drainDelay) * 250)
    })
    await server.ready()
    // A database that is away is waited for while listening; one that does not fit is told before.
    const patience = pause(3_000, undefined, { signal: stopping.signal }).catch(() => {})
    await Promise.race([Promise.all([server.keyring.loaded, server.revocations.loaded]), patience])
    if (isDraining()) return
    await server.listen({ host: config.host, port: config.port, listenTextResolver: address => `listening on ${address}` })
    if (config.host === 'localhost' && server.server instanceof DrainingServer) {
      await server.server.listenOnFurtherAddresses(config.host)
    }
  }

  async function close () {
    await server?.close()
    await database?.stop()
  }

  let ending: number | undefined
  const end = (code: number, why: string, error?: unknown) => {
    if (ending !== undefined) {
      // A terminal's Ctrl-C comes twice where npm passes it on; later it is somebody who does not want to wait.
      if (performance.now() - ending > 1_000) process.exit(1)
      return
    }
    ending = performance.now()
    stopping.abort()
    log(code === 0 ? 'info' : 'fatal', why, { err: error })
    setTimeout(() => {
      log('error', 'the time to stop is over: what is unfinished is cut off')
      process.exit(1)
    }, config.shutdownTimeout * 1_000).unref()
    starting.catch(() => {})
      .then(async () => await pause(code === 0 && server?.server.listening ? config.drainDelay * 1_000 : 0))
      .then(close)
      .then(() => process.exit(code), (error: unknown) => {
        log('error', 'stopping failed', { err: error })
        process.exit(1)
      })
  }
  signals.on('SIGTERM', () => end(0, 'stopping on SIGTERM')).on('SIGINT', () => end(0, 'stopping on SIGINT'))
  process.on('uncaughtException', error => end(1, 'an unexpected error ends the service', error))

  const starting = start()
  try {
    await starting
  } catch (error) {
    // A signal that came meanwhile ends the process by itself.
    if (isDraining()) return
    await close().catch(() => {})
    throw explain(error, config)
  }
  if (!server || isDraining()) return
  server.keyring.loaded.catch((error: unknown) => {
    const reason = explain(error, config)
    if (!isDraining()) end(exitCode(reason), reason.message, error)
  })
  announce(server, config, database)
}

function explain (thrown: unknown, { host, port }: Config): Error {
  const error = blamed(thrown)
  if (!(error instanceof Error)) return new Error(String(error))
  if ('code' in error && error.code === 'EADDRINUSE') return new Error(`Port ${port} of ${host} is in use, perhaps by another Latchkey: stop it, or choose another with PORT (and ISSUER_URL).`)
  return error
}

function announce (server: FastifyInstance, { issuer, host, port, docs }: Config, database: embeddedPostgres.EmbeddedPostgres | undefined) {
  const address = server.server.address()
  const actual = typeof address === 'object' ? address?.port : port
  if (docs) server.log.info({ url: issuer, docs: `${issuer}/docs` }, `Latchkey ${version} is at ${issuer}, its API documentation at ${issuer}/docs`)
  else server.log.info({ url: issuer }, `Latchkey ${version} is at ${issuer}`)
  server.log.info({ build: server.passwords.build }, `Passwords are hashed with argon2's ${server.passwords.build} build`)
  if (database) server.log.info({ folder: database.dataDir, version: database.version }, `The database is the embedded PostgreSQL ${database.version} in ${database.dataDir}: for development; set DATABASE_URL for your own`)
  const { hostname, port: published, protocol } = new URL(issuer)
  if (protocol === 'http:' && ['localhost', '127.0.0.1', '[::1]'].includes(hostname) && Number(published || 80) !== actual) {
    server.log.warn(`ISSUER_URL is ${issuer}, but the service listens on port ${actual} of ${host}: browsers will be refused unless a proxy stands between`)
  }
}
