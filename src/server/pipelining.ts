import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'

interface Exchange { request: IncomingMessage, response: ServerResponse, isSafe: boolean }

/** The unanswered requests of a connection: those that have begun, and those that wait. */
interface Pipeline { begun: Exchange[], waiting: Exchange[] }

// While reading is paused the service does not notice that a client has gone, so the first few do not pause
// it.
const readAhead = 16
const begunPerConnection = 16
// How many requests that waited behind others of their connection begin in a turn of the event loop.
const begunPerTurn = 16

// RFC 9110 section 9.2.1.
const safeMethods = new Set(['GET', 'HEAD', 'OPTIONS'])

/** RFC 9112 section 9.3.2: only a sequence of safe requests may be processed in parallel. */
const mayBeginNext = ({ begun, waiting: [next] }: Pipeline) => next !== undefined && (
  begun.length === 0 || (
    begun.length < begunPerConnection && next.isSafe && begun.every(({ isSafe }) => isSafe)
  ))

/**
 * A request handler that gives all connections a turn between the pipelined requests of one of them.
 *
 * Node.js begins all requests that arrive in one piece at once. A few connections that pipeline thousands of
 * requests would stall all others for seconds.
 */
export function takeTurns (serve: RequestListener): RequestListener {
  const pipelines = new WeakMap<Socket, Pipeline>()
  // Connections whose next request may begin, in the order of their turns.
  const ready = new Set<Socket>()
  const watched = new WeakSet<Socket>()
  let turn: NodeJS.Immediate | undefined

  function stopReading (socket: Socket): void {
    socket.pause()
    if (watched.has(socket)) return
    watched.add(socket)
    // Node.js resumes a socket after each message that it has parsed, and to read a body.
    socket.on('resume', () => {
      const waiting = pipelines.get(socket)?.waiting.length ?? 0
      // Bytes that arrive after the last answer are read and discarded.
      if (waiting < readAhead || !socket.writable) return
      socket.pause()
      // A stream that is already paused emits no event, although Node.js has begun to read.
      socket.emit('pause')
    })
  }

  function begin (socket: Socket, pipeline: Pipeline, exchange: Exchange): void {
    pipeline.begun.push(exchange)
    exchange.response.once('close', () => {
      pipeline.begun = pipeline.begun.filter(other => other !== exchange)
      if (pipeline.begun.length + pipeline.waiting.length === 0) pipelines.delete(socket)
      else schedule(socket, pipeline)
    })
    serve(exchange.request, exchange.response)
  }

  function schedule (socket: Socket, pipeline: Pipeline): void {
    if (!mayBeginNext(pipeline)) return
    ready.add(socket)
    turn ??= setImmediate(runTurn)
  }

  function runTurn (): void {
    turn = undefined
    for (const socket of [...ready].slice(0, begunPerTurn)) {
      ready.delete(socket)
      const pipeline = pipelines.get(socket)
      // After an answer with `connection: close` nothing more is served (RFC 9112 section 9.6).
      if (!pipeline || !socket.writable) continue
      const next = pipeline.waiting.shift()
      if (pipeline.waiting.length < readAhead) socket.resume()
      if (next) begin(socket, pipeline, next)
      schedule(socket, pipeline)
    }
    if (ready.size > 0) turn ??= setImmediate(runTurn)
  }

  return (request, response) => {
    const { socket, method = '' } = request
    const pipeline = pipelines.get(socket) ?? { begun: [], waiting: [] }
    pipelines.set(socket, pipeline)
    const exchange = { request, response, isSafe: safeMethods.has(method) }
    if (pipeline.begun.length + pipeline.waiting.length === 0) return begin(socket, pipeline, exchange)
    pipeline.waiting.push(exchange)
    // Node.js has parsed everything that arrived in one piece. More is read when most of it is answered.
    if (pipeline.waiting.length >= readAhead) stopReading(socket)
    schedule(socket, pipeline)
  }
}
