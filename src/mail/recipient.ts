import type { Queryable, Statement } from '../database/database.ts'
import type { Job } from '../jobs/queue.ts'
import { languages, type Language } from '../http/language.ts'
import type { Mail } from './outbox.ts'

export interface MailRecipient { address: string, language: Language }

const selection: Statement = {
  name: 'mails.recipient',
  text: `
    select email, language from users where id = $1
    union all
    select email, language from pending_registrations where id = $1
    limit 1`
}

/**
 * Returns the address and the language of a mail's recipient. Returns undefined if there is no recipient: the
 * user was deleted, or the mail was requested for an address without an account.
 */
export async function findRecipient (
  db: Queryable, { userId }: Pick<Job, 'userId'>, { to, language }: Mail
): Promise<MailRecipient | undefined> {
  const [user] = userId === null
    ? []
    : await db.query<{ email: string, language: string | null }>(selection, [userId])
  const address = to ?? user?.email
  if (address === undefined) return undefined
  const preferred = languages.find(known => known === user?.language)
  return { address, language: language ?? preferred ?? 'en' }
}
