import type { Queryable, Statement } from '../database/database.ts'
import { parse as parseEmail } from '../syntax/email-address.ts'
import { columns, type User } from './users.ts'

export type Status = 'active' | 'disabled'

/** A user as an administrator sees them. */
export interface AdminUser extends User { status: Status }

const adminColumns = `${columns}, case when users.disabled_at is null then 'active' else 'disabled' end as status`

const byId: Statement = { name: 'users.by-id', text: `select ${adminColumns} from users where id = $1` }

/** The user of an id, also a disabled one; undefined where there is none. */
export async function find (db: Queryable, id: string): Promise<AdminUser | undefined> {
  const [user] = await db.query<AdminUser>(byId, [id])
  return user
}

export interface Filter { email?: string | undefined, role?: string | undefined, status?: Status | undefined }

// A range of an index, whatever is asked for: what does not match is never walked over. The index has to be that of
// the state, for the users of the other one may all come first.
const range = (of: string) => `
  (select canonical_email from ${of} and canonical_email collate "C" >= $1 and canonical_email collate "C" < $2 and canonical_email collate "C" > $3
  order by canonical_email collate "C" limit $4)`
const ranges = {
  active: range('users where disabled_at is null'),
  disabled: range('users where disabled_at is not null')
}
const rangesOfRole = {
  active: range('user_roles where role = $5 and disabled = false'),
  disabled: range('user_roles where role = $5 and disabled = true')
}

// After all characters of an address.
const last = '\u{10FFFF}'

/** The beginning of an address in the form in which addresses are compared, as far as a beginning can have it. */
const canonical = (beginning: string) => parseEmail(beginning)?.canonical ?? beginning.trim().normalize('NFKC').toLowerCase().normalize('NFKC')

/** Users in the order of their addresses, from the one after `after` on: of an address that begins so, of a role, of a status. */
export async function list (db: Queryable, { email = '', role, status }: Filter, { after, limit }: { after: string | undefined, limit: number }): Promise<AdminUser[]> {
  const prefix = canonical(email)
  const from = role === undefined ? ranges : rangesOfRole
  // Without a name it is planned for what is asked.
  return await db.query<AdminUser>(`
    with page as (
      select canonical_email collate "C" as address from (${status ? from[status] : `${from.active} union all ${from.disabled}`}) as found order by 1 limit $4
    )
    select ${adminColumns} from page join users on users.canonical_email = page.address collate "default" order by page.address`,
  [prefix, prefix + last, after ?? '', limit, ...role === undefined ? [] : [role]])
}

/** Where the page after a user begins, also when the user is gone. */
export const cursorAfter = ({ email }: AdminUser) => Buffer.from(canonical(email)).toString('base64url')

// Of a canonical address: in lower case the part before the @ may be longer than it may be as it was given.
const cursorSyntax = /^[^\s\p{C}@]+@[a-z0-9.-]+$/u

/** Reads what `cursorAfter` gave; undefined for what it cannot have given. */
export function readCursor (cursor: string): string | undefined {
  const address = Buffer.from(cursor, 'base64url').toString()
  return Buffer.from(address).toString('base64url') === cursor && cursorSyntax.test(address) ? address : undefined
}
