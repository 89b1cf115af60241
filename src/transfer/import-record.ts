import type { EmailAddress } from '../syntax/email-address.ts'
import { parseUsername } from '../users/users.ts'
import { invalid, RecordError } from './record-error.ts'
import {
  findHashError, parseAddress, parseIds, parseName, parseRoles, parseTime, type HashRules
} from './record-values.ts'

/** An account that a line of an import describes. */
export interface ImportRecord {
  /** Undefined if the import chooses the id. */
  id: string | undefined
  external_id: string | null
  email: EmailAddress
  email_verified: boolean
  name: string | null
  username: string | null
  roles: string[]
  status: 'active' | 'disabled'
  password_hash: string | null
  /** The hash of the line, even if it is left out. */
  given_hash: string | null
  /** In ISO 8601, with at most microseconds; undefined means the time of the import. */
  created_at: string | undefined
  /** Why values of the line are left out. */
  leftOut: RecordError[]
}

export interface RecordRules extends HashRules {
  /** Whether a hash that cannot be verified is left out, rather than a reason to reject the line. */
  withoutUnknownHashes: boolean
}

const propertyNames = [
  'id', 'external_id', 'email', 'email_verified', 'name', 'username', 'roles', 'status', 'password_hash',
  'created_at'
]

/**
 * Parses a line. Throws a RecordError if it is not a record. A property that is null counts as absent, and so
 * does an empty name, username or password hash.
 */
export function parse (text: string, rules: RecordRules): ImportRecord {
  const line = parseObject(text)
  const valueOf = (name: string) => line[name] ?? null
  const { id, externalId } = parseIds(valueOf('id'), valueOf('external_id'))
  const [isVerified, status] = [valueOf('email_verified') ?? false, valueOf('status') ?? 'active']
  const address = parseAddress(valueOf('email'))
  if (typeof isVerified !== 'boolean') throw invalid('email_verified', 'must be true or false')
  if (status !== 'active' && status !== 'disabled') throw invalid('status', 'must be "active" or "disabled"')
  const [name, roles] = [parseName(valueOf('name')), parseRoles(valueOf('roles') ?? ['user'])]
  const createdAt = valueOf('created_at')
  const [givenUsername, givenHash] = [textOrNull(line, 'username'), textOrNull(line, 'password_hash')]
  const username = givenUsername === null ? undefined : parseUsername(givenUsername)
  const hashError = givenHash === null ? undefined : findHashError(givenHash, rules)
  if (hashError && !rules.withoutUnknownHashes) throw hashError
  return {
    id,
    external_id: externalId,
    email: address,
    email_verified: isVerified,
    name,
    username: username ?? null,
    roles,
    status,
    password_hash: hashError ? null : givenHash,
    given_hash: givenHash,
    created_at: createdAt === null ? undefined : parseTime(createdAt),
    leftOut: [
      ...givenUsername !== null && username === undefined ? [unusableUsername()] : [],
      ...hashError ? [hashError] : []
    ]
  }
}

const unusableUsername = () => new RecordError(
  'invalid_username', '/username', 'must be 3 to 32 of the characters a-z, 0-9, _, . and -, or null'
)

function parseObject (text: string): Record<string, unknown> {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    throw new RecordError('invalid_json', '', 'must be JSON')
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new RecordError('invalid_json', '', 'must be a JSON object')
  }
  // The detail does not contain the unknown name, because it may be anything, even a hash.
  if (!Object.keys(value).every(name => propertyNames.includes(name))) {
    const detail = `must have no properties except ${propertyNames.join(', ')}`
    throw new RecordError('unknown_property', '', detail)
  }
  return { ...value }
}

function textOrNull (line: Record<string, unknown>, name: 'username' | 'password_hash'): string | null {
  const value = line[name] ?? ''
  if (typeof value !== 'string') throw invalid(name, 'must be a text or null')
  return value === '' ? null : value
}
