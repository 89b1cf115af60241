import { lookup } from 'node:dns/promises'
import { once } from 'node:events'
import { Server, type IncomingMessage, type ServerOptions, type ServerResponse } from 'node:http'
import { createServer, Server as Listener, type Socket } from 'node:net'
import { setImmediate as nextTurn, setTimeout as pause } from 'node:timers/promises'

export interface DrainingServerOptions extends ServerOptions {
  /** How long a connection must have been idle before `close` ends it. */
  idleMs: number
  /** How many connections are accepted at a time. */
  maxConnections: number
}

interface Connection {
  /** How many requests have arrived whose responses are not finished. */
  unanswered: number
  /** The request that arrived last. */
  latest: IncomingMessage | undefined
  /** How many bytes had been read when the last response was finished. */
  bytesAnswered: number
  /** How many bytes had been read and written at the last check. */
  bytesMoved: number
  /** When the connection was last seen in use. */
  activeAt: number
  /** Whether the peer has been told that no further request will be served. */
  isClosing: boolean
  /** When everything was written, the end of the stream included. */
  endedAt: number | undefined
}

const lookIntervalMs = 50
// A peer has this long to close its side after the server has closed its own.
const lingerMs = 1_000
// New connections may keep the port open for this long.
const maxAcceptMs = 2_000
const quietTurnMs = 0.1
// By then Node.js has answered 408 to a header that does not arrive. It checks once a second.
const headerGraceMs = 2_000

/**
 * An HTTP server whose `close` resets no request. `http.Server.close` destroys every connection that looks
 * idle: one whose bytes wait in the kernel, and those that nobody has accepted yet. `close` here first
 * accepts what has connected, then closes a connection when it has been idle for `idleMs`, and keeps the
 * timeouts of Node.js running.
 */
export class DrainingServer extends Server {
  readonly #idleMs: number
  readonly #connections = new Map<Socket, Connection>()
  // Further addresses of a host name: an HTTP server listens on one.
  readonly #listeners: Listener[] = []
  #accepted = 0
  #isDraining = false

