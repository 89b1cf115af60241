import type * as audit from '../audit/events.ts'
import type { Database } from '../database/database.ts'
import { revokeEmailChanges } from '../one-time-tokens/revocation.ts'
import { endAll, type EndReason } from '../sessions/ending.ts'
import * as users from '../users/users.ts'

/** The sessions that end: all of the user's except `except`. */
export interface SignOut { userId: string, except: string | undefined, reason: EndReason }

/**
 * Signs a user out of all sessions, or of all other sessions. Cancels a requested change of address, because
 * an intruder may have requested it.
 */
export async function signOut (
  db: Database,
  { userId, except, reason }: SignOut,
  origin: audit.Origin
): Promise<void> {
  await db.transaction(async tx => {
    await users.lock(tx, userId)
    await revokeEmailChanges(tx, userId)
    await endAll(tx, { userId, except }, reason, origin)
  })
}
