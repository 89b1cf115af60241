import type { SealedColumn } from '../crypto/sealed-column.ts'
import { unseal, type KeyEncryptionKeys } from '../crypto/sealing.ts'
import type { MacKey, Pepper } from '../crypto/secret-keys.ts'
import type { Queryable } from '../database/database.ts'
import { exportKeyPair, type PublicJwk, type SigningAlgorithm } from './key-pair.ts'
import { pepperPurpose } from './peppers.ts'

/** When a key signs. */
interface SigningPeriod { signsFrom: Date, retiresAt: Date | null }

/** A key that signs access tokens. Both halves are in PEM. */
export interface SigningKey extends SigningPeriod {
  kid: string
  algorithm: SigningAlgorithm
  publicJwk: PublicJwk
  publicKey: string
  privateKey: string
}

/** A key that authenticates refresh tokens. */
export interface RefreshTokenKey extends MacKey, SigningPeriod {}

/** The keys of the database by id. Each map has the newest key first. */
export interface Keyring {
  signingKeys: Map<string, SigningKey>
  refreshTokenKeys: Map<string, RefreshTokenKey>
  peppers: Map<string, Pepper>
  /** The database's clock minus this process's. */
  clockOffsetMs: number
}

export const sealedKeys: SealedColumn = {
  table: 'keys',
  idColumn: 'kid',
  column: 'sealed_secret',
  neededIf: 'gone_at is null or gone_at > now()',
  purpose: kid => kid,
  isLossAccepted: false
}

interface KeyRow {
  kid: string
  purpose: string
  algorithm: SigningAlgorithm
  sealed_secret: Buffer
  signs_from: Date
  retires_at: Date | null
  now: Date
}

/**
 * Reads the keyring. Keys that are in `known` are not unsealed again. Throws an UnsealError if no
 * key-encryption key opens a key.
 */
export async function loadKeyring (
  db: Queryable, keys: KeyEncryptionKeys, known?: Keyring
): Promise<Keyring> {
  const requestedAtMs = Date.now()
  const rows = await db.query<KeyRow>(`
    select kid, purpose, algorithm, sealed_secret, signs_from, retires_at, clock_timestamp() as now from keys
    where gone_at is null or gone_at > now()
    union all select kid, 'password', null, sealed_secret, created_at, null, clock_timestamp() from peppers
    order by signs_from desc, kid`)
  const keyring: Keyring = {
    signingKeys: new Map(),
    refreshTokenKeys: new Map(),
    peppers: new Map(),
    clockOffsetMs: (rows[0]?.now.getTime() ?? 0) - (requestedAtMs + Date.now()) / 2
  }
  for (const row of rows) {
    const { kid, purpose, algorithm, sealed_secret: sealed } = row
    const period = { signsFrom: row.signs_from, retiresAt: row.retires_at }
    const unsealKey = () => unseal(keys, sealedKeys.purpose(kid), sealed)
    if (purpose === 'password') {
      const pepper = known?.peppers.get(kid) ?? { kid, secret: unseal(keys, pepperPurpose(kid), sealed) }
      keyring.peppers.set(kid, pepper)
    } else if (purpose === 'refresh_token') {
      const key = known?.refreshTokenKeys.get(kid) ?? { kid, secret: unsealKey() }
      keyring.refreshTokenKeys.set(kid, { ...key, ...period })
    } else {
      // The public half comes from the sealed private key. Otherwise an attacker who can write to the table
      // could put their own public key into the JWKS.
      const key = known?.signingKeys.get(kid) ?? { kid, algorithm, ...exportKeyPair(unsealKey(), algorithm) }
      keyring.signingKeys.set(kid, { ...key, ...period })
    }
  }
  return keyring
}

/** Finds the newest key that signs at this time. */
export function findActiveKey<Key extends SigningPeriod> (
  keys: Map<string, Key>, now: Date
): Key | undefined {
  for (const key of keys.values()) {
    if (key.signsFrom <= now && (key.retiresAt === null || key.retiresAt > now)) return key
  }
  return undefined
}
