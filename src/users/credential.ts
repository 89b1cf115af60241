import type * as audit from '../audit/events.ts'
import type { Queryable, Statement } from '../database/database.ts'
import { parse as parseEmail } from '../syntax/email-address.ts'
import { parseUsername } from './users.ts'

/** A user whose password was verified. It is valid only while the password is unchanged. */
export interface Credential { userId: string, passwordVersion: number }

/** What the verification of a password needs to know about the account. */
export interface Account {
  id: string
  email: string
  canonical_email: string
  username: string | null
  name: string | null
  password_hash: string | null
  password_version: number
  disabled: boolean
  email_verified: boolean
  /** When all known devices were last forgotten. */
  devices_known_from: Date | null
  /** The database's time. */
  now: Date
}

/** The columns of an Account, from the table or alias `users`. */
export const accountColumns = `users.id, users.email, users.canonical_email, users.username, users.name,
  users.password_hash, users.password_version, users.disabled_at is not null as disabled,
  users.email_verified_at is not null as email_verified, users.devices_known_from, now() as now`

const selectByEmail: Statement = {
  name: 'users.by-email',
  text: `select ${accountColumns} from users where canonical_email = $1`
}
const selectByUsername: Statement = {
  name: 'users.by-username',
  text: `select ${accountColumns} from users where username = $1`
}
const selectPendingByEmail: Statement = {
  name: 'registrations.by-email',
  text: `
    select password_hash as hash from pending_registrations
    where canonical_email = $1 and expires_at > now() order by created_at desc limit 1`
}
const selectPendingByUsername: Statement = {
  name: 'registrations.by-username',
  text: `
    select password_hash as hash from pending_registrations
    where username = $1 and expires_at > now() order by created_at desc limit 1`
}

/** What an identifier stands for. */
export interface IdentifiedAccount {
  /** The canonical form of the identifier. Attempts are counted under it. */
  identifier: string
  /** The account, if there is one. */
  account: Account | undefined
  /**
   * The latest pending registration with that identifier, if it was looked up. Its hash is undefined if none
   * exists.
   */
  pending?: { hash: string | undefined } | undefined
}

/** Returns an account as if the user had typed its address. */
export const identifiedByEmail = (account: Account): IdentifiedAccount =>
  ({ identifier: `email ${account.canonical_email}`, account })

/** An email address or a username, as it was typed. */
export type LoginName = { email: string } | { username: string }

/**
 * Finds the account of an email address or username and, if requested, the latest pending registration. Text
 * that is neither takes the same path and finds nothing, so its response takes the same time.
 */
export async function identify (
  db: Queryable, login: LoginName, { includesPending }: { includesPending: boolean }
): Promise<IdentifiedAccount> {
  const { kind, typed, canonical, select, selectPending } = 'email' in login
    ? {
        kind: 'email',
        typed: login.email,
        canonical: parseEmail(login.email)?.canonical,
        select: selectByEmail,
        selectPending: selectPendingByEmail
      }
    : {
        kind: 'username',
        typed: login.username,
        canonical: parseUsername(login.username),
        select: selectByUsername,
        selectPending: selectPendingByUsername
      }
  const [account] = await db.query<Account>(select, [canonical ?? ''])
  const identified = { identifier: `${kind} ${canonical ?? typed}`, account }
  if (!includesPending) return identified
  const [pending] = await db.query<{ hash: string }>(selectPending, [canonical ?? ''])
  return { ...identified, pending: { hash: pending?.hash } }
}

const lock: Statement = {
  name: 'users.lock-credential',
  text: 'select 1 as found from users where id = $1 and password_version = $2 for key share'
}

/**
 * Keeps a user from being deleted until the transaction ends. Returns false if the password was changed
 * since.
 */
export async function lockCredential (
  tx: Queryable, { userId, passwordVersion }: Credential
): Promise<boolean> {
  return (await tx.query(lock, [userId, passwordVersion])).length > 0
}

/** Stores a hash of the same password with other parameters, unless the password was changed meanwhile. */
export async function rehash (db: Queryable, id: string, old: string, hash: string): Promise<void> {
  await db.query('update users set password_hash = $3 where id = $1 and password_hash = $2', [id, old, hash])
}

// The times below are truncated, because a device cookie has the time of a sign-in in milliseconds.

/**
 * Replaces the password that was verified, and forgets all devices. Returns the time from which devices are
 * known again. Returns undefined if the password was changed meanwhile, or the account was disabled.
 */
export async function setPassword (
  db: Queryable, { userId, passwordVersion }: Credential, hash: string, origin: audit.Origin
): Promise<Date | undefined> {
  const [row] = await db.query<{ devices_known_from: Date }>(`
    update users set password_hash = $3, password_version = password_version + 1,
      devices_known_from = date_trunc('milliseconds', now()), updated_at = now()
    where id = $1 and password_version = $2 and disabled_at is null
    returning devices_known_from, record_event('user.password_changed', $4, user_id => id)`,
  [userId, passwordVersion, hash, origin])
  return row?.devices_known_from
}

/**
 * Sets a password, or none if `hash` is null, for a person who proved that they own the address. Marks the
 * address as verified. Returns the new version of the password.
 */
export async function replacePassword (tx: Queryable, userId: string, hash: string | null): Promise<number> {
  const [row] = await tx.query<{ password_version: number }>(`
    update users set password_hash = $2, password_version = password_version + 1,
      devices_known_from = date_trunc('milliseconds', now()),
      email_verified_at = coalesce(email_verified_at, now()), updated_at = now()
    where id = $1 returning password_version`, [userId, hash])
  return row?.password_version ?? 0
}

const updateDevices = `
  update users set devices_known_from = date_trunc('milliseconds', now())
  where id = $1 returning devices_known_from`

/**
 * Forgets all devices of a user: their sign-ins are counted with those of unknown devices. Returns the time
 * from which devices are known again, or undefined if there is no such user.
 */
export async function forgetDevices (db: Queryable, id: string): Promise<Date | undefined> {
  const [row] = await db.query<{ devices_known_from: Date }>(updateDevices, [id])
  return row?.devices_known_from
}
