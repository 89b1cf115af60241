import { once } from 'node:events'
import { createServer, type IncomingHttpHeaders, type IncomingMessage, type ServerResponse } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { TLSSocket } from 'node:tls'
import type { Certificate } from './certificates.ts'
import type { Teardown } from './app.ts'
import { waitUntil } from './polling.ts'

export interface Received {
  id: string
  headers: IncomingHttpHeaders
  text: string
  type: string
  timestamp: string
  data: Record<string, unknown>
  /** The name that the server was asked for by TLS, where it was. */
  servername: string | undefined
}

export interface Receiver {
  url: string
  /** Every request so far. */
  requests: Received[]
  /** How many connections were made. */
  connections: () => number
  /** How requests are answered, from now on; 204 unless it is told otherwise. */
  answer: (how: (request: Received, response: ServerResponse) => void) => void
  /** Waits until there are so many requests, and gives them. */
  received: (count: number) => Promise<Received[]>
}

/** A server that takes webhooks, on the loopback address; with a certificate over TLS alone. */
export async function receiver (t: Teardown, certificate?: Certificate): Promise<Receiver> {
  const requests: Received[] = []
  let connections = 0
  let how: Parameters<Receiver['answer']>[0] = (_request, response) => { response.writeHead(204).end() }
  const listener = (request: IncomingMessage, response: ServerResponse) => {
    const chunks: Buffer[] = []
    request.on('data', chunk => { chunks.push(chunk) }).on('end', () => {
      const text = Buffer.concat(chunks).toString()
      const received = { id: String(request.headers['webhook-id']), headers: request.headers, text, servername: request.socket instanceof TLSSocket ? String(request.socket.servername) : undefined, ...JSON.parse(text) }
      requests.push(received)
      how(received, response)
    })
  }
  const server = (certificate ? createTlsServer(certificate, listener) : createServer(listener)).on('connection', () => { connections++ }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => { server.close(); server.closeAllConnections() })
  return {
    url: `${certificate ? 'https' : 'http'}://127.0.0.1:${(server.address() as AddressInfo).port}/hook`,
    requests,
    connections: () => connections,
    answer: change => { how = change },
    received: async count => await waitUntil(() => `${count} requests; there are ${requests.length}`, () => requests.length >= count && requests)
  }
}
