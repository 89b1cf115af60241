import { createHmac } from 'node:crypto'
import type { Queryable, Statement } from '../db.ts'
import { parse } from '../email-address.ts'
import { hastily, type Job } from '../jobs.ts'
import type { MailKind } from '../mails.ts'

// Of one kind to one address within an hour.
const most = 5

// A job is known by when it was made, so that it counts once, whatever became of the first attempt; one that had to
// wait for that longer than is counted, by when it is sent. What is tried again after that time was counted, and that
// is forgotten.
const counting: Statement = {
  name: 'mails.count',
  text: `
    with job as (
      select attempts, created_at, created_at < now() - interval '1 hour' as old from jobs where id = $2 and ${hastily}
    ), counted as (
      insert into mail_counts as counts (key, sent_at, expires_at)
      select $1, array[case when old then now() else created_at end], now() + interval '1 hour' from job where not (old and attempts > 1)
      on conflict (key) do update set
        sent_at = array(select at from unnest(counts.sent_at || excluded.sent_at) as at where at >= now() - interval '1 hour' group by at),
        expires_at = excluded.expires_at
      where excluded.sent_at <@ counts.sent_at or (select count(*) from unnest(counts.sent_at) as at where at > now() - interval '1 hour') < ${most}
      returning 1
    )
    select from counted union all select from job where old and attempts > 1`
}

/** Whether a mail may be sent, for there are no more than five of a kind to an address in an hour; counts it. `secret` keeps the table from telling whom to. */
export async function count (db: Queryable, secret: Buffer, { id }: Pick<Job, 'id'>, kind: MailKind, address: string): Promise<boolean> {
  const key = createHmac('sha256', secret).update(JSON.stringify([kind, parse(address)?.canonical ?? address])).digest().subarray(0, 16)
  return (await db.query(counting, [key, id])).length > 0
}
