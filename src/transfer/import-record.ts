import { validate, version } from 'uuid'
import { parse as parseEmail, type EmailAddress } from '../syntax/email-address.ts'
import { importObstacle } from '../passwords/passwords.ts'
import type { Argon2Options } from '../passwords/argon2id.ts'
import { pepperIdOf } from '../passwords/pepper.ts'
import { parseUsername } from '../users/users.ts'

/** An account as a line of JSON, on its way from or to another system. */
export interface ImportRecord {
  /** Undefined where the line leaves it to us. */
  id: string | undefined
  email: EmailAddress
  email_verified: boolean
  name: string | null
  username: string | null
  roles: string[]
  status: 'active' | 'disabled'
  password_hash: string | null
  /** RFC 3339, with microseconds; undefined where the line says nothing. */
  created_at: string | undefined
}

export type ImportRejectionReason = 'line_too_long' | 'invalid_utf8' | 'invalid_json' | 'unknown_property' | 'invalid_value' |
  'invalid_email' | 'invalid_username' | 'unknown_hash_format' | 'hash_too_expensive' | 'unknown_pepper' | 'id_taken' | 'email_taken' | 'username_taken'

/** Why a line is refused: where in it, by JSON pointer (RFC 6901), and what is wrong there. It never tells a hash. */
export class RecordError extends Error {
  readonly reason: ImportRejectionReason
  readonly pointer: string

  constructor (reason: ImportRejectionReason, pointer: string, detail: string) {
    super(detail)
    this.reason = reason
    this.pointer = pointer
  }
}

const properties = new Set(['id', 'email', 'email_verified', 'name', 'username', 'roles', 'status', 'password_hash', 'created_at'])
const time = /^(\d{4})-(\d\d)-(\d\d)T(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{1,6})?(?:Z|[+-](?:0\d|1[0-4]):[0-5]\d)$/i

const invalid = (property: string, detail: string) => new RecordError('invalid_value', `/${property}`, detail)
const isText = (value: unknown, most: number): value is string =>
  typeof value === 'string' && value !== '' && [...value].length <= most && !/[\p{Cc}\p{Cs}]/u.test(value)

/** Reads a line; throws a RefusedLine for anything that is not exactly an account, with none but these peppers. */
export function parse (text: string, options: Argon2Options, peppers: ReadonlySet<string>): ImportRecord {
  const { id, email, email_verified: verified = false, name = null, username = null, roles = ['user'], status = 'active', password_hash: hash = null, created_at: created } = object(text)
  if (id !== undefined && !isId(id)) throw invalid('id', 'must be a UUID (RFC 9562)')
  const address = typeof email === 'string' && email.length <= 320 ? parseEmail(email) : undefined
  if (!address) throw new RecordError('invalid_email', '/email', email === undefined ? 'is missing' : 'must be an e-mail address')
  if (typeof verified !== 'boolean') throw invalid('email_verified', 'must be true or false')
  if (name !== null && !isText(name, 200)) throw invalid('name', 'must be a text of 1 to 200 characters without control characters, or null')
  const handle = typeof username === 'string' ? parseUsername(username) : undefined
  if (username !== null && handle === undefined) throw new RecordError('invalid_username', '/username', 'must be 3 to 32 of the characters a-z, 0-9, _, . and -, or null')
  if (!Array.isArray(roles) || roles.length > 100 || !roles.every(role => isText(role, 200))) throw invalid('roles', 'must be an array of at most 100 texts of 1 to 200 characters without control characters')
  if (status !== 'active' && status !== 'disabled') throw invalid('status', 'must be "active" or "disabled"')
  if (hash !== null) checkHash(hash, options, peppers)
  if (created !== undefined && !isTime(created)) throw invalid('created_at', 'must be a time by RFC 3339, with a zone, of 1970 or later, and at most microseconds')
  return { id: id?.toLowerCase(), email: address, email_verified: verified, name, username: handle ?? null, roles, status, password_hash: hash, created_at: created }
}

function object (text: string): Record<string, unknown> {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    throw new RecordError('invalid_json', '', 'must be JSON')
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new RecordError('invalid_json', '', 'must be a JSON object')
  const unknown = Object.keys(value).find(name => !properties.has(name))
  // The name may be anything, a hash too.
  if (unknown !== undefined) throw new RecordError('unknown_property', '', `must have no properties but ${[...properties].join(', ')}`)
  return { ...value }
}

function checkHash (hash: unknown, options: Argon2Options, peppers: ReadonlySet<string>): asserts hash is string {
  if (typeof hash !== 'string') throw invalid('password_hash', 'must be a text or null')
  const reason = importObstacle(hash, options)
  const pepper = pepperIdOf(hash)
  if (reason === undefined && pepper !== undefined && !peppers.has(pepper)) throw new RecordError('unknown_pepper', '/password_hash', 'was made with a pepper that is not in this database')
  if (reason === undefined) return
  if (reason === 'unknown') throw new RecordError('unknown_hash_format', '/password_hash', 'must be a password hash in one of the formats that are known')
  throw new RecordError('hash_too_expensive', '/password_hash', `would cost too much at a sign-in: ${reason}`)
}

const isId = (id: unknown): id is string => typeof id === 'string' && validate(id) && version(id) >= 1 && version(id) <= 8

function isTime (text: unknown): text is string {
  const [, year, month, day] = typeof text === 'string' ? time.exec(text) ?? [] : []
  // JavaScript takes the 30th of February for a day in March; the database does not.
  return Number(year) >= 1970 && new Date(Date.UTC(Number(year), Number(month) - 1, Number(day))).getUTCDate() === Number(day) && Number(month) >= 1 && Number(month) <= 12
}
