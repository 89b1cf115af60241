import { randomBytes } from 'node:crypto'
import * as audit from '../audit/events.ts'
import type { SealedColumn } from '../crypto/sealed-column.ts'
import { seal, type KeyEncryptionKeys } from '../crypto/sealing.ts'
import type { Queryable } from '../database/database.ts'
import { validationFailed } from '../http/problems.ts'
import { announceKeyChange } from './key-records.ts'

/** The purpose for which the secret of a pepper is sealed. */
export const pepperPurpose = (kid: string) => `pepper ${kid}`

export const sealedPeppers: SealedColumn = {
  table: 'peppers',
  idColumn: 'kid',
  column: 'sealed_secret',
  purpose: pepperPurpose,
  isLossAccepted: false
}

/**
 * Creates the pepper if there is none. Only one transaction may try at a time. The pepper is never replaced,
 * because every password hash depends on it.
 */
export async function ensurePepper (tx: Queryable, keys: KeyEncryptionKeys): Promise<void> {
  const [pepper] = await tx.query('select 1 from peppers limit 1')
  if (pepper) return
  // A PHC string has room for an id of 11 characters. Its alphabet includes hex digits, but not base64url.
  const kid = randomBytes(4).toString('hex')
  const sealedSecret = seal(keys, pepperPurpose(kid), randomBytes(32))
  await tx.query('insert into peppers (kid, sealed_secret) values ($1, $2)', [kid, sealedSecret])
  await audit.record(tx, 'key.created', { detail: { kid, purpose: 'password' } }, {})
  await announceKeyChange(tx)
}

/** Throws `validation_failed` if the key to be dropped is a pepper. */
export async function assertNotPepper (db: Queryable, kid: string): Promise<void> {
  const [pepper] = await db.query('select 1 from peppers where kid = $1', [kid])
  const detail = 'is the pepper of the password hashes; without it no password could be verified'
  if (pepper) throw validationFailed(`${kid} ${detail}.`, [{ pointer: '/drop', detail }])
}

/** Lists the ids of all peppers. */
export async function listPepperIds (db: Queryable): Promise<Set<string>> {
  const peppers = await db.query<{ kid: string }>('select kid from peppers')
  return new Set(peppers.map(({ kid }) => kid))
}
