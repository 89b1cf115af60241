/** Matches Base64 in the standard, URL-safe or passlib alphabet, with or without padding. */
export const base64Pattern = '[A-Za-z0-9+/_.-]+={0,2}'

/** Matches a salt that is text. */
export const saltTextPattern = '[A-Za-z0-9+/=_.-]{1,128}'

/** Decodes any of these alphabets. */
export const decodeBase64 = (text: string) => Buffer.from(text.replaceAll('.', '+'), 'base64')

/** Shorter hashes are rejected, because too many passwords would match them. */
export const minHashBytes = 16
export const maxHashBytes = 128
