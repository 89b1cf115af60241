import { compare } from 'bcrypt'
import type { ForeignHash } from './imported-hash.ts'

const greatestCost = 14

/** bcrypt, of whose passwords the first 72 bytes count; `$2y$` is PHP's name for `$2b$`. */
export function read (hash: string): ForeignHash | undefined {
  const [, cost, rest] = /^\$2[aby]\$(0[4-9]|[12]\d|3[01])(\$[./A-Za-z0-9]{53})$/.exec(hash) ?? []
  if (cost === undefined) return undefined
  return {
    excess: Number(cost) > greatestCost ? `its cost is over ${greatestCost}` : undefined,
    memoryKib: 4,
    matches: async password => await compare(password, `$2b$${cost}${rest}`)
  }
}
