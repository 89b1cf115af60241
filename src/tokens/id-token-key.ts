import type { Database, Queryable } from '../database/database.ts'
import { idTokenAlgorithm } from './key-pair.ts'
import {
  canWait, createKey, extendTokenLifetime, findNewestKey, publishedBeforeSeconds, retireKeys
} from './key-records.ts'
import type { KeyringOptions } from './key-records.ts'

const purpose = 'id_token'
// An arbitrary constant, the same in every version. The transaction that holds the lock may create the key.
const advisoryLock = 7308332182714022
// Longer than it takes to generate a key.
const backdatingMarginSeconds = 60

/** Waits until no other instance creates a key of ID tokens. No other one does until the transaction ends. */
export async function waitForIdTokenKeys (tx: Queryable): Promise<void> {
  await tx.query('select pg_advisory_xact_lock($1)', [advisoryLock])
}

/**
 * Creates the key of ID tokens if it is missing, or its successor if that is due. If another instance is
 * doing so, nothing happens. Generating an RSA key takes a while, so the other keys do not wait for it.
 *
 * If access tokens are signed with RS256, their key signs ID tokens too. Then no key is created. An earlier
 * one retires when its successor would be due; until then, an instance with another configuration may use it.
 */
export async function ensureIdTokenKey (db: Database, options: KeyringOptions): Promise<void> {
  if (!await isChangeDue(db, options)) return
  await db.transaction(async tx => {
    const [lock] = await tx.query<{ is_free: boolean }>(
      'select pg_try_advisory_xact_lock($1) as is_free', [advisoryLock])
    if (lock?.is_free) await prepareKey(tx, options)
  })
}

const isNeeded = ({ algorithm }: Pick<KeyringOptions, 'algorithm'>) => algorithm !== idTokenAlgorithm

/** Whether there is something to change. Takes no lock. */
async function isChangeDue (db: Queryable, options: KeyringOptions): Promise<boolean> {
  const newest = await findNewestKey(db, purpose)
  if (!newest) return isNeeded(options)
  return newest.longest_life < options.tokenLifetimes[purpose] || !canWait(newest.age, options)
}

async function prepareKey (tx: Queryable, options: KeyringOptions): Promise<void> {
  await extendTokenLifetime(tx, purpose, options)
  const delaySeconds = publishedBeforeSeconds(options)
  let newest = await findNewestKey(tx, purpose)
  if (!isNeeded(options)) {
    if (newest && !canWait(newest.age, options)) await retireKeys(tx, options, purpose, delaySeconds)
    return
  }
  if (!newest) await createFirstKey(tx, options)
  while ((newest = await findNewestKey(tx, purpose)) && !canWait(newest.age, options)) {
    await createKey(tx, options, { purpose, delaySeconds, event: 'key.rotated' }, {})
  }
}

/**
 * Creates a key that looks older than the key of access tokens. An instance of an earlier version signs
 * access tokens with the newest key of any purpose.
 */
async function createFirstKey (tx: Queryable, options: KeyringOptions): Promise<void> {
  const { age = 0 } = await findNewestKey(tx, 'access_token') ?? {}
  const backdatedSeconds = Math.max(age, 0) + backdatingMarginSeconds
  await createKey(tx, options, { purpose, delaySeconds: 0, backdatedSeconds, event: 'key.created' }, {})
}
