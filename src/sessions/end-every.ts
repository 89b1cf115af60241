import * as audit from '../audit/events.ts'
import type { Queryable, Statement } from '../database/database.ts'
import { retry } from '../jobs/retry.ts'
import { ending, type EndReason } from './ending.ts'
import { liveId, ownedBy } from './session.ts'

// The locks are taken as they are when a session ends.
const batch = (name: string, whose: string, id: string): Statement => ({
  name,
  text: `
    with page as (
      select session_id from refresh_tokens join sessions on sessions.id = session_id
      where ${whose} and created_at <= $2 and ($3::uuid is null or ${id} > $3)
      order by ${id} limit $4 for update of refresh_tokens
    ), ${ending('delete from refresh_tokens where session_id in (select session_id from page)', '$5', '$6')}
    select (select count(*)::int from ended) as ended, (select session_id from page order by session_id desc limit 1) as last,
      (select count(pg_notify('latchkey_revocations', '')) from revoked)`
})
const ofAll = batch('sessions.end-all', '$1::uuid is null', 'session_id')
const ofUser = batch('sessions.end-all-of-user', ownedBy('$1'), liveId)

const most = 1_000
// A batch that met a lock, or lost its connection, is safe to repeat.
const attempts = 5

/**
 * Ends all sessions that there are when it is called, of one user or, where `userId` is undefined, of everybody;
 * in batches, so that nobody waits for it and a million are no trouble. Those it has ended stay ended where it fails.
 * Gives how many.
 */
export async function endEvery (db: Queryable, userId: string | undefined, reason: EndReason, origin: audit.Origin): Promise<number> {
  const { signal } = new AbortController()
  const [start] = await db.query<{ now: Date }>("select date_trunc('milliseconds', now()) + interval '1 ms' as now")
  let total = 0
  for (let after: string | null = null; ;) {
    let failures = 0
    const values: unknown[] = [userId ?? null, start?.now, after, most, reason, audit.parameter(origin)]
    const [row] = await retry(
      async () => await db.query<{ ended: number, last: string | null }>(userId === undefined ? ofAll : ofUser, values),
      { intervalMs: 200, signal, isFinal: () => ++failures >= attempts, onFailure: () => {} })
    if (!row || row.last === null) return total
    total += row.ended
    after = row.last
  }
}
