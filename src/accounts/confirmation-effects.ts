import assert from 'node:assert'
import * as audit from '../audit/events.ts'
import { newId } from '../crypto/random.ts'
import type { Queryable } from '../database/database.ts'
import { notification, type MailContext } from '../mail/mail-context.ts'
import { enqueueMail } from '../mail/outbox.ts'
import { rememberConfirmation } from '../one-time-tokens/confirmed.ts'
import * as oneTimeTokens from '../one-time-tokens/one-time-tokens.ts'
import { linkExpired } from '../one-time-tokens/problems.ts'
import { revokeAll } from '../one-time-tokens/revocation.ts'
import { endAll } from '../sessions/ending.ts'
import { findUser } from '../sessions/owner.ts'
import type { SignInThrottle } from '../throttle/sign-in-throttle.ts'
import { replacePassword } from '../users/credential.ts'
import { forbiddenCredentials } from '../users/problems.ts'
import * as users from '../users/users.ts'
import { methodsFor, type ConfirmationEffect } from './address-proofs.ts'
import type { ConfirmationLink } from './confirmation-link.ts'
import type { ConfirmationProof } from './confirmation-proof.ts'
import { changeAddress, undoChange } from './email-change.ts'
import { markEmailVerified } from './email-ownership.ts'
import * as pendingRegistrations from './pending-registrations.ts'
import { passwordRequired } from './problems.ts'

/** What the transaction of a confirmation needs. */
export interface ConfirmationStep {
  token: string
  link: ConfirmationLink
  proof: ConfirmationProof
  mail: MailContext
  throttle: SignInThrottle
  network: string
  /** Whether a new account gets the username of its registration. */
  isNamed: boolean
  origin: audit.Origin
}

/** Applies an effect of the table in `address-proofs.ts`. */
export async function applyEffect (
  tx: Queryable, effect: ConfirmationEffect, step: ConfirmationStep
): Promise<void> {
  const { token, mail, link: { registration } } = step
  const userId = registration
    ? await confirmRegistration(tx, effect, registration.id, step)
    : await confirmAccount(tx, effect, step)
  await rememberConfirmation(tx, { token, userId, lifetimeSeconds: mail.lives.emailVerificationSeconds })
}

/** Confirms with a link of an account. Returns the id of the account. */
async function confirmAccount (
  tx: Queryable, effect: ConfirmationEffect, step: ConfirmationStep
): Promise<string> {
  const { token, link: { kind }, proof, mail } = step
  const account = await oneTimeTokens.consume(tx, token, [kind])
  const origin = { ...step.origin, actorId: account.id }
  const { passwordVersion = account.password_version } = proof
  if (passwordVersion !== account.password_version) throw forbiddenCredentials()
  await assertSessionLives(tx, step, account.id)
  if (effect === 'verify') {
    await markEmailVerified(tx, account, origin)
    return account.id
  }
  if (effect === 'replace') {
    await takeOver(tx, account.id, proof.hash, { ...step, origin })
    return account.id
  }
  const { target_email: address, target_canonical_email: canonical } = account
  if (address === null || canonical === null) throw linkExpired()
  const move = effect === 'undo' ? undoChange : changeAddress
  await move(tx, account, { address, canonical }, { mail, origin })
  return account.id
}

/** Confirms with the link of a pending registration. Returns the id of the account. */
async function confirmRegistration (
  tx: Queryable, effect: ConfirmationEffect, id: string, step: ConfirmationStep
): Promise<string> {
  const { token, link, proof } = step
  // Read again under the lock on the address, because another confirmation may have come first.
  const registration = await pendingRegistrations.find(tx, id)
  if (!registration) throw linkExpired()
  const { canonical_email: canonical } = registration
  const hash = proof.hash ?? registration.password_hash
  const holder = await users.findUnverified(tx, canonical)
  if (holder === undefined) {
    if (effect === 'verify') throw linkExpired()
    const userId = await completeRegistration(tx, registration, hash, step)
    // The link comes after the account. A concurrent transaction that creates an account with this address
    // deletes this link, and must not wait for it.
    await oneTimeTokens.consumeUnchecked(tx, token)
    await pendingRegistrations.deletePendingRegistrations(tx, canonical)
    return userId
  }
  await oneTimeTokens.consumeUnchecked(tx, token)
  const origin = { ...step.origin, actorId: holder }
  if (effect !== 'verify') {
    await takeOver(tx, holder, hash, { ...step, origin })
    return holder
  }
  if (holder !== link.accountId) throw linkExpired()
  await assertSessionLives(tx, step, holder)
  await markEmailVerified(tx, { id: holder, canonical_email: canonical, email_verified: false }, origin)
  return holder
}

/** Creates the account of a registration, and returns its id. Throws `email_taken` or `username_taken`. */
async function completeRegistration (
  tx: Queryable,
  registration: pendingRegistrations.PendingRegistration,
  passwordHash: string,
  { isNamed, proof, origin }: ConfirmationStep
): Promise<string> {
  const { email: address, canonical_email: canonical, username, name, language } = registration
  // The registration cookie proves who set the password of the registration. It must not prove a new
  // password.
  const id = proof.hash === undefined ? registration.id : newId()
  const userOrigin = { ...origin, actorId: id }
  await users.create(tx, {
    id,
    email: { address, canonical },
    username: isNamed ? username : null,
    name,
    passwordHash,
    language: language ?? undefined
  }, { isVerified: true })
  await audit.record(tx, 'user.registered', { userId: id }, userOrigin)
  await audit.record(tx, 'user.verified', { userId: id }, userOrigin)
  return id
}

/**
 * Gives an account whose address was never verified to the person who proved the address, with their
 * password. Replaces the earlier password, revokes the links, and ends the sessions.
 */
async function takeOver (
  tx: Queryable, userId: string, hash: string | undefined, step: ConfirmationStep
): Promise<void> {
  const { link: { canonical, owner, identified: { identifier } }, mail, throttle, network, origin } = step
  assert(hash !== undefined, 'an account is taken over with a password')
  await markEmailVerified(tx, { id: userId, canonical_email: canonical, email_verified: false }, origin)
  await replacePassword(tx, userId, hash)
  await audit.record(tx, 'user.password_reset', { userId }, origin)
  await endAll(tx, { userId }, 'email_verified', origin)
  await revokeAll(tx, userId)
  await enqueueMail(tx, notification(mail, 'password_changed', origin, owner.email), userId)
  await throttle.reset(tx, { identifier, userId, network })
}

/** Throws `password_required` if the session that was the proof has ended since. */
async function assertSessionLives (
  tx: Queryable, { link, proof: { sessionId } }: ConfirmationStep, userId: string
): Promise<void> {
  if (sessionId === undefined) return
  const user = await findUser(tx, sessionId)
  if (user?.id !== userId) throw passwordRequired(methodsFor(link))
}
