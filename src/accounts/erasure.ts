import { isLockTimeout, type Queryable } from '../database/database.ts'

const step = { name: 'erasures.step', text: 'select erase_audit_events($1, $2) as done' }

/**
 * Takes whatever tells who it was from up to `most` events about a deleted user, or done by them: of this one, or of the
 * one whose turn it is. Gives whether there was one. In a transaction it is the last thing: it locks out its like.
 */
export async function erase (db: Queryable, most: number, userId?: string): Promise<boolean> {
  const [row] = await db.query<{ done: boolean }>(step, [most, userId ?? null])
  return row?.done ?? false
}

/**
 * Does the same at the end of a transaction that deletes the user. If another erasure holds the lock for too
 * long, housekeeping does it later, because the deletion must neither fail nor wait.
 */
export async function eraseOrLeave (tx: Queryable, most: number, userId: string): Promise<void> {
  await tx.query('savepoint erasure')
  try {
    await erase(tx, most, userId)
  } catch (error) {
    if (!isLockTimeout(error)) throw error
    await tx.query('rollback to savepoint erasure')
  }
}
