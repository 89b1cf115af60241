import { dictionary } from '@zxcvbn-ts/language-common'

/** Whom a new password is for: it may not contain what everybody knows of them. */
export interface Owner { email: string, username?: string | null | undefined, name?: string | null | undefined }

export interface Rules { minLength: number }

const common = new Set(dictionary['passwords-common'])

/** The most code points that a password has. */
export const longest = 256

/** NFKC, so that a password does not depend on the keyboard that typed it; nothing is trimmed, folded or cut. */
export const normalise = (password: string) => password.normalize('NFKC')

/** Every reason against a new password, in the words of the `password_rejected` problem. */
export async function reasonsAgainst (password: string, { email, username, name }: Owner, { minLength }: Rules): Promise<string[]> {
  const normal = normalise(password)
  const folded = normal.toLowerCase()
  const length = [...normal].length
  const local = email.slice(0, email.lastIndexOf('@'))
  const contains = (...words: Array<string | null | undefined>) =>
    words.some(word => word && [...word].length >= 4 && folded.includes(normalise(word).toLowerCase()))
  return Object.entries({
    too_short: length < minLength,
    too_long: length > longest,
    too_common: common.has(folded),
    contains_email: contains(email, local),
    contains_name: contains(username, name),
    contains_service: contains('latchkey')
  }).flatMap(([reason, holds]) => holds ? [reason] : [])
}
