import type * as audit from '../audit/events.ts'
import type { Queryable } from '../database/database.ts'
import { violates } from '../database/database.ts'
import { parse as parseEmail, type EmailAddress } from '../syntax/email-address.ts'
import { validationFailed } from '../http/problems.ts'
import { emailTaken, usernameTaken } from './problems.ts'

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

/** The columns of a User, of the table or alias `users`. */
export const columns = `users.id, users.email, users.username, users.name, users.roles,
  users.email_verified_at is not null as email_verified, users.created_at, users.updated_at`

export interface NewUser {
  id: string
  email: EmailAddress
  username: string | null
  name: string | null
  passwordHash: string | null
  language?: string | undefined
}

/**
 * Creates an account, in a transaction that a throw rolls back. Throws `email_taken` or `username_taken`. An
 * address to which another account can still be changed back counts as taken, unless it is verified as the
 * new user's.
 */
export async function create (tx: Queryable, user: NewUser, { isVerified = false } = {}): Promise<void> {
  const { id, email, username, name, passwordHash, language } = user
  await taken(tx.query('insert into users (id, email, canonical_email, username, name, password_hash, language, email_verified_at) values ($1, $2, $3, $4, $5, $6, $7, case when $8 then now() end)',
    [id, email.address, email.canonical, username, name, passwordHash, language ?? null, isVerified]))
  // The insertion waits for an account that is just leaving the address. Only then its link to undo is
  // visible.
  if (!isVerified && (await tx.query("select from one_time_tokens where purpose = 'email_undo' and canonical_email = $1 and expires_at > now() limit 1", [email.canonical])).length > 0) throw emailTaken()
}

const selectUnverified = `
  select id from users where canonical_email = $1 and email_verified_at is null and disabled_at is null
  for no key update`

/**
 * The user who has an address and never verified it, locked until the transaction ends; undefined if there is
 * none.
 */
export async function findUnverified (tx: Queryable, canonical: string): Promise<string | undefined> {
  const [user] = await tx.query<{ id: string }>(selectUnverified, [canonical])
  return user?.id
}

/**
 * Locks a user until the end of the transaction, and returns the address; undefined if there is no such user.
 */
export async function lock (tx: Queryable, id: string): Promise<EmailAddress | undefined> {
  const [user] = await tx.query<EmailAddress>(
    'select email as address, canonical_email as canonical from users where id = $1 for no key update', [id])
  return user
}

/** Who has an address, and what they are written to in; undefined where nobody has. */
export async function ownerOf (db: Queryable, canonical: string): Promise<{ id: string, email: string, language: string | null } | undefined> {
  const [user] = await db.query<{ id: string, email: string, language: string | null }>('select id, email, language from users where canonical_email = $1', [canonical])
  return user
}

/** Gives a user another address, which they have proved to own. Throws `email_taken`. */
export async function changeEmail (tx: Queryable, id: string, { address, canonical }: EmailAddress): Promise<void> {
  await taken(tx.query(`
    update users set email = $2, canonical_email = $3, email_version = email_version + 1, email_verified_at = now(), updated_at = now()
    where id = $1`, [id, address, canonical]))
}

export interface UserChange { name?: string | null, username?: string | null }

// The lock makes the comparison see what a concurrent change has committed.
const updating = `
  with before as (
    select *,
      $2 and name is distinct from $3 as is_renamed,
      $4 and username is distinct from $5 as has_new_username
    from users where id = $1 for no key update
  ), changed as (
    update users set
      name = case when is_renamed then $3 else users.name end,
      username = case when has_new_username then $5 else users.username end,
      username_lookalike = users.username_lookalike and not has_new_username,
      updated_at = now()
    from before where users.id = before.id and (is_renamed or has_new_username)
    returning users.*, record_event('user.updated', $6, user_id => users.id, detail => jsonb_build_object(
      'changed', array_remove(array[
        case when is_renamed then 'name' end, case when has_new_username then 'username' end
      ], null)
    ))
  )
  select ${columns} from changed as users
  union all
  select ${columns} from before as users where not is_renamed and not has_new_username`

/**
 * The user after the change of what is named, undefined if there is none. If nothing differs, nothing is
 * written. Throws `username_taken`.
 */
export async function update (db: Queryable, id: string, { name, username }: UserChange, origin: audit.Origin): Promise<User | undefined> {
  const change = [name !== undefined, name ?? null, username !== undefined, username ?? null]
  const values = [id, ...change, origin]
  const [user] = await taken(db.query<User>(updating, values))
  return user
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
    if (violates(error, 'users_username_key') || violates(error, 'users_username_skeleton_key')) throw usernameTaken()
    throw error
  }
}
