import * as audit from '../audit/events.ts'
import { allowLockWait, type Database, type Queryable } from '../database/database.ts'
import { notFound } from '../http/problems.ts'
import { waitForIdTokenKeys } from './id-token-key.ts'
import {
  canWait, createKey, extendTokenLifetime, findNewestKey, publishedBeforeSeconds
} from './key-records.ts'
import type { KeyPurpose, KeyRecord, KeyringOptions } from './key-records.ts'
import { assertNotPepper, ensurePepper } from './peppers.ts'
import { isResealingDue, reseal } from './resealing.ts'

// An arbitrary constant, the same in every version. The transaction that holds the lock may create keys.
const advisoryLock = 7308332182714019
// Generating an RSA key takes a while, and every instance that starts waits for the first one.
const lockTimeoutMs = 3_000

/** Runs a change of the keys while no other instance changes them. */
async function exclusively<T> (db: Database, work: (tx: Queryable) => Promise<T>): Promise<T> {
  return await db.transaction(async tx => {
    await allowLockWait(tx, lockTimeoutMs)
    await tx.query('select pg_advisory_xact_lock($1)', [advisoryLock])
    return await work(tx)
  })
}

/** Whether the service starts, or runs a periodic check. */
export type EnsureOccasion = 'start' | 'later'

/**
 * Creates the keys of access tokens and refresh tokens that are missing or due, and seals everything with the
 * current key-encryption key. If several instances try at the same time, one of them creates the keys.
 *
 * - The first key of a purpose signs at once.
 * - The successor of a key is published for two JWKS cache times before it signs.
 * - If the newest signing key does not have the configured algorithm, a new one is created, but only at the
 *   start. Otherwise instances with different configurations would replace each other's keys forever.
 * - The pepper is created only at the start, because it must not be replaced if it is only not visible.
 *
 * Throws an UnsealError if the key-encryption keys do not open the existing keys.
 */
export async function ensureKeys (
  db: Database, options: KeyringOptions, occasion: EnsureOccasion
): Promise<void> {
  if (occasion === 'later' && !await isChangeDue(db, options)) return
  await exclusively(db, async tx => await prepareKeys(tx, options, occasion))
}

interface KeyAge {
  purpose: KeyPurpose
  /** Seconds that the key has signed. Negative before it signs. */
  age: number
  longest_life: number
  is_newest: boolean
  is_forgettable: boolean
}

/** Whether there is something to change. Takes no lock. */
async function isChangeDue (db: Queryable, options: KeyringOptions): Promise<boolean> {
  const { keyEncryptionKeys, sealedColumns, tokenLifetimes } = options
  const keys = await db.query<KeyAge>(`
    select purpose, extract(epoch from now() - signs_from)::float8 as age, longest_life,
      retires_at is null as is_newest, coalesce(gone_at < now() - interval '1 day', false) as is_forgettable
    from keys`)
  if (keys.some(key => key.is_forgettable)) return true
  const isCurrent = (purpose: KeyPurpose) => keys.some(key => key.purpose === purpose && key.is_newest &&
    key.longest_life >= tokenLifetimes[purpose] && canWait(key.age, options))
  if (!isCurrent('access_token') || !isCurrent('refresh_token')) return true
  return await isResealingDue(db, keyEncryptionKeys, sealedColumns)
}

async function prepareKeys (tx: Queryable, options: KeyringOptions, occasion: EnsureOccasion): Promise<void> {
  const { keyEncryptionKeys, sealedColumns, algorithm, rotationSeconds } = options
  await reseal(tx, keyEncryptionKeys, sealedColumns)
  // An operator can see a key for one more day.
  await tx.query("delete from keys where gone_at < now() - interval '1 day'")
  if (options.hasPepper && occasion === 'start') await ensurePepper(tx, keyEncryptionKeys)
  for (const purpose of ['access_token', 'refresh_token'] as const) {
    await extendTokenLifetime(tx, purpose, options)
    for (;;) {
      const newest = await findNewestKey(tx, purpose)
      const isAlgorithmChecked = purpose === 'access_token' && occasion === 'start'
      const isAlgorithmChanged = isAlgorithmChecked && newest?.alg !== algorithm
      if (newest && !isAlgorithmChanged && canWait(newest.age, options)) break
      const remainingSeconds = newest && !isAlgorithmChanged ? rotationSeconds - newest.age : 0
      const delaySeconds = newest ? Math.max(publishedBeforeSeconds(options), remainingSeconds) : 0
      const event = newest ? 'key.rotated' : 'key.created'
      await createKey(tx, options, { purpose, delaySeconds, event }, {})
    }
  }
}

export interface RotationRequest {
  /** Sign at once. Verifiers must then read the JWKS again to find the new key. */
  isImmediate: boolean
  /** The id of a key that must no longer be trusted. */
  drop?: string | undefined
}

/**
 * Creates a key that signs access tokens, or a successor of the dropped key. Throws `not_found` if the key to
 * drop does not exist, `validation_failed` if it is a pepper, and an UnsealError if the key-encryption keys
 * do not open the existing keys.
 */
export async function rotateKey (
  db: Database, options: KeyringOptions, { isImmediate, drop }: RotationRequest, origin: audit.Origin
): Promise<KeyRecord> {
  return await exclusively(db, async tx => {
    // The key to drop may be one of ID tokens. Before a row is locked, so that there is no deadlock.
    if (drop !== undefined) await waitForIdTokenKeys(tx)
    // Without this, the instances would have no key to sign with if they cannot open the existing keys, or if
    // the first key of all did not sign yet.
    await prepareKeys(tx, options, 'later')
    if (drop === undefined) {
      const delaySeconds = isImmediate ? 0 : publishedBeforeSeconds(options)
      const newKey = { purpose: 'access_token', delaySeconds, event: 'key.rotated' } as const
      return await createKey(tx, options, newKey, origin)
    }
    await assertNotPepper(tx, drop)
    const [dropped] = await tx.query<{ purpose: KeyPurpose }>(`
      update keys set gone_at = now(), retires_at = least(retires_at, now())
      where kid = $1 and (gone_at is null or gone_at > now()) returning purpose`, [drop])
    if (!dropped) throw notFound()
    const { purpose } = dropped
    await audit.record(tx, 'key.dropped', { detail: { kid: drop, purpose } }, origin)
    return await createKey(tx, options, { purpose, delaySeconds: 0, event: 'key.rotated' }, origin)
  })
}
