import * as audit from '../audit/events.ts'
import { refundOnFailure, type AuthenticationServices } from '../authentication/password-verification.ts'
import { reauthenticate, type Reauthentication } from '../authentication/reauthentication.ts'
import type { Queryable } from '../database/database.ts'
import { languages } from '../http/language.ts'
import { invalidToken } from '../http/problems.ts'
import { forbiddenCredentials } from '../users/problems.ts'
import { enqueueMail, type MailSealer } from '../mail/outbox.ts'
import { purgeEnded } from '../sessions/expiry.ts'
import { endAll } from '../sessions/ending.ts'
import { recordSuccess } from '../throttle/sign-in-throttle.ts'
import { assertAnotherAdmin } from '../users/last-admin.ts'
import { eraseIfUnlocked } from './erasure.ts'
import { forgetPending } from './pending-registrations.ts'

/** How a user is deleted. */
export interface DeletionOptions {
  /** Makes the mail that tells the former address. Without it no mail is sent. */
  sealMail?: MailSealer
  /** Whether an administrator does it. The mail is then never dropped. */
  isByAdmin?: boolean
  /**
   * The version of the password that was verified. If it is another one by now, that is
   * `invalid_credentials`.
   */
  passwordVersion?: number
}

interface DeletedUser { password_version: number, email: string, canonical_email: string, language: string | null }

// The events that are erased with the deletion. Housekeeping erases the rest.
const erasedEvents = 1_000

const lock = 'select password_version, email, canonical_email, language from users where id = $1 for update'
const clearing = {
  name: 'users.clear',
  text: `
    with own_links as (
      delete from one_time_tokens where user_id = $1
    ), links_to_the_address as (
      delete from one_time_tokens where canonical_email = $2 and user_id <> $1
    ), outstanding as (
      delete from jobs where user_id = $1
    )
    insert into erasures (user_id) values ($1) on conflict do nothing`
}
const removal = { name: 'users.delete', text: 'delete from users where id = $1' }

/**
 * Deletes a user and every trace but the events of the audit log, which keep only the ids. Returns
 * false if there is no such user. Throws `last_admin`.
 */
export async function deleteUser (
  tx: Queryable, id: string, options: DeletionOptions, { actorId }: audit.Origin
): Promise<boolean> {
  const { sealMail, isByAdmin = false, passwordVersion } = options
  // The administrators are locked first, and in one order. Otherwise two who leave would deadlock.
  await assertAnotherAdmin(tx, id)
  const [deleted] = await tx.query<DeletedUser>(lock, [id])
  if (!deleted) return false
  if (passwordVersion !== undefined && deleted.password_version !== passwordVersion) throw forbiddenCredentials()

  // The network and browser of the request are personal data too, so the events do not get them.
  const origin = { actorId }
  await endAll(tx, { userId: id }, 'account_deleted', origin)
  await forgetPending(tx, deleted.canonical_email)
  // The links come before the user, as in a change to this address. In one statement the user would come
  // first, and the two transactions would deadlock.
  await tx.query(clearing, [id, deleted.canonical_email])
  await tx.query(removal, [id])
  await audit.record(tx, 'user.deleted', { userId: id }, origin)
  const language = languages.find(known => known === deleted.language)
  const mail = sealMail?.({
    kind: 'account_deleted', to: deleted.email, isUncounted: isByAdmin, ...language && { language }
  })
  await enqueueMail(tx, mail, undefined)
  await eraseIfUnlocked(tx, erasedEvents, id)
  return true
}

/**
 * Deletes the account of a signed-in user who proves again who they are. Throws `last_admin`, and as `reauthenticate` does.
 */
export async function deleteOwnAccount (
  services: AuthenticationServices, proof: Reauthentication, sealMail: MailSealer, origin: audit.Origin
): Promise<void> {
  const { db } = services
  const { attempt, userId, passwordVersion } = await reauthenticate(services, proof, origin)
  const perform = async () => {
    await purgeEnded(db, userId)
    await db.transaction(async tx => {
      const isDeleted = await deleteUser(tx, userId, { sealMail, passwordVersion }, origin)
      if (!isDeleted) throw invalidToken(true, 'the account is gone')
      await recordSuccess(tx, attempt)
    })
  }
  // The password was right, so a deletion that is refused does not count as a failure.
  await refundOnFailure(db, attempt, perform())
}
