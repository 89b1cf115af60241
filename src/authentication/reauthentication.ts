import type { Origin } from '../audit/events.ts'
import { validationFailed } from '../http/problems.ts'
import type { QueueTicket } from '../passwords/passwords.ts'
import type { SessionOwner } from '../sessions/owner.ts'
import { forbiddenCredentials } from '../users/problems.ts'
import type { Device } from './known-device.ts'
import {
  verifyPassword, type AuthenticationServices, type PasswordAttempt, type VerifiedPassword
} from './password-verification.ts'
import { signInAgain } from './problems.ts'

/** What a signed-in user presents to authenticate again. */
export interface Reauthentication {
  subject: SessionOwner
  password: string | undefined
  device: Device | undefined
  ticket: QueueTicket
  /** The JSON pointer (RFC 6901) of the password in the request. */
  pointer: string
}

// How recent the sign-in of an account without a password must be.
const recentSignInMs = 5 * 60_000

/**
 * Authenticates a signed-in user again (OWASP ASVS 7.5.1): with the password or, if the account has none,
 * with a sign-in within the last five minutes. Throws `invalid_credentials` with status 403,
 * `validation_failed` at the pointer if the password is missing, and as `verifyPassword` does.
 */
export async function reauthenticate (
  services: AuthenticationServices, { pointer, ...presented }: Reauthentication, origin: Origin
): Promise<VerifiedPassword> {
  const { subject, password, device, ticket } = presented
  const { account, authenticatedAt } = subject
  if (account.password_hash === null) {
    if (account.now.getTime() - authenticatedAt.getTime() > recentSignInMs) throw signInAgain()
    return {
      userId: account.id,
      passwordVersion: account.password_version,
      isEmailVerified: account.email_verified,
      attempt: { resetKey: undefined, refundKeys: [] },
      ticket,
      isKnownDevice: false
    }
  }
  if (password === undefined) {
    throw validationFailed('The password of the account is required.', [{ pointer, detail: 'is required' }])
  }
  const attempt: PasswordAttempt = { subject, password, device, ticket, mismatch: forbiddenCredentials }
  return await verifyPassword(services, attempt, origin)
}
