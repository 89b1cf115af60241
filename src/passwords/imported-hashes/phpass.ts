import { timingSafeEqual } from 'node:crypto'
import { cryptInThread } from './crypt-thread.ts'
import type { ImportedHash } from './imported-hash.ts'
import { passwordCandidates } from './wordpress.ts'

const alphabet = './0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'
const format = /^\$[PH]\$([./A-Za-z0-9])([./A-Za-z0-9]{8})([./A-Za-z0-9]{22})$/
const minCost = 7
const highestCost = 30
// Up to four texts are tried for a typed password.
const maxCost = 16

/** Parses a portable hash of phpass: `$P$` of WordPress before 6.8, `$H$` of phpBB. */
export function parseHash (hash: string): ImportedHash | undefined {
  const [, costLetter = '', salt, expected = ''] = format.exec(hash) ?? []
  const cost = alphabet.indexOf(costLetter)
  if (salt === undefined || cost < minCost || cost > highestCost) return undefined
  return {
    exceededLimit: cost > maxCost ? `it takes more than ${2 ** maxCost} rounds` : undefined,
    memoryKib: 1,
    passwordCandidates,
    async matches (password) {
      const text = await cryptInThread({ algorithm: 'phpass', password, salt, rounds: 2 ** cost })
      return timingSafeEqual(Buffer.from(text), Buffer.from(expected))
    }
  }
}
