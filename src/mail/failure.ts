import type { Queryable, Statement } from '../database/database.ts'
import type { Job } from '../jobs/queue.ts'
import type { MailKind } from './outbox.ts'

/** Why a mail is not sent any more: there is no such mailbox, its time was over, or no key opens it. */
export type Reason = 'refused' | 'expired' | 'unreadable'

const giving: Statement = {
  name: 'mails.give-up',
  text: `
    delete from jobs where id = $1
    returning record_event('mail.failed', '{}', user_id => user_id, detail => $2)`
}

/** Gives a mail up, which the audit log has; not to whom it was. */
export async function giveUp (db: Queryable, { id }: Pick<Job, 'id'>, kind: MailKind | undefined, reason: Reason): Promise<void> {
  await db.query(giving, [id, { kind, reason }])
}
