import { setTimeout as pause } from 'node:timers/promises'
import { openConnection, type HttpConnection } from './connection.ts'

/**
 * Starts `work` at a fixed rate per second, whether or not earlier work is done. A closed loop would send
 * less to a server that stalls, and so hide the stall. Returns the outcome of each, and its milliseconds
 * since it was due.
 */
export async function runOpenLoop<T> (
  rate: number, seconds: number, work: (index: number) => Promise<T>
): Promise<Array<{ ms: number, outcome: T }>> {
  const startedAt = performance.now()
  const all: Array<Promise<{ ms: number, outcome: T }>> = []
  const count = Math.round(rate * seconds)
  while (all.length < count) {
    for (let now = performance.now(); all.length < count && startedAt + all.length * 1_000 / rate <= now;) {
      const due = startedAt + all.length * 1_000 / rate
      const answered = work(all.length).then(outcome => ({ ms: performance.now() - due, outcome }))
      // `Promise.all` reports the error at the end.
      answered.catch(() => {})
      all.push(answered)
    }
    await pause(1)
  }
  return await Promise.all(all)
}

/** A pool of connections to a port, which grows as needed. Each connection carries one request at a time. */
export function connectionPool (port: number) {
  const idle: HttpConnection[] = []
  return {
    async use<T> (work: (connection: HttpConnection) => Promise<T>): Promise<T> {
      // The connection that was idle longest comes first, so that none is idle until the server closes it.
      let connection = idle.shift()
      while (connection?.isClosed) connection = idle.shift()
      connection ??= await openConnection(port)
      const result = await work(connection)
      idle.push(connection)
      return result
    },
    close () { for (const connection of idle) connection.close() }
  }
}

/** Returns the value that the fraction `share` of the values does not exceed. */
export function percentile (values: readonly number[], share: number): number {
  const sorted = [...values].sort((one, other) => one - other)
  return sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)] ?? NaN
}
