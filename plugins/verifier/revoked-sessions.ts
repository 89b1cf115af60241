/** What is known of a token by which it can have ended. */
export interface Token {
  readonly sub: string
  readonly sid: string | undefined
  readonly jti: string
  readonly token_version: number | undefined
}

/** Ended sessions and revoked tokens, kept for as long as a token of theirs could live. */
export interface Ended {
  /** Whether the token has ended: by itself, with its session, or with all of its user's. */
  has: (token: Token) => boolean
  /** Takes in what an event of the feed tells; false where it does not tell what it must. Events of other names are none of ours. */
  take: (event: string | undefined, data: string) => boolean
  /** Forgets those whose last token has expired. */
  sweep: () => void
}

const idsOf: Record<string, string> = { 'session.ended': 'sid', 'token.revoked': 'jti' }

/** `tolerance` is the seconds that a token is accepted after it expired. */
export function remember (tolerance: number): Ended {
  const forgetAt = new Map<string, number>()
  // By user: those of a lower version were revoked.
  const versions = new Map<string, { least: number, forgetAt: number }>()

  function takeVersion (user: unknown, least: unknown, time: number): boolean {
    if (typeof user !== 'string' || typeof least !== 'number') return false
    const known = versions.get(user)
    versions.set(user, { least: Math.max(least, known?.least ?? 0), forgetAt: Math.max(time, known?.forgetAt ?? 0) })
    return true
  }

  return {
    has: ({ sub, sid, jti, token_version: version = 0 }) =>
      (sid !== undefined && (forgetAt.has(sid) || version < (versions.get(sub)?.least ?? 0))) || forgetAt.has(jti),
    take (event = '', data) {
      const member = Object.hasOwn(idsOf, event) ? idsOf[event] : undefined
      if (member === undefined && event !== 'user.tokens_revoked') return true
      const told = parse(data)
      const time = Date.parse(String(told['expires_at'])) + tolerance * 1_000
      if (Number.isNaN(time)) return false
      if (member === undefined) return takeVersion(told['sub'], told['token_version'], time)
      const id = told[member]
      if (typeof id !== 'string') return false
      forgetAt.set(id, Math.max(time, forgetAt.get(id) ?? 0))
      return true
    },
    sweep () {
      const now = Date.now()
      for (const [id, time] of forgetAt) if (time <= now) forgetAt.delete(id)
      for (const [user, { forgetAt: time }] of versions) if (time <= now) versions.delete(user)
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
