import type * as audit from '../audit/events.ts'
import type { Queryable } from '../database/database.ts'
import { validationFailed } from '../http/problems.ts'
import { parse as parseEmail, type EmailAddress } from '../syntax/email-address.ts'
import { emailTaken } from './problems.ts'
import { translateViolations } from './violations.ts'

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

/**
 * The columns of a User, from the table or alias `users`. These statements repeat them: `sessions.rotate`,
 * `sessions.create`, `sessions.find-browser` and `authorization-codes.redeem`.
 */
export const columns = `users.id, users.email, users.username, users.name, users.roles,
  users.email_verified_at is not null as email_verified, users.created_at, users.updated_at`

export interface NewUser {
  id: string
  email: EmailAddress
  username: string | null
  name: string | null
  passwordHash: string | null
  externalId?: string | null | undefined
  language?: string | undefined
}

const insert = `
  insert into users (
    id, email, canonical_email, username, name, password_hash, language, external_id, email_verified_at
  )
  values ($1, $2, $3, $4, $5, $6, $7, $8, case when $9 then now() end)`
const selectUndoToken = `
  select from one_time_tokens
  where purpose = 'email_undo' and canonical_email = $1 and expires_at > now()
  limit 1`

/**
 * Creates an account. Call it in a transaction that rolls back when it throws. Throws `email_taken`,
 * `username_taken` or `external_id_taken`. If another account can still change back to the address, it counts
 * as taken, unless it is verified as the new user's.
 */
export async function create (tx: Queryable, user: NewUser, { isVerified = false } = {}): Promise<void> {
  const { id, email, username, name, passwordHash, language = null, externalId = null } = user
  const values = [
    id, email.address, email.canonical, username, name, passwordHash, language, externalId, isVerified
  ]
  await translateViolations(tx.query(insert, values))
  if (isVerified) return
  // The insertion waits for an account that is changing to another address. Only after that wait is its undo
  // token visible.
  const undoTokens = await tx.query(selectUndoToken, [email.canonical])
  if (undoTokens.length > 0) throw emailTaken()
}

const selectUnverified = `
  select id from users where canonical_email = $1 and email_verified_at is null and disabled_at is null
  for no key update`

/**
 * Finds the enabled user who has an address but never verified it, and locks that user until the transaction
 * ends. Returns undefined if there is none.
 */
export async function findUnverified (tx: Queryable, canonical: string): Promise<string | undefined> {
  const [user] = await tx.query<{ id: string }>(selectUnverified, [canonical])
  return user?.id
}

/**
 * Locks a user until the transaction ends, and returns their address. Returns undefined if there is no such
 * user.
 */
export async function lock (tx: Queryable, id: string): Promise<EmailAddress | undefined> {
  const [user] = await tx.query<EmailAddress>(
    'select email as address, canonical_email as canonical from users where id = $1 for no key update', [id])
  return user
}

/** The user who has an address, and the language of their mails. */
export interface AddressOwner { id: string, email: string, language: string | null }

/** Finds the user who has an address. Returns undefined if there is none. */
export async function findOwner (db: Queryable, canonical: string): Promise<AddressOwner | undefined> {
  const [owner] = await db.query<AddressOwner>(
    'select id, email, language from users where canonical_email = $1', [canonical])
  return owner
}

/** Gives a user another address, which they proved that they own. Throws `email_taken`. */
export async function changeEmail (
  tx: Queryable, id: string, { address, canonical }: EmailAddress
): Promise<void> {
  await translateViolations(tx.query(`
    update users set email = $2, canonical_email = $3, email_version = email_version + 1,
      email_verified_at = now(), updated_at = now()
    where id = $1`, [id, address, canonical]))
}

export interface UserChange { name?: string | null, username?: string | null }

// The lock makes the comparison see what a concurrent change has committed.
const updateNames = `
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
 * Changes the given names of a user, and returns the user. Writes nothing if nothing differs. Returns
 * undefined if there is no such user. Throws `username_taken`.
 */
export async function update (
  db: Queryable, id: string, { name, username }: UserChange, origin: audit.Origin
): Promise<User | undefined> {
  const change = [name !== undefined, name ?? null, username !== undefined, username ?? null]
  const values = [id, ...change, origin]
  const [user] = await translateViolations(db.query<User>(updateNames, values))
  return user
}

/** Parses a username to its canonical form. Returns undefined if the text is not a username. */
export function parseUsername (text: string): string | undefined {
  const username = text.toLowerCase()
  return /^[a-z0-9_.-]{3,32}$/.test(username) ? username : undefined
}

/** Parses the member `email` of a body. Throws `validation_failed` if it is not an email address. */
export function requireEmail (text: string): EmailAddress {
  const email = parseEmail(text)
  if (email) return email
  const violations = [{ pointer: '/email', detail: 'must be an email address' }]
  throw validationFailed('The email address is invalid.', violations)
}

/** Parses the member `username` of a body. Throws `validation_failed` if it is not a username. */
export function requireUsername (text: string): string {
  const username = parseUsername(text)
  if (username !== undefined) return username
  const detail = 'must be 3 to 32 of the characters a-z, 0-9, _, . and -'
  throw validationFailed('The username is invalid.', [{ pointer: '/username', detail }])
}
