// Counts the requests of the rate limit (plugins/rate-limit.ts), for all instances together.
//
// rate-limiter-flexible counts in Redis, and ioredis reconnects. This file adds what neither does. The
// limiter's insurance waits for Redis again at every request and hides why it failed. Here the first failure
// stops all use of Redis until a new connection has counted, and the outage is reported once, with its
// reason.
import { Redis } from 'ioredis'
import { RateLimiterRedis } from 'rate-limiter-flexible'
import { ConfigError } from '../config/config-error.ts'
import type { RequestCount } from './local-counters.ts'

export interface OutageListeners {
  /**
   * Called once when Redis becomes unavailable, with the reason, and once more if the server that appears
   * then is of a kind that is not supported.
   */
  onUnavailable: (reason: unknown) => void
  /** Called once when Redis is available again, with the length of the outage in seconds. */
  onAvailable: (outageSeconds: number) => void
}

export interface RedisCountersOptions extends OutageListeners {
  url: string
  windowSeconds: number
  /** How long a request waits for Redis before it is counted without it; 100 ms by default. */
  answerTimeoutMs?: number | undefined
}

export interface RedisCounters {
  /** Counts one request; undefined if Redis is unavailable or does not answer in time. Never throws. */
  increment: (key: string) => Promise<RequestCount | undefined>
  readonly isAvailable: boolean
  /**
   * Fulfilled when the first attempt to connect has ended, whether or not it succeeded. Rejected with a
   * ConfigError if waiting would not help: the server is of a kind that is not supported, or it refuses the
   * password, the user or the commands.
   */
  firstAttempt: Promise<void>
  close: () => void
}

const keyPrefix = 'latchkey:rate'
const defaultAnswerTimeoutMs = 100
/** For a connection and its first answer. */
const connectTimeoutMs = 1_000
const reconnectDelayMs = 1_000

const connectionClosed = () => new Error('the connection was closed')
const noAnswer = (timeoutMs: number) => new Error(`no answer in ${timeoutMs} ms`)

/** The request counters that all instances on one Redis share. */
export function createRedisCounters (options: RedisCountersOptions): RedisCounters {
  const { url, windowSeconds, answerTimeoutMs = defaultAnswerTimeoutMs, ...listeners } = options
  const redis = new Redis(url, {
    connectionName: 'latchkey',
    disableClientInfo: true,
    enableReadyCheck: false,
    connectTimeout: connectTimeoutMs,
    retryStrategy: () => reconnectDelayMs,
    // A lost connection fails its commands at once: requests wait for them, and must not be counted twice.
    enableOfflineQueue: false,
    autoResendUnfulfilledCommands: false,
    maxRetriesPerRequest: 0,
    disconnectTimeout: 0
  })
  const limiter = new RateLimiterRedis({
    storeClient: redis, keyPrefix, points: Number.MAX_SAFE_INTEGER, duration: windowSeconds
  })
  let isAvailable = false
  let isClosed = false
  let isUnsupported = false
  let unavailableSince: number | undefined
  let connectTimer: NodeJS.Timeout | undefined
  let endFirstAttempt = (_failure?: unknown) => {}
  const firstAttempt = new Promise<void>((resolve, reject) => {
    endFirstAttempt = failure => {
      const fault = failure instanceof ConfigError ? failure : refusalOf(failure)
      if (fault) reject(fault)
      else resolve()
    }
  })

  function onFailure (reason: unknown) {
    isAvailable = false
    endFirstAttempt(reason)
    // A server of a kind that is not supported may appear only after an outage.
    const isNewFailure = unavailableSince === undefined || (reason instanceof ConfigError && !isUnsupported)
    if (isClosed || !isNewFailure) return
    isUnsupported = reason instanceof ConfigError
    unavailableSince ??= performance.now()
    listeners.onUnavailable(reason)
  }
  function onSuccess () {
    if (isClosed) return
    clearTimeout(connectTimer)
    isAvailable = true
    endFirstAttempt()
    if (unavailableSince !== undefined) listeners.onAvailable((performance.now() - unavailableSince) / 1_000)
    unavailableSince = undefined
  }
  function reconnect (reason: unknown) {
    onFailure(reason)
    if (!isClosed) redis.disconnect(true)
  }
  function onIncrementFailure (error: unknown) {
    // If the connection was lost, the client's own error says less than that.
    if (isAvailable) reconnect(redis.stream.writable ? error : connectionClosed())
  }
  async function increment (key: string): Promise<RequestCount> {
    const { consumedPoints, msBeforeNext } = await limiter.penalty(key)
    return { current: consumedPoints, ttlMs: msBeforeNext }
  }

  redis.on('connect', () => {
    connectTimer = setTimeout(() => reconnect(noAnswer(connectTimeoutMs)), connectTimeoutMs)
  })
  // A connection alone does not show that Redis can count: it may be a replica, be full, or deny the
  // commands.
  redis.on('ready', () => {
    assertSingleServer(redis).then(async () => await increment('probe')).then(onSuccess, reconnect)
  })
  redis.on('error', onFailure)
  redis.on('close', () => {
    clearTimeout(connectTimer)
    onFailure(connectionClosed())
  })

  return {
    get isAvailable () { return isAvailable },
    firstAttempt,
    async increment (key) {
      if (!isAvailable) return undefined
      try {
        return await withTimeout(answerTimeoutMs, increment(key))
      } catch (error) {
        onIncrementFailure(error)
        return undefined
      }
    },
    close () {
      isClosed = true
      isAvailable = false
      clearTimeout(connectTimer)
      redis.disconnect()
    }
  }
}

/** The ConfigError for a server that refuses the login or the commands. Its words contain no secret. */
function refusalOf (failure: unknown): ConfigError | undefined {
  const [, code] = failure instanceof Error ? /^(WRONGPASS|NOAUTH|NOPERM)\b/.exec(failure.message) ?? [] : []
  switch (code) {
    case 'WRONGPASS': return new ConfigError(['REDIS_URL: the Redis server refuses its user or password'])
    case 'NOAUTH': return new ConfigError(['REDIS_URL has no password, and the Redis server requires one'])
    case 'NOPERM': return new ConfigError(['REDIS_URL: the Redis server refuses commands to its user, who ' +
      'needs ~latchkey:rate:* +eval +evalsha +set +incrby +pttl +expire'])
    default: return undefined
  }
}

// HELLO needs no privilege. Servers before Redis 6, and some proxies, do not know it.
const greeting = async (redis: Redis): Promise<unknown> => await redis.call('HELLO').catch(() => [])

/** Throws a ConfigError if the server is a node of a Redis Cluster, or a Sentinel. */
async function assertSingleServer (redis: Redis): Promise<void> {
  const info = await greeting(redis)
  const mode: unknown = Array.isArray(info) ? info[info.indexOf('mode') + 1] : undefined
  if (mode !== 'cluster' && mode !== 'sentinel') return
  const kind = mode === 'cluster' ? 'a node of a Redis Cluster' : 'a Redis Sentinel'
  throw new ConfigError([`REDIS_URL names ${kind}, which is not supported: name a Redis server without ` +
    'cluster mode, or unset REDIS_URL, so that each instance counts by itself'])
}

const withTimeout = <T>(timeoutMs: number, promise: Promise<T>) => new Promise<T>((resolve, reject) => {
  // If the whole process was paused, its timers fire before it reads the answers that have come. Those go
  // first.
  const timer = setTimeout(() => setImmediate(() => reject(noAnswer(timeoutMs))), timeoutMs)
  promise.then(resolve, reject).finally(() => clearTimeout(timer))
})
