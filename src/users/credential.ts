import type * as audit from '../audit/events.ts'
import type { Queryable, Statement } from '../database/database.ts'
import { parse as parseEmail } from '../syntax/email-address.ts'
import { parseUsername } from './users.ts'

/** A proof of the password, good only as long as the password is not changed. */
export interface Credential { userId: string, passwordVersion: number }

/** What an account is known by to whoever checks its password. */
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
  /** When all devices that had been known were forgotten last. */
  devices_known_from: Date | null
  /** The database's time. */
  now: Date
}
/** The columns of an Account, of the table or alias `users`. */
export const accountColumns = `users.id, users.email, users.canonical_email, users.username, users.name, users.password_hash, users.password_version,
  users.disabled_at is not null as disabled, users.email_verified_at is not null as email_verified, users.devices_known_from, now() as now`
const byEmail: Statement = { name: 'users.by-email', text: `select ${accountColumns} from users where canonical_email = $1` }
const byUsername: Statement = { name: 'users.by-username', text: `select ${accountColumns} from users where username = $1` }
const pending = (by: string) => `select password_hash as hash from pending_registrations where ${by} = $1 and expires_at > now() order by created_at desc limit 1`
const pendingByEmail: Statement = { name: 'registrations.by-email', text: pending('canonical_email') }
const pendingByUsername: Statement = { name: 'registrations.by-username', text: pending('username') }
/**
 * An account, if there is one, and what was typed for it in the form in which such are compared; where it was asked for,
 * the hash of the latest account that is to be by that name.
 */
export interface Named { identifier: string, account: Account | undefined, pending?: string | undefined }

/** As if the address of the account had been typed. */
export const byAddress = (account: Account): Named => ({ identifier: `email ${account.canonical_email}`, account })

/** The account of an e-mail address or username, and the one that is to be if so asked; what is no such thing is that of nobody. */
export async function named (db: Queryable, login: { email: string } | { username: string }, { pending: andPending }: { pending: boolean }): Promise<Named> {
  const [statement, andStatement, kind, typed, name] = 'email' in login
    ? [byEmail, pendingByEmail, 'email', login.email, parseEmail(login.email)?.canonical] as const
    : [byUsername, pendingByUsername, 'username', login.username, parseUsername(login.username)] as const
  const [account] = await db.query<Account>(statement, [name ?? ''])
  // Asked for whether there is an account or not: who is nobody yet is told so in the same time.
  const [pending] = andPending ? await db.query<{ hash: string }>(andStatement, [name ?? '']) : []
  return { identifier: `${kind} ${name ?? typed}`, account, pending: pending?.hash }
}

const lock: Statement = {
  name: 'users.lock-credential',
  text: 'select 1 as found from users where id = $1 and password_version = $2 for key share'
}

/** Keeps a user from being deleted until the transaction ends. Returns false if the credential is outdated. */
export async function lockCredential (tx: Queryable, { userId, passwordVersion }: Credential): Promise<boolean> {
  return (await tx.query(lock, [userId, passwordVersion])).length > 0
}

// As precise as what a device remembers of a sign-in.
const moment = "date_trunc('milliseconds', now())"

/** Stores the hash of the same password with other parameters, unless it was changed meanwhile. */
export async function rehash (db: Queryable, id: string, old: string, hash: string): Promise<void> {
  await db.query('update users set password_hash = $3 where id = $1 and password_hash = $2', [id, old, hash])
}

/**
 * Sets a password in place of the one that was proved, and forgets all devices. Gives the time from which on they are
 * known anew; undefined where the password was changed meanwhile, or the account disabled.
 */
export async function setPassword (db: Queryable, { userId, passwordVersion }: Credential, hash: string, origin: audit.Origin): Promise<Date | undefined> {
  const [row] = await db.query<{ devices_known_from: Date }>(`
    update users set password_hash = $3, password_version = password_version + 1,
      devices_known_from = ${moment}, updated_at = now()
    where id = $1 and password_version = $2 and disabled_at is null
    returning devices_known_from, record_event('user.password_changed', $4, user_id => id)`,
  [userId, passwordVersion, hash, origin])
  return row?.devices_known_from
}

/**
 * Sets a password whatever it was, for whoever proved to own the address, which is verified with it; null for none.
 * Gives the password's new version.
 */
export async function replacePassword (tx: Queryable, userId: string, hash: string | null): Promise<number> {
  const [row] = await tx.query<{ password_version: number }>(`
    update users set password_hash = $2, password_version = password_version + 1, devices_known_from = ${moment},
      email_verified_at = coalesce(email_verified_at, now()), updated_at = now()
    where id = $1 returning password_version`, [userId, hash])
  return row?.password_version ?? 0
}

/** Has every device prove itself anew before it is counted apart from strangers. Gives the time from which on; undefined without such a user. */
export async function forgetDevices (db: Queryable, id: string): Promise<Date | undefined> {
  const [row] = await db.query<{ devices_known_from: Date }>(`update users set devices_known_from = ${moment} where id = $1 returning devices_known_from`, [id])
  return row?.devices_known_from
}
