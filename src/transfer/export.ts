import * as audit from '../audit/events.ts'
import type { Database, Statement } from '../database/database.ts'

const page: Statement = {
  name: 'users.export',
  text: `
    select id, external_id, email, email_verified_at is not null as email_verified, name, username, roles,
      case when disabled_at is null then 'active' else 'disabled' end as status, password_hash,
      to_char(created_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as created_at
    from users where id > $1 order by id limit 1000`
}

const lowestId = '00000000-0000-0000-0000-000000000000'

/**
 * Writes all accounts as JSON Lines, with their password hashes, in the order of their ids. All lines show
 * the same moment. Records `users.exported` in the audit log before the first line. Returns the number of
 * accounts.
 */
export async function exportLines (
  db: Database, write: (text: string) => Promise<void>, origin: audit.Origin
): Promise<number> {
  await audit.record(db, 'users.exported', {}, origin)
  return await db.transaction(async tx => {
    await tx.query('set transaction isolation level repeatable read, read only')
    // The reader of the lines may be slow.
    await tx.query("set local idle_in_transaction_session_timeout = '1h'")
    let count = 0
    for (let lastId: string | undefined = lowestId; lastId !== undefined;) {
      const rows: Array<{ id: string }> = await tx.query<{ id: string }>(page, [lastId])
      if (rows.length > 0) await write(rows.map(row => `${JSON.stringify(row)}\n`).join(''))
      count += rows.length
      lastId = rows.at(-1)?.id
    }
    return count
  })
}
