import { localCounts, type Count } from './request-counts/local.ts'
import type { Listeners } from './request-counts/shared.ts'

export type { Count } from './request-counts/local.ts'

export interface RequestCounts {
  /** Counts one request, with all instances where that is possible; a window is as many milliseconds long. Never throws. */
  add: (key: string, window: number) => Promise<Count>
  /** The same at once, by what this process knows; the others hear of it a little later. */
  addNow: (key: string, window: number) => Count
  /** Whether all instances count together now. */
  readonly shared: boolean
  /** Fulfilled when it is known whether they can, within about a second. */
  settled: Promise<void>
  close: () => Promise<void>
}

export interface RequestCountsOptions extends Listeners {
  /** The Redis where instances count together; without one each counts by itself. */
  url: string | undefined
}

/** Counters of requests, which end by themselves with their window. */
export async function requestCounts ({ url, ...listeners }: RequestCountsOptions): Promise<RequestCounts> {
  const local = localCounts()
  // The client of Redis is loaded where there is one.
  const together = url === undefined ? undefined : (await import('./request-counts/shared.ts')).sharedCounts(url, listeners)

  // What is known of the others' counts is kept: when Redis goes, counting goes on from there and does not begin anew.
  async function share (key: string, window: number): Promise<Count | undefined> {
    const count = await together?.add(key, window)
    if (count) local.learn(key, count)
    return count
  }

  return {
    async add (key, window) {
      const own = local.add(key, window)
      return await share(key, window) ?? own
    },
    addNow (key, window) {
      share(key, window)
      return local.add(key, window)
    },
    get shared () { return together?.available ?? false },
    settled: together?.settled ?? Promise.resolve(),
    async close () { await together?.close() }
  }
}
