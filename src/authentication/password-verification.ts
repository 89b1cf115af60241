import * as audit from '../audit/events.ts'
import type { Database, Queryable } from '../database/database.ts'
import type { Problem } from '../http/problem.ts'
import type { Passwords, QueueTicket } from '../passwords/passwords.ts'
import {
  keepFailure, refund, type CountedAttempt, type SignInThrottle
} from '../throttle/sign-in-throttle.ts'
import * as credentials from '../users/credential.ts'
import { accountDisabled } from '../users/problems.ts'
import { isKnownDevice, type Device } from './known-device.ts'
import { emailNotVerified } from './problems.ts'

/** The services that verify passwords and store the results. */
export interface AuthenticationServices { db: Database, passwords: Passwords, throttle: SignInThrottle }

/** A password that someone presents for an account. */
export interface PasswordAttempt {
  subject: credentials.IdentifiedAccount
  password: string
  device: Device | undefined
  ticket: QueueTicket
  /** Makes the problem for a wrong password, and for an account that does not exist. */
  mismatch: () => Problem
}

/** A password that was correct. */
export interface VerifiedPassword extends credentials.Credential {
  isEmailVerified: boolean
  /** The counted attempt, which the caller removes from the counters. */
  attempt: CountedAttempt
  /** The place in the hashing queue for a new password. */
  ticket: QueueTicket
  /** Whether the account was used on this device before. */
  isKnownDevice: boolean
}

/**
 * Verifies a password. Every way to present a password ends here. The attempt is counted before the password
 * is verified, so that parallel guesses cannot exceed the limit. Throws `too_many_requests` after too many
 * failures. Throws the attempt's `mismatch` for a wrong password and for an unknown account, after equal
 * work. For a correct password, throws `account_disabled`, or `email_not_verified` if only a pending
 * registration has it.
 */
export async function verifyPassword (
  services: AuthenticationServices, presented: PasswordAttempt, origin: audit.Origin
): Promise<VerifiedPassword> {
  const { db, passwords, throttle } = services
  const { subject: { identifier, account, pending }, password, mismatch } = presented
  const device = knownDeviceOf(presented)
  const ticket: QueueTicket = { ...presented.ticket, isKnownDevice: device !== undefined }
  const { network = '' } = ticket
  const counted = { identifier, userId: account?.id, network, device }
  const attempt = await throttle.countAttempt(db, counted, origin)
  const matches = async (hash: string | null | undefined) =>
    await refundOnFailure(db, attempt, passwords.verify(hash, password, ticket))
  const isCorrect = await matches(account?.password_hash)
  // A person who registers an address and then signs in must not learn whether it had an account before. So
  // the pending registration is compared even if there is an account. A match still counts as a failure,
  // because it may be a guess at the account's password.
  const isPending = !isCorrect && pending !== undefined && await matches(pending.hash)
  // The audit log does not keep the typed name, because it may be the password in the wrong field.
  const recordFailure = async (reason: string) =>
    await audit.record(db, 'login.failed', { userId: account?.id, detail: { reason } }, origin)
  if (!account?.password_hash || !isCorrect) {
    const reason = account ? 'wrong_password' : isPending ? 'email_not_verified' : 'unknown_account'
    await Promise.all([recordFailure(reason), keepFailure(db, attempt)])
    throw isPending ? emailNotVerified() : mismatch()
  }
  if (account.disabled) {
    await Promise.all([recordFailure('account_disabled'), refund(db, attempt)])
    throw accountDisabled()
  }
  if (passwords.needsRehash(account.password_hash)) {
    await rehash(services, account.password_hash, { ...presented, ticket })
  }
  return {
    userId: account.id,
    passwordVersion: account.password_version,
    isEmailVerified: account.email_verified,
    attempt,
    ticket,
    isKnownDevice: device !== undefined
  }
}

/** Returns the id of the device, if the account was used on it before. */
function knownDeviceOf ({ subject: { account }, device }: PasswordAttempt): string | undefined {
  if (!account || !device) return undefined
  const deviceSubject = { userId: account.id, now: account.now, knownFrom: account.devices_known_from }
  return isKnownDevice(device, deviceSubject) ? device.id : undefined
}

/** A password that someone presents for a pending registration. */
export interface PendingPasswordAttempt extends Omit<PasswordAttempt, 'device'> {
  /** The password hash of the registration. */
  hash: string
}

/**
 * Verifies the password of a pending registration. The attempt counts as a sign-in with its address. Throws
 * `too_many_requests` after too many failures, and `mismatch` for a wrong password, after equal work.
 */
export async function verifyPendingPassword (
  services: AuthenticationServices, presented: PendingPasswordAttempt, origin: audit.Origin
): Promise<CountedAttempt> {
  const { db, passwords, throttle } = services
  const { subject: { identifier, account }, hash, password, ticket, mismatch } = presented
  const counted = { identifier, userId: account?.id, network: ticket.network ?? '', device: undefined }
  const attempt = await throttle.countAttempt(db, counted, origin)
  if (await refundOnFailure(db, attempt, passwords.verify(hash, password, ticket))) return attempt
  const failure = { userId: account?.id, detail: { reason: 'wrong_password' } }
  await Promise.all([audit.record(db, 'login.failed', failure, origin), keepFailure(db, attempt)])
  throw mismatch()
}

/**
 * Awaits work whose failure says nothing about the password, such as a full queue. If it fails, the attempt
 * does not count.
 */
export async function refundOnFailure<Result> (
  db: Queryable, attempt: CountedAttempt, work: Promise<Result>
): Promise<Result> {
  try {
    return await work
  } catch (error) {
    await refund(db, attempt).catch(() => {})
    throw error
  }
}

/** Hashes the same password with the current parameters. If the queue is full, the next sign-in does it. */
async function rehash ({ db, passwords }: AuthenticationServices, old: string, presented: PasswordAttempt) {
  const { subject: { account }, password, ticket } = presented
  if (!account) return
  try {
    await credentials.rehash(db, account.id, old, await passwords.hash(password, ticket))
  } catch {}
}
