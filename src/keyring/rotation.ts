import { randomBytes } from 'node:crypto'
import * as audit from '../audit.ts'
import type { Database, Queryable } from '../db.ts'
import { notFound } from '../problem.ts'
import { isSealedWith, open, seal, type KeyEncryptionKeys } from '../secret.ts'
import { generate, type Algorithm } from './key-pair.ts'

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
}

/** A key as an operator sees it. */
export interface Key {
  kid: string
  purpose: Purpose
  alg: string
  published_at: Date
  signs_from: Date
  retires_at: Date | null
  gone_at: Date | null
}

const columns = 'kid, purpose, algorithm as alg, published_at, signs_from, retires_at, gone_at'

// An arbitrary constant, the same in every version: who holds it makes keys.
const lock = 7308332182714019

// Every change of the keys is made alone, and the other instances hear of it.
async function alone<T> (db: Database, work: (tx: Queryable) => Promise<T>): Promise<T> {
  return await db.transaction(async tx => {
    await tx.query('select pg_advisory_xact_lock($1)', [lock])
    return await work(tx)
  })
}

/**
 * Brings all keys under the first key-encryption key, and makes those that are missing or due: the first of each
 * purpose, which signs at once, and the successor of one whose time runs out, which is published for two times the
 * cache time before it signs. At the start also one of the configured algorithm where the newest is of another: not
 * later, for instances that are configured apart would take turns for ever. Of instances that try at the same time
 * one makes them.
 */
export async function ensure (db: Database, options: KeyringOptions, moment: 'start' | 'later'): Promise<void> {
  const { algorithm, jwksMaxAge, rotation } = options
  await alone(db, async tx => {
    await reseal(tx, options.keys)
    await tx.query("delete from keys where gone_at < now() - interval '1 day'")
    for (const purpose of ['access_token', 'refresh_token'] as const) {
      await remember(tx, purpose, options)
      for (;;) {
        const [newest] = await tx.query<{ alg: string, age: number }>(`
          select algorithm as alg, extract(epoch from now() - signs_from)::float8 as age from keys
          where purpose = $1 and retires_at is null order by signs_from desc limit 1`, [purpose])
        const lead = 2 * jwksMaxAge
        const changed = purpose === 'access_token' && moment === 'start' && newest?.alg !== algorithm
        if (newest && !changed && newest.age + lead < rotation) break
        const delay = newest ? Math.max(lead, changed ? 0 : rotation - newest.age) : 0
        await succeed(tx, purpose, options, delay, newest ? 'key.rotated' : 'key.created', {})
      }
    }
  })
}

export interface Rotation {
  /** Sign at once: verifiers that have read the JWKS before must read it again for the new key. */
  immediately: boolean
  /** A key that nobody shall trust any more. */
  drop?: string | undefined
}

/** Makes a new key: that signs access tokens, or of the kind of the dropped one. Throws `not_found` where that is not there. */
export async function rotate (db: Database, options: KeyringOptions, { immediately, drop }: Rotation, origin: audit.Origin): Promise<Key> {
  return await alone(db, async tx => {
    if (drop === undefined) return await succeed(tx, 'access_token', options, immediately ? 0 : 2 * options.jwksMaxAge, 'key.rotated', origin)
    const [dropped] = await tx.query<{ purpose: Purpose }>(`
      update keys set gone_at = now(), retires_at = least(retires_at, now())
      where kid = $1 and (gone_at is null or gone_at > now()) returning purpose`, [drop])
    if (!dropped) throw notFound()
    await audit.record(tx, 'key.dropped', { detail: { kid: drop, purpose: dropped.purpose } }, origin)
    return await succeed(tx, dropped.purpose, options, 0, 'key.rotated', origin)
  })
}

/** All keys of which something is known, the newest first. */
export const list = async (db: Queryable) => await db.query<Key>(`select ${columns} from keys order by signs_from desc, kid`)

/** Has a new key sign after `delay` seconds, and those before it no longer; they stay known until nothing they signed can be alive. */
async function succeed (tx: Queryable, purpose: Purpose, options: KeyringOptions, delay: number, event: 'key.created' | 'key.rotated', origin: audit.Origin): Promise<Key> {
  const { algorithm, jwksMaxAge, keys, lives } = options
  const made = purpose === 'access_token'
    ? await generate(algorithm)
    : { kid: randomBytes(6).toString('base64url'), publicJwk: null, privateKey: randomBytes(32) }
  await tx.query(`
    update keys set
      retires_at = now() + make_interval(secs => $2),
      gone_at = now() + make_interval(secs => $2 + longest_life + $3)
    where purpose = $1 and (retires_at is null or retires_at > now() + make_interval(secs => $2))`, [purpose, delay, jwksMaxAge + 60])
  const [key] = await tx.query<Key>(`
    insert into keys (kid, purpose, algorithm, public_key, sealed_secret, signs_from, longest_life)
    values ($1, $2, $3, $4, $5, now() + make_interval(secs => $6), $7) returning ${columns}`,
  [made.kid, purpose, purpose === 'access_token' ? algorithm : 'HS256', made.publicJwk, seal(keys, made.kid, made.privateKey), delay, lives[purpose]])
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

/** Seals with the first key-encryption key what another sealed. Throws an UnsealError where none of them opens it. */
async function reseal (tx: Queryable, keys: KeyEncryptionKeys): Promise<void> {
  const rows = await tx.query<{ kid: string, sealed_secret: Buffer }>('select kid, sealed_secret from keys where gone_at is null or gone_at > now()')
  for (const { kid, sealed_secret: sealed } of rows) {
    const foreign = !isSealedWith(keys[0], sealed)
    if (foreign) await tx.query('update keys set sealed_secret = $2 where kid = $1', [kid, seal(keys, kid, open(keys, kid, sealed))])
  }
}
