import type { Queryable, Statement } from '../database/database.ts'
import type { MailBuckets } from '../mail/limits.ts'
import { publishEnqueuedMail } from '../mail/outbox.ts'
import { hashToken } from '../one-time-tokens/one-time-tokens.ts'
import type { EmailAddress } from '../syntax/email-address.ts'
import { usernameTaken } from '../users/problems.ts'

/** A registration that waits until its mailed link is used. */
export interface PendingRegistration {
  id: string
  email: string
  canonical_email: string
  username: string | null
  name: string | null
  password_hash: string
  language: string | null
}

/**
 * The new user, and two mails. One of them is sent: the link, or a notification to the owner of the account.
 */
export interface RegistrationRequest {
  id: string
  email: EmailAddress
  username: string | null
  name: string | null
  passwordHash: string
  language: string | undefined
  token: string
  link: Buffer | undefined
  taken: Buffer | undefined
  /** Seconds. */
  lives: number
  buckets: MailBuckets
}

// If the address has an account, only the mail is another one. If too many mails were requested, nothing is
// stored, because no link could confirm it.
const insert: Statement = {
  name: 'registrations.insert',
  text: `
    with available as materialized (
      select where not exists (
        select from users
        where username = $4
          or (username_skeleton(username) = username_skeleton($4) and not username_lookalike)
      )
    ), counted as materialized (
      select count_mail($12, $13, $14) as is_counted from available
    ), owner as (
      select users.id from (select) as always
      left join users on canonical_email = $3 and email_verified_at is not null
    ), applied as (
      insert into pending_registrations (
        id, email, canonical_email, username, name, password_hash, language, expires_at
      )
      select $1, $2, $3, $4, $5, $6, $7, now() + make_interval(secs => $11) from counted where is_counted
      returning id
    ), linked as (
      insert into one_time_tokens (token_hash, purpose, user_id, email_version, password_version, expires_at)
      select $8, 'registration', id, 1, 1, now() + make_interval(secs => $11) from applied
    )
    select is_counted as "isCounted", (
      select enqueue_mail(
        coalesce(owner.id, applied.id), case when owner.id is null then $9::bytea else $10 end, $11
      )
      from applied, owner
    )
    from counted`
}

/**
 * Stores a registration until its link is used. Returns false, and stores nothing, if too many mails to the
 * address were requested. Throws `username_taken`. The result does not reveal whether the address is taken.
 */
export async function add (db: Queryable, request: RegistrationRequest): Promise<boolean> {
  const { id, email, username, name, passwordHash, language, token, lives } = request
  const { link, taken, buckets } = request
  const values = [
    id, email.address, email.canonical, username, name, passwordHash, language ?? null,
    hashToken(token), link ?? null, taken ?? null, lives,
    buckets.keys, buckets.capacities, buckets.intervalSeconds
  ]
  const [row] = await db.query<{ isCounted: boolean }>(insert, values)
  if (!row) throw usernameTaken()
  if (row.isCounted) publishEnqueuedMail(db, link ?? taken)
  return row.isCounted
}

const select: Statement = {
  name: 'registrations.find',
  text: `
    select id, email, canonical_email, username, name, password_hash, language from pending_registrations
    where id = $1 and expires_at > now()`
}

/** Finds a pending registration by id. Returns undefined if there is none, or it has expired. */
export async function find (db: Queryable, id: string): Promise<PendingRegistration | undefined> {
  const [registration] = await db.query<PendingRegistration>(select, [id])
  return registration
}

/**
 * Locks an address until the end of the transaction: other transactions that would give it to an account
 * wait. The lock comes before any lock on a user.
 */
export async function lockAddress (tx: Queryable, canonical: string): Promise<void> {
  await tx.query("select pg_advisory_xact_lock(hashtextextended('registration of ' || $1, 0))", [canonical])
}

/** Deletes all pending registrations of an address, with their links. */
export async function deletePendingRegistrations (tx: Queryable, canonical: string): Promise<void> {
  await tx.query(`
    with deleted as (
      delete from pending_registrations where canonical_email = $1 returning id
    )
    delete from one_time_tokens using deleted
    where user_id = deleted.id and purpose = 'registration'`, [canonical])
}
