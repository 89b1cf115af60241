import { randomBytes } from 'node:crypto'
import * as audit from '../audit/events.ts'
import type { Queryable } from '../database/database.ts'
import { validationFailed } from '../http/problem.ts'
import { seal, type KeyEncryptionKeys } from '../crypto/sealing.ts'
import { pepperPurpose } from './resealing.ts'

/** Makes the pepper where there is none; one at a time may try. It stays as it is: every password is bound to it. */
export async function provide (tx: Queryable, keys: KeyEncryptionKeys): Promise<void> {
  const [pepper] = await tx.query('select 1 from peppers limit 1')
  if (pepper) return
  // In a PHC string an id has up to eleven characters, in an alphabet that shares digits and letters with that of URLs.
  const kid = randomBytes(4).toString('hex')
  await tx.query('insert into peppers (kid, sealed_secret) values ($1, $2)', [kid, seal(keys, pepperPurpose(kid), randomBytes(32))])
  await audit.record(tx, 'key.created', { detail: { kid, purpose: 'password' } }, {})
  await tx.query("select pg_notify('latchkey_keys', '')")
}

/** Throws `validation_failed` where the key to be dropped is a pepper. */
export async function refuseToDrop (db: Queryable, kid: string): Promise<void> {
  const [pepper] = await db.query('select 1 from peppers where kid = $1', [kid])
  const detail = 'is the pepper of passwords, none of which could be verified without it'
  if (pepper) throw validationFailed(`${kid} ${detail}.`, [{ pointer: '/drop', detail }])
}

/** The ids of the peppers that are there. */
export const kids = async (db: Queryable): Promise<Set<string>> => new Set((await db.query<{ kid: string }>('select kid from peppers')).map(({ kid }) => kid))
