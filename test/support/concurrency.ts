import { connect, type AddressInfo, type Socket } from 'node:net'
import type { Service } from './app.ts'
import { ask, type Exchange } from './wire.ts'

let networks = 0
/** An address of the loopback network that nobody else has: to the service a network of its own. */
export const newLoopbackAddress = () => {
  networks++
  return `127.${1 + (networks >> 16)}.${networks >> 8 & 255}.${networks & 255}`
}

/** Has the service listen on a port; gives its origin. */
export async function listen ({ app }: Service): Promise<string> {
  await app.listen({ host: '127.0.0.1', port: 0 })
  return `http://127.0.0.1:${portOf(app.server.address())}`
}
const portOf = (address: AddressInfo | string | null) => typeof address === 'object' && address ? address.port : 0

export interface Sender { from?: string, token?: string, cookie?: string, lines?: string[] }

/**
 * Sends JSON, or this text in its place, on a connection of its own, from a network of its own unless it is
 * told which.
 */
export async function post (origin: string, path: string, body: object | string, { from = newLoopbackAddress(), token, cookie, lines = [] }: Sender = {}): Promise<Exchange> {
  const text = typeof body === 'string' ? body : JSON.stringify(body)
  return await ask('POST', `${origin}${path}`, [
    'content-type: application/json',
    ...token === undefined ? [] : [`authorization: Bearer ${token}`],
    ...cookie === undefined ? [] : [`cookie: ${cookie}`],
    ...lines
  ], Buffer.from(text), from)
}

/** The bytes of such a request, for a client that does not behave; `length` is what it says of the body. */
export const bytesOf = (path: string, body: object, { token, length }: { token?: string, length?: number } = {}) => {
  const text = JSON.stringify(body)
  return `POST ${path} HTTP/1.1\r\nhost: x\r\n${token === undefined ? '' : `authorization: Bearer ${token}\r\n`}content-type: application/json\r\ncontent-length: ${length ?? Buffer.byteLength(text)}\r\n\r\n${text}`
}

/** Opens a connection and sends these bytes; what comes back is not read until somebody does. */
export function open (origin: string, bytes: string, from = newLoopbackAddress()): Socket {
  const socket = connect({ host: '127.0.0.1', port: Number(new URL(origin).port), localAddress: from, allowHalfOpen: true })
  socket.on('error', () => {})
  socket.write(bytes)
  return socket
}

/** The cookies that were set, as they are sent back. */
export const cookiesOf = ({ headers }: Exchange) => (headers['set-cookie'] ?? []).map(line => line.split(';')[0]).join('; ')

/** Does the work for each of them, so many at a time. */
export async function mapConcurrently<Item, Result> (items: readonly Item[], atATime: number, work: (item: Item, index: number) => Promise<Result>): Promise<Result[]> {
  const results: Result[] = []
  const waiting = [...items.entries()]
  await Promise.all(Array.from({ length: atATime }, async () => {
    for (let next = waiting.shift(); next; next = waiting.shift()) results[next[0]] = await work(next[1], next[0])
  }))
  return results
}
