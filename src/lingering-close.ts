import type { Socket } from 'node:net'

const lingerMs = 2_000

/**
 * Makes a socket close in stages after its last answer (RFC 9112 section 9.6): what still comes is read and
 * thrown away for a while. If it closed with bytes unread, the system would reset the connection, and answers
 * on their way would be lost.
 */
export function lingerOnClose (socket: Socket): void {
  // Node calls it when the last answer is written.
  socket.destroySoon = () => {
    socket.end()
    // The parser gets nothing any more, so nothing is answered.
    socket.removeAllListeners('data')
    socket.on('data', () => {})
    // Node pauses a socket with many unsent answers, and would do so again.
    Object.assign(socket, { _paused: false })
    socket.resume()
    const timer = setTimeout(() => socket.destroy(), lingerMs).unref()
    socket.once('close', () => clearTimeout(timer))
  }
}
