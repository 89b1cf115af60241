import type { Queryable } from '../db.ts'
import { isSealedWith, open, seal, type KeyEncryptionKeys } from '../secret.ts'

/** What the sealed secret of a pepper is bound to. */
export const pepperPurpose = (kid: string) => `pepper ${kid}`

interface Sealed { is: 'key' | 'pepper', kid: string, sealed_secret: Buffer }

// Everything that is sealed with the key-encryption key.
const all = `
  select 'key' as is, kid, sealed_secret from keys where gone_at is null or gone_at > now()
  union all select 'pepper', kid, sealed_secret from peppers`
const updates = {
  key: 'update keys set sealed_secret = $2 where kid = $1',
  pepper: 'update peppers set sealed_secret = $2 where kid = $1'
}

async function foreign (db: Queryable, [key]: KeyEncryptionKeys): Promise<Sealed[]> {
  return (await db.query<Sealed>(all)).filter(({ sealed_secret: sealed }) => !isSealedWith(key, sealed))
}

/** Whether the first key-encryption key did not seal everything. */
export const isMixed = async (db: Queryable, keys: KeyEncryptionKeys) => (await foreign(db, keys)).length > 0

/** Seals with the first key-encryption key what another sealed. Throws an UnsealError where none of them opens it. */
export async function reseal (tx: Queryable, keys: KeyEncryptionKeys): Promise<void> {
  for (const { is, kid, sealed_secret: sealed } of await foreign(tx, keys)) {
    const purpose = is === 'key' ? kid : pepperPurpose(kid)
    await tx.query(updates[is], [kid, seal(keys, purpose, open(keys, purpose, sealed))])
  }
}
