import assert from 'node:assert'
import * as audit from '../audit/events.ts'
import type { Database, Queryable } from '../database/database.ts'
import type { Device } from '../authentication/device.ts'
import * as links from '../one-time-tokens/one-time-tokens.ts'
import { enqueueMail } from '../mail/outbox.ts'
import { prove, provePending, type PasswordDesk } from '../authentication/verify-password.ts'
import type { QueueTicket } from '../passwords/passwords.ts'
import type { Owner } from '../passwords/policy.ts'
import {
  forbiddenCredentials, linkExpired, passwordRequired, Problem, wrongConfirmingPassword, type Code
} from '../http/problem.ts'
import { newId } from '../crypto/random.ts'
import type { Revocation } from '../tokens/revocations.ts'
import { findUser } from '../sessions/owner.ts'
import { endAll } from '../sessions/ending.ts'
import { refund, recordSuccess, type Attempt, type Throttle } from '../throttle/sign-in-throttle.ts'
import * as users from '../users/users.ts'
import { byAddress, named, replacePassword, type Named } from '../users/credential.ts'
import * as pending from './pending-registrations.ts'
import {
  chooseProof, confirmationKinds, effects, methodsFor, sessionFor,
  type Effect, type Evidence, type ProofKind, type Subject
} from './address-proofs.ts'
import { changeAddress, undoChange } from './email-change.ts'
import { notification, type MailContext } from './mail-context.ts'
import { verified } from './email-links.ts'

/** What an address is confirmed with. */
export interface ConfirmationServices extends PasswordDesk { db: Database }

/** A request to do what a mailed link is for. */
export interface Confirmation {
  token: string
  evidence: Evidence
  device: Device | undefined
  ticket: QueueTicket
}

/** A valid link, and what it is about. */
interface Link extends Subject {
  /** The address that will be verified, or changed to. Others who would give it to an account wait. */
  canonical: string
  /** Whose password a new one would be, for the rules of passwords. */
  owner: Owner
  /** The account, and the name under which attempts at its password are counted. */
  named: Named
  /** The pending registration, if the link is for one. */
  registration: pending.Registration | undefined
}

/** What was proved, to be checked once more in the transaction. */
interface Proof {
  kind: ProofKind
  sessionId: string | undefined
  /** The version of the password that was verified. */
  passwordVersion: number | undefined
  attempt: Attempt | undefined
  /** The hash of a new password. */
  hash: string | undefined
}

/** What a transaction needs to know. */
interface Step {
  token: string
  link: Link
  proof: Proof
  mailContext: MailContext
  throttle: Throttle
  network: string
  /** Whether a new account gets the username of its registration. */
  isNamed: boolean
  origin: audit.Origin
}

/**
 * Does what a mailed link is for, once: verifies the address of an account, makes the account that was
 * waiting for it, changes an address, or changes it back. The table in `address-proofs.ts` says which proof
 * it takes. Gives what verifiers must know. Throws `link_expired`, `email_taken`, and with the link still
 * good `password_required`, `invalid_credentials`, `too_many_requests`, `password_rejected` or
 * `validation_failed`.
 */
export async function confirm (
  services: ConfirmationServices,
  confirmation: Confirmation,
  mailContext: MailContext,
  origin: audit.Origin
): Promise<Revocation[]> {
  const { db, throttle } = services
  const { token, evidence, ticket } = confirmation
  const link = await find(db, token, mailContext.lives.emailVerification)
  const kind = chooseProof(link, evidence)
  const effect = effects[link.kind][kind]
  if (effect === 'ask') throw passwordRequired(methodsFor(link))
  const proof = await examine(services, confirmation, link, { kind, origin })
  const network = ticket.network ?? ''
  const step = { token, link, proof, mailContext, throttle, network, origin }
  const perform = async (named: boolean) => await db.transaction(async tx => {
    // Everybody who gives this address to an account takes this lock first, before any lock on a user.
    await pending.lockAddress(tx, link.canonical)
    const ended = await settle(tx, effect, { ...step, isNamed: named })
    if (proof.attempt) await recordSuccess(tx, proof.attempt)
    return ended
  })
  try {
    // A username was never promised: if somebody else took it meanwhile, the account is made without.
    return await perform(true).catch(async (error: unknown) => {
      if (hasCode(error, 'username_taken')) return await perform(false)
      throw error
    })
  } catch (error) {
    // The password was right, so an attempt that failed for another reason is not counted.
    if (proof.attempt) await refund(db, proof.attempt).catch(() => {})
    if (link.registration && hasCode(error, 'email_taken')) throw linkExpired()
    throw error
  }
}

