import type { Queryable, Statement } from '../database/database.ts'
import { random16 } from '../crypto/random.ts'
import { digest } from '../crypto/sealing.ts'
import { linkExpired } from './problems.ts'
import { accountColumns, type Account } from '../users/credential.ts'

/** What a one-time token is for. */
export const oneTimeTokenPurposes = [
  'registration', 'email_verification', 'password_reset', 'magic_link', 'email_change', 'email_undo'
] as const
export type OneTimeTokenPurpose = typeof oneTimeTokenPurposes[number]

/** Generates a token of 256 random bits, with the prefix that secret scanners know. */
export const generateToken = () => `lkl_${Buffer.concat([random16(), random16()]).toString('base64url')}`

/** The SHA-256 that is stored in place of a token. */
export const hashToken = (token: string) => digest(token)

/** The address that a token changes an account to, or back to. */
export interface TargetAddress { email: string, canonical_email: string }

/** A token to issue to a user. */
export interface NewToken {
  userId: string
  purpose: OneTimeTokenPurpose
  token: string
  /** For how many seconds the token is valid. */
  lifetimeSeconds: number
  target?: TargetAddress
  /** The token is issued only if this is still the version of the user's password. */
  passwordVersion?: number
}

// The lock makes a concurrent deletion of the user wait, and then delete this token too.
const insert: Statement = {
  name: 'one-time-tokens.issue',
  text: `
    insert into one_time_tokens (
      token_hash, purpose, user_id, email_version, password_version, email, canonical_email, expires_at
    ) select $2, $3, id, email_version, password_version, $4, $5, now() + make_interval(secs => $6)
    from users where id = $1 and password_version = coalesce($7, password_version) for key share
    returning 1 as issued`
}

/**
 * Issues a token to a user. It becomes invalid when the address or the password of the account changes.
 * Returns false if the user does not exist, or has another password version than the given one.
 */
export async function issue (db: Queryable, token: NewToken): Promise<boolean> {
  const { userId, purpose, target, lifetimeSeconds, passwordVersion } = token
  const issued = await db.query(insert, [
    userId, hashToken(token.token), purpose, target?.email ?? null, target?.canonical_email ?? null,
    lifetimeSeconds, passwordVersion ?? null
  ])
  return issued.length > 0
}

/** What a token is for, and to whom it was issued. */
export interface TokenSubject { purpose: OneTimeTokenPurpose, userId: string }

const selectSubject: Statement = {
  name: 'one-time-tokens.subject',
  text: `
    select purpose, user_id as "userId" from one_time_tokens where token_hash = $1 and expires_at > now()`
}

/** Finds what an unexpired token is for. Throws `link_expired` if there is none. */
export async function findSubject (db: Queryable, token: string): Promise<TokenSubject> {
  const [subject] = await db.query<TokenSubject>(selectSubject, [hashToken(token)])
  if (!subject) throw linkExpired()
  return subject
}

/** A valid token, and the account that it was issued to. */
export interface ValidToken extends Account {
  purpose: OneTimeTokenPurpose
  language: string | null
  created_at: Date
  user_created_at: Date
  /** The address that the token changes the account to, or back to. */
  target_email: string | null
  target_canonical_email: string | null
}

// A token is valid while what it was issued for still holds:
//
// | purpose            | same address | same password | address not verified | account not disabled |
// | ------------------ | ------------ | ------------- | -------------------- | -------------------- |
// | email_verification | yes          |               | yes                  | yes                  |
// | password_reset     | yes          | yes           |                      | yes                  |
// | magic_link         | yes          | yes           |                      | yes                  |
// | email_change       | yes          | yes           |                      | yes                  |
// | email_undo         |              |               |                      | yes                  |
//
// A token that verifies an address becomes invalid when another one has verified it. The token of a pending
// registration has no account: see `consumeUnchecked`.
const selectValid = `
  select one_time_tokens.purpose, one_time_tokens.created_at, users.created_at as user_created_at,
    one_time_tokens.email as target_email, one_time_tokens.canonical_email as target_canonical_email,
    users.language, ${accountColumns}
  from one_time_tokens join users on users.id = one_time_tokens.user_id
  where token_hash = $1 and purpose = any($2::text[]) and expires_at > now() and users.disabled_at is null
    and (purpose = 'email_undo' or one_time_tokens.email_version = users.email_version)
    and (purpose in ('email_undo', 'email_verification')
      or one_time_tokens.password_version = users.password_version)
    and (purpose <> 'email_verification' or users.email_verified_at is null)`

const findValid: Statement = { name: 'one-time-tokens.find', text: selectValid }
const lockValid: Statement = {
  name: 'one-time-tokens.lock',
  text: `${selectValid} for no key update of users`
}
const deleteToken: Statement = {
  name: 'one-time-tokens.consume',
  text: 'delete from one_time_tokens where token_hash = $1 returning 1 as consumed'
}

/** Finds a valid token without consuming it. Throws `link_expired`. */
export async function find (
  db: Queryable, token: string, purposes: readonly OneTimeTokenPurpose[]
): Promise<ValidToken> {
  const [valid] = await db.query<ValidToken>(findValid, [hashToken(token), purposes])
  if (!valid) throw linkExpired()
  return valid
}

/**
 * Consumes a valid token, once. The user stays locked until the end of the transaction. Throws
 * `link_expired`.
 */
export async function consume (
  tx: Queryable, token: string, purposes: readonly OneTimeTokenPurpose[]
): Promise<ValidToken> {
  const [valid] = await tx.query<ValidToken>(lockValid, [hashToken(token), purposes])
  if (!valid) throw linkExpired()
  await consumeUnchecked(tx, token)
  return valid
}

/**
 * Consumes a token that is not bound to an account: that of a pending registration, which the caller has
 * checked. Throws `link_expired` if the token was consumed or revoked since.
 */
export async function consumeUnchecked (tx: Queryable, token: string): Promise<void> {
  const consumed = await tx.query(deleteToken, [hashToken(token)])
  if (consumed.length === 0) throw linkExpired()
}
