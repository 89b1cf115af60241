import type { Origin } from '../audit/events.ts'
import type { Buckets } from '../mail/limits.ts'
import type { Language, Mail, MailKind, SealMail } from '../mail/outbox.ts'
import { describe } from '../http/user-agent.ts'

/** Seconds that links are good for. */
export interface LinkLives { emailVerification: number, passwordReset: number, magicLink: number, emailUndo: number }

/** The limit on mails that are requested from the network of one request. */
export interface RequestLimit {
  /** The buckets that count a mail to an address; its link is valid for `linkSeconds`. */
  bucketsOf: (kind: MailKind, canonical: string, linkSeconds: number) => Buckets
  /** Called with the kind of each mail that is dropped because a bucket is full. */
  onDrop: (kind: MailKind) => void
}

/** What mails are made with, for one request. */
export interface MailContext {
  sealMail: SealMail
  lives: LinkLives
  limit: RequestLimit
  /** That the request asks for. */
  language: Language | undefined
}

/**
 * A mail that tells what happened, and where from. `to` is the address that the account has now: whoever changes it before
 * the mail is sent must not get it in the owner's place.
 */
export const notification = ({ sealMail, language }: Pick<MailContext, 'sealMail' | 'language'>, kind: Mail['kind'], { ip, userAgent }: Origin, to?: string) => {
  const { browser, system } = describe(userAgent ?? null)
  return sealMail({ kind, language, ...to !== undefined && { to }, facts: { ip, browser: browser ?? undefined, system: system ?? undefined } })
}
