import type { Queryable, Statement } from '../database/database.ts'

const revokeOfUser: Statement = {
  name: 'one-time-tokens.revoke-all',
  text: "delete from one_time_tokens where user_id = $1 and purpose <> 'email_undo'"
}

/** Revokes the tokens of a user, except those that undo a change of address. */
export async function revokeAll (tx: Queryable, userId: string): Promise<void> {
  await tx.query(revokeOfUser, [userId])
}

const revokeChanges: Statement = {
  name: 'one-time-tokens.revoke-email-changes',
  text: `
    delete from one_time_tokens where purpose = 'email_change' and ($1::uuid is null or user_id = $1)`
}

/** Revokes the requested changes of address that are not confirmed, of one user or of all users. */
export async function revokeEmailChanges (db: Queryable, userId: string | undefined): Promise<void> {
  await db.query(revokeChanges, [userId ?? null])
}

const revokeOtherChanges: Statement = {
  name: 'one-time-tokens.revoke-other-email-changes',
  text: `
    delete from one_time_tokens
    where purpose = 'email_change' and user_id = $1 and canonical_email <> $2`
}

/** Revokes the requested changes of address of a user, except those to this address. */
export async function revokeOtherEmailChanges (
  tx: Queryable, userId: string, canonical: string
): Promise<void> {
  await tx.query(revokeOtherChanges, [userId, canonical])
}

const revokeOfVerification: Statement = {
  name: 'one-time-tokens.revoke-verifications',
  text: "delete from one_time_tokens where user_id = $1 and purpose = 'email_verification'"
}

/** Revokes the tokens that would verify the address of a user. */
export async function revokeVerifications (tx: Queryable, userId: string): Promise<void> {
  await tx.query(revokeOfVerification, [userId])
}
