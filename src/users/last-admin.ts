import type { Queryable, Statement } from '../database/database.ts'
import { lastAdmin } from './problems.ts'

// All transactions lock in one order. If two administrators demote each other, one transaction waits for the
// other, and then sees its result. The subquery may see an older state, but the returned rows are current.
const lock: Statement = {
  name: 'users.lock-admins',
  text: `
    select id, 'admin' = any(roles) and disabled_at is null as admin from users
    where id in (
      select $1::uuid
      union all
      select id from users where 'admin' = any(roles) and disabled_at is null
        and exists (select from users where id = $1 and 'admin' = any(roles) and disabled_at is null)
    )
    order by id for no key update`
}

/**
 * Throws `last_admin` if the user is the only enabled administrator. Call it before a change that takes an
 * administrator away. Locks the user, and all administrators if the user is one, until the transaction ends.
 */
export async function assertAnotherAdmin (tx: Queryable, id: string): Promise<void> {
  const locked = await tx.query<{ id: string, admin: boolean }>(lock, [id])
  const [own, others] = [locked.find(user => user.id === id), locked.filter(user => user.id !== id)]
  if (own?.admin && !others.some(({ admin }) => admin)) throw lastAdmin()
}
