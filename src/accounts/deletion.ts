import * as audit from '../audit/events.ts'
import type { Database, Queryable } from '../database/database.ts'
import { enqueueMail, languages, type SealMail } from '../mail/outbox.ts'
import type { PasswordDesk } from '../authentication/verify-password.ts'
import { forbiddenCredentials, invalidToken } from '../http/problem.ts'
import { reauthenticate, type Claim } from '../authentication/reauthentication.ts'
import type { Revocation } from '../tokens/revocations.ts'
import { purgeEnded } from '../sessions/expiry.ts'
import { endAll } from '../sessions/ending.ts'
import { refund, recordSuccess } from '../throttle/sign-in-throttle.ts'
import { eraseOrLeave } from './erasure.ts'
import { assertAnotherAdmin } from '../users/last-admin.ts'
import { forgetPending } from './pending-registrations.ts'

export interface Terms {
  /** Makes the mail that tells the former address; none is sent without. */
  sealMail?: SealMail
  /** Whether an administrator does it, whose notification is never dropped. */
  isByAdmin?: boolean
  /** Of the password that was proved: where it is another one by now, that is `invalid_credentials`. */
  passwordVersion?: number
}

interface Leaver { password_version: number, email: string, canonical_email: string, language: string | null }

// As many events as are done at once: of whoever has more, the upkeep does the rest.
const atOnce = 1_000

const lock = 'select password_version, email, canonical_email, language from users where id = $1 for update'
const clearing = {
  name: 'users.clear',
  text: `
    with own_links as (
      delete from links where user_id = $1
    ), links_to_the_address as (
      delete from links where canonical_email = $2 and user_id <> $1
    ), outstanding as (
      delete from jobs where user_id = $1
    )
    insert into erasures (user_id) values ($1) on conflict do nothing`
}
const removal = { name: 'users.delete', text: 'delete from users where id = $1' }

/**
 * Removes a user and every trace but the events of the audit log, which keep the ids alone. Gives what verifiers must
 * know of the sessions; undefined where there is no such user. Throws `last_admin`.
 */
export async function remove (tx: Queryable, id: string, { actorId }: audit.Origin, { sealMail, isByAdmin = false, passwordVersion }: Terms = {}): Promise<Revocation[] | undefined> {
  // The administrators are locked before, and in one order: two who leave would wait for each other.
  await assertAnotherAdmin(tx, id)
  const [leaver] = await tx.query<Leaver>(lock, [id])
  if (!leaver) return undefined
  if (passwordVersion !== undefined && leaver.password_version !== passwordVersion) throw forbiddenCredentials()

  // From where it was asked for is as personal as the rest.
  const origin = { actorId }
  const ended = await endAll(tx, { userId: id }, 'account_deleted', origin)
  await forgetPending(tx, leaver.canonical_email)
  // The links come before the user, as in a change to this address: in one statement, the user would come first,
  // and each would wait for the other.
  await tx.query(clearing, [id, leaver.canonical_email])
  await tx.query(removal, [id])
  await audit.record(tx, 'user.deleted', { userId: id }, origin)
  const language = languages.find(known => known === leaver.language)
  const mail = sealMail?.({ kind: 'account_deleted', to: leaver.email, isUncounted: isByAdmin, ...language && { language } })
  await enqueueMail(tx, mail, undefined)
  await eraseOrLeave(tx, atOnce, id)
  return ended
}

/**
 * Removes a signed-in user who proves to be the one. Gives what verifiers must know. Throws `last_admin`, and as
 * `reauthenticate` does.
 */
export async function leave (db: Database, desk: PasswordDesk, claim: Claim, sealMail: SealMail, origin: audit.Origin): Promise<Revocation[]> {
  const { attempt, userId, passwordVersion } = await reauthenticate(db, desk, claim, '/password', origin)
  try {
    await purgeEnded(db, userId)
    return await db.transaction(async tx => {
      const ended = await remove(tx, userId, origin, { sealMail, passwordVersion })
      if (!ended) throw invalidToken(true, 'the account is gone')
      await recordSuccess(tx, attempt)
      return ended
    })
  } catch (error) {
    // It was right: whoever may not leave has not failed.
    await refund(db, attempt).catch(() => {})
    throw error
  }
}
