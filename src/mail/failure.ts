import type { Queryable, Statement } from '../database/database.ts'
import type { Job } from '../jobs/queue.ts'
import type { MailKind } from './mail-kinds.ts'

/**
 * Why a mail will not be sent. `refused`: the mail server rejected the recipient. `expired`: the mail is too
 * old. `unreadable`: no key-encryption key unseals the mail.
 */
export type MailFailureReason = 'refused' | 'expired' | 'unreadable'

const abandonment: Statement = {
  name: 'mails.give-up',
  text: `
    delete from jobs where id = $1
    returning record_event('mail.failed', '{}', user_id => user_id, detail => $2)`
}

/** Deletes the job of a mail and records `mail.failed` in the audit log, without the recipient's address. */
export async function abandonMail (
  db: Queryable, { id }: Pick<Job, 'id'>, kind: MailKind | undefined, reason: MailFailureReason
): Promise<void> {
  await db.query(abandonment, [id, { kind, reason }])
}
