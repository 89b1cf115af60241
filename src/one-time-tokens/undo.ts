import type { Queryable, Statement } from '../database/database.ts'
import { tooManyAddressChanges } from './problems.ts'

const count: Statement = {
  name: 'one-time-tokens.count-undo',
  text: `
    select count(*)::int as tokens, extract(epoch from min(expires_at) - now())::float8 as "secondsLeft"
    from one_time_tokens where user_id = $1 and purpose = 'email_undo' and expires_at > now()`
}

// Each change of a verified address issues a token that undoes it.
const maxUndoTokens = 20

/**
 * Throws `too_many_requests` if too many changes of the user's address can still be undone. The oldest token
 * is never revoked for a new one: a thief would change the address until the owner's token to undo is gone.
 */
export async function assertUndoCapacity (tx: Queryable, userId: string): Promise<void> {
  const [row] = await tx.query<{ tokens: number, secondsLeft: number | null }>(count, [userId])
  if (row && row.tokens >= maxUndoTokens) throw tooManyAddressChanges(row.secondsLeft ?? 0)
}

const revokeLater: Statement = {
  name: 'one-time-tokens.revoke-later-undo',
  text: "delete from one_time_tokens where user_id = $1 and purpose = 'email_undo' and created_at > $2"
}

/** Revokes the tokens that undo changes of the user's address that were made after a time. */
export async function revokeLaterUndoTokens (tx: Queryable, userId: string, time: Date): Promise<void> {
  await tx.query(revokeLater, [userId, time])
}
