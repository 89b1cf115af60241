import type { Queryable, Statement } from '../database/database.ts'
import { withAsyncCommit } from './queue.ts'
import { newId } from '../crypto/random.ts'
import { digest } from '../crypto/sealing.ts'

// Named leases, such as that of a data export. The leases of jobs are in queue.ts.

/** A lease that was acquired. */
export interface Lease {
  /** Extends the lease. Throws if another holder has it, because this one took too long. */
  renew: () => Promise<void>
  /** Ends the lease, once. Does nothing if another holder has it. */
  release: () => Promise<void>
}

/** Another holder has the lease for `secondsLeft`. */
export interface HeldLease { secondsLeft: number }

// This statement may not see the row of a concurrent holder. It then returns the whole time.
const acquireLease: Statement = {
  name: 'leases.acquire',
  text: `
    with acquired as (
      insert into leases (key, holder, expires_at)
      select $1, $2, now() + make_interval(secs => $3) where ${withAsyncCommit}
      on conflict (key) do update set holder = excluded.holder, expires_at = excluded.expires_at
      where leases.expires_at <= now()
      returning 1
    )
    select exists (select from acquired) as "isAcquired", coalesce(
      (select extract(epoch from expires_at - now())::float8 from leases where key = $1), $3
    ) as "secondsLeft"`
}
const renewLease: Statement = {
  name: 'leases.renew',
  text: `
    update leases set expires_at = now() + make_interval(secs => $3)
    where ${withAsyncCommit} and key = $1 and holder = $2
    returning 1 as renewed`
}
const releaseLease: Statement = {
  name: 'leases.release',
  text: `delete from leases where ${withAsyncCommit} and key = $1 and holder = $2`
}

/** Acquires a lease for so many seconds. Returns the seconds until it ends if another holder has it. */
export async function acquire (db: Queryable, what: string, seconds: number): Promise<Lease | HeldLease> {
  const [key, holder] = [digest(`lease ${what}`), newId()]
  const [row] = await db.query<HeldLease & { isAcquired: boolean }>(acquireLease, [key, holder, seconds])
  if (!row?.isAcquired) return { secondsLeft: row?.secondsLeft ?? seconds }
  let isReleased = false
  return {
    async renew () {
      const renewed = await db.query(renewLease, [key, holder, seconds])
      if (renewed.length === 0) throw new Error('the lease was lost')
    },
    async release () {
      if (isReleased) return
      await db.query(releaseLease, [key, holder])
      isReleased = true
    }
  }
}

const purgeExpired: Statement = {
  name: 'leases.purge',
  text: `
    with purged as (
      delete from leases
      where key = any(array(select key from leases where expires_at < now() limit $1 for update skip locked))
      returning 1
    )
    select count(*)::int as purged from purged`
}

/** Purges up to `batchSize` expired leases. Returns how many it purged. */
export async function purge (db: Queryable, batchSize: number): Promise<number> {
  const [row] = await db.query<{ purged: number }>(purgeExpired, [batchSize])
  return row?.purged ?? 0
}
