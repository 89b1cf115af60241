import type { Queryable, Statement } from '../database/database.ts'
import { toRevocation, type Revocation, type RevocationRow } from './revocations.ts'

/** The state of the database at the time of a read. */
export interface Snapshot {
  /** Which transactions were visible (`pg_snapshot`). */
  visible: string
  /** The oldest transaction that was still running. All older ones were visible, if they committed. */
  oldestRunning: bigint
  /** The lowest transaction number that was not assigned yet. */
  nextTransaction: bigint
  /** The history that the transaction numbers belong to. */
  history: string
  now: Date
}

/** A snapshot, and the revocations that became visible with it. */
export interface RevocationUpdate extends Snapshot { revocations: Revocation[] }

// Revocations that were visible in the earlier snapshot are left out, so that a long transaction costs the
// readers nothing. The left join always returns a row, so the snapshot is known even if there are no
// revocations. The 60 seconds are more than the clock tolerance of verifiers for `exp`.
const select: Statement = {
  name: 'revocations.since',
  text: `
    with page as (
      select id, kind, subject, reason, token_version, ended_at, expires_at, transaction_id::text
      from revocations
      where transaction_id >= $1::xid8
        and ($2::pg_snapshot is null or not pg_visible_in_snapshot(transaction_id, $2::pg_snapshot))
        and ($3::uuid is null or id > $3) and expires_at > now() - interval '60 seconds'
      order by id limit $4
    )
    select page.*, now() as now, pg_current_snapshot()::text as visible,
      pg_snapshot_xmin(pg_current_snapshot())::text as "oldestRunning",
      pg_snapshot_xmax(pg_current_snapshot())::text as "nextTransaction",
      transaction_history() as history
    from (select) as always left join page on true`
}

// Many revocations are read in pages, so that other requests are served in between.
const pageSize = 10_000

/** A row of a page, whose `id` is null if the page is empty. */
type PageRow = (RevocationRow | { id: null }) &
  Record<'visible' | 'oldestRunning' | 'nextTransaction' | 'history', string> & { now: Date }

/**
 * Reads the revocations that became visible after a snapshot, or all current ones if it is undefined. A page
 * that takes longer than `timeoutMs` fails with its connection, so that a frozen one does not delay the next
 * read.
 */
export async function readSince (
  db: Queryable, since: Snapshot | undefined, timeoutMs: number
): Promise<RevocationUpdate> {
  const statement = { ...select, query_timeout: timeoutMs }
  const revocations: Revocation[] = []
  let snapshot: Snapshot | undefined
  for (let last: string | null = null; ;) {
    const values = [String(since?.oldestRunning ?? 0n), since?.visible ?? null, last, pageSize]
    const rows: PageRow[] = await db.query<PageRow>(statement, values)
    const [first] = rows
    if (!first) throw new Error('a read of the revocation log returned no row')
    // The snapshot of the first page counts. A revocation that becomes visible during later pages may be
    // missed. It is not visible in that snapshot, so the next read returns it.
    const { visible, oldestRunning, nextTransaction, history, now } = first
    snapshot ??= {
      visible, oldestRunning: BigInt(oldestRunning), nextTransaction: BigInt(nextTransaction), history, now
    }
    for (const row of rows) if (row.id !== null) revocations.push(toRevocation(row))
    if (rows.length < pageSize) return { ...snapshot, revocations }
    last = revocations.at(-1)?.id ?? null
  }
}
