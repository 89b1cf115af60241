import type { Queryable } from '../database/database.ts'
import { isLockTimeout } from '../database/sql-errors.ts'

const step = { name: 'erasures.step', text: 'select erase_audit_events($1, $2) as done' }

/**
 * Erases personal data from up to `maxEvents` events that are about a deleted user or that they caused. The
 * user is the given one, or the next one that is due. Returns whether there was one. In a transaction it
 * comes last, because it locks out other erasures.
 */
export async function erase (db: Queryable, maxEvents: number, userId?: string): Promise<boolean> {
  const [row] = await db.query<{ done: boolean }>(step, [maxEvents, userId ?? null])
  return row?.done ?? false
}

/**
 * Erases events at the end of the transaction that deletes the user. If another erasure holds the lock for
 * too long, housekeeping erases them later, because the deletion must neither fail nor wait.
 */
export async function eraseIfUnlocked (tx: Queryable, maxEvents: number, userId: string): Promise<void> {
  await tx.query('savepoint erasure')
  try {
    await erase(tx, maxEvents, userId)
  } catch (error) {
    if (!isLockTimeout(error)) throw error
    await tx.query('rollback to savepoint erasure')
  }
}
