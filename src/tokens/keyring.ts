import type { Queryable } from '../database/database.ts'
import { halves, type Algorithm, type PublicJwk } from './key-pair.ts'
import { pepperPurpose } from './resealing.ts'
import type { Pepper } from '../passwords/pepper.ts'
import type { MacKey } from '../sessions/refresh-token.ts'
import { unseal, type KeyEncryptionKeys } from '../crypto/sealing.ts'

interface Timeline { signsFrom: Date, retiresAt: Date | null }

/** A key that signs access tokens; the keys are PEM. */
export interface SigningKey extends Timeline {
  kid: string
  algorithm: Algorithm
  publicJwk: PublicJwk
  publicKey: string
  privateKey: string
}

/** A key that authenticates refresh tokens. */
export interface RingMacKey extends MacKey, Timeline {}

/** The keys as they are in the database by their ids, those of access tokens, those of refresh tokens and the peppers, the newest first. */
export interface Keyring {
  signing: Map<string, SigningKey>
  mac: Map<string, RingMacKey>
  peppers: Map<string, Pepper>
  /** The database's clock minus this process's, in milliseconds. */
  clockOffset: number
}

interface Row { kid: string, purpose: string, algorithm: Algorithm, sealed_secret: Buffer, signs_from: Date, retires_at: Date | null, now: Date }

/**
 * Reads the keyring; what is `known` is not opened again. Throws an UnsealError where the key-encryption key is not
 * the one it was sealed with.
 */
export async function load (db: Queryable, keys: KeyEncryptionKeys, known?: Keyring): Promise<Keyring> {
  const asked = Date.now()
  const rows = await db.query<Row>(`
    select kid, purpose, algorithm, sealed_secret, signs_from, retires_at, clock_timestamp() as now from keys
    where gone_at is null or gone_at > now()
    union all select kid, 'password', null, sealed_secret, created_at, null, clock_timestamp() from peppers
    order by signs_from desc, kid`)
  const keyring: Keyring = { signing: new Map(), mac: new Map(), peppers: new Map(), clockOffset: (rows[0]?.now.getTime() ?? 0) - (asked + Date.now()) / 2 }
  for (const { kid, purpose, algorithm, sealed_secret: sealed, signs_from: signsFrom, retires_at: retiresAt } of rows) {
    const timeline = { signsFrom, retiresAt }
    if (purpose === 'password') keyring.peppers.set(kid, known?.peppers.get(kid) ?? { kid, secret: unseal(keys, pepperPurpose(kid), sealed) })
    else if (purpose === 'refresh_token') keyring.mac.set(kid, { ...known?.mac.get(kid) ?? { kid, secret: unseal(keys, kid, sealed) }, ...timeline })
    // The public half too is that of the sealed one: who can write to the table puts no key of their own into the JWKS.
    else keyring.signing.set(kid, { ...known?.signing.get(kid) ?? { kid, algorithm, ...halves(unseal(keys, kid, sealed), algorithm) }, ...timeline })
  }
  return keyring
}

/** The newest of `keys` whose time to sign has come, and is not over. */
export function active<Key extends Timeline> (keys: Map<string, Key>, now: Date): Key | undefined {
  for (const key of keys.values()) if (key.signsFrom <= now && (key.retiresAt === null || key.retiresAt > now)) return key
  return undefined
}
