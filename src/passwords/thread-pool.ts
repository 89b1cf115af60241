import { threads } from '../config/environment.ts'

/**
 * How many passwords are hashed at a time where so many are wanted: fewer where files and host names would otherwise
 * wait behind them, with a sentence that says so.
 */
export function share (wanted: number): { atATime: number, shortage?: string } {
  const there = threads()
  const atATime = Math.min(wanted, Math.max(there - 1, 1))
  if (atATime === wanted) return { atATime }
  return { atATime, shortage: `ARGON2_CONCURRENCY is ${wanted}, but only ${atATime} passwords are hashed at a time, for this process has ${there} threads for them and all else: set UV_THREADPOOL_SIZE=${wanted + 4} in its environment` }
}
