import { notification } from '../mail/mail-context.ts'
import { invalidCredentials } from '../users/problems.ts'
import { complete, type Completion, type SignInRequest } from './completion.ts'
import {
  refundOnFailure, verifyPassword, type AuthenticationServices, type PasswordAttempt
} from './password-verification.ts'
import type { RequestContext } from './request-context.ts'

/**
 * Signs in with a password. If the device is not known, the owner is notified by mail. Throws as
 * `verifyPassword` and `complete` do, and `invalid_credentials` for a wrong password.
 */
export async function signInWithPassword (
  services: AuthenticationServices,
  attempt: Omit<PasswordAttempt, 'mismatch'>,
  request: SignInRequest,
  { mail, origin }: RequestContext
): Promise<Completion> {
  const verified = await verifyPassword(services, { ...attempt, mismatch: invalidCredentials }, origin)
  const email = attempt.subject.account?.email
  const proof = {
    ...verified,
    methods: ['pwd'],
    notification: verified.isKnownDevice ? undefined : notification(mail, 'new_sign_in', origin, email)
  }
  const completeIfAwaited = async () => {
    // The client may have gone, and signed in again, while the process was paused.
    attempt.ticket.signal?.throwIfAborted()
    return await complete(services.db, proof, request, origin)
  }
  // The password was correct, so a sign-in that is not completed does not count as a failure.
  return await refundOnFailure(services.db, verified.attempt, completeIfAwaited())
}
