import type { User } from '../users/users.ts'

/** What a client learns about a user (OpenID Connect Core section 5.1). */
export interface UserInfo {
  sub: string
  name?: string
  preferred_username?: string
  updated_at?: number
  email?: string
  email_verified?: boolean
}

/**
 * Returns the claims that the scopes of a token stand for (OpenID Connect Core section 5.4), for userinfo and
 * for ID tokens. A claim without a value is left out.
 */
export function toUserInfo (user: User, scopes: readonly string[]): UserInfo {
  const { id, name, username, email, email_verified: emailVerified, updated_at: updatedAt } = user
  return {
    sub: id,
    ...scopes.includes('profile') && {
      ...name !== null && { name },
      ...username !== null && { preferred_username: username },
      updated_at: Math.floor(updatedAt.getTime() / 1_000)
    },
    ...scopes.includes('email') && { email, email_verified: emailVerified }
  }
}
