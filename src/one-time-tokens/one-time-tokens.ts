import type { Queryable, Statement } from '../database/database.ts'
import { bucketParameters, type Buckets } from '../mail/limits.ts'
import { posting } from '../mail/outbox.ts'
import { linkExpired, tooManyAddressChanges } from '../http/problem.ts'
import { random16 } from '../crypto/random.ts'
import { digest } from '../crypto/sealing.ts'
import { accountColumns, type Account } from '../users/credential.ts'

export type Purpose = 'registration' | 'email_verification' | 'password_reset' | 'magic_link' | 'email_change' | 'email_undo'

/** A token of 256 random bits that can be used once, with the prefix that secret scanners know. */
export const mintToken = () => `lkl_${Buffer.concat([random16(), random16()]).toString('base64url')}`

/** The SHA-256 by which a token is found. */
export const hashOf = (token: string) => digest(token)

// The mail is counted first: if there were too many, nothing is written, whether or not there is an account.
const requesting = (owner: string) => `
  with counted as materialized (
    select count_mail($6, $7, $8) as is_admitted
  ), owner as (
    ${owner}
  ), somebody as (
    select coalesce(id, gen_random_uuid()) as id, coalesce(purpose, $3) as purpose, coalesce(email_version, 1) as email_version, coalesce(password_version, 1) as password_version
    from counted left join owner on true where is_admitted
  ), linked as (
    insert into one_time_tokens (token_hash, purpose, user_id, email_version, password_version, expires_at)
    select $2, purpose, id, email_version, password_version, now() + make_interval(secs => $4) from somebody
  ), posted as (${posting('$5', 'id', '$4', 'somebody')}
  )
  select is_admitted as "isAdmitted" from counted`
const requestLink: Statement = {
  name: 'links.request',
  text: requesting('select id, $3::text as purpose, email_version, password_version from users where canonical_email = $1 and disabled_at is null')
}
// Of the account, or of the latest that is to be one.
const requestVerification: Statement = {
  name: 'links.request-verification',
  text: requesting(`
    select id, $3::text as purpose, email_version, password_version from users
    where canonical_email = $1 and disabled_at is null and email_verified_at is null
    union all
    (select id, 'registration', 1, 1 from pending_registrations
    where canonical_email = $1 and expires_at > now() and not exists (select from users where canonical_email = $1 and email_verified_at is not null)
    order by created_at desc limit 1)
    limit 1`)
}

/** A link that is requested for an address. */
export interface LinkRequest {
  canonical: string
  purpose: 'email_verification' | 'password_reset' | 'magic_link'
  token: string
  mail: Buffer | undefined
  /** How many seconds the link is valid. */
  lives: number
  buckets: Buckets
}

/**
 * Creates a link, and the mail that carries it, for the account of a canonical address. If there is no such
 * account, it creates them for a user who does not exist, so both cases cost the same. Returns false, and
 * creates nothing, if too many were requested.
 */
export async function requestFor (db: Queryable, request: LinkRequest): Promise<boolean> {
  const { canonical, purpose, token, mail, lives, buckets } = request
  const statement = purpose === 'email_verification' ? requestVerification : requestLink
  const values = [canonical, hashOf(token), purpose, lives, mail ?? null, ...bucketParameters(buckets)]
  const [row] = await db.query<{ isAdmitted: boolean }>(statement, values)
  return row?.isAdmitted ?? false
}

/** What an address is changed to, or back to. */
export interface Target { email: string, canonical_email: string }

// The lock makes a deletion wait for this, which it then finds, or this for the deletion.
const making: Statement = {
  name: 'links.make',
  text: `
    insert into one_time_tokens (token_hash, purpose, user_id, email_version, password_version, email, canonical_email, expires_at)
    select $2, $3, id, email_version, password_version, $4, $5, now() + make_interval(secs => $6) from users
    where id = $1 and password_version = coalesce($7, password_version) for key share
    returning 1 as made`
}

/**
 * Makes a link for a user, which dies with the address and the password that the account has now. `lives` is in seconds.
 * Gives whether it was made: not where the password is another one than that of `passwordVersion`, or the user is gone.
 */
export async function make (db: Queryable, userId: string, purpose: Purpose, token: string, lives: number, target?: Target, passwordVersion?: number): Promise<boolean> {
  return (await db.query(making, [userId, hashOf(token), purpose, target?.email ?? null, target?.canonical_email ?? null, lives, passwordVersion ?? null])).length > 0
}

const purposeOfOne: Statement = { name: 'one_time_tokens.purpose', text: 'select purpose, user_id as "userId" from one_time_tokens where token_hash = $1 and expires_at > now()' }

/** What a link is for, and whose; throws `link_expired` where there is none. */
export async function purposeOf (db: Queryable, token: string): Promise<{ purpose: Purpose, userId: string }> {
  const [found] = await db.query<{ purpose: Purpose, userId: string }>(purposeOfOne, [hashOf(token)])
  if (!found) throw linkExpired()
  return found
}

/** A link that is good, and the account it is for. */
export interface Found extends Account {
  purpose: Purpose
  email_verified: boolean
  language: string | null
  created_at: Date
  /** When the account was made. */
  user_created_at: Date
  /** Of the links that change an address. */
  target_email: string | null
  target_canonical_email: string | null
}

