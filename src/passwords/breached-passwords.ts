import { createHash } from 'node:crypto'
import { overloaded } from '../http/problems.ts'

export interface BreachLookupOptions {
  /** The first five digits of a digest are appended to this URL. Undefined turns the lookup off. */
  url: string | undefined
  /** Called with the error of the first failure in a row. */
  onFailure: (error: unknown) => void
  /** Called at the first success after a failure. */
  onRecovery: () => void
}

// A lookup only advises: no request waits longer for it, and a server that fails is not asked for a while.
const timeoutMs = 500
const maxFailuresInARow = 3
const retryDelayMs = 5_000
// A lookup takes half a second at most, so this many are far more passwords than can be hashed afterwards.
const maxConcurrentLookups = 100
// The longest range has a tenth of this size.
const maxResponseBytes = 1_048_576

/**
 * Returns a function that tells whether a password is known from a data breach, as ASVS 6.2.12 and NIST SP
 * 800-63B-4 section 3.1.1.2 demand. It uses the range API of Pwned Passwords, so the server learns only five
 * hexadecimal digits of the password's SHA-1. The function answers within 500 ms; it answers false if the
 * server gives no valid response in that time. Throws `overloaded` if a hundred lookups are running already.
 */
export function breachedPasswordLookup (
  { url, onFailure, onRecovery }: BreachLookupOptions
): (password: string) => Promise<boolean> {
  let failuresInARow = 0
  let retryAt = 0
  let lookups = 0
  return async password => {
    const now = performance.now()
    if (url === undefined || (failuresInARow >= maxFailuresInARow && now < retryAt)) return false
    if (lookups >= maxConcurrentLookups) {
      throw overloaded(1, 'too many lookups of breached passwords are running')
    }
    // The first request after the delay tries the server for all others.
    retryAt = now + retryDelayMs
    lookups++
    try {
      const isBreached = await isInRange(url, password)
      if (failuresInARow > 0) onRecovery()
      failuresInARow = 0
      return isBreached
    } catch (error) {
      if (failuresInARow === 0) onFailure(error)
      failuresInARow++
      return false
    } finally {
      lookups--
    }
  }
}

async function isInRange (url: string, password: string): Promise<boolean> {
  const digest = createHash('sha1').update(password).digest('hex').toUpperCase()
  const response = await fetch(url + digest.slice(0, 5), {
    headers: { accept: 'text/plain', 'add-padding': 'true', 'user-agent': 'latchkey' },
    redirect: 'manual',
    signal: AbortSignal.timeout(timeoutMs)
  })
  const lines = (await readBody(response)).split(/\r?\n/).filter(line => line !== '')
  const suffixes = lines.flatMap(line => {
    const [, suffix = '', count] = /^([0-9a-f]{35}):(\d+)$/i.exec(line) ?? []
    if (count === undefined) throw new Error('the response is not a range of digests')
    // The server pads its responses with lines whose count is 0.
    return Number(count) > 0 ? [suffix.toUpperCase()] : []
  })
  return suffixes.includes(digest.slice(5))
}

async function readBody ({ status, body }: Response): Promise<string> {
  if (status !== 200 || !body) {
    await body?.cancel()
    throw new Error(`the response has the status ${status}`)
  }
  const chunks: Uint8Array[] = []
  let size = 0
  for await (const chunk of body) {
    size += chunk.length
    if (size > maxResponseBytes) throw new Error('the response is too large')
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString()
}
