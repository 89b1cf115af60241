import { Redis, type Result } from 'ioredis'
import type { Count } from './local.ts'

declare module 'ioredis' {
  interface RedisCommander<Context> {
    countRequest: (key: string, window: number) => Result<[current: number, ttl: number], Context>
  }
}

/** A connection to Redis that has counted already, and is of no use any more after its first failure. */
export interface Connection {
  /** Counts one request in a window of as many milliseconds; a failure, such as no answer in 100 ms, loses the connection. */
  count: (key: string, window: number) => Promise<Count>
  /** Fulfilled with the reason when the connection is lost, or the signal given. */
  lost: Promise<unknown>
}

const prefix = 'latchkey:rate:'
// Milliseconds: for an answer, and for a connection with its first answer.
const patience = 100
const attempt = 1_000
const closed = 'the connection was closed'

// A key that has lost its expiry gets one again.
const lua = `
  local current = redis.call('INCR', KEYS[1])
  local ttl = redis.call('PTTL', KEYS[1])
  if ttl < 0 then
    redis.call('PEXPIRE', KEYS[1], ARGV[1])
    ttl = tonumber(ARGV[1])
  end
  return { current, ttl }`

/** A connection to the Redis at a URL, within a second. Throws the reason where there is none, or it cannot count. */
export async function connect (url: string, signal: AbortSignal): Promise<Connection> {
  const redis = new Redis(url, {
    lazyConnect: true,
    connectionName: 'latchkey',
    disableClientInfo: true,
    enableReadyCheck: false,
    enableOfflineQueue: false,
    retryStrategy: null,
    connectTimeout: attempt,
    // What is given up is not waited for: requests wait for it.
    disconnectTimeout: 0,
    scripts: { countRequest: { lua, numberOfKeys: 1 } }
  })
  let isLost = false
  let tell = (_reason: unknown) => {}
  const lost = new Promise<unknown>(resolve => { tell = resolve })
  const lose = (reason: unknown) => {
    if (isLost) return
    isLost = true
    tell(reason)
    redis.disconnect()
  }
  const abort = () => lose(signal.reason)
  signal.addEventListener('abort', abort)
  redis.on('error', (error: unknown) => lose(error))
  redis.once('end', () => {
    lose(new Error(closed))
    signal.removeEventListener('abort', abort)
  })

  const count = async (key: string, window: number): Promise<Count> => {
    const [current, ttl] = await redis.countRequest(prefix + key, window)
    return { current, ttl }
  }
  try {
    // Whoever gets a connection may still not write: to a replica, to one that is full, as a user without the right.
    await inTime(attempt, redis.connect().then(async () => await count('probe', attempt)))
  } catch (error) {
    lose(error)
    // What `connect` throws is only that the connection was closed.
    throw await lost
  }
  return {
    async count (key, window) {
      try {
        return await inTime(patience, count(key, window))
      } catch (error) {
        lose(redis.stream.writable ? error : new Error(closed))
        throw error
      }
    },
    lost
  }
}

/** What the promise gives, where it comes within as many milliseconds. */
const inTime = async <T>(milliseconds: number, promise: Promise<T>) => await new Promise<T>((resolve, reject) => {
  // After a pause of the whole process its timers come before the answers that are there: those are read first.
  const timer = setTimeout(() => setImmediate(() => reject(new Error(`no answer in ${milliseconds} ms`))), milliseconds)
  promise.then(resolve, reject).finally(() => clearTimeout(timer))
})
