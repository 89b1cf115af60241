import type { Look, Revocation } from './revocations.ts'

/** Something new in the log, and the position of a reader that has it and all before it. */
export interface Entry { revocation: Revocation, position: string }

// Milliseconds: a position that is older is not trusted to be of the same history of the database.
const staleAfter = 300_000

/**
 * The revocations that matter, in memory: what is looked up by every check of a token, and what readers of the feed
 * are given.
 *
 * Transactions become visible out of order, so a position is no number of a row. It names the transaction that was
 * the oldest still running at some look: whatever is older was seen by then. A look asks for everything from there
 * on, and what it has seen before is left out. So nothing is missed, and nothing waits for a transaction that takes
 * long.
 */
export class RevocationLog {
  readonly #byId = new Map<string, Revocation>()
  #settled = 0n
  #next = 0n
  #now = 0

  /** From which transaction on to look. */
  get settled (): bigint { return this.#settled }

  /** Whether this session or token has ended. */
  has (id: string): boolean { return this.#byId.has(id) }

  get size (): number { return this.#byId.size }

  /** Takes in what this process ended itself, before a look shows it. Gives what is new. */
  add (revocations: Revocation[]): Entry[] {
    const fresh = revocations.filter(({ id }) => !this.#byId.has(id))
    for (const revocation of fresh) this.#byId.set(revocation.id, revocation)
    return this.#entries(fresh, this.#settled, this.#settled)
  }

  /** Takes in a look. Gives what is new. */
  merge ({ revocations, settled, next, now }: Look): Entry[] {
    const before = this.#settled
    const fresh = this.add(revocations)
    if (settled > before) this.#settled = settled
    this.#next = next
    this.#now = now.getTime()
    return this.#entries(fresh.map(({ revocation }) => revocation), before, this.#settled)
  }

  /** The position of a reader that has everything given out so far. */
  get position (): string { return this.#write(this.#settled) }

  /** What a reader at this position may lack; everything, where the position is none, or too old to be known. */
  after (position: string | undefined): Entry[] {
    const from = this.#read(position)
    const lacking = [...this.#byId.values()].filter(({ transactionId }) => transactionId >= from)
    return this.#entries(lacking, from, from > this.#settled ? from : this.#settled)
  }

  /** Drops what expired before this time (of the database, in milliseconds). */
  forget (before: number): void {
    for (const [id, { expiresAt }] of this.#byId) if (expiresAt.getTime() < before) this.#byId.delete(id)
  }

  // A reader that is cut off in the middle has the position from before.
  #entries (revocations: Revocation[], before: bigint, after: bigint): Entry[] {
    return revocations.map((revocation, index) => ({ revocation, position: this.#write(index === revocations.length - 1 ? after : before) }))
  }

  #write (transactionId: bigint): string { return `${transactionId.toString(36)}.${this.#now.toString(36)}` }

  #read (position: string | undefined): bigint {
    const [, transaction = '', time = ''] = /^([0-9a-z]{1,13})\.([0-9a-z]{1,10})$/.exec(position ?? '') ?? []
    const from = [...transaction].reduce((sum, digit) => sum * 36n + BigInt(parseInt(digit, 36)), 0n)
    const age = this.#now - parseInt(time, 36)
    return from <= this.#next && Math.abs(age) < staleAfter ? from : 0n
  }
}
