import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { seal, type KeyEncryptionKeys } from '../../src/crypto/sealing.ts'
import { generateSigningKey } from '../../src/tokens/key-pair.ts'
import { folder, sql } from './postgres.ts'

const file = join(folder, 'id-token-key.json')

/** Generates the RSA key that all test databases share, unless an earlier run has. It costs 160 ms. */
export async function prepareIdTokenKey (): Promise<void> {
  if (existsSync(file)) return
  const { privateKey, ...published } = await generateSigningKey('RS256')
  writeFileSync(file, JSON.stringify({ ...published, privateKey: privateKey.toString('base64') }))
}

let shared: { kid: string, publicJwk: object, privateKey: string } | undefined

/** Puts the shared key of ID tokens into a new database, as if the service had created it there. */
export async function insertIdTokenKey (
  url: string, keys: KeyEncryptionKeys, lifetimeSeconds: number
): Promise<void> {
  shared ??= JSON.parse(readFileSync(file, 'utf8')) as NonNullable<typeof shared>
  const { kid, publicJwk, privateKey } = shared
  await sql(url, `
    insert into keys (kid, purpose, algorithm, public_key, sealed_secret, signs_from, longest_life)
    values ($1, 'id_token', 'RS256', $2, $3, now() - interval '1 minute', $4)`,
  [kid, publicJwk, seal(keys, kid, Buffer.from(privateKey, 'base64')), lifetimeSeconds])
}
