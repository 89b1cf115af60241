import { createHash } from 'node:crypto'
import { overloaded } from '../http/problem.ts'

export interface BreachOptions {
  /** What the first five digits of a digest are appended to; undefined where nothing is asked. */
  url: string | undefined
  /** Told of the first of a row of failures. */
  onFailure: (error: unknown) => void
  /** Told of the first answer after a failure. */
  onRecovery: () => void
}

// The answer is a courtesy: nobody waits longer for it, and a server that is away is left alone for a while.
const patience = 500
const failuresInARow = 3
const pause = 5_000
// Each lookup takes half a second at most, so these are far more passwords than can be hashed afterwards.
const maxLookups = 100
// In bytes; the longest range is a tenth of it.
const largest = 1_048_576

/**
 * Tells whether a password is known from breaches, by the range query of Pwned Passwords: the server learns five
 * digits of the password's SHA-1. Within 500 ms; where there is no answer in that time, or none of sense, the answer is no.
 * Throws `overloaded` if there are a hundred lookups already.
 */
export function breaches ({ url, onFailure, onRecovery }: BreachOptions): (password: string) => Promise<boolean> {
  let failures = 0
  let askAgain = 0
  let lookups = 0
  return async password => {
    const now = performance.now()
    if (url === undefined || (failures >= failuresInARow && now < askAgain)) return false
    if (lookups >= maxLookups) throw overloaded(1, 'too many passwords are looked up')
    // Of those who come after the pause one finds out for the others.
    askAgain = now + pause
    lookups++
    try {
      const found = await isListed(url, password)
      if (failures > 0) onRecovery()
      failures = 0
      return found
    } catch (error) {
      if (failures === 0) onFailure(error)
      failures++
      return false
    } finally {
      lookups--
    }
  }
}

async function isListed (url: string, password: string): Promise<boolean> {
  const digest = createHash('sha1').update(password).digest('hex').toUpperCase()
  const response = await fetch(url + digest.slice(0, 5), {
    headers: { accept: 'text/plain', 'add-padding': 'true', 'user-agent': 'latchkey' },
    redirect: 'manual',
    signal: AbortSignal.timeout(patience)
  })
  const lines = (await read(response)).split(/\r?\n/).filter(line => line !== '')
  const suffixes = lines.flatMap(line => {
    const [, suffix = '', count] = /^([0-9a-f]{35}):(\d+)$/i.exec(line) ?? []
    if (count === undefined) throw new Error('the answer is no range of digests')
    // A line that only pads has the count 0.
    return Number(count) > 0 ? [suffix.toUpperCase()] : []
  })
  return suffixes.includes(digest.slice(5))
}

async function read ({ status, body }: Response): Promise<string> {
  if (status !== 200 || !body) {
    await body?.cancel()
    throw new Error(`the answer has the status ${status}`)
  }
  const chunks: Uint8Array[] = []
  let size = 0
  for await (const chunk of body) {
    size += chunk.length
    if (size > largest) throw new Error('the answer is too large')
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString()
}
