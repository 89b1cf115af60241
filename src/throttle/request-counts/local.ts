import { LRUCache } from 'lru-cache'

/** How many requests came in the window that is open, and the milliseconds that are left of it. */
export interface Count { current: number, ttl: number }

export interface LocalCounts {
  /** Counts one request; a window is as many milliseconds long. */
  add: (key: string, window: number) => Count
  /** Takes over what all instances together have counted, where it is more. */
  learn: (key: string, count: Count) => void
}

// Of what is counted the latest are kept. To push a counter out takes a request each from as many networks, all of
// which could ask on their own account: nothing is won by it.
const most = 50_000

/** What this process has counted, in at most 50,000 counters. */
export function localCounts (): LocalCounts {
  const counts = new LRUCache<string, { current: number, ends: number }>({ max: most })
  const alive = (key: string, now: number) => {
    const count = counts.get(key)
    return count && count.ends > now ? count : undefined
  }

  return {
    add (key, window) {
      const now = performance.now()
      const count = alive(key, now)
      if (!count) {
        counts.set(key, { current: 1, ends: now + window })
        return { current: 1, ttl: window }
      }
      count.current++
      return { current: count.current, ttl: count.ends - now }
    },
    learn (key, { current, ttl }) {
      const now = performance.now()
      const count = alive(key, now)
      if (count && count.current > current) return
      counts.set(key, { current, ends: now + ttl })
    }
  }
}
