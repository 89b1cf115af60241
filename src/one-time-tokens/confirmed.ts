import type { Queryable, Statement } from '../database/database.ts'
import { hashToken } from './one-time-tokens.ts'

// The row of a token that confirmed an address is written again with the negative version of the address. No
// account has such a version, so the token is never valid again. If the link is opened once more, its page
// says that the address is confirmed, as long as it is.

/** A token that confirmed the address of an account. */
export interface ConfirmedToken { token: string, userId: string, lifetimeSeconds: number }

const remember: Statement = {
  name: 'one-time-tokens.remember-confirmation',
  text: `
    insert into one_time_tokens (
      token_hash, purpose, user_id, email_version, password_version, expires_at
    ) select $2, 'email_verification', id, -email_version, password_version, now() + make_interval(secs => $3)
    from users where id = $1 and email_verified_at is not null`
}

/** Remembers a consumed token that has confirmed an address. */
export async function rememberConfirmation (
  tx: Queryable, { token, userId, lifetimeSeconds }: ConfirmedToken
): Promise<void> {
  await tx.query(remember, [userId, hashToken(token), lifetimeSeconds])
}

const select: Statement = {
  name: 'one-time-tokens.confirmed-address',
  text: `
    select users.email
    from one_time_tokens join users on users.id = one_time_tokens.user_id
    where token_hash = $1 and one_time_tokens.email_version = -users.email_version and expires_at > now()
      and email_verified_at is not null and disabled_at is null`
}

/**
 * Finds the address that a used token has confirmed, if the account still has it. The token is the proof that
 * the caller read the mail, so a stranger learns nothing.
 */
export async function findConfirmedAddress (db: Queryable, token: string): Promise<string | undefined> {
  const [account] = await db.query<{ email: string }>(select, [hashToken(token)])
  return account?.email
}
