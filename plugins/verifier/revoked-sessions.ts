/** The claims of a token by which it can be revoked. */
export interface Token {
  readonly sub: string
  readonly sid: string | undefined
  readonly jti: string
  readonly token_version: number | undefined
}

/** Ended sessions and revoked tokens, each kept until the last token of it has expired. */
export interface Ended {
  /** Whether the token is revoked: by itself, with its session, or with all tokens of its user. */
  has: (token: Token) => boolean
  /**
   * Adds an event of the feed. Returns false if the event is malformed. Events of unknown types are ignored.
   */
  take: (event: string | undefined, data: string) => boolean
  /** Removes entries whose last token has expired. */
  sweep: () => void
}

const idsOf: Record<string, string> = { 'session.ended': 'sid', 'token.revoked': 'jti' }

/** Makes an empty set. `tolerance` is how many seconds after `exp` a token is still accepted. */
export function remember (tolerance: number): Ended {
  const forgetAt = new Map<string, number>()
  // By user: tokens of a lower version are revoked.
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
