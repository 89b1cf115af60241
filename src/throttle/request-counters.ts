import { createLocalCounters, type RequestCount } from './local-counters.ts'
import type { OutageListeners } from './redis-counters.ts'

/** The counters behind the rate limit. */
export interface RequestCounters {
  /** Counts one request, together with the other instances if possible. Never throws. */
  increment: (key: string) => Promise<RequestCount>
  /**
   * Counts one request and returns at once with what this process knows. The other instances are told later.
   */
  incrementNow: (key: string) => RequestCount
  /** Whether all instances count together now. */
  readonly isShared: boolean
  /** Fulfilled within about a second, when it is known whether the instances count together. */
  ready: Promise<void>
  close: () => void
}

export interface RequestCountersOptions extends OutageListeners {
  /** The Redis in which instances count together. Without one, each instance counts by itself. */
  redisUrl: string | undefined
  windowSeconds: number
  /** How long a request waits for Redis; 100 ms by default. */
  answerTimeoutMs?: number | undefined
}

/**
 * Counters of requests in windows of fixed length. Every request is counted in this process too, so if Redis
 * becomes unavailable, counting continues from the shared counts that this process has seen.
 */
export async function createRequestCounters (options: RequestCountersOptions): Promise<RequestCounters> {
  const { redisUrl: url, windowSeconds, ...others } = options
  const local = createLocalCounters(windowSeconds * 1_000)
  // The Redis client is only loaded if a Redis is configured.
  const redis = url === undefined
    ? undefined
    : (await import('./redis-counters.ts')).createRedisCounters({ url, windowSeconds, ...others })

  async function incrementShared (key: string): Promise<RequestCount | undefined> {
    const count = await redis?.increment(key)
    if (count) local.raise(key, count)
    return count
  }

  return {
    async increment (key) {
      const own = local.increment(key)
      return await incrementShared(key) ?? own
    },
    incrementNow (key) {
      void incrementShared(key)
      return local.increment(key)
    },
    get isShared () { return redis?.isAvailable ?? false },
    ready: redis?.firstAttempt ?? Promise.resolve(),
    close () { redis?.close() }
  }
}
