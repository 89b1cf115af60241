import { compare } from 'bcrypt'
import { createHash, createHmac } from 'node:crypto'
import type { ImportedHash } from './imported-hash.ts'
import * as wordpress from './wordpress.ts'

const maxCost = 14
// Up to four texts are tried for a typed password.
const maxWordpressCost = 12

type Prefix = [
  prefix: string, Pick<ImportedHash, 'passwordCandidates'>, prepare: (password: string) => string
]
// What systems put before a bcrypt hash, and what they hash in place of the password.
const prefixes: Prefix[] = [
  ['', {}, password => password],
  // Spring Security
  ['{bcrypt}', {}, password => password],
  // Django
  ['bcrypt$', {}, password => password],
  ['bcrypt_sha256$', {}, password => createHash('sha256').update(password).digest('hex')],
  // WordPress 6.8 and later
  ['$wp', wordpress, password => createHmac('sha384', 'wp-sha384').update(password).digest('base64')]
]

/**
 * Parses a bcrypt hash, also with a prefix of Spring Security, Django or WordPress. Only the first 72 bytes
 * of what is hashed count. `$2y$` is PHP's name for `$2b$`.
 */
export function parseHash (hash: string): ImportedHash | undefined {
  const [, prefix, cost, saltAndHash] =
    /^(.{0,14}?)\$2[aby]\$(0[4-9]|[12]\d|3[01])(\$[./A-Za-z0-9]{53})$/.exec(hash) ?? []
  const [, candidates, prepare] = prefixes.find(([known]) => known === prefix) ?? []
  if (cost === undefined || !prepare) return undefined
  const limit = prefix === '$wp' ? maxWordpressCost : maxCost
  return {
    ...candidates?.passwordCandidates && { passwordCandidates: candidates.passwordCandidates },
    exceededLimit: Number(cost) > limit ? `its cost is over ${limit}` : undefined,
    memoryKib: 4,
    matches: async password => await compare(prepare(password), `$2b$${cost}${saltAndHash}`)
  }
}
