import * as audit from '../audit/events.ts'
import { refundOnFailure, type AuthenticationServices } from '../authentication/password-verification.ts'
import { reauthenticate, type Reauthentication } from '../authentication/reauthentication.ts'
import type { Queryable } from '../database/database.ts'
import { languages } from '../http/language.ts'
import { invalidToken } from '../http/problems.ts'
import { enqueueMail, type MailSealer } from '../mail/outbox.ts'
import { endAll } from '../sessions/ending.ts'
import { purgeEnded } from '../sessions/expiry.ts'
import { recordSuccess } from '../throttle/sign-in-throttle.ts'
import { assertAnotherAdmin } from '../users/last-admin.ts'
import { forbiddenCredentials } from '../users/problems.ts'
import { eraseIfUnlocked } from './erasure.ts'
import { deletePendingRegistrations } from './pending-registrations.ts'

/** How a user is deleted. */
export interface DeletionOptions {
  /** Seals the mail that notifies the former address. Without it, no mail is sent. */
  sealMail?: MailSealer
  /** Whether an administrator deletes the user. The mail is then never dropped. */
  isByAdmin?: boolean
  /** The version of the password that was verified. Another current version is `invalid_credentials`. */
  passwordVersion?: number
}

interface DeletedUser {
  password_version: number
  email: string
  canonical_email: string
  language: string | null
}

// The maximum number of events that the deletion itself erases. Housekeeping erases the others.
const maxErasedEvents = 1_000

const lock = 'select password_version, email, canonical_email, language from users where id = $1 for update'
const deleteReferences = {
  name: 'users.delete-references',
  text: `
    with own_tokens as (
      delete from one_time_tokens where user_id = $1
    ), tokens_for_the_address as (
      delete from one_time_tokens where canonical_email = $2 and user_id <> $1
    ), outstanding as (
      -- Logout tokens that are still to be sent tell clients that the user's sessions have ended.
      delete from jobs where user_id = $1 and kind <> 'backchannel_logout'
    )
    insert into erasures (user_id) values ($1) on conflict do nothing`
}
const deleteRow = { name: 'users.delete', text: 'delete from users where id = $1' }

/**
 * Deletes a user and all their data. The events of the audit log stay, but keep only the ids. Returns false
 * if there is no such user. Throws `last_admin`.
 */
export async function deleteUser (
  tx: Queryable, id: string, options: DeletionOptions, { actorId }: audit.Origin
): Promise<boolean> {
  const { sealMail, isByAdmin = false, passwordVersion } = options
  // The administrators are locked first, and in one order. Otherwise two who delete their accounts at the
  // same time would deadlock.
  await assertAnotherAdmin(tx, id)
  const [deleted] = await tx.query<DeletedUser>(lock, [id])
  if (!deleted) return false
  const isPasswordCurrent = passwordVersion === undefined || deleted.password_version === passwordVersion
  if (!isPasswordCurrent) throw forbiddenCredentials()

  // The network address and browser of the request are personal data too, so the events do not contain them.
  const origin = { actorId }
  await endAll(tx, { userId: id }, 'account_deleted', origin)
  await deletePendingRegistrations(tx, deleted.canonical_email)
  // The tokens come before the user, as in a change to this address. In one statement the user would come
  // first, and the two transactions would deadlock.
  await tx.query(deleteReferences, [id, deleted.canonical_email])
  await tx.query(deleteRow, [id])
  await audit.record(tx, 'user.deleted', { userId: id }, origin)
  const language = languages.find(language => language === deleted.language)
  const mail = sealMail?.({
    kind: 'account_deleted', to: deleted.email, isUncounted: isByAdmin, ...language && { language }
  })
  await enqueueMail(tx, mail, undefined)
  await eraseIfUnlocked(tx, maxErasedEvents, id)
  return true
}

/**
 * Deletes the account of a signed-in user who authenticates again. Throws `last_admin`, and as
 * `reauthenticate` does.
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
      if (!isDeleted) throw invalidToken(true, 'the account was deleted')
      await recordSuccess(tx, attempt)
    })
  }
  // The password was correct, so a refused deletion does not count as a failed attempt.
  await refundOnFailure(db, attempt, perform())
}
