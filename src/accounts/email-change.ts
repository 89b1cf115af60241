import * as audit from '../audit/events.ts'
import type { Database, Queryable } from '../database/database.ts'
import type { EmailAddress } from '../syntax/email-address.ts'
import * as oneTimeTokens from '../one-time-tokens/one-time-tokens.ts'
import { admitMail } from '../mail/limits.ts'
import { languages } from '../http/language.ts'
import { enqueueMail } from '../mail/outbox.ts'
import { emailTaken, forbiddenCredentials } from '../users/problems.ts'
import * as users from '../users/users.ts'
import { lockCredential, type Credential } from '../users/credential.ts'
import { forgetPending } from './pending-registrations.ts'
import type { MailContext } from '../mail/mail-context.ts'
import { resetOwnership } from './email-ownership.ts'
import { assertUndoCapacity, revokeLaterUndoTokens } from '../one-time-tokens/undo.ts'
import { revokeAll, revokeEmailChanges, revokeOtherEmailChanges } from '../one-time-tokens/revocation.ts'

/** A user's wish for a new address. */
export interface EmailChange {
  /** The password that was verified. */
  credential: Credential
  to: EmailAddress
  /**
   * Whether only the owner of a taken address is told that it is taken, because addresses must be verified.
   */
  hidesTaken: boolean
}

/**
 * Mails a link to a new address, which becomes that of the account when the link is used. The request voids
 * earlier ones, so that a mistyped address gets nothing, and the present address is told. Throws
 * `email_taken`, unless that is hidden. Throws `invalid_credentials` if the password has changed since it was
 * verified, because a thief's request that is under way must not outlive it. No mail is sent if too many of
 * this kind to the new address were requested: the password proves the account, not the address.
 */
export async function requestEmailChange (db: Database, change: EmailChange, context: MailContext): Promise<void> {
  const { credential, to: { address, canonical }, hidesTaken } = change
  const { userId, passwordVersion } = credential
  const { sealMail, lives: { emailVerification: lives }, language, limit } = context
  const owner = await users.ownerOf(db, canonical)
  const other = owner?.id === userId ? undefined : owner
  if (other && !hidesTaken) throw emailTaken()
  const token = oneTimeTokens.generateToken()
  const known = languages.find(each => each === other?.language)
  const mail = other
    ? sealMail({ kind: 'registration_taken', as: 'email_change', language: language ?? known, to: other.email })
    : sealMail({ kind: 'email_change', language, token, lives, to: address })
  const buckets = limit.bucketsOf('email_change', canonical, lives)
  const isAdmitted = await db.transaction(async tx => {
    // Of two concurrent requests, the second one waits here, and then voids the first one's link.
    const current = await users.lock(tx, userId)
    if (!current || !await lockCredential(tx, credential)) throw forbiddenCredentials()
    await assertUndoCapacity(tx, userId)
    if (!await admitMail(tx, buckets)) {
      // The user gets no other link to this address, so the one that they have stays valid.
      await revokeOtherEmailChanges(tx, userId, canonical)
      return false
    }
    await revokeEmailChanges(tx, userId)
    const target = { email: address, canonical_email: canonical }
    const isIssued = await oneTimeTokens.issue(tx, {
      userId, purpose: 'email_change', token, lifetimeSeconds: lives, target, passwordVersion
    })
    if (!isIssued) throw forbiddenCredentials()
    // The data export shows the user which mails are still to be sent for them, whether or not the address is
    // taken.
    await enqueueMail(tx, mail, userId, lives)
    if (current.canonical === canonical) return true
    const facts = { email: address }
    await enqueueMail(tx, sealMail({ kind: 'email_change_requested', to: current.address, facts }), userId)
    return true
  })
  if (!isAdmitted) limit.onDrop('email_change')
}

/** What a change of address is recorded and mailed with. */
interface MoveContext { mail: MailContext, origin: audit.Origin }

/**
 * Gives an account the address that its link was mailed to, and mails the former address a link to undo that.
 * Throws `email_taken`.
 */
export async function changeAddress (
  tx: Queryable,
  account: oneTimeTokens.ValidToken,
  to: EmailAddress,
  { mail, origin }: MoveContext
): Promise<void> {
  const { sealMail, lives: { emailUndo: lives } } = mail
  const token = oneTimeTokens.generateToken()
  // A mailbox that was never verified as the user's must not get the account.
  const undo = account.email_verified ? { token, lives } : {}
  await move(tx, account, to, { origin })
  if (account.email_verified) {
    const { email, canonical_email: canonical } = account
    await oneTimeTokens.issue(tx, {
      userId: account.id,
      purpose: 'email_undo',
      token,
      lifetimeSeconds: lives,
      target: { email, canonical_email: canonical }
    })
  }
  // The link to undo must not be dropped. It cannot be sent often, because each takes a newly verified
  // address.
  const isUncounted = account.email_verified
  const facts = { email: to.address }
  await enqueueMail(tx, sealMail({ kind: 'email_changed', ...undo, to: account.email, isUncounted, facts }), account.id)
}

/**
 * Gives an account an earlier, verified address back. The person who changed it knew the password, so the
 * password is voided and all sessions end. Throws `email_taken`.
 */
export async function undoChange (
  tx: Queryable,
  account: oneTimeTokens.ValidToken,
  to: EmailAddress,
  { mail, origin }: MoveContext
): Promise<void> {
  await move(tx, account, to, { origin, detail: { undone: true } })
  await revokeLaterUndoTokens(tx, account.id, account.created_at)
  await resetOwnership(tx, { userId: account.id, reason: 'email_change_undone' }, mail, origin)
}

async function move (
  tx: Queryable,
  { id: userId }: oneTimeTokens.ValidToken,
  to: EmailAddress,
  { origin, detail = {} }: { origin: audit.Origin, detail?: Record<string, unknown> }
) {
  await users.changeEmail(tx, userId, to)
  await audit.record(tx, 'user.email_changed', { userId, detail }, origin)
  await revokeAll(tx, userId)
  // The address is verified, so pending registrations of it end.
  await forgetPending(tx, to.canonical)
}
