import { domainToUnicode } from 'node:url'
import type { PasswordReason } from './problems.ts'
import { isCommon } from './dictionary.ts'

/** The user that a new password is for. The password must not contain what is publicly known of the user. */
export interface PasswordOwner {
  email: string
  username?: string | null | undefined
  name?: string | null | undefined
}

export interface PasswordRules {
  /** In code points. */
  minLength: number
  serviceName: string
  /** The URL of the service. */
  issuer: string
}

/** The longest password, in code points (ASVS 6.2.9 demands at least 64). */
export const maxLength = 256

const minForbiddenWordLength = 4

/**
 * Returns the password in NFKC, so that it does not depend on the keyboard. Nothing is trimmed or cut off.
 */
export const normalise = (password: string) => password.normalize('NFKC')

// Host labels that say what the host does, and nothing about the service.
const genericLabels = new Set([
  'account', 'accounts', 'auth', 'identity', 'localhost', 'login', 'oauth', 'secure', 'signin'
])

/** The labels of a URL's host that name the service; the top-level domain does not. */
const distinctiveLabels = (url: string) =>
  domainToUnicode(new URL(url).hostname).split('.').slice(0, -1).filter(label => !genericLabels.has(label))

/** A name as it is, and without its blanks. */
const spellings = (name: string) => [name, name.replaceAll(/\s/gu, '')]

function emailWords (email: string): string[] {
  const at = email.lastIndexOf('@')
  const [local, domain] = [email.slice(0, at), email.slice(at + 1)]
  const [mailbox = ''] = local.split('+')
  return [email, local, mailbox, `${local}@${domainToUnicode(domain)}`]
}

// Upper case, because a sigma has two lower-case forms, depending on its position.
const foldCase = (text: string) => normalise(text).toUpperCase()

/**
 * Returns every reason to reject a new password (ASVS 6.2.1, 6.2.4, 6.2.9, 6.2.11; NIST SP 800-63B-4 section
 * 3.1.1.2). Forbidden words count from four code points on, and their case does not matter.
 */
export function rejectionReasons (
  password: string,
  { email, username, name }: PasswordOwner,
  { minLength, serviceName, issuer }: PasswordRules
): PasswordReason[] {
  const { length } = [...normalise(password)]
  const text = foldCase(password)
  const contains = (words: string[]) =>
    words.some(word => [...word].length >= minForbiddenWordLength && text.includes(foldCase(word)))
  const reasons: Record<Exclude<PasswordReason, 'breached'>, boolean> = {
    // NFKC turns one ligature into many code points, and several typed code points into one.
    too_short: Math.min(length, [...password].length) < minLength,
    too_long: length > maxLength,
    too_common: isCommon(text.toLowerCase()),
    contains_email: contains(emailWords(email)),
    contains_name: contains([username ?? '', ...spellings(name ?? '')]),
    contains_service: contains([...spellings(serviceName), ...distinctiveLabels(issuer)])
  }
  return (Object.keys(reasons) as Array<keyof typeof reasons>).filter(reason => reasons[reason])
}
