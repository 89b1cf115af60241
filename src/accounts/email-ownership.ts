import * as audit from '../audit/events.ts'
import type { Queryable } from '../database/database.ts'
import { factsOf, type MailContext } from '../mail/mail-context.ts'
import { enqueueMail } from '../mail/outbox.ts'
import * as oneTimeTokens from '../one-time-tokens/one-time-tokens.ts'
import { revokeAll, revokeVerifications } from '../one-time-tokens/revocation.ts'
import { endAll, type EndReason } from '../sessions/ending.ts'
import { replacePassword } from '../users/credential.ts'
import { deletePendingRegistrations } from './pending-registrations.ts'

/** An account whose address was just proved. */
export interface AddressHolder { id: string, canonical_email: string, email_verified: boolean }

const verifyEmail = `
  update users set email_verified_at = coalesce(email_verified_at, now()), updated_at = now() where id = $1`

/**
 * Marks the address of an account as verified. Deletes the pending registrations of the address, because it
 * is taken now.
 */
export async function markEmailVerified (
  tx: Queryable, holder: AddressHolder, origin: audit.Origin
): Promise<void> {
  if (holder.email_verified) return
  await tx.query(verifyEmail, [holder.id])
  await audit.record(tx, 'user.verified', { userId: holder.id }, origin)
  await revokeVerifications(tx, holder.id)
  await deletePendingRegistrations(tx, holder.canonical_email)
}

/** The account whose ownership is reset, and why its sessions end. */
export interface OwnershipReset { userId: string, reason: EndReason }

/**
 * Leaves an account to the person who reads the mail of its address. The password becomes invalid, all
 * sessions end, all links are revoked, and a link to set a new password is mailed.
 */
export async function resetOwnership (
  tx: Queryable, { userId, reason }: OwnershipReset, mail: MailContext, origin: audit.Origin
): Promise<void> {
  const { sealMail, lives: { passwordResetSeconds: lives } } = mail
  await replacePassword(tx, userId, null)
  await endAll(tx, { userId }, reason, origin)
  await revokeAll(tx, userId)
  const token = oneTimeTokens.generateToken()
  await oneTimeTokens.issue(tx, { userId, purpose: 'password_reset', token, lifetimeSeconds: lives })
  const sealed = sealMail({ kind: 'password_reset', token, lives, facts: factsOf(origin) })
  await enqueueMail(tx, sealed, userId, lives)
}
