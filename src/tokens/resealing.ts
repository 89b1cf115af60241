import type { Queryable } from '../database/database.ts'
import { mailPurpose } from '../mail/outbox.ts'
import { isSealedWith, keyId, seal, unseal, type KeyEncryptionKeys } from '../crypto/sealing.ts'
import { secretPurpose } from '../webhooks/signature.ts'

/** What the sealed secret of a pepper is bound to. */
export const pepperPurpose = (kid: string) => `pepper ${kid}`

interface Sealed { is: 'key' | 'pepper' | 'webhook' | 'mail', kid: string, sealed_secret: Buffer }

// What is sealed with the key-encryption key, without the mails. These are few.
const lasting = `
  select 'key' as is, kid, sealed_secret from keys where gone_at is null or gone_at > now()
  union all select 'pepper', kid, sealed_secret from peppers
  union all select 'webhook', id::text, sealed_secret from webhook_secrets`
// Also the mails that another key sealed. There may be many, so they are read only while a key is replaced.
const all = `${lasting}
  union all select 'mail', id::text, sealed from jobs where substring(sealed from 2 for 4) = any($1)`
const updates = {
  key: 'update keys set sealed_secret = $2 where kid = $1',
  pepper: 'update peppers set sealed_secret = $2 where kid = $1',
  webhook: 'update webhook_secrets set sealed_secret = $2 where id = $1::uuid',
  mail: 'update jobs set sealed = $2 where id = $1::uuid'
}

const purposes = { key: (kid: string) => kid, pepper: pepperPurpose, webhook: secretPurpose, mail: () => mailPurpose }

async function foreign (db: Queryable, [key, ...others]: KeyEncryptionKeys): Promise<Sealed[]> {
  // A mail that no key opens is nobody's fault any more: it is given up when its time is over.
  const found = others.length > 0 ? await db.query<Sealed>(all, [others.map(keyId)]) : await db.query<Sealed>(lasting)
  return found.filter(({ sealed_secret: sealed }) => !isSealedWith(key, sealed))
}

/** Whether the first key-encryption key did not seal everything. */
export const isMixed = async (db: Queryable, keys: KeyEncryptionKeys) => (await foreign(db, keys)).length > 0

/** Seals with the first key-encryption key what another sealed. Throws an UnsealError where none of them opens it. */
export async function reseal (tx: Queryable, keys: KeyEncryptionKeys): Promise<void> {
  for (const { is, kid, sealed_secret: sealed } of await foreign(tx, keys)) {
    const purpose = purposes[is](kid)
    await tx.query(updates[is], [kid, seal(keys, purpose, unseal(keys, purpose, sealed))])
  }
}
