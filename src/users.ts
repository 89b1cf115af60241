import * as audit from './audit.ts'
import type { Queryable, Statement } from './db.ts'
import { violates } from './db.ts'
import { parse as parseEmail, type EmailAddress } from './email-address.ts'
import { accountDisabled, emailTaken, invalidCredentials, usernameTaken, validationFailed } from './problem.ts'
import type { Passwords } from './passwords.ts'

export interface User {
  id: string
  email: string
  username: string | null
  name: string | null
  roles: string[]
  email_verified: boolean
  created_at: Date
  updated_at: Date
}

/** A proof of the password, good only as long as the password is not changed. */
export interface Credential { userId: string, passwordVersion: number }

/** The columns of a User, of the table or alias `users`. */
export const columns = `users.id, users.email, users.username, users.name, users.roles,
  users.email_verified_at is not null as email_verified, users.created_at, users.updated_at`

export interface NewUser { id: string, email: EmailAddress, username: string | null, name: string | null, passwordHash: string }

/** Throws `email_taken` or `username_taken`. */
export async function create (db: Queryable, { id, email, username, name, passwordHash }: NewUser): Promise<void> {
  await taken(db.query('insert into users (id, email, canonical_email, username, name, password_hash) values ($1, $2, $3, $4, $5, $6)',
    [id, email.address, email.canonical, username, name, passwordHash]))
}

export interface UserChange { name?: string | null, username?: string | null }

/** The user after the change of what is named; undefined where there is none. Throws `username_taken`. */
export async function update (db: Queryable, id: string, { name, username }: UserChange, origin: audit.Origin): Promise<User | undefined> {
  const [user] = await taken(db.query<User>(`
    with changed as (
      update users set
        name = case when $2 then $3 else name end,
        username = case when $4 then $5 else username end,
        updated_at = now()
      where id = $1
      returning *
    ), audited as (${audit.insertion('user.updated', { user: 'id', detail: "jsonb_build_object('changed', to_jsonb($7::text[]))" }, '$6', 'changed')}
    )
    select ${columns} from changed as users`,
  [id, name !== undefined, name ?? null, username !== undefined, username ?? null, audit.parameter(origin), [...name !== undefined ? ['name'] : [], ...username !== undefined ? ['username'] : []]]))
  return user
}

/** Whether there is such a user. */
export const exists = async (db: Queryable, id: string) => (await db.query('select 1 from users where id = $1', [id])).length > 0

interface Known { id: string, password_hash: string | null, password_version: number, disabled: boolean }
const known = 'select id, password_hash, password_version, disabled_at is not null as disabled from users'
const byEmail: Statement = { name: 'users.by-email', text: `${known} where canonical_email = $1` }
const byUsername: Statement = { name: 'users.by-username', text: `${known} where username = $1` }

/**
 * Checks a password. Throws `invalid_credentials` for a wrong one and for an account that is not there, after
 * the same work, and `account_disabled` for the right one of a disabled account.
 */
export async function authenticate (db: Queryable, passwords: Passwords, login: { email: string } | { username: string }, password: string, origin: audit.Origin, signal?: AbortSignal): Promise<Credential> {
  const [statement, name] = 'email' in login
    ? [byEmail, parseEmail(login.email)?.canonical ?? '']
    : [byUsername, parseUsername(login.username) ?? '']
  const [user] = await db.query<Known>(statement, [name])
  const right = await passwords.verify(user?.password_hash, password, signal)
  // What was typed is not kept: it may be the password, in the wrong field.
  const failed = async (reason: string) => await audit.record(db, 'login.failed', { userId: user?.id, detail: { reason } }, origin)
  if (!user?.password_hash || !right) {
    await failed(user ? 'wrong_password' : 'unknown_account')
    throw invalidCredentials()
  }
  if (user.disabled) {
    await failed('account_disabled')
    throw accountDisabled()
  }
  if (passwords.outdated(user.password_hash)) await rehash(db, passwords, user.id, user.password_hash, password)
  return { userId: user.id, passwordVersion: user.password_version }
}

/** The hash of the same password with today's parameters; left for the next sign-in where there is no room for it now. */
async function rehash (db: Queryable, passwords: Passwords, id: string, old: string, password: string) {
  try {
    const hash = await passwords.hash(password)
    await db.query('update users set password_hash = $3 where id = $1 and password_hash = $2', [id, old, hash])
  } catch {}
}

/** A username in the form in which it is kept and compared; undefined where it is none. */
export function parseUsername (text: string): string | undefined {
  const username = text.toLowerCase()
  return /^[a-z0-9_.-]{3,32}$/.test(username) ? username : undefined
}

/** Throws `validation_failed` for what is no e-mail address, as the body's `email`. */
export function requireEmail (text: string): EmailAddress {
  const email = parseEmail(text)
  if (!email) throw validationFailed('The e-mail address is not one.', [{ pointer: '/email', detail: 'must be an e-mail address' }])
  return email
}

/** Throws `validation_failed` for what is no username, as the body's `username`. */
export function requireUsername (text: string): string {
  const username = parseUsername(text)
  if (username === undefined) throw validationFailed('The username is not one.', [{ pointer: '/username', detail: 'must be 3 to 32 of the characters a-z, 0-9, _, . and -' }])
  return username
}

async function taken<T> (work: Promise<T>): Promise<T> {
  try {
    return await work
  } catch (error) {
    if (violates(error, 'users_email_key')) throw emailTaken()
    if (violates(error, 'users_username_key')) throw usernameTaken()
    throw error
  }
}
