import pg from 'pg'
import { readUrl, type DriverAddress } from './connection.ts'

// A request waits 2 s for a connection. On a frozen connection, a statement is abandoned shortly after the
// server would have ended it.
const connectTimeoutMs = 2_000
const queryTimeoutMs = 6_000
const idleTimeoutMs = 60_000

export interface PoolOptions {
  url: string
  /** The maximum number of connections. */
  connections: number
  /** Prepares a new connection. If it throws, the connection is not used. */
  prepareClient: (client: pg.ClientBase) => Promise<void>
  /** Called with errors of idle connections, which the pool replaces by itself. */
  onError: (error: unknown) => void
}

/** Connections to the servers of a URL, one server after the other. */
export interface ServerPool {
  pool: pg.Pool
  /** Checks a connection out. Goes on to the next server if the current one refuses a new connection. */
  checkOut: () => Promise<pg.PoolClient>
  hasSeveralServers: boolean
}

/** Creates a pool. Each connection is opened when it is first needed. */
export function createPool ({ url, connections, prepareClient, onError }: PoolOptions): ServerPool {
  const { hosts, options } = readUrl(url, { applicationName: 'latchkey', connectTimeoutMs })
  const [firstHost] = hosts
  const pool = new pg.Pool({
    ...options,
    ...firstHost,
    max: connections,
    idleTimeoutMillis: idleTimeoutMs,
    query_timeout: queryTimeoutMs,
    verify: (client, done) => { prepareClient(client).then(() => done(), done) }
  })
  pool.on('error', onError)
  // Without a listener, the error of a connection that is checked out would end the process.
  pool.on('connect', client => client.on('error', () => {}))

  async function checkOut (): Promise<pg.PoolClient> {
    for (let attempt = 1; ; attempt++) {
      const { host, port } = pool.options
      try {
        return await pool.connect()
      } catch (error) {
        if (attempt >= hosts.length || isQueueTimeout(error)) throw error
        const isCurrent = (each: DriverAddress['hosts'][number]) => each?.host === host && each?.port === port
        const next = hosts[(hosts.findIndex(isCurrent) + 1) % hosts.length]
        if (pool.options.host === host && pool.options.port === port) Object.assign(pool.options, next)
      }
    }
  }

  return { pool, checkOut, hasSeveralServers: hosts.length > 1 }
}

// The pool gave this request none of its connections in time. That says nothing about the server.
const isQueueTimeout = (error: unknown) =>
  error instanceof Error && error.message.startsWith('timeout exceeded')
