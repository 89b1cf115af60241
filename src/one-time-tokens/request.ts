import type { Queryable, Statement } from '../database/database.ts'
import type { MailBuckets } from '../mail/limits.ts'
import { publishEnqueuedMail } from '../mail/outbox.ts'
import { hashToken } from './one-time-tokens.ts'

// Both statements count the mail first: if there were too many, they write nothing, whether or not there is
// an account. If there is no account, they issue the token to a user who does not exist, so both cases cost
// the same.
const issueToAccount: Statement = {
  name: 'one-time-tokens.request',
  text: `
    with counted as materialized (
      select count_mail($6, $7, $8) as is_counted
    ), recipient as materialized (
      select coalesce(users.id, gen_random_uuid()) as id,
        coalesce(email_version, 1) as email_version, coalesce(password_version, 1) as password_version
      from counted left join users on canonical_email = $1 and disabled_at is null
      where is_counted
    ), issued as (
      insert into one_time_tokens (
        token_hash, purpose, user_id, email_version, password_version, expires_at
      ) select $2, $3, id, email_version, password_version, now() + make_interval(secs => $4)
      from recipient
    )
    select is_counted as "isCounted", (select enqueue_mail(id, $5, $4) from recipient) from counted`
}

// Verifies the address of an account, or else of the latest pending registration.
const issueVerification: Statement = {
  name: 'one-time-tokens.request-verification',
  text: `
    with counted as materialized (
      select count_mail($6, $7, $8) as is_counted
    ), owner as (
      select id, $3::text as purpose, email_version, password_version from users
      where canonical_email = $1 and disabled_at is null and email_verified_at is null
      union all
      (
        select id, 'registration', 1, 1 from pending_registrations
        where canonical_email = $1 and expires_at > now()
          and not exists (select from users where canonical_email = $1 and email_verified_at is not null)
        order by created_at desc limit 1
      )
      limit 1
    ), recipient as materialized (
      select coalesce(id, gen_random_uuid()) as id, coalesce(purpose, $3) as purpose,
        coalesce(email_version, 1) as email_version, coalesce(password_version, 1) as password_version
      from counted left join owner on true
      where is_counted
    ), issued as (
      insert into one_time_tokens (
        token_hash, purpose, user_id, email_version, password_version, expires_at
      ) select $2, purpose, id, email_version, password_version, now() + make_interval(secs => $4)
      from recipient
    )
    select is_counted as "isCounted", (select enqueue_mail(id, $5, $4) from recipient) from counted`
}

/** A request for a token that will be mailed to an address. */
export interface TokenRequest {
  canonical: string
  purpose: 'email_verification' | 'password_reset' | 'magic_link'
  token: string
  mail: Buffer | undefined
  /** For how many seconds the token is valid. */
  lifetimeSeconds: number
  buckets: MailBuckets
}

/**
 * Issues a token to the account of a canonical address, and enqueues the mail that carries it. The cost does
 * not depend on whether there is such an account. Returns false, and issues nothing, if too many mails were
 * requested.
 */
export async function issueByAddress (db: Queryable, request: TokenRequest): Promise<boolean> {
  const { canonical, purpose, token, mail, lifetimeSeconds, buckets } = request
  const statement = purpose === 'email_verification' ? issueVerification : issueToAccount
  const [row] = await db.query<{ isCounted: boolean }>(statement, [
    canonical, hashToken(token), purpose, lifetimeSeconds, mail ?? null,
    buckets.keys, buckets.capacities, buckets.intervalSeconds
  ])
  if (!row?.isCounted) return false
  publishEnqueuedMail(db, mail)
  return true
}