// What it was for is still so: the address that it was mailed to, and where it stands in for the password, that. The
// way back to an address stays open whatever becomes of the account, unless that is disabled.
// A link that verifies an address is void once the address is verified. Otherwise it would outlive the used
// one.
const good = `expires_at > now() and users.disabled_at is null
  and (purpose = 'email_undo' or one_time_tokens.email_version = users.email_version)
  and (purpose <> 'email_verification' or users.email_verified_at is null)
  and (purpose in ('email_undo', 'email_verification') or one_time_tokens.password_version = users.password_version)`
const finding = (lock: string) => `
  select one_time_tokens.purpose, one_time_tokens.created_at, users.created_at as user_created_at,
    one_time_tokens.email as target_email, one_time_tokens.canonical_email as target_canonical_email,
    users.email_verified_at is not null as email_verified, users.language, ${accountColumns}
  from one_time_tokens join users on users.id = one_time_tokens.user_id
  where token_hash = $1 and purpose = any($2::text[]) and ${good} ${lock}`
const find: Statement = { name: 'links.find', text: finding('') }
const lock: Statement = { name: 'links.lock', text: finding('for no key update of users') }
const use: Statement = { name: 'links.use', text: 'delete from one_time_tokens where token_hash = $1 returning 1 as used' }

/** A link that is good now, without using it; throws `link_expired`. */
export async function look (db: Queryable, token: string, purposes: readonly Purpose[]): Promise<Found> {
  const [found] = await db.query<Found>(find, [hashOf(token), purposes])
  if (!found) throw linkExpired()
  return found
}

/** Uses a link, once; the user is locked until the end of the transaction. Throws `link_expired`. */
export async function redeem (tx: Queryable, token: string, purposes: readonly Purpose[]): Promise<Found> {
  const [found] = await tx.query<Found>(lock, [hashOf(token), purposes])
  if (!found) throw linkExpired()
  await spend(tx, token)
  return found
}

/** Uses a link up, whatever it is for. Throws `link_expired` where it is gone. */
export async function spend (tx: Queryable, token: string): Promise<void> {
  if ((await tx.query(use, [hashOf(token)])).length === 0) throw linkExpired()
}

/** Ends the links of a user, but for the ways back to earlier addresses. */
export async function endAll (tx: Queryable, userId: string): Promise<void> {
  await tx.query({ name: 'links.end-all', text: "delete from one_time_tokens where user_id = $1 and purpose <> 'email_undo'" }, [userId])
}

const countUndo: Statement = {
  name: 'links.count-undo',
  text: `
    select count(*)::int as links, extract(epoch from min(expires_at) - now())::float8 as seconds
    from one_time_tokens where user_id = $1 and purpose = 'email_undo' and expires_at > now()`
}

// Each change of a verified address leaves a link that undoes it.
const maxUndoLinks = 20

/**
 * Throws `too_many_requests` if too many changes of the user's address can still be undone. The oldest link
 * is never dropped for a new one, because a thief would change the address until the owner's link to undo is
 * gone.
 */
export async function assertUndoCapacity (tx: Queryable, userId: string): Promise<void> {
  const [row] = await tx.query<{ links: number, seconds: number | null }>(countUndo, [userId])
  if (row && row.links >= maxUndoLinks) throw tooManyAddressChanges(row.seconds ?? 0)
}

const voiding: Statement = {
  name: 'links.void-changes',
  text: "delete from one_time_tokens where purpose = 'email_change' and ($1::uuid is null or user_id = $1)"
}

/** Voids the requested changes of address that are not confirmed, of one user or of all users. */
export async function voidChanges (db: Queryable, userId: string | undefined): Promise<void> {
  await db.query(voiding, [userId ?? null])
}

const voidingOthers: Statement = {
  name: 'links.void-other-changes',
  text: "delete from one_time_tokens where purpose = 'email_change' and user_id = $1 and canonical_email <> $2"
}

/** Voids the requested changes of address of a user, except those to this address. */
export async function voidOtherChanges (tx: Queryable, userId: string, canonical: string): Promise<void> {
  await tx.query(voidingOthers, [userId, canonical])
}

const siblings = "delete from one_time_tokens where user_id = $1 and purpose = 'email_verification'"

/** Ends the other links that would verify the address of a user. */
export async function endVerifications (tx: Queryable, userId: string): Promise<void> {
  await tx.query({ name: 'links.end-verifications', text: siblings }, [userId])
}

const clear: Statement = {
  name: 'links.clear',
  text: `
    with old_links as (
      delete from one_time_tokens where token_hash = any(array(select token_hash from one_time_tokens where expires_at < now() limit $1 for update skip locked)) returning 1
    ), old_registrations as (
      delete from pending_registrations where id = any(array(select id from pending_registrations where expires_at < now() limit $1 for update skip locked)) returning 1
    ), old_counts as (
      delete from mail_counts where key = any(array(select key from mail_counts where expires_at < now() limit $1 for update skip locked)) returning 1
    )
    select greatest((select count(*) from old_links), (select count(*) from old_registrations), (select count(*) from old_counts))::int as removed`
}

/** Removes what has expired of links, of accounts to be, and of counts of mails: up to `most` of each; gives how many of the most. */
export async function forget (db: Queryable, most: number): Promise<number> {
  const [row] = await db.query<{ removed: number }>(clear, [most])
  return row?.removed ?? 0
}
