import fc from 'fast-check'
import type { RevocableClaims } from '../../plugins/verifier/claims.ts'
import { createRevocationStream } from '../../src/tokens/revocation-feed.ts'
import { RevocationLog, type RevocationEntry } from '../../src/tokens/revocation-log.ts'
import type { RevocationUpdate, Snapshot } from '../../src/tokens/revocation-reader.ts'
import type { Revocation } from '../../src/tokens/revocations.ts'
import { t } from '../support/test.ts'

const hourMs = 3_600_000
const epoch = Date.UTC(2026, 0, 1)

const sessionRevocation = (id: string, transactionId: bigint): Revocation => ({
  kind: 'session',
  id,
  subject: 'ada',
  reason: 'logout',
  tokenVersion: undefined,
  endedAt: new Date(epoch),
  expiresAt: new Date(epoch + hourMs),
  transactionId
})

const userRevocation = (
  id: string,
  transactionId: bigint,
  subject: string,
  tokenVersion: number
): Revocation => ({
  ...sessionRevocation(id, transactionId),
  kind: 'user',
  subject,
  reason: 'roles_changed',
  tokenVersion
})

/** The claims of a token that the revocation is about. */
function revokedClaims ({ kind, id, subject, tokenVersion = 1 }: Revocation): RevocableClaims {
  if (kind === 'session') return { sub: subject, sid: id, jti: 'a token' }
  const claims = { sub: subject, sid: 'another session', jti: 'a token' }
  return tokenVersion > 1 ? { ...claims, token_version: tokenVersion - 1 } : claims
}

/** A database as the log sees it: transactions with numbers that commit in any order. */
class DatabaseModel {
  next = 1n
  history = 'one'
  readonly running = new Set<bigint>()
  readonly committed = new Map<bigint, Revocation>()

  begin () {
    this.running.add(this.next)
    this.next++
  }

  commit (transactionId: bigint) {
    this.running.delete(transactionId)
    const id = `row ${this.history} ${transactionId}`
    if (transactionId % 2n === 0n) {
      this.committed.set(transactionId, sessionRevocation(id, transactionId))
      return
    }
    const user = `user ${transactionId % 4n}`
    // Revocations of one user commit one after the other, because each locks the row of the user.
    const versions = [...this.committed.values()].flatMap(({ subject, tokenVersion = 0 }) =>
      subject === user ? tokenVersion : []
    )
    const version = Math.max(0, ...versions) + 1
    this.committed.set(transactionId, userRevocation(id, transactionId, user, version))
  }

  /** A standby takes over that lacks the last transactions. */
  failOver (lost: bigint) {
    this.history += "'"
    this.next = this.next > lost ? this.next - lost : 1n
    this.running.clear()
    for (const id of this.committed.keys()) if (id >= this.next) this.committed.delete(id)
  }

  readSince (after: Snapshot | undefined): RevocationUpdate {
    const earlier = after && (JSON.parse(after.visible) as { next: string, running: string[] })
    const wasVisible = (id: bigint) =>
      earlier !== undefined && id < BigInt(earlier.next) && !earlier.running.includes(String(id))
    const oldestRunning = [...this.running].reduce((oldest, id) => (id < oldest ? id : oldest), this.next)
    return {
      visible: JSON.stringify({ next: String(this.next), running: [...this.running].map(String) }),
      oldestRunning,
      nextTransaction: this.next,
      history: this.history,
      now: new Date(epoch),
      revocations: [...this.committed.values()].filter(
        ({ transactionId: id }) => id >= (after?.oldestRunning ?? 0n) && !wasVisible(id)
      )
    }
  }
}

/** An instance of the service, and the readers of its feed. */
class Instance {
  readonly log = new RevocationLog()
  readonly readers = new Set<SimulatedReader>()
  read (database: DatabaseModel) {
    const entries =
      this.log.merge(database.readSince(this.log.snapshot)) ??
      this.log.merge(database.readSince(undefined)) ??
      []
    for (const reader of this.readers) reader.receive(entries)
  }
}

