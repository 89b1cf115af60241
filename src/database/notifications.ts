import { setTimeout as pause } from 'node:timers/promises'
import pg from 'pg'
import { connectionTimeouts } from './database.ts'

export interface ListenOptions {
  url: string
  channels: readonly string[]
  /**
   * Called with a channel when a notification arrives on it. Called with each channel when a connection is
   * made, because notifications may have been lost before.
   */
  onNotification: (channel: string) => void
  onError: (error: unknown) => void
  signal: AbortSignal
}

const reconnectDelayMs = 500
const checkIntervalMs = 5_000

/**
 * Listens for notifications of Postgres on a connection of its own, until `signal` is aborted. Reconnects
 * whenever the connection is lost.
 */
export async function listen (options: ListenOptions): Promise<void> {
  const { onError, signal } = options
  while (!signal.aborted) {
    await listenOnce(options).catch(error => { if (!signal.aborted) onError(error) })
    await pause(reconnectDelayMs, undefined, { signal, ref: false }).catch(() => {})
  }
}

/** Listens on one connection. Throws when it is lost. */
async function listenOnce ({ url, channels, onNotification, signal }: ListenOptions): Promise<void> {
  const client = new pg.Client({
    connectionString: url, keepAlive: true, application_name: 'latchkey listen', ...connectionTimeouts
  })
  const closed = new AbortController()
  let checkTimer: NodeJS.Timeout | undefined
  try {
    await new Promise<never>((_resolve, reject) => {
      signal.addEventListener('abort', () => reject(signal.reason), { signal: closed.signal })
      client.on('error', reject)
      client.on('end', () => reject(new Error('the connection has ended')))
      client.on('notification', ({ channel }) => onNotification(channel))
      const start = async () => {
        await client.connect()
        for (const channel of channels) await client.query(`listen ${client.escapeIdentifier(channel)}`)
        for (const channel of channels) onNotification(channel)
      }
      start().catch(reject)
      // A dead connection may report no error until it is used.
      checkTimer = setInterval(() => { client.query('select 1').catch(reject) }, checkIntervalMs)
      checkTimer.unref()
    })
  } finally {
    closed.abort()
    clearInterval(checkTimer)
    client.end().catch(() => {})
  }
}
