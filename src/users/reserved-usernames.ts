import type { Queryable } from '../database/database.ts'
import { usernameTaken } from './problems.ts'
import { parseUsername } from './users.ts'

// Names that seem to speak for the service, and mailbox names of RFC 2142.
const words = [
  'admin', 'administrator', 'root', 'superuser', 'sysadmin', 'system', 'moderator', 'official', 'service',
  'staff', 'team', 'support', 'help', 'helpdesk', 'billing', 'security', 'abuse', 'noreply', 'mailerdaemon',
  'postmaster', 'hostmaster', 'webmaster'
]

/**
 * Returns the usernames that are reserved: the words above, the name of the service, and the name followed or
 * preceded by one of the words.
 */
export function reservedUsernames (serviceName: string): string[] {
  const name = serviceName.toLowerCase().replaceAll(/[^a-z0-9]/g, '')
  if (name === '') return words
  return [...words, name, ...words.flatMap(word => [`${name}${word}`, `${word}${name}`])]
}

const selectReserved = {
  name: 'users.is-reserved',
  text: `
    select username_skeleton($1) in (
      select username_skeleton(word) from unnest($2::text[]) as word
    ) as reserved`
}

/** Throws `username_taken` if the username is reserved, or looks like a reserved one. */
export async function assertUsernameAvailable (
  db: Queryable, text: string, reserved: readonly string[]
): Promise<void> {
  const username = parseUsername(text)
  if (username === undefined) return
  const [row] = await db.query<{ reserved: boolean }>(selectReserved, [username, reserved])
  if (row?.reserved) throw usernameTaken()
}
