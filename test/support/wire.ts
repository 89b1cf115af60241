import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { createServer, request, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { connect, createServer as createListener, type Socket } from 'node:net'
import { freePort } from '../../src/database/embedded/server.ts'
import type { Teardown } from './teardown.ts'

export interface WireResponse {
  status: number
  headers: IncomingMessage['headers']
  rawHeaders: string[]
  text: string
}

interface RequestContent {
  /** Header lines: `name: value` each. */
  lines?: string[] | undefined
  body?: Buffer | undefined
  /** The address of this machine from which the request is sent. */
  from?: string
}

/** Sends a request on a connection of its own. The path is sent as it is written. */
export async function ask (
  method: string,
  url: string,
  { lines = [], body, from }: RequestContent = {}
): Promise<WireResponse> {
  const [, origin = '', path = ''] = /^(http:\/\/[^/]+)(.*)$/.exec(url) ?? []
  const { host, hostname, port } = new URL(origin)
  const headers = [
    'Host',
    host,
    ...lines.flatMap(line => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 1).trim()])
  ]
  if (body) headers.push('Content-Length', String(body.length))
  const sent = request({
    method,
    hostname,
    port,
    path,
    headers,
    agent: false,
    ...(from !== undefined && { localAddress: from })
  })
  sent.end(body)
  const [response]: [IncomingMessage] = (await once(sent, 'response')) as [IncomingMessage]
  let text = ''
  for await (const chunk of response.setEncoding('utf8')) text += chunk
  return {
    status: response.statusCode ?? 0,
    headers: response.headers,
    rawHeaders: response.rawHeaders,
    text
  }
}

export interface Call {
  method: string
  path: string
  lines: string[]
  bytes: number
  digest: string
  connection: number
}

/** Starts a service behind a gateway. It records the requests that it gets. */
export async function upstream (t: Teardown): Promise<{ port: number, calls: Call[], server: Server }> {
  const calls: Call[] = []
  const connections: Socket[] = []
  const handle = async (asked: IncomingMessage, answer: ServerResponse) => {
    const hash = createHash('sha256')
    let bytes = 0
    for await (const chunk of asked) {
      hash.update(chunk)
      bytes += chunk.length
    }
    const { method = '', url = '', rawHeaders, socket } = asked
    const lines = rawHeaders.flatMap((name, index) =>
      index % 2 === 0 ? [`${name.toLowerCase()}: ${rawHeaders[index + 1]}`] : []
    )
    calls.push({
      method,
      path: url,
      lines,
      bytes,
      digest: hash.digest('hex'),
      connection: connections.indexOf(socket)
    })
    const status = Number(/^\/orders\/status\/(\d+)$/.exec(url)?.[1] ?? 200)
    answer
      .writeHead(status, { 'content-type': 'application/json', 'x-request-id': 'its own' })
      .end(JSON.stringify({ call: calls.length }))
  }
  const server = createServer((asked, answer) => { void handle(asked, answer) })
  server.on('connection', socket => { connections.push(socket) })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => { server.closeAllConnections(); server.close() })
  const address = server.address()
  return { port: typeof address === 'object' && address ? address.port : 0, calls, server }
}

/** A proxy between a gateway and the service. It records what it forwards, and can be cut or answer. */
export interface Wire {
  port: number
  /** All bytes that were sent to the service. */
  sent: () => string
  forget: () => void
  connections: () => number
  /**
   * Answers each further request with this text, or not at all if the text is empty. With undefined, the
   * service answers again.
   */
  answer: (text: string | undefined) => void
  cut: () => Promise<void>
  mend: () => Promise<void>
}

export async function wire (t: Teardown, target: number): Promise<Wire> {
  const port = await freePort()
  const open = new Set<Socket>()
  let sent = ''
  let connections = 0
  let canned: string | undefined
  const listener = createListener(near => {
    connections++
    const far = connect(target, '127.0.0.1')
    for (const [socket, other] of [[near, far], [far, near]] as const) {
      open.add(socket)
      socket.on('error', () => {}).on('close', () => { open.delete(socket); other.destroy() })
    }
    near.on('data', (chunk: Buffer) => {
      sent += chunk.toString('latin1')
      if (canned === undefined) far.write(chunk)
      else if (canned !== '') near.write(canned)
    })
    far.on('data', chunk => near.write(chunk))
  })
  const mend = async () => {
    listener.listen(port, '127.0.0.1')
    await once(listener, 'listening')
  }
  const cut = async () => {
    if (!listener.listening) return
    const closed = once(listener, 'close')
    listener.close()
    for (const socket of open) socket.destroy()
    await closed
  }
  await mend()
  t.teardown(cut)
  return {
    port,
    sent: () => sent,
    forget: () => { sent = ''; connections = 0 },
    connections: () => connections,
    answer: text => { canned = text },
    cut,
    mend
  }
}

export interface RawResponse { status: number, head: string, body: string }

/** A connection on which a test can write any bytes at any time. */
export interface RawConnection {
  send: (text: string) => void
  received: () => string
  /** The complete responses so far. */
  responses: () => RawResponse[]
  /** Waits for so many complete responses, or the end of the connection. */
  answered: (count?: number) => Promise<RawResponse[]>
  /** Waits until this has been received, or the connection has ended. */
  until: (text: string) => Promise<void>
  /** How the connection ended: `end` if the peer closed it, or the code of the error. */
  ended: Promise<string>
}

export async function dial (port: number): Promise<RawConnection> {
  const socket = connect(port, '127.0.0.1')
  let text = ''
  let ending = ''
  let wake = () => {}
  const ended = new Promise<string>(resolve => {
    const end = (how: string) => {
      ending ||= how
      wake()
      resolve(ending)
    }
    socket
      .on('end', () => end('end'))
      .on('error', ({ code }: NodeJS.ErrnoException) => end(String(code)))
      .on('close', () => end('close'))
  })
  socket.setEncoding('latin1').on('data', (chunk: string) => {
    text += chunk
    wake()
  })
  const waitUntil = async (isReached: () => boolean) => {
    const isOver = () => ending !== ''
    while (!isReached() && !isOver()) await new Promise<void>(resolve => { wake = resolve })
  }
  await once(socket, 'connect')
  const responses = () => parseResponses(text)
  return {
    send: text => { socket.write(text) },
    received: () => text,
    responses,
    answered: async (count = 1) => {
      await waitUntil(() => responses().length >= count)
      return responses()
    },
    until: async expected => await waitUntil(() => text.includes(expected)),
    ended
  }
}

/** The complete responses at the start of a text, each with a content length. */
function parseResponses (text: string): RawResponse[] {
  const end = text.indexOf('\r\n\r\n') + 4
  if (end < 4) return []
  const head = text.slice(0, end)
  const length = Number(/^content-length: (\d+)/im.exec(head)?.[1] ?? 0)
  if (text.length < end + length) return []
  const status = Number(/^HTTP\/1\.1 (\d+)/.exec(head)?.[1])
  return [{ status, head, body: text.slice(end, end + length) }, ...parseResponses(text.slice(end + length))]
}

/** The text of a request with a JSON body, or without a body. */
export function requestText (method: string, path: string, body?: object, lines: string[] = []): string {
  const json = body === undefined ? '' : JSON.stringify(body)
  const headers = ['host: localhost', ...lines]
  if (body !== undefined) headers.push('content-type: application/json', `content-length: ${json.length}`)
  return `${method} ${path} HTTP/1.1\r\n${headers.join('\r\n')}\r\n\r\n${json}`
}
