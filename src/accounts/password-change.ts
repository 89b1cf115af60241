import { refundOnFailure, type AuthenticationServices } from '../authentication/password-verification.ts'
import { reauthenticate, type Reauthentication } from '../authentication/reauthentication.ts'
import type { RequestContext } from '../authentication/request-context.ts'
import { notification } from '../mail/mail-context.ts'
import { enqueueMail } from '../mail/outbox.ts'
import { revokeAll } from '../one-time-tokens/revocation.ts'
import { endAll } from '../sessions/ending.ts'
import { recordSuccess } from '../throttle/sign-in-throttle.ts'
import { setPassword } from '../users/credential.ts'
import { forbiddenCredentials } from '../users/problems.ts'

/** A signed-in user's request for a new password. */
export interface PasswordChange {
  proof: Reauthentication
  newPassword: string
  /** The session that does not end. */
  sessionId: string
}

/**
 * Sets a new password, or the first one, for a signed-in user who authenticates again. Ends all other
 * sessions, and forgets all devices. Resolves to the time from which devices are known again. Throws
 * `password_rejected`, and as `reauthenticate` does.
 */
export async function changePassword (
  services: AuthenticationServices, change: PasswordChange, { mail, origin }: RequestContext
): Promise<Date> {
  const { db, passwords } = services
  const { proof: { subject: { account } }, newPassword, sessionId } = change
  await passwords.check(newPassword, account)
  const verified = await reauthenticate(services, change.proof, origin)
  const { attempt, ticket, userId } = verified
  const perform = async () => {
    const hash = await passwords.hash(newPassword, ticket)
    return await db.transaction(async tx => {
      const devicesKnownFrom = await setPassword(tx, verified, hash, origin)
      if (!devicesKnownFrom) throw forbiddenCredentials()
      await endAll(tx, { userId, except: sessionId }, 'password_changed', origin)
      await revokeAll(tx, userId)
      await enqueueMail(tx, notification(mail, 'password_changed', origin, account.email), userId)
      await recordSuccess(tx, attempt)
      return devicesKnownFrom
    })
  }
  // The password was correct, so a change that fails does not count as a failed attempt.
  return await refundOnFailure(db, attempt, perform())
}
