import * as audit from '../audit/events.ts'
import type { AuthenticationServices } from '../authentication/password-verification.ts'
import type { RequestContext } from '../authentication/request-context.ts'
import { notification } from '../mail/mail-context.ts'
import { enqueueMail } from '../mail/outbox.ts'
import * as oneTimeTokens from '../one-time-tokens/one-time-tokens.ts'
import { revokeAll } from '../one-time-tokens/revocation.ts'
import { endAll } from '../sessions/ending.ts'
import { identifiedByEmail, replacePassword } from '../users/credential.ts'
import { markEmailVerified } from './email-ownership.ts'

/** A mailed link, and the password that its holder chose. */
export interface PasswordReset { token: string, newPassword: string }

/**
 * Sets a new password for the holder of a link. Ends all sessions, forgets all devices, and revokes all other
 * links. Throws `link_expired` or `password_rejected`; the link then does not change.
 */
export async function resetPassword (
  services: AuthenticationServices,
  { token, newPassword }: PasswordReset,
  { mail, origin, ticket }: RequestContext
): Promise<void> {
  const { db, passwords, throttle } = services
  const owner = await oneTimeTokens.find(db, token, ['password_reset'])
  await passwords.check(newPassword, owner)
  const hash = await passwords.hash(newPassword, ticket)
  await db.transaction(async tx => {
    const account = await oneTimeTokens.consume(tx, token, ['password_reset'])
    const { id: userId, email } = account
    const userOrigin = { ...origin, actorId: userId }
    await markEmailVerified(tx, account, userOrigin)
    await replacePassword(tx, userId, hash)
    await audit.record(tx, 'user.password_reset', { userId }, userOrigin)
    await endAll(tx, { userId }, 'password_reset', userOrigin)
    await revokeAll(tx, userId)
    await enqueueMail(tx, notification(mail, 'password_changed', origin, email), userId)
    await throttle.reset(tx, { ...identifiedByEmail(account), userId, network: ticket.network ?? '' })
  })
}
