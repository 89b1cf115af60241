import type { Queryable } from '../database/database.ts'
import { usernameTaken } from './problems.ts'
import { parseUsername } from './users.ts'

// Names that speak for the service, and mailboxes of RFC 2142.
const words = [
  'admin', 'administrator', 'root', 'superuser', 'sysadmin', 'system', 'moderator', 'official', 'service', 'staff', 'team',
  'support', 'help', 'helpdesk', 'billing', 'security', 'abuse', 'noreply', 'mailerdaemon', 'postmaster', 'hostmaster', 'webmaster'
]

/** What nobody may be called: those words, the name of the service, and the one with the other. */
export function reservedUsernames (serviceName: string): string[] {
  const name = serviceName.toLowerCase().replaceAll(/[^a-z0-9]/g, '')
  return name === '' ? words : [...words, name, ...words.flatMap(word => [`${name}${word}`, `${word}${name}`])]
}

const look = { name: 'users.is-reserved', text: 'select username_skeleton($1) in (select username_skeleton(word) from unnest($2::text[]) as word) as reserved' }

/** Throws `username_taken` for one of `reserved`, and for what looks like one. */
export async function assertOpen (db: Queryable, text: string, reserved: readonly string[]): Promise<void> {
  const username = parseUsername(text)
  if (username === undefined) return
  const [row] = await db.query<{ reserved: boolean }>(look, [username, reserved])
  if (row?.reserved) throw usernameTaken()
}
