import { randomBytes } from 'node:crypto'
import * as audit from '../audit/events.ts'
import { allowLockWait, type Database, type Queryable } from '../database/database.ts'
import { notFound } from '../http/problem.ts'
import { seal, type KeyEncryptionKeys } from '../crypto/sealing.ts'
import { generate, type Algorithm } from './key-pair.ts'
import { provide, refuseToDrop } from './peppers.ts'
import { isMixed, reseal } from './resealing.ts'

export type Purpose = 'access_token' | 'refresh_token'

/** Spans in seconds. */
export interface KeyringOptions {
  keys: KeyEncryptionKeys
  /** Of new signing keys. */
  algorithm: Algorithm
  jwksMaxAge: number
  /** For how long a key signs. */
  rotation: number
  /** How long what is signed with a key of either kind lives. */
  lives: Record<Purpose, number>
  /** Whether password hashes are to have a pepper. */
  pepper: boolean
}

/** A key as an operator sees it. */
export interface Key {
  kid: string
  purpose: Purpose | 'password'
  alg: string
  published_at: Date
  signs_from: Date
  retires_at: Date | null
  gone_at: Date | null
}

const columns = 'kid, purpose, algorithm as alg, published_at, signs_from, retires_at, gone_at'

const purposes = ['access_token', 'refresh_token'] as const
// Seconds that a key has signed; negative before.
const age = 'extract(epoch from now() - signs_from)::float8 as age'
// Of a key that is gone an operator may still want to know.
const forgotten = "gone_at < now() - interval '1 day'"
const lead = (jwksMaxAge: number) => 2 * jwksMaxAge
/** Whether a successor that is made later is early enough. */
const lasts = ({ age }: { age: number }, { jwksMaxAge, rotation }: Pick<KeyringOptions, 'jwksMaxAge' | 'rotation'>) => age + lead(jwksMaxAge) < rotation

// An arbitrary constant, the same in every version: who holds it makes keys.
const lock = 7308332182714019

// Making an RSA key takes a while, and every instance that starts waits for the first one.
const lockTimeoutMs = 3_000

// Every change of the keys is made alone, and the other instances hear of it.
async function alone<T> (db: Database, work: (tx: Queryable) => Promise<T>): Promise<T> {
  return await db.transaction(async tx => {
    await allowLockWait(tx, lockTimeoutMs)
    await tx.query('select pg_advisory_xact_lock($1)', [lock])
    return await work(tx)
  })
}

/**
 * Brings all keys under the first key-encryption key, and makes those that are missing or due: the first of each
 * purpose, which signs at once, and the successor of one whose time runs out, which is published for two times the
 * cache time before it signs. At the start also one of the configured algorithm where the newest is of another: not
 * later, for instances that are configured apart would take turns for ever. And at the start the pepper, which is not
 * to be replaced while it was only out of sight. Of instances that try at the same time one makes them. Throws an UnsealError where the key-encryption keys do not open those that are there.
 */
export async function ensure (db: Database, options: KeyringOptions, moment: 'start' | 'later'): Promise<void> {
  if (moment === 'start' || await isDue(db, options)) await alone(db, async tx => await prepare(tx, options, moment))
}

/** Whether there is something to do, told without keeping others from it. */
async function isDue (db: Queryable, { keys, lives, ...options }: KeyringOptions): Promise<boolean> {
  const rows = await db.query<{ purpose: Purpose, age: number, longest_life: number, newest: boolean, forgotten: boolean }>(`
    select purpose, ${age}, longest_life, retires_at is null as newest, ${forgotten} as forgotten from keys`)
  return rows.some(({ forgotten }) => forgotten) || await isMixed(db, keys) ||
    !purposes.every(purpose => rows.some(row => row.purpose === purpose && row.newest && row.longest_life >= lives[purpose] && lasts(row, options)))
}

async function prepare (tx: Queryable, options: KeyringOptions, moment: 'start' | 'later'): Promise<void> {
  const { algorithm, jwksMaxAge, rotation } = options
  await reseal(tx, options.keys)
  await tx.query(`delete from keys where ${forgotten}`)
  if (options.pepper && moment === 'start') await provide(tx, options.keys)
  for (const purpose of purposes) {
    await remember(tx, purpose, options)
    for (;;) {
      const [newest] = await tx.query<{ alg: string, age: number }>(`
        select algorithm as alg, ${age} from keys where purpose = $1 and retires_at is null order by signs_from desc limit 1`, [purpose])
      const changed = purpose === 'access_token' && moment === 'start' && newest?.alg !== algorithm
      if (newest && !changed && lasts(newest, options)) break
      const delay = newest ? Math.max(lead(jwksMaxAge), changed ? 0 : rotation - newest.age) : 0
      await succeed(tx, purpose, options, delay, newest ? 'key.rotated' : 'key.created', {})
    }
  }
}

