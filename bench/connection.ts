import { once } from 'node:events'
import net from 'node:net'

/**
 * A keep-alive HTTP/1.1 connection for one request at a time. It parses only what Fastify's responses
 * contain, so that it takes little processor time from the measured server.
 */
export interface HttpConnection {
  /** Returns the response body. Throws if the response is not a success. */
  get: (path: string, headers?: Record<string, string>) => Promise<string>
  post: (path: string, body: object) => Promise<string>
  /** Sends a POST request, and returns the response, also of a failure. */
  send: (path: string, body: object, headers?: Record<string, string>) => Promise<ResponseText>
  /** Sends a GET request, and returns the response, also a redirect or a failure. */
  visit: (path: string, headers?: Record<string, string>) => Promise<ResponseText>
  /** Sends a form. Throws if the response is not a success. */
  submit: (path: string, fields: Record<string, string>) => Promise<string>
  readonly isClosed: boolean
  close: () => void
}

export interface ResponseText { status: number, body: string }

interface WaitingRequest {
  line: string
  resolve: (response: ResponseText) => void
  reject: (error: Error) => void
}

/** Opens a connection. If the server ends it after a response, the next request opens another one. */
export async function openConnection (port: number): Promise<HttpConnection> {
  let received = ''
  let waiter: WaitingRequest | undefined
  let isEnded = false
  let socket = await dial()

  async function dial (): Promise<net.Socket> {
    const dialled = net.connect({ port, host: '127.0.0.1', noDelay: true })
    await once(dialled, 'connect')
    // One character for each byte, because content-length counts bytes.
    dialled.setEncoding('latin1')
    const fail = (error: Error) => {
      if (dialled !== socket) return
      waiter?.reject(error)
      waiter = undefined
    }
    dialled.on('error', fail)
    dialled.setTimeout(30_000, () => {
      dialled.destroy(new Error(`no response to ${waiter?.line} within 30 s`))
    })
    dialled.on('close', () =>
      fail(new Error(`the connection was closed without a response to ${waiter?.line}`)))
    dialled.on('data', (chunk: string) => {
      received += chunk
      const head = received.indexOf('\r\n\r\n')
      if (head < 0) return
      // A response with status 204 has no content-length.
      const length = Number(/\r\ncontent-length: (\d+)/i.exec(received)?.[1] ?? 0)
      if (received.length < head + 4 + length) return
      const status = Number(received.slice(9, 12))
      const body = received.slice(head + 4)
      isEnded = /\r\nconnection: close\r\n/i.test(received)
      received = ''
      if (body.length !== length) {
        return fail(new Error(`the response to ${waiter?.line} is too long: ${body}`))
      }
      const answered = waiter
      waiter = undefined
      answered?.resolve({ status, body })
    })
    return dialled
  }

  async function exchange (line: string, headersAndBody: string): Promise<ResponseText> {
    if (isEnded) {
      socket.destroy()
      socket = await dial()
      isEnded = false
    }
    if (socket.destroyed) throw new Error(`the connection was closed before ${line}`)
    return await new Promise((resolve, reject) => {
      waiter = { line, resolve, reject }
      socket.write(`${line} HTTP/1.1\r\nhost: 127.0.0.1:${port}\r\n${headersAndBody}`, 'latin1')
    })
  }
  const headerLines = (headers: Record<string, string>) =>
    Object.entries(headers)
      .map(([name, value]) => `${name}: ${value}\r\n`)
      .join('')
  const send: HttpConnection['send'] = (path, body, headers = {}) => {
    const json = JSON.stringify(body)
    return exchange(
      `POST ${path}`,
      `${headerLines(headers)}content-type: application/json\r\ncontent-length: ${json.length}\r\n\r\n${json}`
    )
  }
  const success = (line: string, { status, body }: ResponseText) => {
    if (status >= 300) throw new Error(`${line} answered ${status}: ${body}`)
    return body
  }
  return {
    get: async (path, headers = {}) =>
      success(`GET ${path}`, await exchange(`GET ${path}`, `${headerLines(headers)}\r\n`)),
    post: async (path, body) => success(`POST ${path}`, await send(path, body)),
    visit: async (path, headers = {}) => await exchange(`GET ${path}`, `${headerLines(headers)}\r\n`),
    async submit (path, fields) {
      const form = new URLSearchParams(fields).toString()
      return success(`POST ${path}`, await exchange(`POST ${path}`,
        `content-type: application/x-www-form-urlencoded\r\ncontent-length: ${form.length}\r\n\r\n${form}`))
    },
    send,
    get isClosed () {
      return socket.destroyed
    },
    close: () => socket.destroy()
  }
}

/** Opens connections to a port, passes them to `work`, and closes them afterwards. */
export async function withConnections<T> (
  port: number,
  count: number,
  work: (connections: HttpConnection[]) => Promise<T>
): Promise<T> {
  const connections = await Promise.all(Array.from({ length: count }, () => openConnection(port)))
  try {
    return await work(connections)
  } finally {
    for (const connection of connections) connection.close()
  }
}
