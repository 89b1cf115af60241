import { randomBytes } from 'node:crypto'
import * as audit from '../audit/events.ts'
import { digest } from '../crypto/sealing.ts'
import { retainedSecrets, type SecretRotation } from '../crypto/secret-rotation.ts'
import type { Database, Queryable } from '../database/database.ts'
import { validationFailed } from '../http/problems.ts'
import { isPublicClient } from './metadata.ts'
import { announceChange, columns, type Client } from './records.ts'

/** A client with its new secret. Only the digest of the secret is stored. */
export interface ClientWithSecret extends Client { client_secret: string }

const newSecret = () => `lks_${randomBytes(32).toString('base64url')}`

const insertingSecret = 'insert into client_secrets (secret_hash, client_id) values ($1, $2)'

/** Adds a secret to a client, and returns it. */
export async function insertSecret (tx: Queryable, clientId: string): Promise<string> {
  const secret = newSecret()
  await tx.query(insertingSecret, [digest(secret), clientId])
  return secret
}

/** Deletes all secrets of a client. */
export async function deleteSecrets (tx: Queryable, clientId: string): Promise<void> {
  await tx.query('delete from client_secrets where client_id = $1', [clientId])
}

// Two rotations at the same time wait for each other. Without the lock they would leave a third secret
// behind.
const locking = `select ${columns} from clients where id = $1 for update`
const deletingOldSecrets = `
  delete from client_secrets where secret_hash in (
    select secret_hash from client_secrets where client_id = $1 order by created_at desc offset $2)`

/**
 * Gives a client a new secret. Undefined if the client does not exist. Throws `validation_failed` for a
 * public client.
 */
export async function rotateSecret (
  db: Database, id: string, rotation: SecretRotation, origin: audit.Origin
): Promise<ClientWithSecret | undefined> {
  return await db.transaction(async tx => {
    const [client] = await tx.query<Client>(locking, [id])
    if (!client) return undefined
    if (isPublicClient(client)) throw publicClient()
    await tx.query(deletingOldSecrets, [id, retainedSecrets(rotation)])
    const secret = await insertSecret(tx, id)
    const event = { clientId: id, detail: { replaced: rotation.endsOlder } }
    await audit.record(tx, 'client.secret_rotated', event, origin)
    await announceChange(tx)
    return { ...client, client_secret: secret }
  })
}

const publicClient = () => validationFailed(
  'A public client has no secret. Change its token_endpoint_auth_method first.',
  [{ pointer: '', detail: 'is not possible for a public client' }]
)
