import type { UserClaims } from '../../plugins/verifier/claims.ts'
import type { Queryable, Statement } from '../database/database.ts'
import {
  accountColumns, identifiedByEmail, type Account, type IdentifiedAccount
} from '../users/credential.ts'
import { columns, type User } from '../users/users.ts'

const userQuery: Statement = {
  name: 'sessions.find-user',
  text: `
    select ${columns}
    from sessions join users on users.id = sessions.user_id
    where sessions.id = $1
      and sessions.ended_at is null and sessions.expires_at > now() and users.disabled_at is null`
}

/** The user of a session; undefined if the session has ended or expired, or if the user is disabled. */
export async function findUser (db: Queryable, sessionId: string): Promise<User | undefined> {
  const [user] = await db.query<User>(userQuery, [sessionId])
  return user
}

const accountQuery: Statement = {
  name: 'sessions.find-account',
  text: `
    select sessions.authenticated_at, ${accountColumns}
    from sessions join users on users.id = sessions.user_id
    where sessions.id = $1
      and sessions.ended_at is null and sessions.expires_at > now() and users.disabled_at is null`
}

/** The account of a session, and when its user was authenticated. */
export interface SessionOwner extends IdentifiedAccount { account: Account, authenticatedAt: Date }

/**
 * The account of a session's user, to verify its password; undefined in the cases of `findUser`. A token from
 * before the session was authenticated again proves only the earlier time.
 */
export async function findAccount (
  db: Queryable, { sid: sessionId, auth_time: tokenSeconds = 0 }: Pick<UserClaims, 'sid' | 'auth_time'>
): Promise<SessionOwner | undefined> {
  const [row] = await db.query<Account & { authenticated_at: Date }>(accountQuery, [sessionId])
  if (!row) return undefined
  const { authenticated_at: sessionTime, ...account } = row
  const authenticatedAt = new Date(Math.min(sessionTime.getTime(), tokenSeconds * 1_000))
  return { ...identifiedByEmail(account), account, authenticatedAt }
}
