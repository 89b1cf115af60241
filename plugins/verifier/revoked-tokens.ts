import type { RevocableClaims } from './claims.ts'
import { isRevoked } from './token-rules.ts'

/** Revoked sessions and tokens, each kept for as long as an access token of it could be alive. */
export interface RevokedTokenCache {
  /** Whether the token was revoked: by itself, with its session, or with all tokens of its user. */
  isRevoked: (token: RevocableClaims) => boolean
  /**
   * Adds what an event of the revocation feed reports. Returns false if the event lacks a member that it must
   * have. Events of other names are ignored.
   */
  add: (event: string | undefined, data: string) => boolean
  /** Drops the entries whose last token has expired. */
  purge: () => void
}

// The member by which each event names the revoked tokens.
const idMembers: ReadonlyMap<string, string> = new Map([['session.ended', 'sid'], ['token.revoked', 'jti']])

/** A token is accepted for `clockToleranceSeconds` after it expired, so entries are kept for as long. */
export function createRevokedTokenCache (clockToleranceSeconds: number): RevokedTokenCache {
  // When an entry can be dropped, in milliseconds since the epoch, by `sid` or `jti`.
  const ids = new Map<string, number>()
  // By user: tokens with a lower version were revoked.
  const users = new Map<string, { minVersion: number, dropAt: number }>()
  const revokedTokens = {
    hasId: (id: string) => ids.has(id),
    minTokenVersion: (sub: string) => users.get(sub)?.minVersion ?? 0
  }

  function addUser (sub: unknown, minVersion: unknown, dropAt: number): boolean {
    if (typeof sub !== 'string' || typeof minVersion !== 'number') return false
    const known = users.get(sub)
    users.set(sub, {
      minVersion: Math.max(minVersion, known?.minVersion ?? 0),
      dropAt: Math.max(dropAt, known?.dropAt ?? 0)
    })
    return true
  }

  return {
    isRevoked: token => isRevoked(token, revokedTokens),
    add (event = '', data) {
      const idMember = idMembers.get(event)
      if (idMember === undefined && event !== 'user.tokens_revoked') return true
      const members = parse(data)
      const dropAt = Date.parse(String(members['expires_at'])) + clockToleranceSeconds * 1_000
      if (Number.isNaN(dropAt)) return false
      if (idMember === undefined) return addUser(members['sub'], members['token_version'], dropAt)
      const id = members[idMember]
      if (typeof id !== 'string') return false
      ids.set(id, Math.max(dropAt, ids.get(id) ?? 0))
      return true
    },
    purge () {
      const now = Date.now()
      for (const [id, dropAt] of ids) if (dropAt <= now) ids.delete(id)
      for (const [sub, { dropAt }] of users) if (dropAt <= now) users.delete(sub)
    }
  }
}

function parse (data: string): Record<string, unknown> {
  try {
    return Object(JSON.parse(data))
  } catch {
    return {}
  }
}
