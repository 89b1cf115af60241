import type { Origin } from '../audit/events.ts'
import * as clients from '../clients/clients.ts'
import type { Database } from '../database/database.ts'
import { end, endInBatches } from '../sessions/ending.ts'

// Keeps out the redemption of a code, whose session references the client.
const locking = 'select from clients where id = $1 for update'
const remainingSessions = 'select id from sessions where client_id = $1 and ended_at is null'

/**
 * Deletes a client, and ends the sessions that users have with it. Returns whether it existed. If it fails,
 * the sessions of some batches have ended, and it can be repeated.
 */
export async function deleteClient (db: Database, id: string, origin: Origin): Promise<boolean> {
  await endInBatches(db, { clientId: id }, 'client_deleted', origin)
  return await db.transaction(async tx => {
    await tx.query(locking, [id])
    const remaining = await tx.query<{ id: string }>(remainingSessions, [id])
    await end(tx, remaining.map(session => session.id), 'client_deleted', origin)
    return await clients.deleteClient(tx, id, origin)
  })
}
