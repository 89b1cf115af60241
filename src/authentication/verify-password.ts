import * as audit from '../audit/events.ts'
import type { Queryable } from '../database/database.ts'
import { knows, type Device } from './device.ts'
import type { Passwords, QueueTicket } from '../passwords/passwords.ts'
import { accountDisabled, emailNotVerified, type Problem } from '../http/problem.ts'
import { refund, type Attempt, type Throttle } from '../throttle/sign-in-throttle.ts'
import * as credentials from '../users/credential.ts'

/** What passwords are checked with. */
export interface PasswordDesk { passwords: Passwords, throttle: Throttle }

/** A password that somebody gave for an account, and from where. */
export interface Claim {
  of: credentials.Named
  password: string
  device: Device | undefined
  ticket: QueueTicket
  /** Whether the address must have been proved, too. */
  verified?: boolean
}

/** A password that was right, the attempt that is not to be counted any more, the ticket of what is still to be hashed, and whether the device is known. */
export interface Proof extends credentials.Credential { attempt: Attempt, ticket: QueueTicket, known: boolean }

/**
 * Checks a password; each way to give one comes through here. Throws `too_many_requests` where there were too many
 * failures, `wrong` for a wrong password and for an account that is not there, after the same work, and for the right
 * one `account_disabled` of a disabled account, and `email_not_verified` of one whose address must have been proved and is
 * not, or that is only to be.
 */
export async function prove (db: Queryable, { passwords, throttle }: PasswordDesk, { of: { identifier, account, pending }, password, device, ticket: asked, verified = false }: Claim, wrong: () => Problem, origin: audit.Origin): Promise<Proof> {
  const known = account && device && knows(device, account.id, account.now, account.devices_known_from) ? device.id : undefined
  const ticket = { ...asked, known: known !== undefined }
  const attempt = await throttle.countAttempt(db, { identifier, userId: account?.id, network: ticket.network ?? '', device: known }, origin)
  const matches = async (hash: string | null | undefined) => await passwords.verify(hash, password, ticket).catch(async (error: unknown) => {
    // It was not judged: a queue that is full counts against nobody.
    await refund(db, attempt).catch(() => {})
    throw error
  })
  const right = await matches(account?.password_hash)
  // Whoever registers an address and then signs in must not learn whether it had an account before: what is to be is
  // looked at beside one, too, and counts as a failure, for it may be a guess at the account's password.
  const waits = !right && verified && await matches(pending)
  // What was typed is not kept: it may be the password, in the wrong field.
  const failed = async (reason: string) => await audit.record(db, 'login.failed', { userId: account?.id, detail: { reason } }, origin)
  if (!account?.password_hash || !right) {
    await failed(account ? 'wrong_password' : waits ? 'email_not_verified' : 'unknown_account')
    throw waits ? emailNotVerified() : wrong()
  }
  if (account.disabled) {
    await Promise.all([failed('account_disabled'), release(db, attempt)])
    throw accountDisabled()
  }
  if (verified && !account.email_verified) {
    await Promise.all([failed('email_not_verified'), release(db, attempt)])
    throw emailNotVerified()
  }
  if (passwords.outdated(account.password_hash)) await renew(db, passwords, account.id, account.password_hash, password, ticket)
  return { userId: account.id, passwordVersion: account.password_version, attempt, ticket, known: known !== undefined }
}

/** A password that is given for a pending registration. */
export interface PendingClaim {
  /** The address under which attempts are counted, and the account that has it, if there is one. */
  of: credentials.Named
  hash: string
  password: string
  ticket: QueueTicket
  wrong: () => Problem
}

/**
 * Verifies the password of a pending registration; it is counted as a sign-in at its address. Throws
 * `too_many_requests` after too many failures, and `wrong` for a wrong password, after the same work.
 */
export async function provePending (db: Queryable, desk: PasswordDesk, claim: PendingClaim, origin: audit.Origin): Promise<Attempt> {
  const { passwords, throttle } = desk
  const { of: { identifier, account }, hash, password, ticket, wrong } = claim
  const tried = { identifier, userId: account?.id, network: ticket.network ?? '', device: undefined }
  const attempt = await throttle.countAttempt(db, tried, origin)
  const isRight = await passwords.verify(hash, password, ticket).catch(async (error: unknown) => {
    // The password was not verified, so the attempt does not count.
    await refund(db, attempt).catch(() => {})
    throw error
  })
  if (isRight) return attempt
  await audit.record(db, 'login.failed', { userId: account?.id, detail: { reason: 'wrong_password' } }, origin)
  throw wrong()
}

/** The hash of the same password with today's parameters; left for the next time where there is no room for it now. */
async function renew (db: Queryable, passwords: Passwords, id: string, old: string, password: string, ticket: QueueTicket) {
  try {
    await credentials.rehash(db, id, old, await passwords.hash(password, ticket))
  } catch {}
}
