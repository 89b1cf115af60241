import { timingSafeEqual } from 'node:crypto'
import { cryptInThread } from './crypt-thread.ts'
import type { ImportedHash } from './imported-hash.ts'

const format = /^\$(5|6)\$(?:rounds=(\d{1,9})\$)?([^$:\s]{1,16})\$([./A-Za-z0-9]{43}|[./A-Za-z0-9]{86})$/
const defaultRounds = '5000'
const minRounds = 1_000
const maxRounds = 1_000_000

/** Parses a SHA-crypt hash of Linux's shadow files: `$5$` with SHA-256, `$6$` with SHA-512. */
export function parseHash (hash: string): ImportedHash | undefined {
  const [, kind, roundText = defaultRounds, salt, expected = ''] = format.exec(hash) ?? []
  const algorithm = kind === '5' ? 'sha256' : 'sha512'
  if (salt === undefined || expected.length !== (kind === '5' ? 43 : 86)) return undefined
  const rounds = Math.max(minRounds, Number(roundText))
  return {
    exceededLimit: rounds > maxRounds ? `it takes more than ${maxRounds} rounds` : undefined,
    memoryKib: 1,
    async matches (password) {
      const text = await cryptInThread({ algorithm, password, salt, rounds })
      return timingSafeEqual(Buffer.from(text), Buffer.from(expected))
    }
  }
}
