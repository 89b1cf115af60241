import { invalidCredentials } from '../users/problems.ts'
import { notification } from '../mail/mail-context.ts'
import { complete, type Completion, type SignInRequest } from './completion.ts'
import { verifyPassword, type AuthenticationServices, type PasswordAttempt } from './password-verification.ts'
import type { RequestContext } from './request-context.ts'

/**
 * Signs in with a password. If the device is not known, a mail asks the owner whether it was them. Throws as
 * `verifyPassword` and `complete` do, and `invalid_credentials` for a wrong password.
 */
export async function signInWithPassword (
  services: AuthenticationServices,
  presented: Omit<PasswordAttempt, 'mismatch'>,
  request: SignInRequest,
  { mail, origin }: RequestContext
): Promise<Completion> {
  const verified = await verifyPassword(services, { ...presented, mismatch: invalidCredentials }, origin)
  const { isKnownDevice } = verified
  const notice = isKnownDevice ? undefined : notification(mail, 'new_sign_in', origin, presented.of.account?.email)
  return await complete(services.db, { ...verified, methods: ['pwd'], notification: notice }, request, origin)
}
