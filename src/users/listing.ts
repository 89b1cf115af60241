import type { Queryable, Statement } from '../database/database.ts'
import { parse as parseEmail } from '../syntax/email-address.ts'
import { columns, type User } from './users.ts'

export type UserStatus = 'active' | 'disabled'

/** A user, as an administrator sees them. */
export interface AdminUser extends User {
  status: UserStatus
  /** The id in the system from which the user was imported. */
  external_id: string | null
}

const adminColumns = `${columns},
  case when users.disabled_at is null then 'active' else 'disabled' end as status, users.external_id`

const byId: Statement = { name: 'users.by-id', text: `select ${adminColumns} from users where id = $1` }

/** Finds a user by id, even a disabled one. Returns undefined if there is none. */
export async function find (db: Queryable, id: string): Promise<AdminUser | undefined> {
  const [user] = await db.query<AdminUser>(byId, [id])
  return user
}

export interface UserFilter {
  /** The beginning of the address. */
  email?: string | undefined
  role?: string | undefined
  status?: UserStatus | undefined
  external_id?: string | undefined
}

// The page is merged from ranges of indexes, so that rows that do not match are never read. Each status has
// an index of its own, because the users of the other status may all come first. PostgreSQL leaves out the
// ranges that the filter excludes, because the statement has no name: it is planned for its values.
const selectPage = `
  with page as (
    select canonical_email collate "C" as address from (
      (select canonical_email from users
      where $5::text is null and coalesce($6, 'active') = 'active' and disabled_at is null
        and canonical_email collate "C" >= $1 and canonical_email collate "C" < $2
        and canonical_email collate "C" > $3
      order by canonical_email collate "C" limit $4)
      union all
      (select canonical_email from users
      where $5::text is null and coalesce($6, 'disabled') = 'disabled' and disabled_at is not null
        and canonical_email collate "C" >= $1 and canonical_email collate "C" < $2
        and canonical_email collate "C" > $3
      order by canonical_email collate "C" limit $4)
      union all
      (select canonical_email from user_roles
      where role = $5 and coalesce($6, 'active') = 'active' and disabled = false
        and canonical_email collate "C" >= $1 and canonical_email collate "C" < $2
        and canonical_email collate "C" > $3
      order by canonical_email collate "C" limit $4)
      union all
      (select canonical_email from user_roles
      where role = $5 and coalesce($6, 'disabled') = 'disabled' and disabled = true
        and canonical_email collate "C" >= $1 and canonical_email collate "C" < $2
        and canonical_email collate "C" > $3
      order by canonical_email collate "C" limit $4)
    ) as found order by 1 limit $4
  )
  select ${adminColumns} from page
  join users on users.canonical_email = page.address collate "default"
  order by page.address`

// Sorts after all characters that an address can have.
const lastCharacter = '\u{10FFFF}'

/** The canonical form of the beginning of an address. */
const canonicalPrefix = (beginning: string) =>
  parseEmail(beginning)?.canonical ?? beginning.trim().normalize('NFKC').toLowerCase().normalize('NFKC')

// One user at most has an external id.
const byExternalId: Statement = {
  name: 'users.by-external-id',
  text: `
    select ${adminColumns} from users
    where external_id = $1 and starts_with(canonical_email, $2) and canonical_email collate "C" > $3
      and ($4::text is null or $4 = any(roles))
      and ($5::text is null or ($5 = 'active') = (disabled_at is null))`
}

/** A page of a list: the canonical address after which it begins, and how many users it has at most. */
export interface UserPage { after: string | undefined, limit: number }

/** Lists users in the order of their canonical addresses. */
export async function list (
  db: Queryable, filter: UserFilter, { after, limit }: UserPage
): Promise<AdminUser[]> {
  const { email = '', role = null, status = null, external_id: externalId } = filter
  const prefix = canonicalPrefix(email)
  if (externalId !== undefined) {
    return await db.query<AdminUser>(byExternalId, [externalId, prefix, after ?? '', role, status])
  }
  return await db.query<AdminUser>(
    selectPage, [prefix, prefix + lastCharacter, after ?? '', limit, role, status])
}

/** Returns the cursor of the page after a user. It stays valid if the user is deleted. */
export const cursorAfter = ({ email }: AdminUser) => Buffer.from(canonicalPrefix(email)).toString('base64url')

// A canonical address. Conversion to lower case may make the local part longer than an address allows.
const cursorSyntax = /^[^\s\p{C}@]+@[a-z0-9.-]+$/u

/** Reads what `cursorAfter` returned. Returns undefined for anything else. */
export function readCursor (cursor: string): string | undefined {
  const address = Buffer.from(cursor, 'base64url').toString()
  const isCanonical = Buffer.from(address).toString('base64url') === cursor
  return isCanonical && cursorSyntax.test(address) ? address : undefined
}
