import { validate, version } from 'uuid'
import { importObstacle } from '../passwords/passwords.ts'
import type { Argon2Options } from '../passwords/argon2id.ts'
import { pepperIdOf } from '../passwords/pepper.ts'
import { parse as parseEmail, type EmailAddress } from '../syntax/email-address.ts'
import { maxExternalIdLength } from '../users/external-id.ts'
import { invalid, RecordError } from './record-error.ts'

// The values of a record. The parsers throw a RecordError if a value is not valid.

const timeSyntax = new RegExp(
  '^(\\d{4})-(\\d\\d)-(\\d\\d)[T ](?:[01]\\d|2[0-3]):[0-5]\\d:[0-5]\\d(?:\\.\\d{1,6})?' +
  '(?:Z|[+-](?:0\\d|1[0-4])(?::?[0-5]\\d)?)$', 'i'
)
const maxTextLength = 200
const textRule = (maxLength: number) => `1 to ${maxLength} characters without control characters`

const isText = (value: unknown, maxLength = maxTextLength): value is string => typeof value === 'string' &&
  value !== '' && [...value].length <= maxLength && !/[\p{Cc}\p{Cs}]/u.test(value)
const isId = (id: unknown): id is string =>
  typeof id === 'string' && validate(id) && version(id) >= 1 && version(id) <= 8

/** The ids of a record. An id of another system that is not a UUID is the external id. */
export function parseIds (id: unknown, externalId: unknown): { id?: string, externalId: string | null } {
  if (externalId !== null && !isText(externalId, maxExternalIdLength)) {
    throw invalid('external_id', `must be a text of ${textRule(maxExternalIdLength)}, or null`)
  }
  if (id === null) return { externalId }
  if (isId(id)) return { id: id.toLowerCase(), externalId }
  // Django and WordPress number their users.
  const ownId = Number.isSafeInteger(id) ? String(id) : id
  if (!isText(ownId, maxExternalIdLength)) {
    const detail = `must be a UUID (RFC 9562), a whole number, or a text of ${textRule(maxExternalIdLength)}`
    throw invalid('id', detail)
  }
  if (externalId !== null && externalId !== ownId) {
    throw invalid('external_id', 'must be absent or the same as the id, because the id is not a UUID')
  }
  return { externalId: ownId }
}

/** Parses an email address. Throws a RecordError, as the other parsers of values do. */
export function parseAddress (email: unknown): EmailAddress {
  const address = typeof email === 'string' && email.length <= 320 ? parseEmail(email) : undefined
  if (address) return address
  const detail = email === null ? 'is missing' : 'must be an email address'
  throw new RecordError('invalid_email', '/email', detail)
}

/** Parses a name; an empty one counts as null. */
export function parseName (name: unknown): string | null {
  if (name === null || name === '') return null
  if (!isText(name)) throw invalid('name', `must be a text of ${textRule(maxTextLength)}, or null`)
  return name
}

/** Parses an array of roles. */
export function parseRoles (roles: unknown): string[] {
  if (!Array.isArray(roles) || roles.length > 100 || !roles.every(role => isText(role))) {
    throw invalid('roles', `must be an array of at most 100 texts of ${textRule(maxTextLength)}`)
  }
  return roles
}

/** The parameters of new hashes, and the ids of the peppers in the database, which a hash may name. */
export interface HashRules { argon2: Argon2Options, peppers: ReadonlySet<string> }

/** Returns why a hash cannot be imported; undefined if it can. */
export function findHashError (hash: string, { argon2, peppers }: HashRules): RecordError | undefined {
  const obstacle = importObstacle(hash, argon2)
  const pepper = pepperIdOf(hash)
  if (obstacle === 'unknown') {
    const detail = 'must be a password hash in one of the supported formats'
    return new RecordError('unknown_hash_format', '/password_hash', detail)
  }
  if (obstacle !== undefined) {
    return new RecordError('hash_too_expensive', '/password_hash', `costs too much at a sign-in: ${obstacle}`)
  }
  if (pepper === undefined || peppers.has(pepper)) return undefined
  const detail = 'was made with a pepper that is not in this database'
  return new RecordError('unknown_pepper', '/password_hash', detail)
}

/** Checks a time (RFC 3339) and returns it as written, with its microseconds. */
export function parseTime (text: unknown): string {
  const [, year, month, day] = typeof text === 'string' ? timeSyntax.exec(text) ?? [] : []
  // JavaScript takes 30 February for a day in March; the database rejects it.
  const date = new Date(Date.UTC(Number(year), Number(month) - 1, Number(day)))
  const isTime = Number(year) >= 1970 && Number(month) >= 1 && Number(month) <= 12 &&
    date.getUTCDate() === Number(day)
  if (typeof text === 'string' && isTime) return text
  throw invalid(
    'created_at', 'must be an RFC 3339 time with a zone, from 1970 on, with at most microseconds'
  )
}
