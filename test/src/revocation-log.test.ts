import fc from 'fast-check'
import t from 'tap'
import { follow } from '../../src/tokens/revocation-feed.ts'
import { RevocationLog, type Claims, type Entry } from '../../src/tokens/revocation-log.ts'
import type { RevocationUpdate, Snapshot } from '../../src/tokens/revocation-reader.ts'
import type { Revocation } from '../../src/tokens/revocations.ts'
import { scale } from '../support/soak.ts'

const hour = 3_600_000
const epoch = Date.UTC(2026, 0, 1)

const revocation = (id: string, transactionId: bigint): Revocation =>
  ({ kind: 'session', id, subject: 'somebody', reason: 'logout', tokenVersion: undefined, endedAt: new Date(epoch), expiresAt: new Date(epoch + hour), transactionId })

const removal = (id: string, subject: string, tokenVersion: number, transactionId: bigint): Revocation =>
  ({ ...revocation(id, transactionId), kind: 'user', subject, reason: 'roles_changed', tokenVersion })

/** A token that was issued before this. */
const tokenOf = ({ kind, id, subject, tokenVersion = 1 }: Revocation): Claims => kind === 'user'
  ? { sub: subject, sid: 'another session', jti: 'a token', ...tokenVersion > 1 && { token_version: tokenVersion - 1 } }
  : { sub: subject, sid: id, jti: 'a token' }

/** A database, as far as the log can tell: transactions with numbers, which are committed in any order. */
class Model {
  next = 1n
  history = 'one'
  readonly open = new Set<bigint>()
  readonly committed = new Map<bigint, Revocation>()

  begin () {
    this.open.add(this.next)
    this.next++
  }

  commit (transactionId: bigint) {
    this.open.delete(transactionId)
    const id = `row ${this.history} ${transactionId}`
    const user = `user ${transactionId % 4n}`
    // Of one user they come one after the other: each has the lock of the user's row.
    const versions = [...this.committed.values()].flatMap(({ subject, tokenVersion }) => subject === user && tokenVersion !== undefined ? tokenVersion : [])
    this.committed.set(transactionId, transactionId % 2n === 0n ? revocation(id, transactionId) : removal(id, user, Math.max(0, ...versions) + 1, transactionId))
  }

  /** A standby takes over that had not heard of the last transactions. */
  failOver (lost: bigint) {
    this.history += "'"
    this.next = this.next > lost ? this.next - lost : 1n
    this.open.clear()
    for (const id of this.committed.keys()) if (id >= this.next) this.committed.delete(id)
  }

  readSince (since: Snapshot | undefined): RevocationUpdate {
    const seen = since && JSON.parse(since.visible) as { next: string, open: string[] }
    const wasVisible = (id: bigint) => seen !== undefined && id < BigInt(seen.next) && !seen.open.includes(String(id))
    const oldestRunning = [...this.open].reduce((least, id) => id < least ? id : least, this.next)
    return {
      visible: JSON.stringify({ next: String(this.next), open: [...this.open].map(String) }),
      oldestRunning,
      nextTransaction: this.next,
      history: this.history,
      now: new Date(epoch),
      revocations: [...this.committed.values()].filter(({ transactionId: id }) => id >= (since?.oldestRunning ?? 0n) && !wasVisible(id))
    }
  }
}

/** An instance of the service, and who reads its feed. */
class Instance {
  readonly log = new RevocationLog()
  readonly readers = new Set<Reader>()
  look (model: Model) {
    const entries = this.log.merge(model.readSince(this.log.snapshot)) ?? this.log.merge(model.readSince(undefined)) ?? []
    for (const reader of this.readers) reader.take(entries)
  }
}

class Reader {
  position: string | undefined
  readonly had = new Set<string>()
  take (entries: Entry[]) {
    for (const { revocation: { id }, position } of entries) {
      this.had.add(id)
      this.position = position
    }
  }
}

const step = fc.oneof(
  { weight: 4, arbitrary: fc.constant({ do: 'begin' as const }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('commit' as const), which: fc.nat(9) }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('look' as const), at: fc.nat(1) }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('connect' as const), reader: fc.nat(2), at: fc.nat(1), cut: fc.option(fc.nat(4), { nil: undefined }) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('heartbeat' as const), reader: fc.nat(2) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('fail over' as const), lost: fc.nat(5) }) }
)

