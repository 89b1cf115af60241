import type pg from 'pg'
import { Problem } from '../http/problem.ts'
import { databaseUnavailable, overloaded } from '../http/problems.ts'
import { beginWith, prepare, ReadOnlyServer, requiredSettings, type Settings } from './connection.ts'
import { createEffectHub, holdEffects, type EffectHub, type Publisher } from './effects.ts'
import { createPool } from './pool.ts'
import { isFault, isStatementLost, leavesConnectionIntact } from './sql-errors.ts'

/** A statement with a name, which is prepared once per connection. */
export interface Statement {
  /** Undefined if a pooler could not keep the statement. */
  name: string | undefined
  text: string
  /** Milliseconds after which the statement and its connection are abandoned, instead of the usual time. */
  query_timeout?: number
}

/** The database or a transaction: both can execute a statement. */
export interface Queryable extends Publisher {
  /**
   * Executes a statement and returns its rows. Throws `database_unavailable` if the database failed (it is
   * then unknown whether the statement took effect), `overloaded` if too many requests wait for a connection,
   * and the driver's error if the statement is at fault.
   */
  query: <Row extends object>(statement: Statement | string, values?: readonly unknown[]) => Promise<Row[]>
}

export interface Database extends Queryable, EffectHub {
  /**
   * Runs `work` in a transaction. Commits it, publishes its effects and waits for their listeners, or rolls
   * back if `work` throws.
   */
  transaction: <T>(work: (tx: Queryable) => Promise<T>) => Promise<T>
  /** How many connections the pool has, and how many requests wait for one. */
  readonly connections: { total: number, idle: number, waiting: number }
  end: () => Promise<void>
}

export interface DatabaseOptions {
  url: string
  /** The maximum number of connections. */
  connections?: number
  /** How long a statement may wait for a lock; 250 ms by default. */
  lockTimeoutMs?: number | undefined
  /** Called with errors of idle connections, which the pool replaces by itself, and of effect listeners. */
  onError?: (error: unknown) => void
}

// The server ends a statement within 5 s. A statement waits for a lock only briefly, so that requests that
// wait for one account do not hold all connections.
const defaultLockTimeoutMs = 250
const serviceSettings: Settings = {
  ...requiredSettings, statement_timeout: '5s', idle_in_transaction_session_timeout: '10s'
}

// Another request would not get a connection in time.
const maxWaitingRequests = 1_000

/** Creates a pool of connections to Postgres. Each connection is opened when it is first needed. */
export function connect (options: DatabaseOptions): Database {
  const { url, connections = 10, onError = () => {} } = options
  const { lockTimeoutMs = defaultLockTimeoutMs } = options
  const settings = { ...serviceSettings, lock_timeout: `${lockTimeoutMs}ms` }
  const { pool, checkOut, hasSeveralServers } = createPool({ url, connections, prepareClient, onError })
  const hub = createEffectHub(onError)
  const direct = new WeakSet<pg.ClientBase>()
  // A connection that lost a prepared statement, or knew one of another session, goes through a pooler that
  // could not be recognized.
  let isPooled = false
  const begin = (client: pg.ClientBase) => isDirect(client) ? 'begin' : beginWith(settings)
  const isDirect = (client: pg.ClientBase) => !isPooled && direct.has(client)

  async function prepareClient (client: pg.ClientBase) {
    const state = await prepare(client, settings)
    if (state.isReadOnly && hasSeveralServers) throw new ReadOnlyServer()
    if (!state.isPooled) direct.add(client)
  }

  async function withConnection<T> (work: (client: pg.PoolClient) => Promise<T>): Promise<T> {
    if (pool.waitingCount >= maxWaitingRequests) {
      throw overloaded(1, 'too many requests wait for a database connection')
    }
    let client: pg.PoolClient
    try {
      client = await checkOut()
    } catch (error) {
      throw databaseUnavailable(error)
    }
    try {
      const result = await work(client)
      client.release()
      return result
    } catch (error) {
      const fault = isFault(error)
      isPooled ||= isStatementLost(error)
      client.release(fault && !leavesConnectionIntact(error))
      throw fault ? databaseUnavailable(error) : error
    }
  }

  async function inTransaction<T> (client: pg.PoolClient, work: () => Promise<T>): Promise<T> {
    await client.query(begin(client))
    try {
      const result = await work()
      await client.query('commit')
      return result
    } catch (error) {
      if (!isFault(error) || leavesConnectionIntact(error)) await client.query('rollback')
      throw error
    }
  }

  // Through a pooler, only a transaction keeps its settings.
  async function runAlone<Row extends object> (
    statement: Statement | string, values: readonly unknown[]
  ): Promise<Row[]> {
    return await withConnection(async client => isDirect(client)
      ? await run<Row>(client, statement, values)
      : await inTransaction(client, async () => await run<Row>(client, withoutName(statement), values)))
  }

  return {
    publish: hub.publish,
    subscribe: hub.subscribe,
    async query (statement, values = []) {
      try {
        return await runAlone(statement, values)
      } catch (error) {
        if (!(error instanceof Problem) || !isStatementLost(error.cause)) throw error
        // The statement was not executed.
        return await runAlone(statement, values)
      }
    },
    async transaction (work) {
      const { publish, release } = holdEffects(hub)
      const result = await withConnection(async client => {
        const query: Queryable['query'] = (statement, values = []) =>
          run(client, isDirect(client) ? statement : withoutName(statement), values)
        return await inTransaction(client, async () => await work({ query, publish }))
      })
      // A listener may need a connection, so this one is free again.
      await release()
      return result
    },
    get connections () {
      return { total: pool.totalCount, idle: pool.idleCount, waiting: pool.waitingCount }
    },
    end: () => pool.end()
  }
}

/** Throws `database_unavailable` if the database does not respond. */
export const ping = async (db: Queryable) => { await db.query('select 1') }

const withoutName = (statement: Statement | string): Statement | string =>
  typeof statement === 'string' ? statement : { ...statement, name: undefined }

async function run<Row extends object> (
  client: pg.PoolClient, statement: Statement | string, values: readonly unknown[]
): Promise<Row[]> {
  const query = typeof statement === 'string' ? { text: statement } : statement
  const { rows } = await client.query<Row>({ ...query, values: [...values] })
  return rows
}

/** Lets the statements of this transaction wait this many milliseconds for locks. */
export async function allowLockWait (tx: Queryable, milliseconds: number): Promise<void> {
  await tx.query("select set_config('lock_timeout', $1, true)", [`${milliseconds}ms`])
}
