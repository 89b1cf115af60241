/** The configuration that decides how a token is judged, in seconds. */
export interface RotationRule { grace: number, window: number }

/** A token of the model. Two variables hold the same token if they hold the same object. */
export interface ModelToken { generation: number, issuedAt: number }

/** A token family as its row in the database has it, with times on the clock of the test. */
export interface ModelFamily {
  generation: number
  current: ModelToken | undefined
  confirmations: number[]
  endReason: 'replayed' | 'logout' | null
}

/** The family of a session that was signed in at time 0. */
export const newFamily: ModelFamily = {
  generation: 0, current: undefined, confirmations: [0], endReason: null
}

export const sessionLife = 10 * 86_400
export const tokenLife = 7 * 86_400
const maxConfirmations = 32

interface TokenPresentation {
  rule: RotationRule
  /** When the family's row is evaluated. */
  now: number
  /** When the token was presented, which is earlier if the request waited for others. */
  presentedAt?: number
}

interface Judgement { isExchanged: boolean, family: ModelFamily }

/** The truth table of the rotation: whether a token is exchanged, and the family afterwards. */
export function present (
  family: ModelFamily, token: ModelToken, { rule, now, presentedAt = now }: TokenPresentation
): Judgement {
  const { generation, issuedAt } = token
  const unchanged = { isExchanged: false, family }
  if (family.endReason) return unchanged
  const isExpired = now >= sessionLife || now >= issuedAt + tokenLife
  const skipped = generation - family.generation
  if (skipped > 0) {
    if (isExpired) return unchanged
    const kept = family.confirmations.filter(time => time > now - rule.grace)
    const confirmations = [...Array<number>(skipped).fill(now), ...kept].slice(0, maxConfirmations)
    return { isExchanged: true, family: { generation, current: token, confirmations, endReason: null } }
  }
  const [latest = 0] = family.confirmations
  if (token === family.current && now < latest + rule.window) return { isExchanged: !isExpired, family }
  const supersededAt = family.confirmations[Math.max(-skipped, 1) - 1] ?? -Infinity
  if (supersededAt > presentedAt - rule.grace) return unchanged
  return { isExchanged: false, family: { ...family, endReason: 'replayed' } }
}

/** Keeps the exact time at which every issued token was superseded. */
export class ExactSupersessions {
  readonly #supersededAt = new Map<ModelToken, number>()
  readonly #issued = new Set<ModelToken>()
  readonly #used = new Set<ModelToken>()

  issue (token: ModelToken) { this.#issued.add(token) }

  /** The use of a token supersedes every other token of its generation, and of earlier ones. */
  use (token: ModelToken, now: number) {
    if (this.#used.has(token)) return
    this.#used.add(token)
    for (const other of this.#issued) {
      if (other === token || other.generation > token.generation || this.#supersededAt.has(other)) continue
      this.#supersededAt.set(other, now)
    }
  }

  wasUsed (token: ModelToken) { return this.#used.has(token) }

  /** Undefined if the token is not superseded. */
  supersededAt (token: ModelToken) { return this.#supersededAt.get(token) }
}
