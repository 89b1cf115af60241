import type { RevocableClaims } from '../../plugins/verifier/claims.ts'
import { isRevoked } from '../../plugins/verifier/token-rules.ts'
import { digest } from '../crypto/sealing.ts'
import type { RevocationUpdate, Snapshot } from './revocation-reader.ts'
import type { Revocation } from './revocations.ts'

/** A new revocation, and the position of a reader that has it and everything before it. */
export interface RevocationEntry { revocation: Revocation, position: string }

// An older position may belong to another history of the database.
const maxPositionAgeMs = 300_000
const purgeIntervalMs = 10_000
// More than the clock tolerance for `exp`.
const expiryMarginMs = 60_000
// Every reader gets a revocation with this transaction id, because ids of another history mean nothing here.
const afterEveryPosition = 2n ** 64n

/**
 * The current revocations, in memory. Every check of a token looks them up, and the readers of the revocation
 * feed get them.
 *
 * Transactions become visible out of order, so a position is not the number of a row. It names the oldest
 * transaction that was still running at some snapshot: every older one was visible then. Each read returns
 * what was not visible in the snapshot of the previous read. So no revocation is missed, and none waits for a
 * long transaction.
 */
export class RevocationLog {
  readonly #byId = new Map<string, Revocation>()
  // By user. Tokens with a lower version were revoked.
  readonly #byUser = new Map<string, { minVersion: number, expiresAt: number }>()
  #snapshot: Snapshot | undefined
  #history = ''
  #purgedAt = 0

  /** The snapshot after which to read. Undefined means that everything must be read. */
  get snapshot (): Snapshot | undefined { return this.#snapshot }

  /**
   * Whether the token of these claims was revoked: by itself, with its session, or with all tokens of its
   * user.
   */
  isRevoked (claims: RevocableClaims): boolean { return isRevoked(claims, this) }

  hasId (id: string): boolean { return this.#byId.has(id) }

  minTokenVersion (sub: string): number { return this.#byUser.get(sub)?.minVersion ?? 0 }

  get size (): number { return this.#byId.size + this.#byUser.size }

  /** Adds what this process revoked itself, before a read shows it. Returns the new entries. */
  add (revocations: readonly Revocation[]): RevocationEntry[] {
    return this.#toEntries(this.#store(revocations), this.#oldestRunning, this.#oldestRunning)
  }

  /**
   * Adds what a read returned, and returns the new entries. Returns undefined if the database now has another
   * history, so that everything must be read again. Known revocations stay.
   */
  merge ({ revocations, ...snapshot }: RevocationUpdate): RevocationEntry[] | undefined {
    const before = this.#snapshot
    const isOtherHistory = before !== undefined &&
      (before.history !== snapshot.history || snapshot.nextTransaction < before.nextTransaction)
    if (isOtherHistory) {
      this.#snapshot = undefined
      for (const revocation of this.#byId.values()) revocation.transactionId = afterEveryPosition
      return undefined
    }
    const added = this.#store(revocations)
    const from = this.#oldestRunning
    this.#snapshot = snapshot
    this.#history = digest(snapshot.history).subarray(0, 4).toString('hex')
    this.#purge(snapshot.now.getTime())
    return this.#toEntries(added, from, this.#oldestRunning)
  }

  /** The position of a reader that has every entry so far. */
  get position (): string { return this.#formatPosition(this.#oldestRunning) }

  /**
   * Returns the entries that a reader at this position may lack: all entries if the position is absent,
   * unknown or too old.
   */
  after (position: string | undefined): RevocationEntry[] {
    const from = this.#parsePosition(position)
    const missing = [...this.#byId.values()].filter(({ transactionId }) => transactionId >= from)
    return this.#toEntries(missing, from, from > this.#oldestRunning ? from : this.#oldestRunning)
  }

  /** The oldest transaction that was still running at the last snapshot. */
  get #oldestRunning (): bigint { return this.#snapshot?.oldestRunning ?? 0n }

  get #now (): number { return this.#snapshot?.now.getTime() ?? 0 }

  #store (revocations: readonly Revocation[]): Revocation[] {
    const added = revocations.filter(({ id }) => !this.#byId.has(id))
    for (const revocation of added) {
      const { id, kind, subject, tokenVersion = 0, expiresAt } = revocation
      this.#byId.set(id, { ...revocation })
      if (kind !== 'user') continue
      const known = this.#byUser.get(subject)
      this.#byUser.set(subject, {
        minVersion: Math.max(tokenVersion, known?.minVersion ?? 0),
        expiresAt: Math.max(expiresAt.getTime(), known?.expiresAt ?? 0)
      })
    }
    return added
  }

  #purge (now: number): void {
    if (Math.abs(now - this.#purgedAt) < purgeIntervalMs) return
    this.#purgedAt = now
    const keptFrom = now - expiryMarginMs
    for (const [id, { expiresAt }] of this.#byId) if (expiresAt.getTime() < keptFrom) this.#byId.delete(id)
    for (const [user, { expiresAt }] of this.#byUser) if (expiresAt < keptFrom) this.#byUser.delete(user)
  }

  // Only the last entry moves the position. A reader that loses its connection before that gets all of them
  // again.
  #toEntries (revocations: Revocation[], from: bigint, to: bigint): RevocationEntry[] {
    const [before, after] = [this.#formatPosition(from), this.#formatPosition(to)]
    return revocations.map((revocation, index) =>
      ({ revocation, position: index === revocations.length - 1 ? after : before }))
  }

  #formatPosition (transactionId: bigint): string {
    return `${this.#history}.${transactionId.toString(36)}.${this.#now.toString(36)}`
  }

  #parsePosition (position: string | undefined): bigint {
    const [, history, transaction = '', time = ''] = positionSyntax.exec(position ?? '') ?? []
    const from = [...transaction].reduce((sum, digit) => sum * 36n + BigInt(parseInt(digit, 36)), 0n)
    const ageMs = Math.abs(this.#now - parseInt(time, 36))
    const isOfThisHistory = history === this.#history && from <= (this.#snapshot?.nextTransaction ?? 0n)
    return isOfThisHistory && ageMs < maxPositionAgeMs ? from : 0n
  }
}

const positionSyntax = /^([0-9a-f]{8})\.([0-9a-z]{1,13})\.([0-9a-z]{1,10})$/
