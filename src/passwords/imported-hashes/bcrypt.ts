import { compare } from 'bcrypt'
import type { ImportedHash } from './imported-hash.ts'

const maxCost = 14

/** Parses a bcrypt hash. Only the first 72 bytes of a password count. `$2y$` is PHP's name for `$2b$`. */
export function parseHash (hash: string): ImportedHash | undefined {
  const [, cost, saltAndHash] = /^\$2[aby]\$(0[4-9]|[12]\d|3[01])(\$[./A-Za-z0-9]{53})$/.exec(hash) ?? []
  if (cost === undefined) return undefined
  return {
    exceededLimit: Number(cost) > maxCost ? `its cost is over ${maxCost}` : undefined,
    memoryKib: 4,
    matches: async password => await compare(password, `$2b$${cost}${saltAndHash}`)
  }
}
