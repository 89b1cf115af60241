import { setTimeout as pause } from 'node:timers/promises'
import { open, type Connection } from './connection.ts'

/**
 * Has `work` begun so often a second, by a schedule and not when the one before was answered: a server that hesitates
 * would else be asked less. Gives each one's milliseconds from when it was due, and what came of it.
 */
export async function arrivals<T> (rate: number, seconds: number, work: (index: number) => Promise<T>): Promise<Array<{ ms: number, outcome: T }>> {
  const begun = performance.now()
  const all: Array<Promise<{ ms: number, outcome: T }>> = []
  const count = Math.round(rate * seconds)
  while (all.length < count) {
    for (let now = performance.now(); all.length < count && begun + all.length * 1_000 / rate <= now;) {
      const due = begun + all.length * 1_000 / rate
      const answered = work(all.length).then(outcome => ({ ms: performance.now() - due, outcome }))
      // Told at the end.
      answered.catch(() => {})
      all.push(answered)
    }
    await pause(1)
  }
  return await Promise.all(all)
}

/** Connections to a port, as many as are needed at a time, each for one request at a time. */
export function connections (port: number) {
  const idle: Connection[] = []
  return {
    async use<T> (work: (connection: Connection) => Promise<T>): Promise<T> {
      // The one that rested longest: as long as there is much to do, none is left so long that the server would close it.
      let connection = idle.shift()
      while (connection?.closed) connection = idle.shift()
      connection ??= await open(port)
      const result = await work(connection)
      idle.push(connection)
      return result
    },
    close () { for (const connection of idle) connection.close() }
  }
}

/** What so large a share of the values does not exceed. */
export function percentile (values: readonly number[], share: number): number {
  const sorted = [...values].sort((one, other) => one - other)
  return sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)] ?? NaN
}
