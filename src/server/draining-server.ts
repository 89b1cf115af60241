import { lookup } from 'node:dns/promises'
import { once } from 'node:events'
import { Server, type IncomingMessage, type ServerOptions, type ServerResponse } from 'node:http'
import { createServer, Server as Listener, type Socket } from 'node:net'
import { setImmediate as nextTurn, setTimeout as pause } from 'node:timers/promises'
import { Connections } from './connections.ts'

export interface DrainingServerOptions extends ServerOptions {
  /** How long a connection must have been idle before `close` ends it. */
  idleMs: number
  /** How many connections are accepted at a time. */
  maxConnections: number
}

const checkIntervalMs = 50
// New connections may keep the port open for this long.
const maxAcceptMs = 2_000
const quietTurnMs = 0.1

/**
 * An HTTP server whose `close` resets no request. `http.Server.close` destroys every connection that looks
 * idle: one whose bytes wait in the kernel, and those in the backlog, which are not yet accepted. `close`
 * here first accepts what has connected, then closes a connection when it has been idle for `idleMs`, and
 * keeps the timeouts of Node.js running.
 */
export class DrainingServer extends Server {
  readonly #idleMs: number
  readonly #connections = new Connections()
  // Further addresses of a host name: an HTTP server listens on one.
  readonly #listeners: Listener[] = []
  #isDraining = false

  constructor ({ idleMs, maxConnections, ...options }: DrainingServerOptions) {
    super(options)
    this.#idleMs = idleMs
    this.maxConnections = maxConnections
    this.on('connection', (socket: Socket) => this.#connections.add(socket))
    this.on('request', (request: IncomingMessage, response: ServerResponse) => {
      this.#connections.countRequest(request, response)
      // A dozen plugins and streams wait for its end. Node.js would warn of the eleventh.
      response.setMaxListeners(20)
    })
  }

  /** Whether `close` has been called. */
  get isDraining (): boolean {
    return this.#isDraining
  }

  /** Whether a request may be served: see `Connections.isServable`. */
  isServable (request: IncomingMessage): boolean {
    return this.#connections.isServable(request)
  }

  /** Whether the response to this request is the last of its connection: see `Connections.endWith`. */
  endConnectionWith (request: IncomingMessage): boolean {
    return this.#connections.endWith(request)
  }

  /** Whether the timeout of a late request is postponed: see `Connections.postponeTimeout`. */
  postponeTimeout (socket: Socket, expire: () => void): boolean {
    return this.#connections.postponeTimeout(socket, this.headersTimeout, expire)
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
    void this.#drain().then(() => super.close(() => callback?.()), callback)
    return this
  }

  async #drain (): Promise<void> {
    await this.#stopListening()
    this.#connections.restartIdleTimes()
    while (this.#connections.size > 0) {
      // A timer that fires after the loop was blocked sees old times while bytes wait in the kernel. In the
      // check phase, which comes after the poll phase, all bytes that had arrived have been read.
      await nextTurn()
      this.#connections.closeIdle(this.#idleMs, this.headersTimeout)
      if (this.#connections.size > 0) await pause(Math.min(checkIntervalMs, this.#idleMs + 1))
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
      const { accepted } = this.#connections
      const turnedAt = performance.now()
      await nextTurn()
      isQuiet = this.#connections.accepted === accepted && performance.now() - turnedAt < quietTurnMs
    } while (!isQuiet && performance.now() - begunAt < maxAcceptMs)
    // Not `super.close`: it destroys idle connections, and stops the checks of the header and request
    // timeouts.
    for (const listener of [this, ...this.#listeners]) Listener.prototype.close.call(listener)
  }
}