class SimulatedReader {
  position: string | undefined
  readonly received = new Set<string>()
  receive (entries: RevocationEntry[]) {
    for (const {
      revocation: { id },
      position
    } of entries) {
      this.received.add(id)
      this.position = position
    }
  }
}

const reader = fc.nat(2)
const instance = fc.nat(1)
const steps = {
  begin: fc.constant({ do: 'begin' as const }),
  commit: fc.record({ do: fc.constant('commit' as const), which: fc.nat(9) }),
  read: fc.record({ do: fc.constant('read' as const), instance }),
  connect: fc.record({
    do: fc.constant('connect' as const),
    reader,
    instance,
    brokenAfter: fc.option(fc.nat(4), { nil: undefined })
  }),
  heartbeat: fc.record({ do: fc.constant('heartbeat' as const), reader }),
  failOver: fc.record({ do: fc.constant('fail over' as const), lost: fc.nat(5) })
}
const step = fc.oneof(
  { weight: 4, arbitrary: steps.begin },
  { weight: 4, arbitrary: steps.commit },
  { weight: 4, arbitrary: steps.read },
  { weight: 3, arbitrary: steps.connect },
  { weight: 2, arbitrary: steps.heartbeat },
  { weight: 1, arbitrary: steps.failOver }
)

t.test('no reader misses a revocation, in any order in which transactions become visible', async t => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), steps => {
      const database = new DatabaseModel()
      const instances = [new Instance(), new Instance()]
      const readers = [new SimulatedReader(), new SimulatedReader(), new SimulatedReader()]
      function connect (reader?: SimulatedReader, instance?: Instance, brokenAfter?: number) {
        if (!reader || !instance) return
        for (const { readers } of instances) readers.delete(reader)
        // The connection breaks while the reader receives what it lacks, or it lasts.
        reader.receive(instance.log.after(reader.position).slice(0, brokenAfter))
        if (brokenAfter === undefined) instance.readers.add(reader)
      }
      for (const step of steps) {
        if (step.do === 'begin') database.begin()
        else if (step.do === 'read') instances[step.instance]?.read(database)
        else if (step.do === 'fail over') database.failOver(BigInt(step.lost))
        else if (step.do === 'connect') {
          connect(readers[step.reader], instances[step.instance], step.brokenAfter)
        } else if (step.do === 'commit') {
          const id = [...database.running][step.which]
          if (id !== undefined) database.commit(id)
        } else {
          const reader = readers[step.reader]
          const instance = instances.find(({ readers }) => reader && readers.has(reader))
          if (reader && instance) reader.position = instance.log.position
        }
      }
      for (const id of [...database.running]) database.commit(id)
      readers.forEach((reader, index) => connect(reader, instances[index % 2]))
      for (const instance of instances) instance.read(database)
      const committed = [...database.committed.values()]
      return (
        readers.every(({ received }) => committed.every(({ id }) => received.has(id))) &&
        instances.every(({ log }) => committed.every(revocation => log.isRevoked(revokedClaims(revocation))))
      )
    }),
    { numRuns: 3_000 }
  )
  t.pass('in 3,000 histories')
})

t.test('an expired revocation is dropped, and a known one outlives a change of history', async t => {
  const log = new RevocationLog()
  const database = new DatabaseModel()
  const ofEndedSession = { sub: 'ada', sid: 'row one 2', jti: 'x' }
  const ofRevokedUser = { sub: 'user 1', sid: 'y', jti: 'z' }
  const areRevoked = () => log.isRevoked(ofEndedSession) && log.isRevoked(ofRevokedUser)
  for (const id of [1n, 2n]) {
    database.begin()
    database.commit(id)
  }
  log.merge(database.readSince(undefined))
  t.ok(areRevoked())
  database.failOver(5n)
  t.equal(log.merge(database.readSince(log.snapshot)), undefined)
  log.merge(database.readSince(undefined))
  t.ok(areRevoked(), 'a token that was rejected is not accepted later')
  t.match(log.after(undefined), [{ revocation: { id: 'row one 1' } }, { revocation: { id: 'row one 2' } }])
  log.merge({ ...database.readSince(log.snapshot), now: new Date(epoch + hourMs + 59_000) })
  t.ok(areRevoked())
  log.merge({ ...database.readSince(log.snapshot), now: new Date(epoch + hourMs + 90_000) })
  t.equal(log.size, 0)
})

