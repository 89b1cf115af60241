import { once } from 'node:events'
import { createServer, type IncomingHttpHeaders, type IncomingMessage, type ServerResponse } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { TLSSocket } from 'node:tls'
import type { Certificate } from './certificates.ts'
import { waitUntil } from './polling.ts'
import type { Teardown } from './teardown.ts'

export interface ReceivedWebhook {
  id: string
  headers: IncomingHttpHeaders
  text: string
  type: string
  timestamp: string
  data: Record<string, unknown>
  /** The name that the client asked for (SNI), over TLS. */
  servername: string | undefined
}

export interface Receiver {
  url: string
  /** All requests so far. */
  requests: ReceivedWebhook[]
  /** The number of connections so far. */
  connections: () => number
  /** Sets how requests are answered from now on, instead of with 204. */
  answer: (how: (request: ReceivedWebhook, response: ServerResponse) => void) => void
  /** Waits for this number of requests and returns them. */
  received: (count: number) => Promise<ReceivedWebhook[]>
}

/**
 * Starts a server for webhooks and logout tokens on the loopback address, on a free port unless one is given.
 * With a certificate, it speaks only TLS.
 */
export async function receiver (t: Teardown, certificate?: Certificate, port = 0): Promise<Receiver> {
  const requests: ReceivedWebhook[] = []
  let connections = 0
  let how: Parameters<Receiver['answer']>[0] = (_request, response) => { response.writeHead(204).end() }
  const listener = (request: IncomingMessage, response: ServerResponse) => {
    const chunks: Buffer[] = []
    request.on('data', chunk => { chunks.push(chunk) }).on('end', () => {
      const text = Buffer.concat(chunks).toString()
      const { headers, socket } = request
      const servername = socket instanceof TLSSocket ? String(socket.servername) : undefined
      const content = headers['content-type'] === 'application/json' ? JSON.parse(text) : {}
      const received = { id: String(headers['webhook-id']), headers, text, servername, ...content }
      requests.push(received)
      how(received, response)
    })
  }
  const server = certificate ? createTlsServer(certificate, listener) : createServer(listener)
  server.on('connection', () => { connections++ }).listen(port, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => { server.close(); server.closeAllConnections() })
  return {
    url: `${certificate ? 'https' : 'http'}://127.0.0.1:${(server.address() as AddressInfo).port}/hook`,
    requests,
    connections: () => connections,
    answer: change => {
      how = change
    },
    received: async count =>
      await waitUntil(
        () => `${count} requests; there are ${requests.length}`,
        () => requests.length >= count && requests
      )
  }
}
