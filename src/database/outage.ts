import pg from 'pg'
import { Problem } from '../http/problem.ts'
import type { Database, Queryable } from './database.ts'
import { isFault } from './sql-errors.ts'

/** The length of an outage, and its failed attempts. */
export interface OutageReport {
  /** The seconds from the first failure to the first success. */
  seconds: number
  failedAttempts: number
}

export interface OutageOptions {
  /** Called with the first failure of an outage, and with a failure for another reason. */
  onFailure: (error: unknown) => void
  onRecovery: (report: OutageReport) => void
}

// If failures and successes alternate, the outage goes on until this long after the last failure.
const calmMs = 1_000
// A reason with a changing detail must not fill the log.
const maxReasons = 5

/** The outages of the database. Each is reported once, and its failed attempts are counted. */
export class Outage {
  readonly #options: OutageOptions
  readonly #reasons = new Set<string>()
  #beganAt: number | undefined
  #failedAt = 0
  #failedAttempts = 0

  constructor (options: OutageOptions) {
    this.#options = options
  }

  get isOngoing (): boolean {
    return this.#beganAt !== undefined
  }

  /** The log level of a failure that an outage would explain. The outage itself is logged once. */
  get consequenceLevel (): 'debug' | 'warn' {
    return this.isOngoing ? 'debug' : 'warn'
  }

  recordFailure (error: unknown): void {
    this.#failedAt = performance.now()
    this.#beganAt ??= this.#failedAt
    this.#failedAttempts++
    const reason = reasonOf(error)
    if (this.#reasons.has(reason) || this.#reasons.size >= maxReasons) return
    this.#reasons.add(reason)
    this.#options.onFailure(error)
  }

  recordSuccess (): void {
    const now = performance.now()
    if (this.#beganAt === undefined || now - this.#failedAt < calmMs) return
    const report = {
      seconds: Math.round((now - this.#beganAt) / 100) / 10, failedAttempts: this.#failedAttempts
    }
    this.#beganAt = undefined
    this.#failedAttempts = 0
    this.#reasons.clear()
    this.#options.onRecovery(report)
  }
}

/**
 * Returns the kind of failure: the SQLSTATE of a response of the database, or that there is no connection.
 */
function reasonOf (error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  if (error instanceof pg.DatabaseError) return error.code ?? ''
  if (error.cause !== undefined) return reasonOf(error.cause)
  return error instanceof AggregateError || isFault(error) ? 'no connection' : error.message
}

// Contention between statements is no outage: deadlocks and the like (40), a lock not obtained in time
// (55P03), and a statement that was too slow (57014).
const contention = /^(40|55P03|57014)/

/** Returns why the database is unavailable, if that is why a statement failed. */
function outageReason (error: unknown): unknown {
  if (!(error instanceof Problem) || error.code !== 'database_unavailable') return undefined
  const { cause } = error
  const isContention = cause instanceof pg.DatabaseError && contention.test(cause.code ?? '')
  return isContention ? undefined : cause
}

/** Wraps a database so that its failures and successes are recorded. */
export function recordOutages (db: Database, outage: Outage): Database {
  async function record<Result> (work: Promise<Result>): Promise<Result> {
    try {
      const result = await work
      outage.recordSuccess()
      return result
    } catch (error) {
      const reason = outageReason(error)
      if (reason !== undefined) outage.recordFailure(reason)
      throw error
    }
  }
  return {
    publish: db.publish,
    subscribe: db.subscribe,
    query: async <Row extends object>(...args: Parameters<Queryable['query']>) =>
      await record(db.query<Row>(...args)),
    transaction: async work => await record(db.transaction(work)),
    get connections () { return db.connections },
    end: async () => await db.end()
  }
}
