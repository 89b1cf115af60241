import type { Database } from '../database/database.ts'
import { factsOf, type MailContext } from '../mail/mail-context.ts'
import * as oneTimeTokens from '../one-time-tokens/one-time-tokens.ts'
import { issueByAddress } from '../one-time-tokens/request.ts'
import * as users from '../users/users.ts'

const lifetimeNames = {
  email_verification: 'emailVerificationSeconds',
  password_reset: 'passwordResetSeconds',
  magic_link: 'magicLinkSeconds'
} as const

/** The kinds of links that anyone can request for an address. */
export type LinkKind = keyof typeof lifetimeNames

/** A request for a link, with the address as it was typed. */
export interface EmailLinkRequest { kind: LinkKind, email: string }

/**
 * Mails a link to an address if it has an account and not too many links were requested. The response and its
 * time do not depend on the account (OWASP ASVS 6.3.8). Throws `validation_failed` if the text is not an
 * address.
 */
export async function requestLink (
  db: Database, { kind, email }: EmailLinkRequest, mail: MailContext
): Promise<void> {
  const { sealMail, language, limit, origin } = mail
  const { canonical } = users.requireEmail(email)
  const token = oneTimeTokens.generateToken()
  const lives = mail.lives[lifetimeNames[kind]]
  const sealed = sealMail({ kind, language, token, lives, facts: factsOf(origin) })
  const buckets = limit.bucketsOf(kind, canonical, lives)
  const tokenRequest = { canonical, purpose: kind, token, mail: sealed, lifetimeSeconds: lives, buckets }
  const isCounted = await issueByAddress(db, tokenRequest)
  if (!isCounted) limit.onDrop(kind)
}
