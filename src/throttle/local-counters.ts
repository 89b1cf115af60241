// Counts the requests of the rate limit (plugins/rate-limit.ts), for this instance alone.
//
// RateLimiterMemory of rate-limiter-flexible is not used here. It keeps an entry and a timer for every key
// until the window ends, so an attacker with many IPv6 networks could fill the memory.
import { LRUCache } from 'lru-cache'

/** How many requests were counted in the current window, and the milliseconds until it ends. */
export interface RequestCount { current: number, ttlMs: number }

export interface LocalCounters {
  /** Counts one request. */
  increment: (key: string) => RequestCount
  /** Takes over the count of all instances together if it is higher than the count of this process. */
  raise: (key: string, count: RequestCount) => void
}

/**
 * How many counters a process keeps; the least recently used are dropped first. To drop a counter, an
 * attacker needs a request from each of as many networks, and each of them has a limit of its own anyway.
 */
export const maxCounters = 50_000

/** The request counters of this process, in windows of this many milliseconds. */
export function createLocalCounters (windowMs: number): LocalCounters {
  // The cache measures by a monotonic clock; without a resolution it reads the clock each time, which is
  // exact.
  const options = { max: maxCounters, ttl: windowMs, ttlResolution: 0, noUpdateTTL: true }
  const counters = new LRUCache<string, number>(options)

  return {
    increment (key) {
      const current = (counters.get(key) ?? 0) + 1
      counters.set(key, current)
      return { current, ttlMs: Math.max(1, counters.getRemainingTTL(key)) }
    },
    raise (key, { current, ttlMs }) {
      if ((counters.get(key) ?? 0) <= current) counters.set(key, current, { ttl: ttlMs, noUpdateTTL: false })
    }
  }
}
