import type { HousekeepingTask } from '../capability.ts'
import type { Queryable } from '../database/database.ts'

const batchRows = 500

/** A housekeeping task that purges batches until one is not full. `purge` returns how many rows it purged. */
export const inBatches = (purge: (db: Queryable, batchSize: number) => Promise<number>): HousekeepingTask =>
  async function * (db) {
    while (await purge(db, batchRows) === batchRows) yield
  }

const pageRows = 5_000

/**
 * A housekeeping task that walks a table by key. `purgePage` returns the key to continue after, undefined at
 * the end.
 */
export const inPages = (
  purgePage: (db: Queryable, after: Buffer | undefined, pageSize: number) => Promise<Buffer | undefined>
): HousekeepingTask => async function * (db) {
  for (let after = await purgePage(db, undefined, pageRows); after !== undefined;) {
    yield
    after = await purgePage(db, after, pageRows)
  }
}
