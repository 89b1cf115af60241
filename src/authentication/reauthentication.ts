import type { Origin } from '../audit/events.ts'
import type { Queryable } from '../database/database.ts'
import type { Device } from './device.ts'
import { prove, type PasswordDesk, type Proof } from './verify-password.ts'
import type { QueueTicket } from '../passwords/passwords.ts'
import { forbiddenCredentials, signInAgain, validationFailed } from '../http/problem.ts'
import type { SessionOwner } from '../sessions/owner.ts'

/** What a signed-in user gives to prove once more who they are. */
export interface Claim {
  of: SessionOwner
  password: string | undefined
  device: Device | undefined
  ticket: QueueTicket
}

// Milliseconds.
const recent = 5 * 60_000

/**
 * Proves once more who is signed in: by the password or, of an account that has none, by a sign-in of the last five
 * minutes. Throws `invalid_credentials` with status 403, `validation_failed` at `pointer` where the password is missing,
 * and as `prove` does.
 */
export async function reauthenticate (db: Queryable, desk: PasswordDesk, { of, password, device, ticket }: Claim, pointer: string, origin: Origin): Promise<Proof> {
  const { account, authenticatedAt } = of
  if (account.password_hash === null) {
    if (account.now.getTime() - authenticatedAt.getTime() > recent) throw signInAgain()
    return { userId: account.id, passwordVersion: account.password_version, attempt: { forgets: undefined, takesBack: [] }, ticket, known: false }
  }
  if (password === undefined) throw validationFailed('The password of the account is needed.', [{ pointer, detail: 'is required' }])
  return await prove(db, desk, { of, password, device, ticket }, forbiddenCredentials, origin)
}
