import * as audit from '../audit/events.ts'
import type { Database, Queryable } from '../database/database.ts'
import * as links from '../one-time-tokens/one-time-tokens.ts'
import { enqueueMail, type SealMail } from '../mail/outbox.ts'
import type { Passwords, QueueTicket } from '../passwords/passwords.ts'
import { newId } from '../crypto/random.ts'
import type { Revocation } from '../tokens/revocations.ts'
import { purgeEnded } from '../sessions/expiry.ts'
import { endAll } from '../sessions/ending.ts'
import * as users from '../users/users.ts'
import { forgetDevices } from '../users/credential.ts'
import { find, type AdminUser, type Status } from '../users/listing.ts'
import { forgetPending } from './pending-registrations.ts'
import { remove } from './deletion.ts'
import { setRoles, type RoleRules } from './user-roles.ts'
import { setStatus } from './user-status.ts'
import type { LinkLives, MailContext } from './mail-context.ts'

export interface NewAccount {
  email: string
  name?: string | null
  username?: string | null
  /** Left out, there is none until an invitation is followed. */
  password?: string
  roles?: readonly string[]
  email_verified?: boolean
}

/** An invitation to an account without a password: the link's token and the seconds it is good for, and the mail, if there is one. */
export interface Invitation { token: string, lives: number, mail?: Buffer | undefined }

/**
 * Makes an account for somebody else, with the password or else with the invitation to set one. Throws
 * `validation_failed`, `password_rejected`, `email_taken` or `username_taken`.
 */
export async function create (db: Database, passwords: Passwords, account: NewAccount, invitation: Invitation, rules: RoleRules, origin: audit.Origin, ticket?: QueueTicket): Promise<AdminUser> {
  const { password, roles, name = null, email_verified: proved = false } = account
  const email = users.requireEmail(account.email)
  const username = account.username == null ? null : users.requireUsername(account.username)
  if (password !== undefined) await passwords.check(password, { email: email.address, username, name })
  const passwordHash = password === undefined ? null : await passwords.hash(password, ticket)
  const id = newId()
  return await db.transaction(async tx => {
    await users.create(tx, { id, email, username, name, passwordHash }, { proved })
    await audit.record(tx, 'user.registered', { userId: id, detail: { invited: password === undefined } }, origin)
    if (proved) {
      await audit.record(tx, 'user.verified', { userId: id }, origin)
      await forgetPending(tx, email.canonical)
    }
    if (roles) await setRoles(tx, id, roles, rules, origin)
    if (password === undefined) {
      await links.make(tx, id, 'password_reset', invitation.token, invitation.lives)
      await enqueueMail(tx, invitation.mail, id, invitation.lives)
    }
    const user = await find(tx, id)
    if (!user) throw new Error('a user was not inserted')
    return user
  })
}

/** An invitation that is good as long as a link to verify an address. */
export const newInvitation = ({ emailVerification: lives }: LinkLives): Invitation => ({ token: links.mintToken(), lives })

/** The same as a mail; not in the language of whoever sends it. */
export function mailedInvitation ({ sealMail, lives: linkLives }: Pick<MailContext, 'sealMail' | 'lives'>): Invitation {
  const { token, lives } = newInvitation(linkLives)
  return { token, lives, mail: sealMail({ kind: 'invitation', token, lives }) }
}

export interface Change extends users.UserChange { roles?: readonly string[], status?: Status, email_verified?: boolean }

/** A user who was changed, and what verifiers must know. */
export interface Changed { user: AdminUser, ended: Revocation[] }

/** Changes what is named of a user, all of it or nothing; undefined where there is none. Throws `validation_failed`, `last_admin` or `username_taken`. */
export async function change (db: Database, id: string, { name, username, roles, status, email_verified: verified }: Change, rules: RoleRules, origin: audit.Origin): Promise<Changed | undefined> {
  return await db.transaction(async tx => {
    // What may lock all administrators comes before what locks the user alone: who did it the other way round and who
    // did the same to them would wait for each other.
    const ended = status === 'disabled' ? await setStatus(tx, id, status, origin) : []
    const cutOff = roles ? await setRoles(tx, id, roles, rules, origin) : []
    if (status === 'active') await setStatus(tx, id, status, origin)
    if (name !== undefined || username !== undefined) await users.update(tx, id, { ...name !== undefined && { name }, ...username !== undefined && { username } }, origin)
    if (verified !== undefined) await (verified ? markVerified : markUnverified)(tx, id, origin)
    const user = await find(tx, id)
    return user && { user, ended: [...ended, ...cutOff] }
  })
}

/** Takes an administrator's word that the address is the user's; the accounts that others were to have with it never will be. */
async function markVerified (tx: Queryable, id: string, origin: audit.Origin): Promise<void> {
  const [user] = await tx.query<{ canonical_email: string, changed: boolean }>(`
    with changed as (
      update users set email_verified_at = now(), updated_at = now() where id = $1 and email_verified_at is null returning id
    ), audited as (${audit.insertion('user.verified', { user: 'id' }, '$2', 'changed')}
    )
    select canonical_email from users where id = $1`, [id, audit.parameter(origin)])
  if (user) await forgetPending(tx, user.canonical_email)
}

async function markUnverified (tx: Queryable, id: string, origin: audit.Origin): Promise<void> {
  await tx.query(`
    with changed as (
      update users set email_verified_at = null, updated_at = now() where id = $1 and email_verified_at is not null returning id
    ), audited as (${audit.insertion('user.updated', { user: 'id', detail: "'{\"changed\": [\"email_verified\"]}'::jsonb" }, '$2', 'changed')}
    )
    select id from changed`, [id, audit.parameter(origin)])
}

/** Removes an account, whose owner is told; undefined where there is none. Gives what verifiers must know. Throws `last_admin`. */
export async function removeAccount (db: Database, id: string, sealMail: SealMail, origin: audit.Origin): Promise<Revocation[] | undefined> {
  await purgeEnded(db, id)
  return await db.transaction(async tx => await remove(tx, id, origin, { sealMail, isByAdmin: true }))
}

/** Signs a user out everywhere, and has each of their devices prove itself anew; undefined where there is none. Gives what verifiers must know. */
export async function endSessions (db: Database, id: string, origin: audit.Origin): Promise<Revocation[] | undefined> {
  return await db.transaction(async tx => {
    if (!await forgetDevices(tx, id)) return undefined
    await links.voidChanges(tx, id)
    return await endAll(tx, { userId: id }, 'ended_by_admin', origin)
  })
}

/** Mails a user a link to set a new password; false where there is none. */
export async function requestReset (db: Database, id: string, { sealMail, lives: { passwordReset: lives } }: Pick<MailContext, 'sealMail' | 'lives'>, origin: audit.Origin): Promise<boolean> {
  const token = links.mintToken()
  const mail = sealMail({ kind: 'password_reset', token, lives })
  return await db.transaction(async tx => {
    if (!await links.make(tx, id, 'password_reset', token, lives)) return false
    await enqueueMail(tx, mail, id, lives)
    await audit.record(tx, 'user.reset_requested', { userId: id }, origin)
    return true
  })
}
