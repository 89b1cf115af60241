import { notification, type MailContext } from './mail-context.ts'
import type * as audit from '../audit/events.ts'
import type { Database } from '../database/database.ts'
import * as links from '../one-time-tokens/one-time-tokens.ts'
import { enqueueMail } from '../mail/outbox.ts'
import { prove, type Claim, type PasswordDesk } from '../authentication/verify-password.ts'
import { forbiddenCredentials, invalidCredentials } from '../http/problem.ts'
import * as reauthentication from '../authentication/reauthentication.ts'
import type { Revocation } from '../tokens/revocations.ts'
import * as sessions from '../sessions/creation.ts'
import { endAll } from '../sessions/ending.ts'
import { refund, recordSuccess } from '../throttle/sign-in-throttle.ts'
import { setPassword } from '../users/credential.ts'

/**
 * Opens a session for a password, and asks the owner by mail whether it was them where the device is a new one.
 * Throws as `prove` does, `invalid_credentials` where that says `wrong`.
 */
export async function signIn (db: Database, desk: PasswordDesk, claim: Claim, request: sessions.SessionRequest, mailContext: MailContext, origin: audit.Origin): Promise<sessions.CreatedSession> {
  const { attempt, known, userId, passwordVersion } = await prove(db, desk, claim, invalidCredentials, origin)
  const notice = known ? undefined : notification(mailContext, 'new_sign_in', origin, claim.of.account?.email)
  return await sessions.createSession(db, { userId, passwordVersion }, { ...request, attempt, notification: notice }, { ...origin, actorId: userId })
}

/** A password that was changed: what verifiers must know, and from when on devices are known anew. */
export interface PasswordChange { ended: Revocation[], devicesKnownFrom: Date }

/**
 * Sets a new password, or the first one, for a signed-in user who proves to be the one; every other session ends with
 * it, and every device is forgotten. Throws `password_rejected`, and as `reauthenticate` does.
 */
export async function changePassword (db: Database, desk: PasswordDesk, claim: reauthentication.Claim, newPassword: string, sessionId: string, mailContext: MailContext, origin: audit.Origin): Promise<PasswordChange> {
  await desk.passwords.check(newPassword, claim.of.account)
  const proof = await reauthentication.reauthenticate(db, desk, claim, '/current_password', origin)
  const hash = await desk.passwords.hash(newPassword, proof.ticket).catch(async (error: unknown) => {
    // It was right: whoever comes back as they are told has not failed.
    await refund(db, proof.attempt).catch(() => {})
    throw error
  })
  return await db.transaction(async tx => {
    const devicesKnownFrom = await setPassword(tx, proof, hash, origin)
    if (!devicesKnownFrom) throw forbiddenCredentials()
    const ended = await endAll(tx, { userId: proof.userId, except: sessionId }, 'password_changed', origin)
    await links.endAll(tx, proof.userId)
    await enqueueMail(tx, notification(mailContext, 'password_changed', origin, claim.of.account.email), proof.userId)
    await recordSuccess(tx, proof.attempt)
    return { ended, devicesKnownFrom }
  })
}
