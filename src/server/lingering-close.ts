import type { Socket } from 'node:net'

const lingerMs = 2_000

/**
 * Makes a socket close in stages after its last answer (RFC 9112 section 9.6): what still arrives is read and
 * discarded for a while. If a socket is closed with unread bytes, the system resets the connection, and
 * answers in transit are lost.
 */
export function lingerOnClose (socket: Socket): void {
  // Node.js calls it when the last answer is written.
  socket.destroySoon = () => {
    socket.end()
    // The parser gets no more bytes, so no further request is answered.
    socket.removeAllListeners('data')
    socket.on('data', () => {})
    // Node.js pauses a socket with many unsent answers, and would do so again.
    Object.assign(socket, { _paused: false })
    socket.resume()
    const timer = setTimeout(() => socket.destroy(), lingerMs).unref()
    socket.once('close', () => clearTimeout(timer))
  }
}
