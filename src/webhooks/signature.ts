import { createHmac, randomBytes } from 'node:crypto'
import { newId } from '../random.ts'
import { open, seal, type KeyEncryptionKeys } from '../secret.ts'

const prefix = 'whsec_'

/** What the sealed secret of a webhook is bound to. */
export const secretPurpose = (id: string) => `webhook secret ${id}`

/** A secret as the receiver keeps it, and as the database does. */
export interface NewSecret { id: string, secret: string, sealed: Buffer }

/** A secret of 256 random bits, in the form of Standard Webhooks. */
export function newSecret (keys: KeyEncryptionKeys): NewSecret {
  const id = newId()
  const secret = randomBytes(32)
  return { id, secret: prefix + secret.toString('base64'), sealed: seal(keys, secretPurpose(id), secret) }
}

/** The secret that `newSecret` sealed; throws an UnsealError where no key fits. */
export const openSecret = (keys: KeyEncryptionKeys, { id, sealed }: { id: string, sealed: Buffer }): Buffer => open(keys, secretPurpose(id), sealed)

/** The headers by which a receiver knows a message and who sent it (Standard Webhooks 1.0): a signature for each secret. `timestamp` is in seconds. */
export function signed (secrets: readonly Buffer[], id: string, timestamp: number, body: string) {
  const signatures = secrets.map(secret => `v1,${createHmac('sha256', secret).update(`${id}.${timestamp}.${body}`).digest('base64')}`)
  return { 'webhook-id': id, 'webhook-timestamp': String(timestamp), 'webhook-signature': signatures.join(' ') }
}
