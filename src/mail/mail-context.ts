import type { Origin } from '../audit/events.ts'
import type { Language } from '../http/language.ts'
import { describe } from '../http/user-agent.ts'
import type { MailBuckets } from './limits.ts'
import type { MailKind } from './mail-kinds.ts'
import type { Mail, MailSealer } from './outbox.ts'

/** How long each kind of mailed link is valid. */
export interface LinkLives {
  emailVerificationSeconds: number
  passwordResetSeconds: number
  magicLinkSeconds: number
  emailUndoSeconds: number
}

/** The limit on mails that are requested from the network of one request. */
export interface RequestLimit {
  /** The buckets that count a mail to an address. Its link is valid for `linkSeconds`. */
  bucketsOf: (kind: MailKind, canonical: string, linkSeconds: number) => MailBuckets
  /** Called with the kind of each mail that is dropped because a bucket is full. */
  onDrop: (kind: MailKind) => void
}

/** What the mails of one request are made with. */
export interface MailContext {
  sealMail: MailSealer
  lives: LinkLives
  limit: RequestLimit
  /** The language that the request asks for. */
  language: Language | undefined
  /** Where the request comes from. */
  origin: Pick<Origin, 'ip' | 'userAgent'>
}

/** Where a request comes from, as mails state it. */
export function factsOf ({ ip, userAgent }: Pick<Origin, 'ip' | 'userAgent'>): NonNullable<Mail['facts']> {
  const { browser, system } = describe(userAgent ?? null)
  return { ip, browser: browser ?? undefined, system: system ?? undefined }
}

/**
 * Seals a mail that tells the user what happened, and from where. `to` is the address that the account has
 * now: a thief who changes it before the mail is sent must not get the mail in the owner's place.
 */
export function notification (
  { sealMail, language }: Pick<MailContext, 'sealMail' | 'language'>,
  kind: Mail['kind'],
  origin: Origin,
  to?: string
): Buffer | undefined {
  return sealMail({ kind, language, ...to !== undefined && { to }, facts: factsOf(origin) })
}
