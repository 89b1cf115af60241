import { setTimeout as pause } from 'node:timers/promises'
import pg from 'pg'
import { open, requiredSettings } from './connection.ts'

export interface ListenOptions {
  url: string
  channels: readonly string[]
  /**
   * Called with a channel when a notification arrives on it. Called with each channel when a connection is
   * made, because notifications may have been lost before.
   */
  onNotification: (channel: string) => void
  onError: (error: unknown) => void
  /** Called once if notifications cannot arrive, because the URL leads through a pooler. */
  onPooled: () => void
  signal: AbortSignal
}

const reconnectDelayMs = 500
const checkIntervalMs = 5_000
const checkTimeout = { query_timeout: 5_000 }
const connectTimeoutMs = 2_000
const settings = { ...requiredSettings, statement_timeout: '5s' }

/**
 * Listens for notifications of Postgres on a connection of its own, until `signal` is aborted. Reconnects
 * whenever the connection is lost. Gives up behind a pooler, where LISTEN would stay on another connection.
 */
export async function listen (options: ListenOptions): Promise<void> {
  const { onError, onPooled, signal } = options
  while (!signal.aborted) {
    const outcome = await listenOnce(options).catch((error: unknown) => {
      if (!signal.aborted) onError(error)
    })
    if (outcome === 'pooled') {
      onPooled()
      return
    }
    await pause(reconnectDelayMs, undefined, { signal, ref: false }).catch(() => {})
  }
}

/** Listens on a new connection. Throws when it is lost, and returns if it goes through a pooler. */
async function listenOnce (options: ListenOptions): Promise<'pooled'> {
  const { url, signal } = options
  const opening = open(url, { applicationName: 'latchkey listen', connectTimeoutMs, settings })
  const { client, state } = await unlessAborted(opening, signal)
  if (!state.isPooled) return await listenOn(client, options)
  await client.end()
  return 'pooled'
}

/** Waits for a connection, but not longer than until `signal` is aborted. */
async function unlessAborted (opening: ReturnType<typeof open>, signal: AbortSignal) {
  const done = new AbortController()
  const aborted = new Promise<never>((_resolve, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason), { signal: done.signal })
  })
  try {
    return await Promise.race([opening, aborted])
  } catch (error) {
    opening.then(({ client }) => client.end(), () => {}).catch(() => {})
    throw error
  } finally {
    done.abort()
  }
}

/** Listens on one connection. Throws when it is lost. */
async function listenOn (
  client: pg.Client, { channels, onNotification, signal }: ListenOptions
): Promise<never> {
  const closed = new AbortController()
  let checkTimer: NodeJS.Timeout | undefined
  try {
    return await new Promise<never>((_resolve, reject) => {
      signal.throwIfAborted()
      signal.addEventListener('abort', () => reject(signal.reason), { signal: closed.signal })
      client.on('error', reject)
      client.on('end', () => reject(new Error('the connection has ended')))
      client.on('notification', ({ channel }) => onNotification(channel))
      const check = async () => await client.query({ text: 'select 1', ...checkTimeout })
      const start = async () => {
        for (const channel of channels) await client.query(`listen ${client.escapeIdentifier(channel)}`)
        for (const channel of channels) onNotification(channel)
      }
      start().catch(reject)
      // A dead connection may report no error until it is used.
      checkTimer = setInterval(() => { check().catch(reject) }, checkIntervalMs)
      checkTimer.unref()
    })
  } finally {
    closed.abort()
    clearInterval(checkTimer)
    client.end().catch(() => {})
  }
}
