import * as audit from '../audit/events.ts'
import type { AuthenticationServices } from '../authentication/password-verification.ts'
import type { RequestContext } from '../authentication/request-context.ts'
import { newId } from '../crypto/random.ts'
import type { Database, Queryable } from '../database/database.ts'
import type { LinkLives, MailContext } from '../mail/mail-context.ts'
import { enqueueMail, type MailSealer } from '../mail/outbox.ts'
import * as oneTimeTokens from '../one-time-tokens/one-time-tokens.ts'
import { revokeEmailChanges } from '../one-time-tokens/revocation.ts'
import { endAll } from '../sessions/ending.ts'
import { purgeEnded } from '../sessions/expiry.ts'
import { forgetDevices } from '../users/credential.ts'
import { setExternalId } from '../users/external-id.ts'
import { find, type AdminUser, type UserStatus } from '../users/listing.ts'
import * as users from '../users/users.ts'
import { deleteUser } from './deletion.ts'
import { deletePendingRegistrations } from './pending-registrations.ts'
import { setRoles, type RoleRules } from './user-roles.ts'
import { setStatus } from './user-status.ts'

export interface NewAccount {
  email: string
  name?: string | null
  username?: string | null
  /** Without a password, the user sets one through the invitation. */
  password?: string
  roles?: readonly string[]
  email_verified?: boolean
  external_id?: string | null
}

/**
 * An invitation to set the first password: the token and lifetime in seconds of its link, and the sealed
 * mail.
 */
export interface Invitation { token: string, lives: number, mail?: Buffer | undefined }

/** An account to create, the invitation that is sent if it has no password, and the rules of roles. */
export interface AccountCreation { account: NewAccount, invitation: Invitation, rules: RoleRules }

/**
 * Creates an account for another person, with a password or with an invitation to set one. Throws
 * `validation_failed`, `password_rejected`, `email_taken`, `username_taken` or `external_id_taken`.
 */
export async function createAccount (
  { db, passwords }: Pick<AuthenticationServices, 'db' | 'passwords'>,
  { account, invitation, rules }: AccountCreation,
  { origin, ticket }: Pick<RequestContext, 'origin'> & Partial<Pick<RequestContext, 'ticket'>>
): Promise<AdminUser> {
  const { password, roles, name = null, external_id: externalId } = account
  const { email_verified: isVerified = false } = account
  const email = users.requireEmail(account.email)
  const username = account.username == null ? null : users.requireUsername(account.username)
  if (password !== undefined) await passwords.check(password, { email: email.address, username, name })
  const passwordHash = password === undefined ? null : await passwords.hash(password, ticket)
  const id = newId()
  return await db.transaction(async tx => {
    await users.create(tx, { id, email, username, name, passwordHash, externalId }, { isVerified })
    const detail = { invited: password === undefined }
    await audit.record(tx, 'user.registered', { userId: id, detail }, origin)
    if (isVerified) {
      await audit.record(tx, 'user.verified', { userId: id }, origin)
      await deletePendingRegistrations(tx, email.canonical)
    }
    if (roles) await setRoles(tx, id, { roles, rules }, origin)
    if (password === undefined) {
      await oneTimeTokens.issue(tx, {
        userId: id, purpose: 'password_reset', token: invitation.token, lifetimeSeconds: invitation.lives
      })
      await enqueueMail(tx, invitation.mail, id, invitation.lives)
    }
    const user = await find(tx, id)
    if (!user) throw new Error('a user was not inserted')
    return user
  })
}

/** An invitation that is valid as long as a link to verify an address. */
export const newInvitation = ({ emailVerificationSeconds: lives }: LinkLives): Invitation =>
  ({ token: oneTimeTokens.generateToken(), lives })

/** An invitation with its mail. The mail does not use the language of the administrator. */
export function mailedInvitation (
  { sealMail, lives: linkLives }: Pick<MailContext, 'sealMail' | 'lives'>
): Invitation {
  const { token, lives } = newInvitation(linkLives)
  return { token, lives, mail: sealMail({ kind: 'invitation', token, lives }) }
}

