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

/** A webhook's secret as the database stores it. */
export interface SealedSecret { id: string, sealed: Buffer }

/** A new secret, also in the form that the receiver stores. */
export interface NewSecret extends SealedSecret { secret: string }

/** A secret of 256 random bits, in the form of Standard Webhooks. */
export function newSecret (keys: KeyEncryptionKeys): NewSecret {
  const id = newId()
  const secret = randomBytes(32)
  return { id, secret: prefix + secret.toString('base64'), sealed: seal(keys, secretPurpose(id), secret) }
}

/** Unseals the secrets. Those that no key opens any more are left out. */
export const unsealSecrets = (keys: KeyEncryptionKeys, secrets: readonly SealedSecret[]): Buffer[] =>
  secrets.flatMap(({ id, sealed }) => {
    try {
      return [unseal(keys, secretPurpose(id), sealed)]
    } catch (error) {
      if (error instanceof UnsealError) return []
      throw error
    }
  })

export interface UnsignedMessage {
  id: string
  /** Seconds since 1970. A receiver refuses old ones, which stops replays. */
  timestamp: number
  body: string
}

/**
 * The headers by which a receiver authenticates a message (Standard Webhooks 1.0), with a signature by each
 * secret.
 */
export function signatureHeaders (secrets: readonly Buffer[], { id, timestamp, body }: UnsignedMessage) {
  const signed = `${id}.${timestamp}.${body}`
  const sign = (secret: Buffer) => createHmac('sha256', secret).update(signed).digest('base64')
  return {
    'webhook-id': id,
    'webhook-timestamp': String(timestamp),
    'webhook-signature': secrets.map(secret => `v1,${sign(secret)}`).join(' ')
  }
}
