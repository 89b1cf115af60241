import { randomFillSync } from 'node:crypto'
import { v7 } from 'uuid'

// The system is asked for a thousand at a time: each call costs more than the rest of a short request.
const pool = new Uint8Array(16 * 1_024)
let used = pool.length

/** 16 random bytes, fit for cryptography, to be copied before the event loop turns. */
export function random16 (): Uint8Array {
  if (used === pool.length) {
    randomFillSync(pool)
    used = 0
  }
  used += 16
  return pool.subarray(used - 16, used)
}

/** A new UUIDv7 (RFC 9562). */
export const newId = () => v7({ random: random16() })
