import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'

interface Connection {
  /** The number of requests whose headers have arrived and whose responses are not finished. */
  unanswered: number
  /** The request that arrived last. */
  latest: IncomingMessage | undefined
  /** The number of bytes that had been read when the last response was finished. */
  bytesAnswered: number
  /** The number of bytes that had been read and written at the last check. */
  bytesMoved: number
  /** When the connection was last seen in use. */
  activeAt: number
  /** Whether the peer was told that no further request will be served. */
  isClosing: boolean
  /** When everything was written, including the end of the stream. */
  endedAt: number | undefined
}

// A peer has this long to close its side after the server has closed its own.
const lingerMs = 1_000
// By then Node.js has answered 408 to a header that does not arrive. It checks once a second.
const headerGraceMs = 2_000

/** The connections of a server, each with its unanswered requests and the time since it was in use. */
export class Connections {
  readonly #connections = new Map<Socket, Connection>()
  #accepted = 0

  /** The number of connections that were ever accepted. */
  get accepted (): number {
    return this.#accepted
  }

  /** The number of open connections. */
  get size (): number {
    return this.#connections.size
  }

  add (socket: Socket): void {
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

  countRequest (request: IncomingMessage, response: ServerResponse): void {
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
  endWith (request: IncomingMessage): boolean {
    const connection = this.#connections.get(request.socket)
    if (!connection) return true
    if (connection.latest !== request) return false
    connection.isClosing = true
    return true
  }

  /**
   * Whether the client may not be to blame for a request that did not arrive in time. While earlier requests
   * wait for their answers, the server may have stopped reading: `expire` is called if the request has not
   * arrived `graceMs` after them. Timers that fire after the loop was blocked come before the bytes that have
   * arrived meanwhile: `expire` is called at once after those are read, or `graceMs` later if there are some.
   */
  postponeTimeout (socket: Socket, graceMs: number, expire: () => void): boolean {
    const connection = this.#connections.get(socket)
    if (!connection) return false
    const { latest } = connection
    // The time for a body is counted once its request is served.
    if (latest?.complete === false) return connection.unanswered > 1
    if (connection.unanswered === 0) {
      const { bytesRead } = socket
      const expireIfLate = () => { if (!socket.destroyed && connection.latest === latest) expire() }
      setImmediate(() => {
        if (socket.bytesRead === bytesRead) expireIfLate()
        else setTimeout(expireIfLate, graceMs).unref()
      })
      return true
    }
    let isAnswered = false
    const timer = setInterval(() => {
      if (socket.destroyed || connection.latest !== latest) return clearInterval(timer)
      if (isAnswered) {
        clearInterval(timer)
        expire()
      }
      isAnswered = connection.unanswered === 0
    }, graceMs).unref()
    return true
  }

  /** Counts the idle time of every connection from now on. */
  restartIdleTimes (): void {
    const now = performance.now()
    for (const connection of this.#connections.values()) connection.activeAt = now
  }

  /**
   * Closes the connections that were idle for `idleMs`. One that receives a header has `headersMs` for it.
   */
  closeIdle (idleMs: number, headersMs: number): void {
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
      const patienceMs = Math.max(idleMs, isReceivingHeader ? headersMs + headerGraceMs : 0)
      if (now - connection.activeAt < patienceMs) continue
      connection.isClosing = true
      // Not `destroy`: that would reset a request which crosses with the end of the stream.
      socket.end()
    }
  }
}
