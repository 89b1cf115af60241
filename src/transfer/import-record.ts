import { validate, version } from 'uuid'
import { parse as parseEmail, type EmailAddress } from '../syntax/email-address.ts'
import { importObstacle } from '../passwords/passwords.ts'
import type { Argon2Options } from '../passwords/argon2id.ts'
import { pepperIdOf } from '../passwords/pepper.ts'
import { parseUsername } from '../users/users.ts'

/** An account that a line of an import describes. */
export interface ImportRecord {
  /** Undefined if the import chooses the id. */
  id: string | undefined
  email: EmailAddress
  email_verified: boolean
  name: string | null
  username: string | null
  roles: string[]
  status: 'active' | 'disabled'
  password_hash: string | null
  /** RFC 3339, with microseconds; undefined means the time of the import. */
  created_at: string | undefined
}

/** Why a line is rejected; these are public words of the command's report. */
export type ImportRejectionReason = 'line_too_long' | 'invalid_utf8' | 'invalid_json' | 'unknown_property' |
  'invalid_value' | 'invalid_email' | 'invalid_username' | 'unknown_hash_format' | 'hash_too_expensive' |
  'unknown_pepper' | 'id_taken' | 'email_taken' | 'username_taken'

/** A line is not a valid record. `pointer` is a JSON pointer (RFC 6901). The error never contains a hash. */
export class RecordError extends Error {
  readonly reason: ImportRejectionReason
  readonly pointer: string

  constructor (reason: ImportRejectionReason, pointer: string, detail: string) {
    super(detail)
    this.reason = reason
    this.pointer = pointer
  }
}

const propertyNames = [
  'id', 'email', 'email_verified', 'name', 'username', 'roles', 'status', 'password_hash', 'created_at'
]
const timeSyntax =
  /^(\d{4})-(\d\d)-(\d\d)T(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{1,6})?(?:Z|[+-](?:0\d|1[0-4]):[0-5]\d)$/i
const textRule = '1 to 200 characters without control characters'

const invalid = (property: string, detail: string) => new RecordError('invalid_value', `/${property}`, detail)
const isText = (value: unknown): value is string =>
  typeof value === 'string' && value !== '' && [...value].length <= 200 && !/[\p{Cc}\p{Cs}]/u.test(value)

/**
 * Parses a line. Throws a RecordError if it is not exactly a record. `peppers` are the ids of the peppers in
 * the database, which a password hash may name.
 */
export function parse (text: string, options: Argon2Options, peppers: ReadonlySet<string>): ImportRecord {
  const {
    id, email, email_verified: isVerified = false, name = null, username = null, roles = ['user'],
    status = 'active', password_hash: hash = null, created_at: createdAt
  } = parseObject(text)
  if (id !== undefined && !isId(id)) throw invalid('id', 'must be a UUID (RFC 9562)')
  const address = parseAddress(email)
  if (typeof isVerified !== 'boolean') throw invalid('email_verified', 'must be true or false')
  if (name !== null && !isText(name)) throw invalid('name', `must be a text of ${textRule}, or null`)
  const parsedUsername = typeof username === 'string' ? parseUsername(username) : undefined
  if (username !== null && parsedUsername === undefined) {
    const rule = 'must be 3 to 32 of the characters a-z, 0-9, _, . and -, or null'
    throw new RecordError('invalid_username', '/username', rule)
  }
  if (!Array.isArray(roles) || roles.length > 100 || !roles.every(isText)) {
    throw invalid('roles', `must be an array of at most 100 texts of ${textRule}`)
  }
  if (status !== 'active' && status !== 'disabled') throw invalid('status', 'must be "active" or "disabled"')
  if (hash !== null) assertUsableHash(hash, options, peppers)
  if (createdAt !== undefined && !isTime(createdAt)) {
    throw invalid(
      'created_at', 'must be an RFC 3339 time with a zone, from 1970 on, with at most microseconds'
    )
  }
  return {
    id: id?.toLowerCase(),
    email: address,
    email_verified: isVerified,
    name,
    username: parsedUsername ?? null,
    roles,
    status,
    password_hash: hash,
    created_at: createdAt
  }
}

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
    throw new RecordError(
      'unknown_property', '',
      `must have no properties except ${propertyNames.join(', ')}`
    )
  }
  return { ...value }
}

function parseAddress (email: unknown): EmailAddress {
  const address = typeof email === 'string' && email.length <= 320 ? parseEmail(email) : undefined
  if (address) return address
  throw new RecordError(
    'invalid_email', '/email',
    email === undefined ? 'is missing' : 'must be an e-mail address'
  )
}

function assertUsableHash (
  hash: unknown, options: Argon2Options, peppers: ReadonlySet<string>
): asserts hash is string {
  if (typeof hash !== 'string') throw invalid('password_hash', 'must be a text or null')
  const obstacle = importObstacle(hash, options)
  const pepper = pepperIdOf(hash)
  if (obstacle === undefined && pepper !== undefined && !peppers.has(pepper)) {
    throw new RecordError(
      'unknown_pepper', '/password_hash', 'was made with a pepper that is not in this database'
    )
  }
  if (obstacle === undefined) return
  if (obstacle === 'unknown') {
    const detail = 'must be a password hash in one of the supported formats'
    throw new RecordError('unknown_hash_format', '/password_hash', detail)
  }
  throw new RecordError('hash_too_expensive', '/password_hash', `costs too much at a sign-in: ${obstacle}`)
}

const isId = (id: unknown): id is string =>
  typeof id === 'string' && validate(id) && version(id) >= 1 && version(id) <= 8

function isTime (text: unknown): text is string {
  const [, year, month, day] = typeof text === 'string' ? timeSyntax.exec(text) ?? [] : []
  if (!(Number(year) >= 1970) || Number(month) < 1 || Number(month) > 12) return false
  // JavaScript takes 30 February for a day in March; the database rejects it.
  const date = new Date(Date.UTC(Number(year), Number(month) - 1, Number(day)))
  return date.getUTCDate() === Number(day)
}
