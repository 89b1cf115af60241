import pg from 'pg'
import { databaseUnavailable, overloaded } from '../http/problem.ts'
import { createEffectHub, holdEffects, type EffectHub, type Publisher } from './effects.ts'

/** A statement with a name is prepared once per connection; given up, with its connection, after `query_timeout` milliseconds instead of the usual time. */
export interface Statement { name: string, text: string, query_timeout?: number }

/** Whatever takes a statement: the database, or a transaction of it. */
export interface Queryable extends Publisher {
  /**
   * The rows of a statement. Throws `database_unavailable` if the fault is the database's (then whether the
   * statement took effect is unknown), `overloaded` if too many wait for a connection, and the driver's error if
   * the fault is the statement's.
   */
  query: <Row extends object>(statement: Statement | string, values?: readonly unknown[]) => Promise<Row[]>
}

export interface Database extends Queryable, EffectHub {
  /** Commits what `work` did, then publishes its effects. Commits and publishes nothing if `work` throws. */
  transaction: <T>(work: (tx: Queryable) => Promise<T>) => Promise<T>
  /** Of the pool, and how many requests wait for one. */
  readonly connections: { total: number, idle: number, waiting: number }
  end: () => Promise<void>
}

export interface DatabaseOptions {
  url: string
  /** Connections at most. */
  connections?: number
  /** Milliseconds that a statement may wait for a lock; a quarter of a second unless given. */
  lockTimeoutMs?: number
  /** Told of the errors of idle connections, which the pool replaces by itself, and of effect listeners. */
  onError?: (error: unknown) => void
}

// In milliseconds. A request waits 2 s for a connection; a statement ends within 5 s on the server, and is
// given up shortly after on a connection that is frozen. It waits for a lock only briefly: requests that wait for one
// account must not hold all connections, which the other accounts need.
export const limits = {
  connectionTimeoutMillis: 2_000,
  statement_timeout: 5_000,
  lock_timeout: 250,
  idle_in_transaction_session_timeout: 10_000,
  query_timeout: 6_000
}

// Beyond this number a request would not get a connection in time anyway.
const maxWaiting = 1_000

/** Connections to Postgres, made when they are first needed. */
export function connect (options: DatabaseOptions): Database {
  const { url, connections = 10, lockTimeoutMs = limits.lock_timeout, onError = () => {} } = options
  const pool = new pg.Pool({
    connectionString: url,
    max: connections,
    idleTimeoutMillis: 60_000,
    keepAlive: true,
    application_name: 'latchkey',
    ...limits,
    lock_timeout: lockTimeoutMs
  })
  pool.on('error', onError)
  const hub = createEffectHub(onError)
  // Without a listener, the error of a connection that is checked out would end the process.
  pool.on('connect', client => client.on('error', () => {}))

  async function checkedOut<T> (work: (client: pg.PoolClient) => Promise<T>): Promise<T> {
    if (pool.waitingCount >= maxWaiting) throw overloaded(1, 'too many requests wait for a database connection')
    let client: pg.PoolClient
    try {
      client = await pool.connect()
    } catch (error) {
      throw databaseUnavailable(error)
    }
    try {
      const result = await work(client)
      client.release()
      return result
    } catch (error) {
      const fault = isFault(error)
      client.release(fault && !leavesConnectionIntact(error))
      throw fault ? databaseUnavailable(error) : error
    }
  }

  return {
    ...hub,
    query: (statement, values = []) => checkedOut(client => run(client, statement, values)),
    transaction: work => checkedOut(async client => {
      const { publish, release } = holdEffects(hub)
      await client.query('begin')
      try {
        const result = await work({ query: (statement, values = []) => run(client, statement, values), publish })
        await client.query('commit')
        release()
        return result
      } catch (error) {
        if (!isFault(error) || leavesConnectionIntact(error)) await client.query('rollback')
        throw error
      }
    }),
    get connections () { return { total: pool.totalCount, idle: pool.idleCount, waiting: pool.waitingCount } },
    end: () => pool.end()
  }
}

/** Throws `database_unavailable` unless the database answers. */
export const ping = async (db: Queryable) => { await db.query('select 1') }

async function run<Row extends object> (client: pg.PoolClient, statement: Statement | string, values: readonly unknown[]): Promise<Row[]> {
  const { rows } = await client.query<Row>(typeof statement === 'string' ? { text: statement, values: [...values] } : { ...statement, values: [...values] })
  return rows
}

// SQLSTATE classes and codes that say nothing about the statement: connection (08), authorisation (28), no such
// database (3D), read-only after a failover (25006), conflict (40), resources (53), limits reached (54),
// a lock not had in time (55P03), intervention by the operator (57), system (58), a schema not yet migrated
// (3F000, 42P01, 42703, 42883), a privilege that the role lacks (42501), a prepared statement that the schema
// or a pooler left behind (0A000, 26000; 42804 if a function returns the row of a table that was altered since),
// internal (XX).
const faults = /^(08|28|3D|3F000|25006|40|53|54|55P03|57|58|42501|42P01|42703|42804|42883|0A000|26000|XX)/

/** Whether an error is the database's fault and not the statement's. */
export function isFault (error: unknown): boolean {
  if (!(error instanceof Error)) return false
  if (error instanceof pg.DatabaseError) return faults.test(error.code ?? '')
  // Whatever else the driver throws comes from the connection (or, as a TypeError, from our own code).
  return 'code' in error ? /^(E[A-Z]+|ERR_SSL|CERT|DEPTH|SELF|UNABLE)/.test(String(error.code)) : /terminat|timeout|not queryable|ended|SSL|SASL/i.test(error.message)
}

/** Whether a statement gave up because it did not get a lock in time. */
export const isLockTimeout = (error: unknown) => error instanceof pg.DatabaseError && error.code === '55P03'

// Whether a fault ended only the statement. A new connection after each lock timeout, deadlock or
// serialization failure would make contention for one row much more expensive.
const leavesConnectionIntact = (error: unknown) =>
  error instanceof pg.DatabaseError && /^(55P03|40P01|40001)$/.test(error.code ?? '')

/** Lets the statements of this transaction wait this long for locks. */
export async function allowLockWait (tx: Queryable, milliseconds: number): Promise<void> {
  await tx.query("select set_config('lock_timeout', $1, true)", [`${milliseconds}ms`])
}

/** Whether an insert or update failed on the unique constraint of this name. */
export const violates = (error: unknown, constraint: string) =>
  error instanceof pg.DatabaseError && error.code === '23505' && error.constraint === constraint