const hasCode = (error: unknown, code: Code) => error instanceof Problem && error.code === code

/** The link of a token, and what it is about. Throws `link_expired`. */
async function find (db: Queryable, token: string, cookieSeconds: number): Promise<Link> {
  const { purpose, userId } = await links.purposeOf(db, token)
  const kind = confirmationKinds.find(known => known === purpose)
  if (kind === undefined) throw linkExpired()
  if (kind === 'registration') return await findRegistration(db, userId)
  const account = await links.look(db, token, [kind])
  // The cookie proves the first password, and is as old as the account.
  const isCookieGood = account.password_version === 1 &&
    account.user_created_at.getTime() + cookieSeconds * 1_000 > account.now.getTime()
  return {
    kind,
    registrationId: isCookieGood ? account.id : undefined,
    accountId: account.id,
    hasPassword: account.password_hash !== null,
    canonical: account.target_canonical_email ?? account.canonical_email,
    owner: account,
    named: byAddress(account),
    registration: undefined
  }
}

async function findRegistration (db: Queryable, id: string): Promise<Link> {
  const registration = await pending.find(db, id)
  if (!registration) throw linkExpired()
  const { canonical_email: canonical, email } = registration
  const holder = await named(db, { email: canonical }, { pending: false })
  const { account } = holder
  if (account && (account.email_verified || account.disabled)) throw linkExpired()
  return {
    kind: 'registration',
    registrationId: id,
    accountId: account?.id,
    hasPassword: true,
    canonical,
    owner: {
      email,
      username: account?.username ?? registration.username,
      name: account?.name ?? registration.name
    },
    named: holder,
    registration
  }
}

/** Verifies the password of a proof, or hashes the new one, with no connection held. */
async function examine (
  services: ConfirmationServices,
  confirmation: Confirmation,
  link: Link,
  { kind, origin }: { kind: ProofKind, origin: audit.Origin }
): Promise<Proof> {
  const { db, passwords } = services
  const { evidence: { sessions, password, newPassword }, device, ticket } = confirmation
  const proof: Proof = {
    kind,
    sessionId: kind === 'session' ? sessionFor(link, sessions)?.id : undefined,
    passwordVersion: undefined,
    attempt: undefined,
    hash: undefined
  }
  if (kind === 'new_password' && newPassword !== undefined) {
    await passwords.check(newPassword, link.owner)
    return { ...proof, hash: await passwords.hash(newPassword, ticket) }
  }
  if (kind !== 'password' || password === undefined) return proof
  const wrong = () => wrongConfirmingPassword(methodsFor(link))
  const { registration } = link
  if (registration) {
    const claim = { of: link.named, hash: registration.password_hash, password, ticket, wrong }
    return { ...proof, attempt: await provePending(db, services, claim, origin) }
  }
  const claim = { of: link.named, password, device, ticket }
  const { attempt, passwordVersion } = await prove(db, services, claim, wrong, origin)
  return { ...proof, attempt, passwordVersion }
}

async function settle (tx: Queryable, effect: Effect, step: Step): Promise<Revocation[]> {
  const { registration } = step.link
  if (registration) return await settleRegistration(tx, effect, registration.id, step)
  return await settleAccount(tx, effect, step)
}

