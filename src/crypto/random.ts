import { randomFillSync } from 'node:crypto'
import { v7 } from 'uuid'

// One system call fills the pool for a thousand callers, because each call costs more than the rest of a
// short request.
const pool = new Uint8Array(16 * 1_024)
let used = pool.length

/** 16 random bytes for cryptographic use. They are the caller's own: no other caller gets any of them. */
export function random16 (): Uint8Array {
  if (used === pool.length) {
    randomFillSync(pool)
    used = 0
  }
  const start = used
  used += 16
  // A copy, because the next refill overwrites the pool, and with it every view of it.
  const bytes = pool.slice(start, used)
  pool.fill(0, start, used)
  return bytes
}

/** A new UUIDv7 (RFC 9562). */
export const newId = () => v7({ random: random16() })
