import { setTimeout as pause } from 'node:timers/promises'
import { retry } from '../../jobs/retry.ts'
import type { Count } from './local.ts'
import { connect, type Connection } from './redis.ts'

export interface SharedCounts {
  /** Counts one request in a window of as many milliseconds; undefined where Redis is away, or has no answer in 100 ms. */
  add: (key: string, window: number) => Promise<Count | undefined>
  readonly available: boolean
  /** Fulfilled when the first attempt to connect is over, however it went. */
  settled: Promise<void>
  close: () => Promise<void>
}

export interface Listeners {
  /** Told once when Redis is away, with the reason. */
  onAway: (reason: unknown) => void
  /** Told once when it is back, with the seconds that it was away. */
  onBack: (seconds: number) => void
}

// Milliseconds between two attempts to connect.
const again = 1_000

/**
 * What all instances on one Redis have counted together. After one failure nobody asks it any more, until a connection
 * that is made in the background, an attempt a second, has counted.
 */
export function sharedCounts (url: string, { onAway, onBack }: Listeners): SharedCounts {
  const closing = new AbortController()
  const { signal } = closing
  let connection: Connection | undefined
  let awaySince: number | undefined

  const away = (reason: unknown) => {
    connection = undefined
    if (signal.aborted || awaySince !== undefined) return
    awaySince = performance.now()
    onAway(reason)
  }
  async function run (onAttempt: () => void) {
    for (;;) {
      connection = await retry(async () => await connect(url, signal).finally(onAttempt), { intervalMs: again, signal, isFinal: () => false, onFailure: away })
      if (awaySince !== undefined) onBack((performance.now() - awaySince) / 1_000)
      awaySince = undefined
      away(await connection.lost)
      await pause(again, undefined, { signal, ref: false })
    }
  }
  let running: Promise<void> | undefined
  // It ends by the signal alone.
  const settled = new Promise<void>(resolve => { running = run(resolve).catch(() => {}) })

  return {
    async add (key, window) {
      // The failure itself is told by the connection that it loses.
      return await connection?.count(key, window).catch(() => undefined)
    },
    get available () { return connection !== undefined },
    settled,
    async close () {
      closing.abort()
      await running
    }
  }
}
