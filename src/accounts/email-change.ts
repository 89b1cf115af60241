import * as audit from '../audit/events.ts'
import type { Database, Queryable } from '../database/database.ts'
import { languages } from '../http/language.ts'
import { countMail } from '../mail/limits.ts'
import { factsOf, type MailContext } from '../mail/mail-context.ts'
import { enqueueMail } from '../mail/outbox.ts'
import * as oneTimeTokens from '../one-time-tokens/one-time-tokens.ts'
import { revokeAll, revokeEmailChanges, revokeOtherEmailChanges } from '../one-time-tokens/revocation.ts'
import { assertUndoCapacity, revokeLaterUndoTokens } from '../one-time-tokens/undo.ts'
import type { EmailAddress } from '../syntax/email-address.ts'
import { lockCredential, type Credential } from '../users/credential.ts'
import { emailTaken, forbiddenCredentials } from '../users/problems.ts'
import * as users from '../users/users.ts'
import { resetOwnership } from './email-ownership.ts'
import { deletePendingRegistrations } from './pending-registrations.ts'

/** A user's request for a new address. */
export interface EmailChange {
  /** The password that was verified. */
  credential: Credential
  to: EmailAddress
  /** Whether the caller must not learn that the address is taken. Its owner is then notified instead. */
  hidesTaken: boolean
}

/**
 * Mails a link to a new address. The account gets that address when the link is used. Revokes the links of
 * earlier requests, because their address may have been mistyped, and notifies the current address. Throws
 * `email_taken`, unless that is hidden. Throws `invalid_credentials` if the password has changed since it was
 * verified, so that a concurrent request of a thief does not survive the change. Sends no mail if too many of
 * this kind to the new address were requested, because the password proves the account, not the address.
 */
export async function requestEmailChange (
  db: Database, change: EmailChange, context: MailContext
): Promise<void> {
  const { credential, to: { address, canonical }, hidesTaken } = change
  const { userId, passwordVersion } = credential
  const { sealMail, lives: { emailVerificationSeconds: lives }, language, limit, origin } = context
  const owner = await users.findOwner(db, canonical)
  const otherOwner = owner?.id === userId ? undefined : owner
  if (otherOwner && !hidesTaken) throw emailTaken()
  const token = oneTimeTokens.generateToken()
  const facts = factsOf(origin)
  const ownerLanguage = languages.find(each => each === otherOwner?.language)
  const mail = otherOwner
    ? sealMail({
      kind: 'registration_taken',
      as: 'email_change',
      language: language ?? ownerLanguage,
      to: otherOwner.email,
      facts
    })
    : sealMail({ kind: 'email_change', language, token, lives, to: address, facts })
  const buckets = limit.bucketsOf('email_change', canonical, lives)
  const isCounted = await db.transaction(async tx => {
    // Of two concurrent requests, the second one waits here, and then revokes the link of the first.
    const current = await users.lock(tx, userId)
    if (!current || !await lockCredential(tx, credential)) throw forbiddenCredentials()
    await assertUndoCapacity(tx, userId)
    if (!await countMail(tx, buckets)) {
      // The user gets no new link to this address, so an earlier one stays valid.
      await revokeOtherEmailChanges(tx, userId, canonical)
      return false
    }
    await revokeEmailChanges(tx, userId)
    const target = { email: address, canonical_email: canonical }
    const isIssued = await oneTimeTokens.issue(tx, {
      userId, purpose: 'email_change', token, lifetimeSeconds: lives, target, passwordVersion
    })
    if (!isIssued) throw forbiddenCredentials()
    // The data export shows the user their pending mails. It must not reveal whether the address is taken.
    await enqueueMail(tx, mail, userId, lives)
    if (current.canonical === canonical) return true
    const notification = sealMail({
      kind: 'email_change_requested', to: current.address, facts: { ...facts, email: address }
    })
    await enqueueMail(tx, notification, userId)
    return true
  })
  if (!isCounted) limit.onDrop('email_change')
}

/** What is needed to record a change of address and to mail about it. */
interface MoveContext { mail: MailContext, origin: audit.Origin }

/**
 * Gives an account the address that its link was mailed to. Mails the former address, with a link to undo the
 * change if that address was verified. Throws `email_taken`.
 */
export async function changeAddress (
  tx: Queryable,
  account: oneTimeTokens.ValidToken,
  to: EmailAddress,
  { mail, origin }: MoveContext
): Promise<void> {
  const { sealMail, lives: { emailUndoSeconds: lives } } = mail
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
  // The link to undo must not be dropped. It cannot be sent often, because each one needs a newly verified
  // address.
  const isUncounted = account.email_verified
  const facts = { ...factsOf(origin), email: to.address }
  const notification = sealMail({ kind: 'email_changed', ...undo, to: account.email, isUncounted, facts })
  await enqueueMail(tx, notification, account.id)
}

/**
 * Gives an account its earlier, verified address back. The person who changed it knew the password, so the
 * password becomes invalid and all sessions end. Throws `email_taken`.
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
  // The address is verified, so its pending registrations are deleted.
  await deletePendingRegistrations(tx, to.canonical)
}
