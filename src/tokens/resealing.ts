import type { SealedColumn } from '../crypto/sealed-column.ts'
import { isSealedWith, keyId, unseal, seal, type KeyEncryptionKeys } from '../crypto/sealing.ts'
import type { Queryable } from '../database/database.ts'

interface SealedValue { id: string, sealed: Buffer }

/** Finds the values of a column that are not sealed with the current key-encryption key. */
async function findOutdated (
  db: Queryable, keys: KeyEncryptionKeys, sealedColumn: SealedColumn
): Promise<SealedValue[]> {
  const [currentKey, ...oldKeys] = keys
  const { table, idColumn, column, neededIf = 'true', isLossAccepted } = sealedColumn
  const select = `select ${idColumn}::text as id, ${column} as sealed from ${table} where (${neededIf})`
  if (!isLossAccepted) {
    const values = await db.query<SealedValue>(select)
    return values.filter(({ sealed }) => !isSealedWith(currentKey, sealed))
  }
  if (oldKeys.length === 0) return []
  // Bytes 2 to 5 of a sealed value are the id of the key.
  const selectOld = `${select} and substring(${column} from 2 for 4) = any($1)`
  return await db.query<SealedValue>(selectOld, [oldKeys.map(keyId)])
}

/** Whether a value must be sealed again. */
export async function isResealingDue (
  db: Queryable, keys: KeyEncryptionKeys, columns: readonly SealedColumn[]
): Promise<boolean> {
  for (const column of columns) if ((await findOutdated(db, keys, column)).length > 0) return true
  return false
}

/**
 * Seals values again that another key-encryption key than the current one sealed. Throws an UnsealError if no
 * key unseals a value that must not be lost.
 */
export async function reseal (
  tx: Queryable, keys: KeyEncryptionKeys, columns: readonly SealedColumn[]
): Promise<void> {
  for (const sealedColumn of columns) {
    const { table, idColumn, column, purpose } = sealedColumn
    for (const { id, sealed } of await findOutdated(tx, keys, sealedColumn)) {
      const secret = unseal(keys, purpose(id), sealed)
      const update = `update ${table} set ${column} = $2 where ${idColumn} = $1`
      await tx.query(update, [id, seal(keys, purpose(id), secret)])
    }
  }
}
