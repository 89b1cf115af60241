import { createHmac } from 'node:crypto'
import type { Queryable, Statement } from '../db.ts'
import { parse } from '../email-address.ts'
import { hastily, type Job } from '../jobs.ts'
import type { MailKind } from '../mails.ts'

// Of one kind to one address within an hour.
const most = 5

// A job is known by when it was made, so that it counts once, whatever became of the first attempt.
const counting: Statement = {
  name: 'mails.count',
  text: `
    insert into mail_counts as counts (key, sent_at, expires_at)
    select $1, array[greatest(created_at, now() - interval '1 hour')], now() + interval '1 hour' from jobs where id = $2 and ${hastily}
    on conflict (key) do update set
      sent_at = array(select at from unnest(counts.sent_at || excluded.sent_at) as at where at >= now() - interval '1 hour' group by at),
      expires_at = excluded.expires_at
    where excluded.sent_at <@ counts.sent_at or (select count(*) from unnest(counts.sent_at) as at where at > now() - interval '1 hour') < ${most}
    returning 1 as counted`
}

/** Whether a mail may be sent, for there are no more than five of a kind to an address in an hour; counts it. `secret` keeps the table from telling whom to. */
export async function count (db: Queryable, secret: Buffer, { id, attempts, createdAt }: Job, kind: MailKind, address: string): Promise<boolean> {
  // It was counted, and that is forgotten.
  if (attempts > 1 && createdAt.getTime() < Date.now() - 3_600_000) return true
  const key = createHmac('sha256', secret).update(JSON.stringify([kind, parse(address)?.canonical ?? address])).digest().subarray(0, 16)
  return (await db.query(counting, [key, id])).length > 0
}
