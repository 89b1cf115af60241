import type { Database } from '../database/database.ts'
import type { MailContext } from '../mail/mail-context.ts'
import * as oneTimeTokens from '../one-time-tokens/one-time-tokens.ts'
import * as users from '../users/users.ts'
import { issueByAddress } from '../one-time-tokens/request.ts'

const lifeOf = { email_verification: 'emailVerification', password_reset: 'passwordReset', magic_link: 'magicLink' } as const
/** The links that anyone can request who names an address. */
export type LinkKind = keyof typeof lifeOf

/** A request for a link, with the address as it was typed. */
export interface EmailLinkRequest { kind: LinkKind, email: string }

/**
 * Mails a link to an address if there is an account for it and not too many were requested. The response and
 * its time do not depend on the account (OWASP ASVS 6.3.8). Throws `validation_failed` if the text is no
 * address.
 */
export async function requestLink (db: Database, { kind, email }: EmailLinkRequest, mail: MailContext): Promise<void> {
  const { sealMail, language, limit } = mail
  const { canonical } = users.requireEmail(email)
  const token = oneTimeTokens.generateToken()
  const lives = mail.lives[lifeOf[kind]]
  const sealed = sealMail({ kind, language, token, lives })
  const buckets = limit.bucketsOf(kind, canonical, lives)
  const tokenRequest = { canonical, purpose: kind, token, mail: sealed, lifetimeSeconds: lives, buckets }
  const isAdmitted = await issueByAddress(db, tokenRequest)
  if (!isAdmitted) limit.onDrop(kind)
}
