import * as audit from '../audit/events.ts'
import type { Database, Queryable } from '../database/database.ts'
import type { EmailAddress } from '../syntax/email-address.ts'
import * as links from '../one-time-tokens/one-time-tokens.ts'
import { admit } from '../mail/limits.ts'
import { enqueueMail, languages } from '../mail/outbox.ts'
import { emailTaken, forbiddenCredentials } from '../http/problem.ts'
import type { Revocation } from '../tokens/revocations.ts'
import * as users from '../users/users.ts'
import { lockCredential, type Credential } from '../users/credential.ts'
import { forgetPending } from './pending-registrations.ts'
import type { MailContext } from './mail-context.ts'
import { startOver } from './email-links.ts'

/**
 * Mails a link to a new address, which becomes that of the account when the link is used. It voids earlier
 * requests, so that a mistyped address gets nothing, and tells the present address. If addresses must be
 * verified, only its owner is told that the new one is taken; else it throws `email_taken`. Throws
 * `invalid_credentials` if the password that was verified has changed since: a thief's request that is under
 * way must not outlive it. No mail is sent if too many of this kind to the new address were requested: the
 * password proves the account, not the address.
 */
export async function requestChange (
  db: Database,
  credential: Credential,
  target: EmailAddress,
  mailContext: MailContext,
  secretly: boolean
): Promise<void> {
  const { userId, passwordVersion } = credential
  const { address, canonical } = target
  const { sealMail, lives: { emailVerification: lives }, language, limit } = mailContext
  const owner = await users.ownerOf(db, canonical)
  const other = owner?.id === userId ? undefined : owner
  if (other && !secretly) throw emailTaken()
  const token = links.mintToken()
  const known = languages.find(each => each === other?.language)
  const mail = other
    ? sealMail({ kind: 'registration_taken', as: 'email_change', language: language ?? known, to: other.email })
    : sealMail({ kind: 'email_change', language, token, lives, to: address })
  const buckets = limit.bucketsOf('email_change', canonical, lives)
  const isAdmitted = await db.transaction(async tx => {
    // Of two requests at the same time, the second one waits here, and then voids the first one's link.
    const current = await users.lock(tx, userId)
    if (!current || !await lockCredential(tx, credential)) throw forbiddenCredentials()
    await links.assertUndoCapacity(tx, userId)
    if (!await admit(tx, buckets)) {
      // The user gets no other link to this address, so the one that they have stays good.
      await links.voidOtherChanges(tx, userId, canonical)
      return false
    }
    await links.voidChanges(tx, userId)
    const change = { email: address, canonical_email: canonical }
    const isMade = await links.make(tx, userId, 'email_change', token, lives, change, passwordVersion)
    if (!isMade) throw forbiddenCredentials()
    // The export shows the user which mails are still to be sent for them, whether or not the address is
    // taken.
    await enqueueMail(tx, mail, userId, lives)
    if (current.canonical === canonical) return true
    const facts = { email: address }
    await enqueueMail(tx, sealMail({ kind: 'email_change_requested', to: current.address, facts }), userId)
    return true
  })
  if (!isAdmitted) limit.onDrop('email_change')
}

/** What a change of address needs. */
interface Change { mailContext: MailContext, origin: audit.Origin }

/**
 * Gives an account the address that its link was mailed to, and mails the former address a link to undo that.
 * Throws `email_taken`.
 */
export async function changeAddress (
  tx: Queryable,
  account: links.Found,
  to: EmailAddress,
  { mailContext, origin }: Change
): Promise<Revocation[]> {
  const { sealMail, lives: { emailUndo: lives } } = mailContext
  const token = links.mintToken()
  // A mailbox that was never verified as the user's must not get the account.
  const undo = account.email_verified ? { token, lives } : {}
  await move(tx, account, to, { origin })
  if (account.email_verified) {
    const { email, canonical_email: canonical } = account
    await links.make(tx, account.id, 'email_undo', token, lives, { email, canonical_email: canonical })
  }
  // The link to undo must not be dropped. It cannot be sent often, because each takes a newly verified
  // address.
  const isUncounted = account.email_verified
  const facts = { email: to.address }
  await enqueueMail(tx, sealMail({ kind: 'email_changed', ...undo, to: account.email, isUncounted, facts }), account.id)
  return []
}

/**
 * Gives an account an earlier, verified address back. The person who changed it knew the password, so the
 * password is voided and all sessions end. Returns what verifiers must know. Throws `email_taken`.
 */
export async function undoChange (
  tx: Queryable,
  account: links.Found,
  to: EmailAddress,
  { mailContext, origin }: Change
): Promise<Revocation[]> {
  await move(tx, account, to, { origin, detail: { undone: true } })
  // The links that would undo later changes.
  await tx.query(
    "delete from links where user_id = $1 and purpose = 'email_undo' and created_at > $2",
    [account.id, account.created_at]
  )
  return await startOver(tx, account.id, mailContext, 'email_change_undone', origin)
}

async function move (
  tx: Queryable,
  { id: userId }: links.Found,
  to: EmailAddress,
  { origin, detail = {} }: { origin: audit.Origin, detail?: Record<string, unknown> }
) {
  await users.changeEmail(tx, userId, to)
  await audit.record(tx, 'user.email_changed', { userId, detail }, origin)
  await links.endAll(tx, userId)
  // The address is verified, so pending registrations of it end.
  await forgetPending(tx, to.canonical)
}