/** Confirms by a link of an account. */
async function settleAccount (tx: Queryable, effect: Effect, step: Step): Promise<Revocation[]> {
  const { token, link: { kind }, proof, mailContext } = step
  const account = await links.redeem(tx, token, [kind])
  const by = { ...step.origin, actorId: account.id }
  const { passwordVersion = account.password_version } = proof
  if (passwordVersion !== account.password_version) throw forbiddenCredentials()
  await assertSessionLives(tx, step, account.id)
  if (effect === 'verify') {
    await verified(tx, account, by)
    return []
  }
  if (effect === 'replace') return await takeOver(tx, account.id, proof.hash, { ...step, origin: by })
  const { target_email: address, target_canonical_email: canonical } = account
  if (address === null || canonical === null) throw linkExpired()
  const move = effect === 'undo' ? undoChange : changeAddress
  return await move(tx, account, { address, canonical }, { mailContext, origin: by })
}

/** Confirms by the link of a pending registration. */
async function settleRegistration (
  tx: Queryable,
  effect: Effect,
  id: string,
  step: Step
): Promise<Revocation[]> {
  const { token, link, proof, origin } = step
  // Read again under the lock on the address, because another confirmation may have come first.
  const registration = await pending.find(tx, id)
  if (!registration) throw linkExpired()
  const { canonical_email: canonical } = registration
  const hash = proof.hash ?? registration.password_hash
  const holder = await users.unproved(tx, canonical)
  if (holder === undefined) {
    if (effect === 'verify') throw linkExpired()
    await activate(tx, registration, hash, step)
    // Comes after the account. A concurrent transaction that makes an account with this address deletes this
    // link, and must not wait for it.
    await links.spend(tx, token)
    await pending.forgetPending(tx, canonical)
    return []
  }
  await links.spend(tx, token)
  const by = { ...origin, actorId: holder }
  if (effect !== 'verify') return await takeOver(tx, holder, hash, { ...step, origin: by })
  if (holder !== link.accountId) throw linkExpired()
  await assertSessionLives(tx, step, holder)
  await verified(tx, { id: holder, canonical_email: canonical, email_verified: false }, by)
  return []
}

/** Makes the account of a registration. Throws `email_taken` or `username_taken`. */
async function activate (
  tx: Queryable,
  registration: pending.Registration,
  passwordHash: string,
  { isNamed, proof, origin }: Step
): Promise<void> {
  const { email: address, canonical_email: canonical, username, name, language } = registration
  // The cookie of the registration proves its password. After a new password it must prove nothing.
  const id = proof.hash === undefined ? registration.id : newId()
  const by = { ...origin, actorId: id }
  await users.create(tx, {
    id,
    email: { address, canonical },
    username: isNamed ? username : null,
    name,
    passwordHash,
    language: language ?? undefined
  }, { proved: true })
  await audit.record(tx, 'user.registered', { userId: id }, by)
  await audit.record(tx, 'user.verified', { userId: id }, by)
}

/**
 * Gives an account whose address was never verified to the person who proved the address, with their
 * password. The earlier password and links are void, and the sessions end. Returns what verifiers must know.
 */
async function takeOver (
  tx: Queryable,
  userId: string,
  hash: string | undefined,
  step: Step
): Promise<Revocation[]> {
  const { link: { canonical, owner, named: { identifier } }, mailContext, throttle, network, origin } = step
  assert(hash !== undefined, 'an account is taken over with a password')
  await verified(tx, { id: userId, canonical_email: canonical, email_verified: false }, origin)
  await replacePassword(tx, userId, hash)
  await audit.record(tx, 'user.password_reset', { userId }, origin)
  const ended = await endAll(tx, { userId }, 'email_verified', origin)
  await links.endAll(tx, userId)
  await enqueueMail(tx, notification(mailContext, 'password_changed', origin, owner.email), userId)
  await throttle.reset(tx, { identifier, userId, network })
  return ended
}

/** Throws `password_required` if the session that was the proof has ended since. */
async function assertSessionLives (
  tx: Queryable,
  { link, proof: { sessionId } }: Step,
  userId: string
): Promise<void> {
  if (sessionId === undefined) return
  const user = await findUser(tx, sessionId)
  if (user?.id !== userId) throw passwordRequired(methodsFor(link))
}