/** What an administrator changes about a user. Absent members are not changed. */
export interface AccountChange extends users.UserChange {
  roles?: readonly string[]
  status?: UserStatus
  email_verified?: boolean
  external_id?: string | null
}

/** The user to change, how, and the rules of roles. */
export interface AccountUpdate { id: string, change: AccountChange, rules: RoleRules }

/**
 * Changes a user, completely or not at all. Returns undefined if there is no such user. Throws
 * `validation_failed`, `last_admin`, `username_taken` or `external_id_taken`.
 */
export async function changeAccount (
  db: Database, { id, change, rules }: AccountUpdate, origin: audit.Origin
): Promise<AdminUser | undefined> {
  const { name, username, roles, status, email_verified: isVerified, external_id: externalId } = change
  return await db.transaction(async tx => {
    // Statements that may lock all administrators come before those that lock only this user. In the other
    // order, two administrators who change each other would deadlock.
    if (status === 'disabled') await setStatus(tx, id, status, origin)
    if (roles) await setRoles(tx, id, { roles, rules }, origin)
    if (status === 'active') await setStatus(tx, id, status, origin)
    if (name !== undefined || username !== undefined) {
      const names = { ...name !== undefined && { name }, ...username !== undefined && { username } }
      await users.update(tx, id, names, origin)
    }
    if (isVerified !== undefined) await (isVerified ? markVerified : markUnverified)(tx, id, origin)
    if (externalId !== undefined) await setExternalId(tx, id, externalId, origin)
    return await find(tx, id)
  })
}

/** Marks the address as verified for an administrator. Deletes its pending registrations. */
async function markVerified (tx: Queryable, id: string, origin: audit.Origin): Promise<void> {
  const [user] = await tx.query<{ canonical_email: string }>(`
    with changed as (
      update users set email_verified_at = now(), updated_at = now()
      where id = $1 and email_verified_at is null
      returning record_event('user.verified', $2, user_id => id)
    )
    select canonical_email from users where id = $1`, [id, origin])
  if (user) await deletePendingRegistrations(tx, user.canonical_email)
}

async function markUnverified (tx: Queryable, id: string, origin: audit.Origin): Promise<void> {
  await tx.query(`
    update users set email_verified_at = null, updated_at = now()
    where id = $1 and email_verified_at is not null
    returning record_event('user.updated', $2, user_id => id, detail => '{"changed": ["email_verified"]}')`,
  [id, origin])
}

/**
 * Deletes an account, and mails its owner. Returns false if there is no such user. Throws `last_admin`.
 */
export async function deleteAccount (
  db: Database, id: string, sealMail: MailSealer, origin: audit.Origin
): Promise<boolean> {
  await purgeEnded(db, id)
  return await db.transaction(async tx => await deleteUser(tx, id, { sealMail, isByAdmin: true }, origin))
}

/** Signs a user out everywhere, and forgets all their devices. Returns false if there is no such user. */
export async function endSessions (db: Database, id: string, origin: audit.Origin): Promise<boolean> {
  return await db.transaction(async tx => {
    if (!await forgetDevices(tx, id)) return false
    await revokeEmailChanges(tx, id)
    await endAll(tx, { userId: id }, 'ended_by_admin', origin)
    return true
  })
}

/** Mails a user a link to set a new password. Returns false if there is no such user. */
export async function requestReset (
  db: Database, id: string, mail: Pick<MailContext, 'sealMail' | 'lives'>, origin: audit.Origin
): Promise<boolean> {
  const { sealMail, lives: { passwordResetSeconds: lives } } = mail
  const token = oneTimeTokens.generateToken()
  const sealed = sealMail({ kind: 'password_reset', token, lives })
  return await db.transaction(async tx => {
    const isIssued = await oneTimeTokens.issue(tx, {
      userId: id, purpose: 'password_reset', token, lifetimeSeconds: lives
    })
    if (!isIssued) return false
    await enqueueMail(tx, sealed, id, lives)
    await audit.record(tx, 'user.reset_requested', { userId: id }, origin)
    return true
  })
}
