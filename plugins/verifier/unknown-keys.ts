/** Key ids that the issuer did not have when it was last asked. */
export interface UnknownKeys {
  has: (kid: string) => boolean
  add: (kid: string) => void
}

const rememberedMs = 1_000
const maxRemembered = 10_000
// Latchkey's ids are shorter. Longer ones are not worth the memory.
const maxKidLength = 128

/** Remembers key ids for a second, at most 10,000 of them: the oldest is forgotten first. */
export function createUnknownKeys (): UnknownKeys {
  const endsAt = new Map<string, number>()
  return {
    has: kid => (endsAt.get(kid) ?? 0) > performance.now(),
    add (kid) {
      if (kid.length > maxKidLength) return
      endsAt.delete(kid)
      endsAt.set(kid, performance.now() + rememberedMs)
      const oldest = endsAt.keys().next()
      if (endsAt.size > maxRemembered && !oldest.done) endsAt.delete(oldest.value)
    }
  }
}
