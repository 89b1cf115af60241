import { setTimeout as pause } from 'node:timers/promises'
import pg from 'pg'
import { limits } from './database.ts'

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
export async function listen (options: ListenOptions): Promise<void> {
  const { onError, signal } = options
  while (!signal.aborted) {
    await connection(options).catch(error => { if (!signal.aborted) onError(error) })
    await pause(again, undefined, { signal, ref: false }).catch(() => {})
  }
}

/** One connection, until it is lost: then this throws. */
async function connection ({ url, channels, onNotification, signal }: ListenOptions): Promise<void> {
  const client = new pg.Client({ connectionString: url, keepAlive: true, application_name: 'latchkey listen', ...limits })
  const over = new AbortController()
  let check: NodeJS.Timeout | undefined
  try {
    await new Promise<never>((_resolve, reject) => {
      signal.addEventListener('abort', () => reject(signal.reason), { signal: over.signal })
      client.on('error', reject)
      client.on('end', () => reject(new Error('the connection has ended')))
      client.on('notification', ({ channel }) => onNotification(channel))
      const begin = async () => {
        await client.connect()
        for (const channel of channels) await client.query(`listen ${client.escapeIdentifier(channel)}`)
        for (const channel of channels) onNotification(channel)
      }
      begin().catch(reject)
      // A connection can be dead without a word.
      check = setInterval(() => { client.query('select 1').catch(reject) }, checkEvery)
      check.unref()
    })
  } finally {
    over.abort()
    clearInterval(check)
    client.end().catch(() => {})
  }
}
