import { once } from 'node:events'
import net from 'node:net'

/**
 * A kept-alive HTTP/1.1 connection for one request at a time. It knows of HTTP what Fastify's answers need, and
 * so takes little of the processor that the measured server needs too.
 */
export interface Connection {
  /** The body of the answer; throws unless it is a success. */
  get: (path: string, headers?: Record<string, string>) => Promise<string>
  post: (path: string, body: object) => Promise<string>
  /** The same, with whatever status it is answered. */
  send: (path: string, body: object, headers?: Record<string, string>) => Promise<Answer>
  readonly closed: boolean
  close: () => void
}

export interface Answer { status: number, body: string }

interface Waiter { line: string, resolve: (answer: Answer) => void, reject: (error: Error) => void }

export async function open (port: number): Promise<Connection> {
  const socket = net.connect({ port, host: '127.0.0.1', noDelay: true })
  await once(socket, 'connect')
  // A byte is a character, as content-length counts.
  socket.setEncoding('latin1')
  let received = ''
  let waiter: Waiter | undefined

  const fail = (error: Error) => {
    waiter?.reject(error)
    waiter = undefined
  }
  socket.on('error', fail)
  socket.setTimeout(30_000, () => socket.destroy(new Error(`no answer to ${waiter?.line} for 30 s`)))
  socket.on('close', () => fail(new Error(`the connection was closed instead of an answer to ${waiter?.line}`)))
  socket.on('data', (chunk: string) => {
    received += chunk
    const head = received.indexOf('\r\n\r\n')
    if (head < 0) return
    // A 204 has none.
    const length = Number(/\r\ncontent-length: (\d+)/i.exec(received)?.[1] ?? 0)
    if (received.length < head + 4 + length) return
    const status = Number(received.slice(9, 12))
    const body = received.slice(head + 4)
    received = ''
    if (body.length !== length) return fail(new Error(`${waiter?.line} was answered too much: ${body}`))
    waiter?.resolve({ status, body })
    waiter = undefined
  })

  const exchange = (line: string, rest: string) => new Promise<Answer>((resolve, reject) => {
    if (socket.destroyed) return reject(new Error(`the connection was closed before ${line}`))
    waiter = { line, resolve, reject }
    socket.write(`${line} HTTP/1.1\r\nhost: 127.0.0.1:${port}\r\n${rest}`, 'latin1')
  })
  const written = (headers: Record<string, string>) => Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`).join('')
  const send: Connection['send'] = (path, body, headers = {}) => {
    const json = JSON.stringify(body)
    return exchange(`POST ${path}`, `${written(headers)}content-type: application/json\r\ncontent-length: ${json.length}\r\n\r\n${json}`)
  }
  const success = (line: string, { status, body }: Answer) => {
    if (status >= 300) throw new Error(`${line} was answered ${status}: ${body}`)
    return body
  }
  return {
    get: async (path, headers = {}) => success(`GET ${path}`, await exchange(`GET ${path}`, `${written(headers)}\r\n`)),
    post: async (path, body) => success(`POST ${path}`, await send(path, body)),
    send,
    get closed () { return socket.destroyed },
    close: () => socket.destroy()
  }
}

/** Has `work` done with so many connections to a port, which are closed afterwards. */
export async function withConnections<T> (port: number, count: number, work: (connections: Connection[]) => Promise<T>): Promise<T> {
  const connections = await Promise.all(Array.from({ length: count }, () => open(port)))
  try {
    return await work(connections)
  } finally {
    for (const connection of connections) connection.close()
  }
}