export interface Rotation {
  /** Sign at once: verifiers that have read the JWKS before must read it again for the new key. */
  immediately: boolean
  /** A key that nobody shall trust any more. */
  drop?: string | undefined
}

/**
 * Makes a new key: that signs access tokens, or of the kind of the dropped one. Throws `not_found` where that is not
 * there, `validation_failed` where it is a pepper, and an UnsealError where the key-encryption keys do not open those that are.
 */
export async function rotate (db: Database, options: KeyringOptions, { immediately, drop }: Rotation, origin: audit.Origin): Promise<Key> {
  return await alone(db, async tx => {
    // A key that the instances cannot open, or the first of all that does not sign yet, would leave them without one.
    await prepare(tx, options, 'later')
    if (drop === undefined) return await succeed(tx, 'access_token', options, immediately ? 0 : lead(options.jwksMaxAge), 'key.rotated', origin)
    await refuseToDrop(tx, drop)
    const [dropped] = await tx.query<{ purpose: Purpose }>(`
      update keys set gone_at = now(), retires_at = least(retires_at, now())
      where kid = $1 and (gone_at is null or gone_at > now()) returning purpose`, [drop])
    if (!dropped) throw notFound()
    await audit.record(tx, 'key.dropped', { detail: { kid: drop, purpose: dropped.purpose } }, origin)
    return await succeed(tx, dropped.purpose, options, 0, 'key.rotated', origin)
  })
}

/** Where a key is on its timeline: it is in the JWKS and will sign, signs, verifies what it signed, does nothing any more. */
export type State = 'published' | 'active' | 'retired' | 'gone'

/** All keys of which something is known, those that are gone for less than a day too, and the pepper; the newest first. */
export async function list (db: Queryable): Promise<Array<Key & { state: State }>> {
  return await db.query(`
    select ${columns}, case when gone_at <= now() then 'gone' when retires_at <= now() then 'retired' when signs_from <= now() then 'active' else 'published' end as state
    from keys
    union all select kid, 'password', 'argon2id', created_at, created_at, null, null, 'active' from peppers
    order by signs_from desc, kid`)
}

/** Has a new key sign after `delay` seconds, and those before it no longer; they stay known until nothing they signed can be alive. */
async function succeed (tx: Queryable, purpose: Purpose, options: KeyringOptions, delay: number, event: 'key.created' | 'key.rotated', origin: audit.Origin): Promise<Key> {
  const { algorithm, jwksMaxAge, keys, lives } = options
  const made = purpose === 'access_token'
    ? await generate(algorithm)
    : { kid: randomBytes(6).toString('base64url'), publicJwk: null, privateKey: randomBytes(32) }
  // The transaction may have waited, for others and for the key: the time for which a key is published begins now.
  const [key] = await tx.query<Key>(`
    with start as materialized (
      select case when $6 = 0 then now() else clock_timestamp() end as at
    ), before as (
      update keys set
        retires_at = at + make_interval(secs => $6),
        gone_at = at + make_interval(secs => $6 + longest_life + $8)
      from start where purpose = $2 and (retires_at is null or retires_at > at + make_interval(secs => $6))
    )
    insert into keys (kid, purpose, algorithm, public_key, sealed_secret, published_at, signs_from, longest_life)
    select $1, $2, $3, $4::jsonb, $5, at, at + make_interval(secs => $6), $7::int from start returning ${columns}`,
  [made.kid, purpose, purpose === 'access_token' ? algorithm : 'HS256', made.publicJwk, seal(keys, made.kid, made.privateKey), delay, lives[purpose], jwksMaxAge + 60])
  if (!key) throw new Error('a key was not inserted')
  await audit.record(tx, event, { detail: { kid: key.kid, purpose, signs_from: key.signs_from } }, origin)
  await tx.query("select pg_notify('latchkey_keys', '')")
  return key
}

/** Has the keys that sign, or will, know how long what they sign may live by this configuration. */
async function remember (tx: Queryable, purpose: Purpose, { lives, jwksMaxAge }: KeyringOptions): Promise<void> {
  await tx.query(`
    update keys set longest_life = $2, gone_at = greatest(gone_at, retires_at + make_interval(secs => $2 + $3))
    where purpose = $1 and longest_life < $2 and (retires_at is null or retires_at > now())`, [purpose, lives[purpose], jwksMaxAge + 60])
}
