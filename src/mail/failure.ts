import * as audit from '../audit/events.ts'
import type { Queryable, Statement } from '../database/database.ts'
import type { Job } from '../jobs/queue.ts'
import type { MailKind } from './outbox.ts'

/** Why a mail is not sent any more: there is no such mailbox, its time was over, or no key opens it. */
export type MailFailureReason = 'refused' | 'expired' | 'unreadable'

const giving: Statement = {
  name: 'mails.give-up',
  text: `
    with gone as (
      delete from jobs where id = $2 returning user_id
    )
    ${audit.insertion('mail.failed', { user: 'gone.user_id', detail: '$3::jsonb' }, '$1', 'gone')}`
}

/** Gives a mail up, which the audit log has; not to whom it was. */
export async function abandonMail (db: Queryable, { id }: Pick<Job, 'id'>, kind: MailKind | undefined, reason: MailFailureReason): Promise<void> {
  await db.query(giving, [audit.parameter({}), id, JSON.stringify({ kind, reason })])
}
