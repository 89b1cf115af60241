import { TokenRejection } from './token-rejection.ts'

export const maxTokenLength = 8_192
const base64urlSyntax = /^[\w-]+$/

/**
 * Returns the header and the payload of a token in its compact form (RFC 7515 section 7.1), still encoded.
 * Throws a TokenRejection if it is too long or has another form.
 */
export function splitToken (token: string): [header: string, payload: string] {
  if (token.length > maxTokenLength) throw new TokenRejection('token too long')
  const [header = '', payload = '', signature = '', ...others] = token.split('.')
  const isCompact = others.length === 0 &&
    [header, payload, signature].every(part => base64urlSyntax.test(part))
  if (!isCompact) throw new TokenRejection('malformed token')
  // The last character of a signature may have unused bits. RFC 4648 section 3.5: only one spelling leaves
  // them zero. Otherwise one token would have several spellings.
  if (Buffer.from(signature, 'base64url').toString('base64url') !== signature) {
    throw new TokenRejection('signature not canonical')
  }
  return [header, payload]
}

// RFC 7519 section 7.2 step 10 demands UTF-8.
const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** Decodes a part of a token to the object that it must be. Throws a TokenRejection. */
export function readObject (part: string): Record<string, unknown> {
  let value: unknown
  try {
    value = JSON.parse(utf8.decode(Buffer.from(part, 'base64url')))
  } catch {
    throw new TokenRejection('malformed token')
  }
  if (!isObject(value)) throw new TokenRejection('malformed token')
  return value
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)
export const isString = (value: unknown): value is string => typeof value === 'string'
export const isText = (value: unknown): value is string => isString(value) && value !== ''
export const isNumber = (value: unknown): value is number =>
  typeof value === 'number' && Number.isFinite(value)
export const isStrings = (value: unknown): value is string[] => Array.isArray(value) && value.every(isString)
export const isAudience = (value: unknown): value is string | string[] => isString(value) || isStrings(value)
export const isScalar = (value: unknown): value is string | number | boolean =>
  ['string', 'number', 'boolean'].includes(typeof value)
