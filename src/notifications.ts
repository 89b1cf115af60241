import { setTimeout as pause } from 'node:timers/promises'
import pg from 'pg'
import { limits } from './db.ts'

export interface ListenOptions {
  url: string
  channels: readonly string[]
  /** Told of a channel that something came on; and of each of them when a connection is made, for something may have been missed. */
  onNotification: (channel: string) => void
  onError: (error: unknown) => void
  signal: AbortSignal
}

// Milliseconds.
const again = 500
const checkEvery = 5_000

/** Hears what Postgres notifies of, on a connection of its own that is made again whenever it is lost, until `signal`. */
export async function listen ({ url, channels, onNotification, onError, signal }: ListenOptions): Promise<void> {
  while (!signal.aborted) {
    const client = new pg.Client({ connectionString: url, keepAlive: true, application_name: 'latchkey listen', ...limits })
    const lost = new Promise<never>((_resolve, reject) => {
      client.on('error', reject)
      client.on('end', () => reject(new Error('the connection has ended')))
      signal.addEventListener('abort', () => reject(signal.reason), { once: true })
    })
    lost.catch(() => {})
    try {
      await Promise.race([client.connect(), lost])
      client.on('notification', ({ channel }) => onNotification(channel))
      for (const channel of channels) await client.query(`listen ${client.escapeIdentifier(channel)}`)
      for (const channel of channels) onNotification(channel)
      // A connection can be dead without a word.
      for (;;) {
        await Promise.race([pause(checkEvery, undefined, { ref: false }), lost])
        await Promise.race([client.query('select 1'), lost])
      }
    } catch (error) {
      if (!signal.aborted) onError(error)
    } finally {
      client.end().catch(() => {})
    }
    await pause(again, undefined, { signal, ref: false }).catch(() => {})
  }
}
