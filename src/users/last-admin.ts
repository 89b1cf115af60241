import type { Queryable, Statement } from '../database/database.ts'
import { lastAdmin } from './problems.ts'

// In one order everywhere: of two who demote each other, one waits for the other, and then finds out. Whom
// the user is when the lock is had is told by the rows, not by the subquery.
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
 * Throws `last_admin` where the user is the only enabled administrator. They stay locked until the end of the
 * transaction, and if they are an administrator the others too: to be called before whatever takes one away.
 */
export async function assertAnotherAdmin (tx: Queryable, id: string): Promise<void> {
  const locked = await tx.query<{ id: string, admin: boolean }>(lock, [id])
  const [own, others] = [locked.find(user => user.id === id), locked.filter(user => user.id !== id)]
  if (own?.admin && !others.some(({ admin }) => admin)) throw lastAdmin()
}