t.test('no reader misses an end, whatever the order in which transactions become visible', async t => {
  fc.assert(fc.property(fc.array(step, { maxLength: 60 }), steps => {
    const model = new Model()
    const instances = [new Instance(), new Instance()]
    const readers = [new Reader(), new Reader(), new Reader()]
    const connect = (reader: Reader | undefined, instance: Instance | undefined, cut?: number) => {
      if (!reader || !instance) return
      for (const { readers } of instances) readers.delete(reader)
      // Cut off in the middle of what it lacks, or connected from then on.
      reader.take(instance.log.after(reader.position).slice(0, cut))
      if (cut === undefined) instance.readers.add(reader)
    }
    for (const each of steps) {
      if (each.do === 'begin') model.begin()
      else if (each.do === 'look') instances[each.at]?.look(model)
      else if (each.do === 'connect') connect(readers[each.reader], instances[each.at], each.cut)
      else if (each.do === 'fail over') model.failOver(BigInt(each.lost))
      else if (each.do === 'commit') {
        const id = [...model.open][each.which]
        if (id !== undefined) model.commit(id)
      } else {
        const reader = readers[each.reader]
        const instance = instances.find(({ readers }) => reader && readers.has(reader))
        if (reader && instance) reader.position = instance.log.position
      }
    }
    for (const id of [...model.open]) model.commit(id)
    readers.forEach((reader, index) => connect(reader, instances[index % 2]))
    for (const instance of instances) instance.look(model)
    for (const reader of readers) for (const { id } of model.committed.values()) if (!reader.had.has(id)) return false
    return instances.every(({ log }) => [...model.committed.values()].every(each => log.has(tokenOf(each))))
  }), { numRuns: scale(3_000, 600) })
  t.pass('in every history that was tried')
})

t.test('what expired is forgotten, and what ended stays ended through a change of history', async t => {
  const log = new RevocationLog()
  const model = new Model()
  const ended = { sub: 'somebody', sid: 'row one 2', jti: 'x' }
  const revoked = { sub: 'user 1', sid: 'y', jti: 'z' }
  for (const id of [1n, 2n]) {
    model.begin()
    model.commit(id)
  }
  log.merge(model.readSince(undefined))
  t.ok(log.has(ended) && log.has(revoked))
  model.failOver(5n)
  t.equal(log.merge(model.readSince(log.snapshot)), undefined)
  log.merge(model.readSince(undefined))
  t.ok(log.has(ended) && log.has(revoked), 'a token that was refused is not accepted later')
  t.match(log.after(undefined), [{ revocation: { id: 'row one 1' } }, { revocation: { id: 'row one 2' } }])
  log.merge({ ...model.readSince(log.snapshot), now: new Date(epoch + hour + 59_000) })
  t.ok(log.has(ended) && log.has(revoked))
  log.merge({ ...model.readSince(log.snapshot), now: new Date(epoch + hour + 90_000) })
  t.equal(log.size, 0)
})

t.test('of a user\'s tokens those that were issued before are refused, and no others', async t => {
  const log = new RevocationLog()
  const token = (version: number, others: Partial<Claims> = {}) => log.has({ sub: 'ada', sid: 'a session', jti: 'x', ...version > 0 && { token_version: version }, ...others })
  t.strictSame([0, 1].map(version => token(version)), [false, false])
  const [first, second] = [removal('one', 'ada', 1, 1n), { ...removal('two', 'ada', 2, 2n), expiresAt: new Date(epoch + hour / 2) }]
  t.equal(log.add([second]).length, 1)
  t.strictSame([0, 1, 2, 3].map(version => token(version)), [true, true, false, false])
  t.equal(log.add([first, second]).length, 1, 'what is known is not told again')
  t.strictSame([0, 1, 2].map(version => token(version)), [true, true, false], 'in whatever order they are heard of')
  t.strictSame([token(0, { sub: 'bob' }), log.has({ sub: 'ada', jti: 'a client of this id' })], [false, false])
  const snapshot = { visible: '', oldestRunning: 3n, nextTransaction: 3n, history: '', revocations: [] }
  log.merge({ ...snapshot, now: new Date(epoch + hour * 0.9) })
  t.strictSame([0, 1, 2].map(version => token(version)), [true, true, false], 'until the last of them has expired')
  t.match(log.after(undefined), [{ revocation: { id: 'one' } }])
  log.merge({ ...snapshot, now: new Date(epoch + hour + 90_000) })
  t.equal(log.size, 0)
})

t.test('a reader is given all that it lacks, however much, and dropped when news of that size waits for it', async t => {
  const many = Array.from({ length: 200_001 }, (_, index): Entry => ({ revocation: revocation(`session ${index}`, 1n), position: 'x' }))
  let tell: (entries: Entry[]) => void = () => {}
  let stalled = 0
  const { events, stop } = follow((_position, reader) => {
    reader(many)
    tell = reader
    return { position: () => 'x', stop: () => {} }
  }, undefined, () => { stalled++ })
  t.equal(stalled, 0)
  let ended = 0
  for await (const text of events) {
    ended += text.split('event: session.ended').length - 1
    if (text.includes(': synced')) break
  }
  t.equal(ended, 200_001, 'before it is told that this is all')
  tell(many.slice(0, 150_000))
  t.equal(stalled, 0)
  tell(many.slice(0, 150_000))
  t.equal(stalled, 1)
  stop()
})
