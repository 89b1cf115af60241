/** The ids of ended sessions and revoked tokens, kept for as long as a token of theirs could live. */
export interface Ended {
  has: (id: string) => boolean
  /** Takes in what an event of the feed tells; false where it does not tell what it must. Events of other names are none of ours. */
  take: (event: string | undefined, data: string) => boolean
  /** Forgets those whose last token has expired. */
  sweep: () => void
}

const idsOf: Record<string, string> = { 'session.ended': 'sid', 'token.revoked': 'jti' }

/** `tolerance` is the seconds that a token is accepted after it expired. */
export function remember (tolerance: number): Ended {
  const forgetAt = new Map<string, number>()
  return {
    has: id => forgetAt.has(id),
    take (event = '', data) {
      const member = Object.hasOwn(idsOf, event) ? idsOf[event] : undefined
      if (member === undefined) return true
      const told = parse(data)
      const [id, expiresAt] = [told[member], Date.parse(String(told['expires_at']))]
      if (typeof id !== 'string' || Number.isNaN(expiresAt)) return false
      forgetAt.set(id, Math.max(expiresAt + tolerance * 1_000, forgetAt.get(id) ?? 0))
      return true
    },
    sweep () {
      const now = Date.now()
      for (const [id, time] of forgetAt) if (time <= now) forgetAt.delete(id)
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
