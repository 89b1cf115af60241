import type { RevocationUpdate, Snapshot } from './revocation-reader.ts'
import type { Revocation } from './revocations.ts'
import { digest } from '../crypto/sealing.ts'

/** The claims of an access token by which it is known to have ended. */
export interface Claims { sub: string, sid?: string, jti: string, token_version?: number }

/** Something new in the log, and the position of a reader that has it and all before it. */
export interface Entry { revocation: Revocation, position: string }

// Milliseconds: a position that is older is not trusted to be of the same history of the database.
const staleAfter = 300_000
// Milliseconds: what expired is dropped so often.
const sweepEvery = 10_000
// Milliseconds: the tolerance with which `exp` is judged, and more.
const margin = 60_000
// For what every reader is given, wherever it is: the numbers of another history say nothing.
const always = 2n ** 64n

/**
 * The revocations that matter, in memory: what is looked up by every check of a token, and what readers of the feed
 * are given.
 *
 * Transactions become visible out of order, so a position is no number of a row. It names the transaction that was
 * the oldest still running at some look: whatever is older was seen by then. A look asks for what was not visible at
 * the one before. So nothing is missed, and nothing waits for a transaction that takes long.
 */
export class RevocationLog {
  readonly #byId = new Map<string, Revocation>()
  // By user: what is below the version was revoked.
  readonly #byUser = new Map<string, { version: number, expiresAt: number }>()
  #snapshot: Snapshot | undefined
  #history = ''
  #sweptAt = 0

  /** The snapshot to read on from; undefined if all is to be read. */
  get snapshot (): Snapshot | undefined { return this.#snapshot }

  /** Whether the token of these claims has ended: by itself, with its session, or with all of its user's. */
  has ({ sub, sid, jti, token_version: version = 0 }: Claims): boolean {
    return this.#byId.has(sid ?? jti) || (sid !== undefined && version < (this.#byUser.get(sub)?.version ?? 0))
  }

  get size (): number { return this.#byId.size + this.#byUser.size }

  /** Takes in what this process ended itself, before a look shows it. Gives what is new. */
  add (revocations: Revocation[]): Entry[] {
    return this.#entries(this.#keep(revocations), this.#settled, this.#settled)
  }

  /**
   * Takes in a look. Gives what is new; undefined where it shows that the database has another history now, and all
   * is to be read. What had ended by then stays so.
   */
  merge ({ revocations, ...snapshot }: RevocationUpdate): Entry[] | undefined {
    const before = this.#snapshot
    if (before && (before.history !== snapshot.history || snapshot.nextTransaction < before.nextTransaction)) {
      this.#snapshot = undefined
      for (const revocation of this.#byId.values()) revocation.transactionId = always
      return undefined
    }
    const fresh = this.#keep(revocations)
    const settled = this.#settled
    this.#snapshot = snapshot
    this.#history = digest(snapshot.history).subarray(0, 4).toString('hex')
    this.#sweep(snapshot.now.getTime())
    return this.#entries(fresh, settled, this.#settled)
  }

  /** The position of a reader that has everything given out so far. */
  get position (): string { return this.#write(this.#settled) }

  /** What a reader at this position may lack; everything, where the position is none, or too old to be known. */
  after (position: string | undefined): Entry[] {
    const from = this.#read(position)
    const lacking = [...this.#byId.values()].filter(({ transactionId }) => transactionId >= from)
    return this.#entries(lacking, from, from > this.#settled ? from : this.#settled)
  }

  get #settled (): bigint { return this.#snapshot?.oldestRunning ?? 0n }

  get #now (): number { return this.#snapshot?.now.getTime() ?? 0 }

  #keep (revocations: Revocation[]): Revocation[] {
    const fresh = revocations.filter(({ id }) => !this.#byId.has(id))
    for (const revocation of fresh) {
      const { id, kind, subject, tokenVersion = 0, expiresAt } = revocation
      this.#byId.set(id, { ...revocation })
      if (kind !== 'user') continue
      const known = this.#byUser.get(subject)
      this.#byUser.set(subject, { version: Math.max(tokenVersion, known?.version ?? 0), expiresAt: Math.max(expiresAt.getTime(), known?.expiresAt ?? 0) })
    }
    return fresh
  }

  #sweep (now: number): void {
    if (Math.abs(now - this.#sweptAt) < sweepEvery) return
    this.#sweptAt = now
    for (const [id, { expiresAt }] of this.#byId) if (expiresAt.getTime() < now - margin) this.#byId.delete(id)
    for (const [user, { expiresAt }] of this.#byUser) if (expiresAt < now - margin) this.#byUser.delete(user)
  }

  // A reader that is cut off in the middle has the position from before.
  #entries (revocations: Revocation[], before: bigint, after: bigint): Entry[] {
    const [old, current] = [this.#write(before), this.#write(after)]
    return revocations.map((revocation, index) => ({ revocation, position: index === revocations.length - 1 ? current : old }))
  }

  #write (transactionId: bigint): string { return `${this.#history}.${transactionId.toString(36)}.${this.#now.toString(36)}` }

  #read (position: string | undefined): bigint {
    const [, history, transaction = '', time = ''] = /^([0-9a-f]{8})\.([0-9a-z]{1,13})\.([0-9a-z]{1,10})$/.exec(position ?? '') ?? []
    const from = [...transaction].reduce((sum, digit) => sum * 36n + BigInt(parseInt(digit, 36)), 0n)
    const isKnown = history === this.#history && from <= (this.#snapshot?.nextTransaction ?? 0n) && Math.abs(this.#now - parseInt(time, 36)) < staleAfter
    return isKnown ? from : 0n
  }
}
