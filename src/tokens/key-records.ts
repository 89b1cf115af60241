import { randomBytes } from 'node:crypto'
import * as audit from '../audit/events.ts'
import type { SealedColumn } from '../crypto/sealed-column.ts'
import { seal, type KeyEncryptionKeys } from '../crypto/sealing.ts'
import type { Queryable } from '../database/database.ts'
import { createTopic } from '../database/effects.ts'
import { generateSigningKey, idTokenAlgorithm, type SigningAlgorithm } from './key-pair.ts'

export type KeyPurpose = 'access_token' | 'refresh_token' | 'id_token'

export interface KeyringOptions {
  keyEncryptionKeys: KeyEncryptionKeys
  /** All columns that are sealed with the key-encryption key. */
  sealedColumns: readonly SealedColumn[]
  /** The algorithm of new keys that sign access tokens. */
  algorithm: SigningAlgorithm
  jwksMaxAgeSeconds: number
  /** How long a key signs. */
  rotationSeconds: number
  /** The lifetime in seconds of the tokens that a key of each purpose signs. */
  tokenLifetimes: Record<KeyPurpose, number>
  /** Whether new password hashes have a pepper. */
  hasPepper: boolean
}

type PublicationOptions = Pick<KeyringOptions, 'jwksMaxAgeSeconds'>

/** A key as an operator sees it. */
export interface KeyRecord {
  kid: string
  purpose: KeyPurpose | 'password'
  alg: string
  published_at: Date
  signs_from: Date
  retires_at: Date | null
  gone_at: Date | null
}

/** Published after each change of the keys or peppers. */
export const keysChanged = createTopic<undefined>('keys changed')

/** Tells all instances that the keys or peppers have changed, once the transaction is committed. */
export async function announceKeyChange (tx: Queryable): Promise<void> {
  await tx.query("select pg_notify('latchkey_keys', '')")
  tx.publish(keysChanged, undefined)
}

const keyColumns = 'kid, purpose, algorithm as alg, published_at, signs_from, retires_at, gone_at'

// A retired key stays known for this long after its last token expired.
const goneAfterSeconds = ({ jwksMaxAgeSeconds }: PublicationOptions) => jwksMaxAgeSeconds + 60

/** Whether a key is published but does not sign yet, signs, only verifies, or is no longer used. */
export type KeyState = 'published' | 'active' | 'retired' | 'gone'

/** Lists all known keys and the pepper, the newest first. A key that is gone stays known for a day. */
export async function listKeys (db: Queryable): Promise<Array<KeyRecord & { state: KeyState }>> {
  return await db.query(`
    select ${keyColumns},
      case
        when gone_at <= now() then 'gone'
        when retires_at <= now() then 'retired'
        when signs_from <= now() then 'active'
        else 'published'
      end as state
    from keys
    union all select kid, 'password', 'argon2id', created_at, created_at, null, null, 'active' from peppers
    order by signs_from desc, kid`)
}

export interface NewKey {
  purpose: KeyPurpose
  delaySeconds: number
  /** How many seconds before that the key counts as signing. */
  backdatedSeconds?: number
  event: 'key.created' | 'key.rotated'
}

/**
 * Creates a key that signs after a delay. Then its predecessors stop signing. They stay known until all their
 * tokens have expired.
 */
export async function createKey (
  tx: Queryable, options: KeyringOptions, newKey: NewKey, origin: audit.Origin
): Promise<KeyRecord> {
  const { keyEncryptionKeys, tokenLifetimes } = options
  const { purpose, delaySeconds, backdatedSeconds = 0, event } = newKey
  const { kid, algorithm, publicJwk, privateKey } = await generateKey(purpose, options)
  const sealedSecret = seal(keyEncryptionKeys, kid, privateKey)
  // The transaction may have waited for a lock and for the new key. The publication begins after that wait.
  const [key] = await tx.query<KeyRecord>(`
    with start as materialized (
      select case when $6 = 0 then now() else clock_timestamp() end as at
    ), predecessors as (
      update keys set
        retires_at = at + make_interval(secs => $6),
        gone_at = at + make_interval(secs => $6 + longest_life + $8)
      from start where purpose = $2 and (retires_at is null or retires_at > at + make_interval(secs => $6))
    )
    insert into keys
      (kid, purpose, algorithm, public_key, sealed_secret, published_at, signs_from, longest_life)
    select $1, $2, $3, $4::jsonb, $5, at, at + make_interval(secs => $6 - $9::float8), $7::int from start
    returning ${keyColumns}`,
  [kid, purpose, algorithm, publicJwk, sealedSecret, delaySeconds, tokenLifetimes[purpose],
    goneAfterSeconds(options), backdatedSeconds])
  if (!key) throw new Error('a key was not inserted')
  await audit.record(tx, event, { detail: { kid, purpose, signs_from: key.signs_from } }, origin)
  await announceKeyChange(tx)
  return key
}

async function generateKey (purpose: KeyPurpose, options: Pick<KeyringOptions, 'algorithm'>) {
  if (purpose === 'refresh_token') {
    const kid = randomBytes(6).toString('base64url')
    return { kid, algorithm: 'HS256', publicJwk: null, privateKey: randomBytes(32) }
  }
  const algorithm = purpose === 'id_token' ? idTokenAlgorithm : options.algorithm
  return { ...await generateSigningKey(algorithm), algorithm }
}

/** Lets the keys of a purpose retire without a successor. They stay known until their tokens have expired. */
export async function retireKeys (
  tx: Queryable, options: KeyringOptions, purpose: KeyPurpose, delaySeconds: number
): Promise<void> {
  await tx.query(`
    update keys set
      retires_at = now() + make_interval(secs => $2),
      gone_at = now() + make_interval(secs => $2 + longest_life + $3)
    where purpose = $1 and retires_at is null`,
  [purpose, delaySeconds, goneAfterSeconds(options)])
  await announceKeyChange(tx)
}

/**
 * How many seconds before its first use a key is published. A cache may have read the JWKS just before the
 * key was published, and keeps it for one cache time.
 */
export const publishedBeforeSeconds = ({ jwksMaxAgeSeconds }: PublicationOptions) => 2 * jwksMaxAgeSeconds

/** Whether the successor of a key can be created later and still be published early enough. */
export const canWait = (
  ageSeconds: number, options: PublicationOptions & Pick<KeyringOptions, 'rotationSeconds'>
) =>
  ageSeconds + publishedBeforeSeconds(options) < options.rotationSeconds

interface NewestKey {
  alg: string
  /** Seconds that the key has signed. Negative before it signs. */
  age: number
  longest_life: number
}

/** Finds the key that has no successor. */
export async function findNewestKey (db: Queryable, purpose: KeyPurpose): Promise<NewestKey | undefined> {
  const [newest] = await db.query<NewestKey>(`
    select algorithm as alg, extract(epoch from now() - signs_from)::float8 as age, longest_life from keys
    where purpose = $1 and retires_at is null order by signs_from desc limit 1`, [purpose])
  return newest
}

/**
 * Extends the time for which current and future keys stay known, if the lifetime of their tokens has grown.
 */
export async function extendTokenLifetime (
  tx: Queryable, purpose: KeyPurpose, options: KeyringOptions
): Promise<void> {
  await tx.query(`
    update keys set
      longest_life = $2,
      gone_at = greatest(gone_at, retires_at + make_interval(secs => $2 + $3))
    where purpose = $1 and longest_life < $2 and (retires_at is null or retires_at > now())`,
  [purpose, options.tokenLifetimes[purpose], goneAfterSeconds(options)])
}
