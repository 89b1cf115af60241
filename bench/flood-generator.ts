import http from 'node:http'
import net from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'
import { answer } from './baseline.ts'

export interface FloodRequest {
  method: string
  path: string
  headers?: Record<string, string>
  body?: object
}

/** A flood of requests. They are sent in turn, as fast as the connections allow. */
export interface FloodOptions {
  port: number
  seconds: number
  connections: number
  /** The number of networks, at most 256. Their addresses begin with `prefix`. */
  networks: number
  prefix: string
  requests: FloodRequest[]
  /** How many copies of the first request each connection sends without waiting for a response. */
  pipelined?: number
}

/** The number of responses by status. A request without a response counts as status 0. */
export type ResponseCounts = Record<string, number>

answer<FloodOptions>(async (flood): Promise<ResponseCounts> => {
  const counts: ResponseCounts = {}
  const count = (status: number) => { counts[status] = (counts[status] ?? 0) + 1 }
  const send = flood.pipelined === undefined ? sendInTurn : sendPipelined
  await send(flood, count, performance.now() + flood.seconds * 1_000)
  return counts
})

const networkOf = ({ prefix, networks }: FloodOptions, index: number) => `${prefix}.0.${index % networks}`

async function sendInTurn (
  flood: FloodOptions,
  count: (status: number) => void,
  until: number
): Promise<void> {
  const agent = new http.Agent({ keepAlive: true, maxSockets: flood.connections })
  let sent = 0
  await Promise.all(
    Array.from({ length: flood.connections }, async () => {
      while (performance.now() < until) {
        const index = sent++
        const request = flood.requests[index % flood.requests.length]
        const status = request ? await exchange(agent, flood.port, request, networkOf(flood, index)) : 0
        count(status)
        // Without a pause, connections that are closed at once would keep this process busy.
        if (status === 0) await pause(10)
      }
    })
  )
  agent.destroy()
}

function exchange (
  agent: http.Agent,
  port: number,
  { method, path, headers, body }: FloodRequest,
  network: string
): Promise<number> {
  return new Promise(resolve => {
    const text = body === undefined ? undefined : JSON.stringify(body)
    const sent = {
      'x-forwarded-for': network,
      ...(text !== undefined && { 'content-type': 'application/json', 'content-length': text.length }),
      ...headers
    }
    const request = http.request(
      { agent, port, host: '127.0.0.1', method, path, headers: sent },
      response => {
        response.resume().on('close', () => resolve(response.statusCode ?? 0))
      }
    )
    request.on('error', () => resolve(0)).end(text)
  })
}

async function sendPipelined (
  flood: FloodOptions, count: (status: number) => void, until: number
): Promise<void> {
  const { port, connections, pipelined = 1, requests: [first] } = flood
  if (!first) return
  await Promise.all(Array.from({ length: connections }, async (_, index) => {
    while (performance.now() < until) {
      const headers = Object.entries({
        host: '127.0.0.1',
        'x-forwarded-for': networkOf(flood, index),
        ...first.headers
      })
      const lines = headers.map(([name, value]) => `${name}: ${value}\r\n`).join('')
      const burst = `${first.method} ${first.path} HTTP/1.1\r\n${lines}\r\n`.repeat(pipelined)
      await new Promise<void>(resolve => {
        const socket = net.connect(port, '127.0.0.1')
        const timer = setTimeout(() => socket.destroy(), Math.max(0, until - performance.now()))
        let answered = 0
        socket.setEncoding('latin1').on('data', (chunk: string) => {
          for (const [, status] of chunk.matchAll(/HTTP\/1\.1 (\d{3}) /g)) {
            count(Number(status))
            answered++
          }
          if (answered >= pipelined) socket.destroy()
        })
        socket.on('error', () => {}).on('close', () => {
          clearTimeout(timer)
          resolve()
        })
        socket.write(burst)
      })
    }
  }))
}
