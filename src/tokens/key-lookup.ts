import { setTimeout as pause } from 'node:timers/promises'
import { LRUCache } from 'lru-cache'
import { databaseUnavailable, overloaded } from '../http/problems.ts'

/** Finds keys by ids from requests. Anyone can invent an id, so an unknown one must cost little. */
export interface KeyLookup {
  /**
   * Returns what `findKnown` returns. If that is nothing, it first awaits a read of the keys that begins
   * after the call. For a second, it does not read again for an id that is unknown even then. Throws
   * `overloaded` if too many calls wait, and `database_unavailable` if the keys cannot be read.
   */
  find: <Key>(purpose: string, kid: string, findKnown: () => Key | undefined) => Promise<Key | undefined>
  /** Forgets which ids are unknown, because keys have changed or cannot be read. */
  forget: () => void
}

const minReadIntervalMs = 250
const unknownForMs = 1_000
const maxUnknown = 10_000
const maxWaiting = 1_000
// The longest id is the thumbprint of a signing key, with 43 characters.
const maxKidLength = 64

/** Creates a lookup that calls `read` once for all waiting unknown ids, and at most four times a second. */
export function createKeyLookup (read: () => Promise<void>): KeyLookup {
  const unknown = new LRUCache<string, true>({ max: maxUnknown, ttl: unknownForMs })
  let reading: Promise<void> | undefined
  let readAt = -Infinity
  let waiting = 0
  let changes = 0

  async function readSoon () {
    await pause(Math.max(0, readAt + minReadIntervalMs - performance.now()), undefined, { ref: false })
    // A call that comes from now on needs a later read.
    reading = undefined
    readAt = performance.now()
    await read().catch((error: unknown) => {
      // An id that cannot be looked up is not unknown.
      unknown.clear()
      throw databaseUnavailable(error)
    })
  }

  return {
    forget () {
      unknown.clear()
      changes++
    },
    async find (purpose, kid, findKnown) {
      const known = findKnown()
      if (known !== undefined || kid.length > maxKidLength) return known
      const name = `${purpose} ${kid}`
      if (unknown.has(name)) return undefined
      if (waiting >= maxWaiting) throw overloaded(1, 'too many requests wait for an unknown key')
      const changesBefore = changes
      waiting++
      try {
        reading ??= readSoon()
        await reading
      } finally {
        waiting--
      }
      const found = findKnown()
      // A key that was created during the read may be missing from its result.
      if (found === undefined && changes === changesBefore) unknown.set(name, true)
      return found
    }
  }
}
