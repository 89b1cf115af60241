import type { Origin } from '../audit/events.ts'
import { signInAgain } from './problems.ts'
import { validationFailed } from '../http/problems.ts'
import { forbiddenCredentials } from '../users/problems.ts'
import type { QueueTicket } from '../passwords/passwords.ts'
import type { SessionOwner } from '../sessions/owner.ts'
import type { Device } from './known-device.ts'
import { verifyPassword, type AuthenticationServices, type VerifiedPassword } from './password-verification.ts'

/** What a signed-in user presents to prove again who they are. */
export interface Reauthentication {
  of: SessionOwner
  password: string | undefined
  device: Device | undefined
  ticket: QueueTicket
  /** Where the request has the password, as a JSON pointer (RFC 6901). */
  pointer: string
}

// How long ago an account without a password may have signed in.
const recentSignInMs = 5 * 60_000

/**
 * Proves again who is signed in (OWASP ASVS 7.5.1): by the password or, for an account that has none, by a
 * sign-in within the last five minutes. Throws `invalid_credentials` with status 403, `validation_failed` at
 * the pointer if the password is missing, and as `verifyPassword` does.
 */
export async function reauthenticate (
  services: AuthenticationServices, { pointer, ...presented }: Reauthentication, origin: Origin
): Promise<VerifiedPassword> {
  const { of, password, device, ticket } = presented
  const { account, authenticatedAt } = of
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
    throw validationFailed('The password of the account is needed.', [{ pointer, detail: 'is required' }])
  }
  return await verifyPassword(services, { of, password, device, ticket, mismatch: forbiddenCredentials }, origin)
}
