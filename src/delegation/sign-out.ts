import * as audit from '../audit/events.ts'
import type { Queryable, Statement } from '../database/database.ts'
import { endFirstParty } from '../sessions/ending.ts'

const matching: Statement = {
  name: 'sign-out.is-client-session',
  text: 'select from sessions where id = $1 and (id = $2 or parent_id = $2)'
}

/**
 * Whether a session is or was a client session of a browser session. An ended one is known for a day.
 */
export async function isOfBrowser (
  db: Queryable, sessionId: string, browserSessionId: string
): Promise<boolean> {
  return (await db.query(matching, [sessionId, browserSessionId])).length > 0
}

/**
 * Signs a browser out: ends its browser session with all client sessions but those with offline access, and
 * the first-party sessions of its other cookies.
 */
export async function signOut (db: Queryable, sessionIds: string[], origin: audit.Origin): Promise<void> {
  await endFirstParty(db, sessionIds, 'logout', origin)
}