  constructor ({ idleMs, maxConnections, ...options }: DrainingServerOptions) {
    super(options)
    this.#idleMs = idleMs
    this.maxConnections = maxConnections
    this.on('connection', (socket: Socket) => this.#track(socket))
    this.on('request', (request: IncomingMessage, response: ServerResponse) => this.#count(request, response))
  }

  /** Whether `close` has been called. */
  get isDraining (): boolean {
    return this.#isDraining
  }

  /**
   * Whether a request may be served. After a response with `Connection: close` no further request of the
   * connection is processed (RFC 9112 section 9.6): its answer could not be sent, so it must have no effect
   * either.
   */
  isServable ({ socket }: IncomingMessage): boolean {
    const connection = this.#connections.get(socket)
    return !connection || (!connection.isClosing && socket.writable)
  }

  /**
   * Whether the response to this request is the last of its connection; the response then says `Connection:
   * close`. It is not the last if the client has pipelined further requests: those have been accepted and get
   * their answers.
   */
  endConnectionWith (request: IncomingMessage): boolean {
    const connection = this.#connections.get(request.socket)
    if (!connection) return true
    if (connection.latest !== request) return false
    connection.isClosing = true
    return true
  }

  /**
   * Whether a request that did not arrive in time stands behind others without answers. While those wait, the
   * server may have stopped reading, so the client is not to blame. `expire` is called if the request has not
   * arrived a while after their answers.
   */
  postponeTimeout (socket: Socket, expire: () => void): boolean {
    const connection = this.#connections.get(socket)
    if (!connection) return false
    const { latest } = connection
    // The time for a body is counted once its request is served.
    if (latest?.complete === false) return connection.unanswered > 1
    if (connection.unanswered === 0) return false
    let isAnswered = false
    const timer = setInterval(() => {
      if (socket.destroyed || connection.latest !== latest) return clearInterval(timer)
      if (isAnswered) {
        clearInterval(timer)
        expire()
      }
      isAnswered = connection.unanswered === 0
    }, this.headersTimeout).unref()
    return true
  }

  /** Listens on the other addresses of a host name as well, on the port that the server has. */
  async listenOnFurtherAddresses (host: string): Promise<void> {
    const own = this.address()
    if (typeof own !== 'object' || own === null) return
    for (const { address } of await lookup(host, { all: true })) {
      if (address === own.address) continue
      const options = { allowHalfOpen: true, noDelay: true }
      const listener = createServer(options, socket => this.emit('connection', socket))
      listener.maxConnections = this.maxConnections
      listener.listen(own.port, address)
      // A host name may have an address that this machine lacks.
      const isListening = await once(listener, 'listening').then(() => true, () => false)
      if (isListening) this.#listeners.push(listener)
    }
  }

  override close (callback?: (error?: Error) => void): this {
    if (!this.listening) return super.close(callback)
    this.#isDraining = true
    this.#drain().then(() => super.close(() => callback?.()), callback)
    return this
  }

  async #drain (): Promise<void> {
    await this.#stopListening()
    const begunAt = performance.now()
    for (const connection of this.#connections.values()) connection.activeAt = begunAt
    while (this.#connections.size > 0) {
      // A timer that fires after the loop was blocked sees old times while bytes wait in the kernel. In the
      // check phase, which comes after the poll phase, all bytes that had arrived have been read.
      await nextTurn()
      this.#closeIdle()
      if (this.#connections.size > 0) await pause(Math.min(lookIntervalMs, this.#idleMs + 1))
    }
  }

  /**
   * Closes the port. The kernel resets the connections in the backlog of a socket that is closed, so the port
   * stays open until a turn of the event loop has accepted none. The turn must be short, because connections
   * that arrive while it runs are lost. TCP has no way to refuse new ones first, and a handshake that is not
   * complete at that moment cannot be seen: DRAIN_DELAY is for clients that cannot repeat a request.
   */
  async #stopListening (): Promise<void> {
    // Compiles what closes a port, so that it takes no time below.
    Listener.prototype.close.call(new Listener())
    const begunAt = performance.now()
    let isQuiet
    do {
      // The scheduler is unlikely to interrupt a thread that has just slept.
      await pause(1)
      const accepted = this.#accepted
      const turnedAt = performance.now()
      await nextTurn()
      isQuiet = this.#accepted === accepted && performance.now() - turnedAt < quietTurnMs
    } while (!isQuiet && performance.now() - begunAt < maxAcceptMs)
    // Not `super.close`: it destroys idle connections, and stops the checks of the header and request
    // timeouts.
    for (const listener of [this, ...this.#listeners]) Listener.prototype.close.call(listener)
  }

  #closeIdle (): void {
    const now = performance.now()
    for (const [socket, connection] of this.#connections) {
      const bytesMoved = socket.bytesRead + socket.bytesWritten
      if (bytesMoved !== connection.bytesMoved || connection.unanswered > 0) connection.activeAt = now
      connection.bytesMoved = bytesMoved
      if (socket.writableFinished) {
        connection.endedAt ??= now
        if (now - connection.endedAt >= lingerMs) socket.destroy()
        continue
      }
      if (connection.unanswered > 0 || socket.writableLength > 0 || socket.writableEnded) continue
      const isReceivingHeader = socket.bytesRead > connection.bytesAnswered
      const headerMs = isReceivingHeader ? this.headersTimeout + headerGraceMs : 0
      const idleMs = Math.max(this.#idleMs, headerMs)
      if (now - connection.activeAt < idleMs) continue
      connection.isClosing = true
      // Not `destroy`: that would reset a request which crosses with the end of the stream.
      socket.end()
    }
  }

  #track (socket: Socket): void {
    this.#accepted++
    this.#connections.set(socket, {
      unanswered: 0,
      latest: undefined,
      bytesAnswered: 0,
      bytesMoved: 0,
      activeAt: performance.now(),
      isClosing: false,
      endedAt: undefined
    })
    socket.once('close', () => { this.#connections.delete(socket) })
  }

  #count (request: IncomingMessage, response: ServerResponse): void {
    const connection = this.#connections.get(request.socket)
    if (!connection) return
    connection.unanswered++
    connection.latest = request
    const setBytesAnswered = () => { connection.bytesAnswered = request.socket.bytesRead }
    response.once('close', () => {
      connection.unanswered--
      setBytesAnswered()
      // A refusal may be sent before the body has arrived.
      if (!request.complete) request.once('close', setBytesAnswered)
    })
  }
}
