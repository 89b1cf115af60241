import { domainToUnicode } from 'node:url'
import type { PasswordReason } from '../http/problem.ts'
import { isCommon } from './dictionary.ts'

/** Whom a new password is for: it may not contain what everybody knows of them. */
export interface Owner { email: string, username?: string | null | undefined, name?: string | null | undefined }

export interface Rules {
  minLength: number
  serviceName: string
  /** The URL that the service is reached at. */
  issuer: string
}

/** The most code points that a password has. */
export const longest = 256

/** NFKC, so that a password does not depend on the keyboard that typed it; nothing is trimmed, folded or cut. */
export const normalise = (password: string) => password.normalize('NFKC')

// What a host is called for what it does says nothing about whose it is.
const generic = new Set(['account', 'accounts', 'auth', 'identity', 'localhost', 'login', 'oauth', 'secure', 'signin'])

/** The labels of a URL's host that name somebody: not its top-level domain. */
const labels = (url: string) => domainToUnicode(new URL(url).hostname).split('.').slice(0, -1).filter(label => !generic.has(label))

/** A name as it is, and run together. */
const spellings = (name: string) => [name, name.replaceAll(/\s/gu, '')]

function emailWords (email: string): string[] {
  const at = email.lastIndexOf('@')
  const [local, domain] = [email.slice(0, at), email.slice(at + 1)]
  const [mailbox = ''] = local.split('+')
  return [email, local, mailbox, `${local}@${domainToUnicode(domain)}`]
}

/** Of what is equal but for its case the same; in upper case, for the lower one of a sigma depends on its place. */
const folded = (text: string) => normalise(text).toUpperCase()

/** Every reason against a new password. What it may not contain counts from four code points on, whatever the case. */
export function reasonsAgainst (password: string, { email, username, name }: Owner, { minLength, serviceName, issuer }: Rules): PasswordReason[] {
  const { length } = [...normalise(password)]
  const text = folded(password)
  const contains = (words: string[]) => words.some(word => [...word].length >= 4 && text.includes(folded(word)))
  const reasons: Record<Exclude<PasswordReason, 'breached'>, boolean> = {
    // One ligature may be many code points, and one letter several as it was typed.
    too_short: Math.min(length, [...password].length) < minLength,
    too_long: length > longest,
    too_common: isCommon(text.toLowerCase()),
    contains_email: contains(emailWords(email)),
    contains_name: contains([username ?? '', ...spellings(name ?? '')]),
    contains_service: contains([...spellings(serviceName), ...labels(issuer)])
  }
  return (Object.keys(reasons) as Array<keyof typeof reasons>).filter(reason => reasons[reason])
}
