import type { Origin } from '../audit/events.ts'
import * as clients from '../clients/clients.ts'
import type { Database } from '../database/database.ts'

/** Deletes a client and all that belongs to it. Returns whether it existed. */
export async function deleteClient (db: Database, id: string, origin: Origin): Promise<boolean> {
  return await db.transaction(async tx => await clients.deleteClient(tx, id, origin))
}
