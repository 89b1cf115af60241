import * as audit from '../audit.ts'
import type { Queryable, Statement } from '../db.ts'
import { parse as parseEmail } from '../email-address.ts'
import { parseUsername } from '../users.ts'

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
  /** Whether it is only to be: nobody has proved to own the address yet. */
  pending: boolean
  /** When all devices that had been known were forgotten last. */
  devices_known_from: Date | null
  /** The database's time. */
  now: Date
}
/** The columns of an Account, of the table or alias `users`. */
export const accountColumns = `users.id, users.email, users.canonical_email, users.username, users.name, users.password_hash, users.password_version,
  users.disabled_at is not null as disabled, users.email_verified_at is not null as email_verified, false as pending, users.devices_known_from, now() as now`
const byEmail: Statement = { name: 'users.by-email', text: `select ${accountColumns} from users where canonical_email = $1` }
const byUsername: Statement = { name: 'users.by-username', text: `select ${accountColumns} from users where username = $1` }
// The accounts that are to be are asked for with the others: who is nobody yet is told so in the same time.
const pending = (by: string) => `
  union all
  (select id, email, canonical_email, username, name, password_hash, 1, false, false, true, null, now() from registrations
  where ${by} = $1 and expires_at > now() and not exists (select from users where ${by} = $1) order by created_at desc limit 1)`
const byEmailOrPending: Statement = { name: 'users.by-email-or-pending', text: byEmail.text + pending('canonical_email') }
const byUsernameOrPending: Statement = { name: 'users.by-username-or-pending', text: byUsername.text + pending('username') }
/** An account, if there is one, and what was typed for it in the form in which such are compared. */
export interface Named { identifier: string, account: Account | undefined }

/** As if the address of the account had been typed. */
export const byAddress = (account: Account): Named => ({ identifier: `email ${account.canonical_email}`, account })

/** The account of an e-mail address or username, among them those that are `pending` if so asked; what is no such thing is that of nobody. */
export async function named (db: Queryable, login: { email: string } | { username: string }, { pending: orPending }: { pending: boolean }): Promise<Named> {
  const [statement, kind, typed, name] = 'email' in login
    ? [orPending ? byEmailOrPending : byEmail, 'email', login.email, parseEmail(login.email)?.canonical] as const
    : [orPending ? byUsernameOrPending : byUsername, 'username', login.username, parseUsername(login.username)] as const
  const [account] = await db.query<Account>(statement, [name ?? ''])
  return { identifier: `${kind} ${name ?? typed}`, account }
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
    with changed as (
      update users set password_hash = $3, password_version = password_version + 1, devices_known_from = ${moment}, updated_at = now()
      where id = $1 and password_version = $2 and disabled_at is null
      returning *
    ), audited as (${audit.insertion('user.password_changed', { user: 'id' }, '$4', 'changed')}
    )
    select devices_known_from from changed`, [userId, passwordVersion, hash, audit.parameter(origin)])
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
