import { connect, type AddressInfo, type Socket } from 'node:net'
import type { Service } from './app.ts'
import { ask, type WireResponse } from './wire.ts'

let networks = 0
/** An unused address of the loopback network, which the service counts as a network of its own. */
export const newLoopbackAddress = () => {
  networks++
  return `127.${1 + (networks >> 16)}.${networks >> 8 & 255}.${networks & 255}`
}

/** Lets the service listen on a free port, and returns its origin. */
export async function listen ({ app }: Service): Promise<string> {
  await app.listen({ host: '127.0.0.1', port: 0 })
  return `http://127.0.0.1:${portOf(app.server.address())}`
}
const portOf = (address: AddressInfo | string | null) =>
  typeof address === 'object' && address ? address.port : 0

export interface Sender { from?: string, token?: string, cookie?: string, lines?: string[] }

/**
 * Sends an object as JSON, `URLSearchParams` as the form of a page, and a text as it is. Each request uses a
 * new connection, and comes from a new network unless `from` is set.
 */
export async function post (
  origin: string,
  path: string,
  body: object | string,
  { from = newLoopbackAddress(), token, cookie, lines = [] }: Sender = {}
): Promise<WireResponse> {
  const isForm = body instanceof URLSearchParams
  const text = typeof body === 'string' ? body : isForm ? body.toString() : JSON.stringify(body)
  return await ask('POST', `${origin}${path}`, {
    lines: [
      ...isForm
        ? ['content-type: application/x-www-form-urlencoded', 'sec-fetch-site: same-origin']
        : ['content-type: application/json'],
      ...(token === undefined ? [] : [`authorization: Bearer ${token}`]),
      ...(cookie === undefined ? [] : [`cookie: ${cookie}`]),
      ...lines
    ],
    body: Buffer.from(text),
    from
  })
}

/** The bytes of such a request, for a misbehaving client. `length` replaces the length of the body. */
export const bytesOf = (
  path: string,
  body: object,
  { token, length }: { token?: string; length?: number } = {}
) => {
  const text = JSON.stringify(body)
  const lines = [
    `POST ${path} HTTP/1.1`,
    'host: x',
    ...token === undefined ? [] : [`authorization: Bearer ${token}`],
    'content-type: application/json',
    `content-length: ${length ?? Buffer.byteLength(text)}`
  ]
  return `${lines.join('\r\n')}\r\n\r\n${text}`
}

/** Opens a connection and sends these bytes. The response is not read until the caller reads it. */
export function open (origin: string, bytes: string, from = newLoopbackAddress()): Socket {
  const socket = connect({
    host: '127.0.0.1',
    port: Number(new URL(origin).port),
    localAddress: from,
    allowHalfOpen: true
  })
  socket.on('error', () => {})
  socket.write(bytes)
  return socket
}

/** The cookies that a response sets, as a `Cookie` header. */
export const cookiesOf = ({ headers }: WireResponse) =>
  (headers['set-cookie'] ?? []).map(line => line.split(';')[0]).join('; ')

/** Maps the items with at most `concurrency` calls of `work` at a time. */
export async function mapConcurrently<Item, Result> (
  items: readonly Item[],
  concurrency: number,
  work: (item: Item, index: number) => Promise<Result>
): Promise<Result[]> {
  const results: Result[] = []
  const waiting = [...items.entries()]
  await Promise.all(
    Array.from({ length: concurrency }, async () => {
      for (let next = waiting.shift(); next; next = waiting.shift()) {
        results[next[0]] = await work(next[1], next[0])
      }
    })
  )
  return results
}
