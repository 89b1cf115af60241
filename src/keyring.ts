import { createHash, createPrivateKey, createPublicKey, generateKeyPair, randomBytes } from 'node:crypto'
import { promisify } from 'node:util'
import type { Database, Queryable } from './db.ts'
import type { MacKey } from './refresh-token.ts'
import { isSealedWith, open, seal, type KeyEncryptionKeys } from './secret.ts'

export type Algorithm = 'ES256' | 'EdDSA' | 'RS256'

/** A key that signs access tokens; the keys are PEM. */
export interface SigningKey {
  kid: string
  algorithm: Algorithm
  publicJwk: PublicJwk
  publicKey: string
  privateKey: string
  signsFrom: Date
  retiresAt: Date | null
}

/** RFC 7517, of an elliptic curve, Edwards curve or RSA key. */
export interface PublicJwk { kty: string, use: 'sig', alg: string, kid: string, crv?: string, x?: string, y?: string, n?: string, e?: string }

/** The keys as they are in the database, those of access tokens and those of refresh tokens, the newest first. */
export interface Keyring {
  signing: SigningKey[]
  mac: Array<MacKey & { signsFrom: Date, retiresAt: Date | null }>
  /** The database's clock minus this process's, in milliseconds. */
  clockOffset: number
}

export interface KeyringOptions {
  keys: KeyEncryptionKeys
  algorithm: Algorithm
  /** Seconds. */
  jwksMaxAge: number
  /** Seconds for which a key stays published after it stopped signing. */
  accessTokenTtl: number
}

// An arbitrary constant, the same in every version: who holds it makes keys.
const lock = 7308332182714019

const newest = 'select algorithm from keys where purpose = $1 and gone_at is null order by signs_from desc limit 1'
const insert = `
  insert into keys (kid, purpose, algorithm, public_key, sealed_secret, signs_from)
  values ($1, $2, $3, $4, $5, now() + make_interval(secs => $6))`

/**
 * Brings all keys under the first key-encryption key, and makes those that are missing: the first of each purpose, which signs at once, and one of the configured
 * algorithm where the newest is of another, which signs when every cache of the JWKS has it. Of instances that
 * try at the same time one makes them.
 */
export async function ensure (db: Database, { keys, algorithm, jwksMaxAge, accessTokenTtl }: KeyringOptions): Promise<void> {
  await db.transaction(async tx => {
    await tx.query('select pg_advisory_xact_lock($1)', [lock])
    await reseal(tx, keys)
    const [mac] = await tx.query(newest, ['refresh_token'])
    if (!mac) {
      const kid = randomBytes(6).toString('base64url')
      await tx.query(insert, [kid, 'refresh_token', 'HS256', null, seal(keys, kid, randomBytes(32)), 0])
    }
    const [signing] = await tx.query<{ algorithm: string }>(newest, ['access_token'])
    if (signing?.algorithm !== algorithm) {
      const delay = signing ? 2 * jwksMaxAge : 0
      const { kid, publicJwk, privateKey } = await generate(algorithm)
      await tx.query(`
        update keys set retires_at = now() + make_interval(secs => $1), gone_at = now() + make_interval(secs => $2)
        where purpose = 'access_token' and retires_at is null`, [delay, delay + accessTokenTtl + jwksMaxAge + 60])
      await tx.query(insert, [kid, 'access_token', algorithm, publicJwk, seal(keys, kid, privateKey), delay])
    }
  })
}

/** Seals with the first key-encryption key what another sealed. Throws an UnsealError where none of them opens it. */
async function reseal (tx: Queryable, keys: KeyEncryptionKeys): Promise<void> {
  const rows = await tx.query<Row>('select kid, sealed_secret from keys where gone_at is null or gone_at > now()')
  for (const { kid, sealed_secret: sealed } of rows) {
    const secret = open(keys, kid, sealed)
    if (!isSealedWith(keys[0], sealed)) await tx.query('update keys set sealed_secret = $2 where kid = $1', [kid, seal(keys, kid, secret)])
  }
}

interface Row { kid: string, purpose: string, algorithm: Algorithm, public_key: PublicJwk | null, sealed_secret: Buffer, signs_from: Date, retires_at: Date | null, now: Date }

/** Reads the keyring. Throws an UnsealError where the key-encryption key is not the one it was sealed with. */
export async function load (db: Queryable, keys: KeyEncryptionKeys): Promise<Keyring> {
  const asked = Date.now()
  const rows = await db.query<Row>(`
    select kid, purpose, algorithm, public_key, sealed_secret, signs_from, retires_at, clock_timestamp() as now from keys
    where gone_at is null or gone_at > now() order by signs_from desc, kid`)
  const keyring: Keyring = { signing: [], mac: [], clockOffset: (rows[0]?.now.getTime() ?? 0) - (asked + Date.now()) / 2 }
  for (const { kid, purpose, algorithm, public_key: publicJwk, sealed_secret: sealed, signs_from: signsFrom, retires_at: retiresAt } of rows) {
    const secret = open(keys, kid, sealed)
    if (purpose === 'refresh_token') keyring.mac.push({ kid, secret, signsFrom, retiresAt })
    else if (publicJwk) keyring.signing.push({ kid, algorithm, publicJwk, signsFrom, retiresAt, ...pems(secret) })
  }
  return keyring
}

/** The newest of `keys` whose time to sign has come, and is not over. */
export const active = <Key extends { signsFrom: Date, retiresAt: Date | null }>(keys: Key[], now: Date) =>
  keys.find(({ signsFrom, retiresAt }) => signsFrom <= now && (retiresAt === null || retiresAt > now))

const pair = promisify(generateKeyPair)

async function generate (algorithm: Algorithm): Promise<{ kid: string, publicJwk: PublicJwk, privateKey: Buffer }> {
  const { publicKey, privateKey } = await ({
    ES256: () => pair('ec', { namedCurve: 'P-256' }),
    EdDSA: () => pair('ed25519'),
    RS256: () => pair('rsa', { modulusLength: 2048 })
  }[algorithm])()
  const jwk = publicKey.export({ format: 'jwk' }) as Pick<PublicJwk, 'kty' | 'crv' | 'x' | 'y' | 'n' | 'e'>
  const kid = thumbprint(jwk)
  return { kid, publicJwk: { ...jwk, kid, alg: algorithm, use: 'sig' }, privateKey: privateKey.export({ type: 'pkcs8', format: 'der' }) }
}

/** RFC 7638: the SHA-256 of the members that make the key, in the order of their names. */
function thumbprint ({ crv, e, kty, n, x, y }: Partial<PublicJwk>): string {
  return createHash('sha256').update(JSON.stringify({ crv, e, kty, n, x, y })).digest('base64url')
}

function pems (privateKey: Buffer) {
  const key = createPrivateKey({ key: privateKey, format: 'der', type: 'pkcs8' })
  return {
    privateKey: key.export({ type: 'pkcs8', format: 'pem' }).toString(),
    publicKey: createPublicKey(key).export({ type: 'spki', format: 'pem' }).toString()
  }
}
