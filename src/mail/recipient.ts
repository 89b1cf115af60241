import type { Queryable, Statement } from '../database/database.ts'
import type { Job } from '../jobs/queue.ts'
import { languages, type Language } from '../http/language.ts'
import type { Mail } from './outbox.ts'

export interface Recipient { address: string, language: Language }

const find: Statement = {
  name: 'mails.recipient',
  text: 'select email, language from users where id = $1 union all select email, language from pending_registrations where id = $1 limit 1'
}

/** Whom a mail goes to, and in which language; undefined where there is nobody: it was asked for in the name of none, or they have left. */
export async function recipientOf (db: Queryable, { userId }: Pick<Job, 'userId'>, { to, language }: Mail): Promise<Recipient | undefined> {
  const [user] = userId === null ? [] : await db.query<{ email: string, language: string | null }>(find, [userId])
  const address = to ?? user?.email
  return address === undefined ? undefined : { address, language: language ?? languages.find(known => known === user?.language) ?? 'en' }
}
