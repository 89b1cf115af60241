import { createHmac, randomBytes } from 'node:crypto'
import { newId } from '../crypto/random.ts'
import type { SealedColumn } from '../crypto/sealed-column.ts'
import { unseal, seal, UnsealError, type KeyEncryptionKeys } from '../crypto/sealing.ts'

const prefix = 'whsec_'

const secretPurpose = (id: string) => `webhook secret ${id}`

export const sealedWebhookSecrets: SealedColumn = {
  table: 'webhook_secrets',
  idColumn: 'id',
  column: 'sealed_secret',
  purpose: secretPurpose,
  isLossAccepted: false
}

/** A secret as the receiver keeps it, and as the database does. */
export interface NewSecret { id: string, secret: string, sealed: Buffer }

/** A secret of 256 random bits, in the form of Standard Webhooks. */
export function newSecret (keys: KeyEncryptionKeys): NewSecret {
  const id = newId()
  const secret = randomBytes(32)
  return { id, secret: prefix + secret.toString('base64'), sealed: seal(keys, secretPurpose(id), secret) }
}

/** Those of the secrets that `newSecret` sealed which a key still opens. */
export const openSecrets = (keys: KeyEncryptionKeys, secrets: ReadonlyArray<{ id: string, sealed: Buffer }>): Buffer[] => secrets.flatMap(({ id, sealed }) => {
  try {
    return [unseal(keys, secretPurpose(id), sealed)]
  } catch (error) {
    if (error instanceof UnsealError) return []
    throw error
  }
})

/** The headers by which a receiver knows a message and who sent it (Standard Webhooks 1.0): a signature for each secret. `timestamp` is in seconds. */
export function signed (secrets: readonly Buffer[], id: string, timestamp: number, body: string) {
  const signatures = secrets.map(secret => `v1,${createHmac('sha256', secret).update(`${id}.${timestamp}.${body}`).digest('base64')}`)
  return { 'webhook-id': id, 'webhook-timestamp': String(timestamp), 'webhook-signature': signatures.join(' ') }
}
