import { threads } from '../config/environment.ts'

/**
 * Returns how many passwords can be hashed at a time if `wanted` are configured. One thread of libuv's pool
 * stays free, because files and host names would otherwise wait for hashing. `warning` says what to change.
 */
export function hashingConcurrency (wanted: number): { concurrency: number, warning?: string } {
  const poolSize = threads()
  const concurrency = Math.min(wanted, Math.max(poolSize - 1, 1))
  if (concurrency === wanted) return { concurrency }
  const warning = `ARGON2_CONCURRENCY is ${wanted}, but the thread pool has ${poolSize} threads, so only ` +
    `${concurrency} ${concurrency === 1 ? 'password is' : 'passwords are'} hashed at a time; ` +
    `set UV_THREADPOOL_SIZE=${wanted + 4}`
  return { concurrency, warning }
}
