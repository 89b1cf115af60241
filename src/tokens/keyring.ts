import type { SealedColumn } from '../crypto/sealed-column.ts'
import { unseal, type KeyEncryptionKeys } from '../crypto/sealing.ts'
import type { MacKey, Pepper } from '../crypto/secret-keys.ts'
import type { Queryable } from '../database/database.ts'
import { exportKeyPair, idTokenAlgorithm, type PublicJwk, type SigningAlgorithm } from './key-pair.ts'
import { pepperPurpose } from './peppers.ts'

/** When a key signs. */
export interface SigningPeriod { signsFrom: Date, retiresAt: Date | null }

/** A key that signs access tokens or ID tokens. Both halves are in PEM. */
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
  /** The keys of access tokens. */
  signingKeys: Map<string, SigningKey>
  idTokenKeys: Map<string, SigningKey>
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
    idTokenKeys: new Map(),
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
      const name = purpose === 'id_token' ? 'idTokenKeys' : 'signingKeys'
      const key = known?.[name].get(kid) ?? { kid, algorithm, ...exportKeyPair(unsealKey(), algorithm) }
      keyring[name].set(kid, { ...key, ...period })
    }
  }
  return keyring
}

/**
 * Finds a published key of either purpose. A signature proves the same with any of them: the `typ` in a
 * token's header keeps the kinds of tokens apart (RFC 8725 section 3.11). An instance of an earlier version
 * may sign access tokens with a key of ID tokens.
 */
export const findPublishedKey = ({ signingKeys, idTokenKeys }: Keyring, kid: string) =>
  signingKeys.get(kid) ?? idTokenKeys.get(kid)

/** The keys that may sign an ID token with RS256, the preferred ones first. */
export const idTokenSigners = ({ signingKeys, idTokenKeys }: Keyring): SigningKey[] =>
  [...[...signingKeys.values()].filter(key => key.algorithm === idTokenAlgorithm), ...idTokenKeys.values()]

/** All public keys, those of access tokens first. */
export const publishedKeys = ({ signingKeys, idTokenKeys }: Keyring): PublicJwk[] =>
  [...signingKeys.values(), ...idTokenKeys.values()].map(({ publicJwk }) => publicJwk)

/** Finds the first of the keys that signs at this time. */
export function findActiveKey<Key extends SigningPeriod> (keys: readonly Key[], now: Date): Key | undefined {
  return keys.find(key => key.signsFrom <= now && (key.retiresAt === null || key.retiresAt > now)) ??
    // By a clock that is only estimated, a key that signs at once may not have begun to sign.
    keys.find(({ retiresAt }) => retiresAt === null)
}