t.test('the tokens of a user that were issued before a revocation are rejected, and no others', async t => {
  const log = new RevocationLog()
  function isRevoked (version: number, changes: Partial<RevocableClaims> = {}) {
    const versionClaim = version > 0 && { token_version: version }
    return log.isRevoked({ sub: 'ada', sid: 'a session', jti: 'x', ...versionClaim, ...changes })
  }
  const firstRevoked = () => [0, 1, 2].map(version => isRevoked(version))
  t.strictSame(
    [0, 1].map(version => isRevoked(version)),
    [false, false]
  )
  const first = userRevocation('one', 1n, 'ada', 1)
  const second = { ...userRevocation('two', 2n, 'ada', 2), expiresAt: new Date(epoch + hourMs / 2) }
  t.equal(log.add([second]).length, 1)
  t.strictSame(
    [0, 1, 2, 3].map(version => isRevoked(version)),
    [true, true, false, false]
  )
  t.equal(log.add([first, second]).length, 1, 'a known revocation gives no new entry')
  t.strictSame(firstRevoked(), [true, true, false], 'in any order of arrival')
  t.notOk(isRevoked(0, { sub: 'bob' }))
  t.notOk(log.isRevoked({ sub: 'ada', jti: 'the token of a client with this id' }))
  const snapshot = { visible: '', oldestRunning: 3n, nextTransaction: 3n, history: '', revocations: [] }
  log.merge({ ...snapshot, now: new Date(epoch + hourMs * 0.9) })
  t.strictSame(firstRevoked(), [true, true, false], 'until the last one expires')
  t.match(log.after(undefined), [{ revocation: { id: 'one' } }])
  log.merge({ ...snapshot, now: new Date(epoch + hourMs + 90_000) })
  t.equal(log.size, 0)
})

t.test('a reader gets everything it lacks, and is dropped if as many new entries wait for it', async t => {
  const many = Array.from({ length: 200_001 }, (_, index): RevocationEntry => ({
    revocation: sessionRevocation(`session ${index}`, 1n),
    position: 'x'
  }))
  let publish: (entries: RevocationEntry[]) => void = () => {}
  let stalls = 0
  const { events, stop } = createRevocationStream(
    (_position, onEntries) => {
      onEntries(many)
      publish = onEntries
      return { position: () => 'x', stop: () => {} }
    },
    undefined,
    () => {
      stalls++
    }
  )
  t.equal(stalls, 0)
  let received = 0
  for await (const text of events) {
    received += text.split('event: session.ended').length - 1
    if (text.includes(': synced')) break
  }
  t.equal(received, 200_001, 'before the stream is synced')
  publish(many.slice(0, 150_000))
  t.equal(stalls, 0)
  publish(many.slice(0, 150_000))
  t.equal(stalls, 1)
  stop()
})

t.test('a fast reader of many entries lets the event loop go on', async t => {
  const entries = Array.from({ length: 20_000 }, (_, index): RevocationEntry => ({
    revocation: sessionRevocation(`session ${index}`, BigInt(index)), position: `${index}`
  }))
  const { events, stop } = createRevocationStream((_position, onEntries) => {
    onEntries(entries)
    return { position: () => '20000', stop: () => {} }
  }, undefined, () => t.fail('the reader has not stalled'))
  let turns = 0
  const turn = () => {
    turns++
    immediate = setImmediate(turn)
  }
  let immediate = setImmediate(turn)
  let writes = 0
  for await (const text of events) {
    writes++
    if (text.includes('synced')) break
  }
  clearImmediate(immediate)
  stop()
  t.ok(writes > 100)
  t.ok(turns >= writes - 3, `${turns} turns of the loop during ${writes} writes`)
})
