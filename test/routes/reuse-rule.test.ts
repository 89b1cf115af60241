import assert from 'node:assert/strict'
import fc from 'fast-check'
import { t } from '../support/test.ts'
import { ExactSupersessions, newFamily, present, type ModelToken } from '../support/token-family-model.ts'
import { scale } from '../support/soak.ts'

// The rule of reuse detection, judged by its model alone. test/routes/rotation.test.ts holds the service to
// the model. A soak test makes many more histories.
const histories = { numRuns: scale(200_000, 2_000) }

t.test('the list of confirmations agrees with the exact times at which tokens were superseded', async t => {
  const wait = fc.constantFrom(0, 0, 0, 1, 3, 9, 10, 11, 35)
  // Most presented tokens are new, because a reuse ends the history.
  const back = fc.oneof({ weight: 12, arbitrary: fc.nat(2) }, { weight: 1, arbitrary: fc.nat(40) })
  const visit = fc.record({ wait, back })
  // A burst fills the list. Then a token from about the end of the list is presented.
  const burst = fc.tuple(fc.integer({ min: 36, max: 45 }), fc.integer({ min: 28, max: 42 }))
    .map(([length, back]) => [
      ...Array.from({ length }, () => ({ wait: 0, back: 0 })), { wait: 0, back }
    ])
  const visits = fc.array(fc.oneof(
    { weight: 20, arbitrary: visit.map(visit => [visit]) }, { weight: 1, arbitrary: burst }
  ), { minLength: 1, maxLength: 60, size: 'max' }).map(visits => visits.flat())
  const seen = { exchanges: 0, refusals: 0, reuses: 0, late: 0, outOfRoom: 0 }

  fc.assert(fc.property(fc.constantFrom(0, 1, 10), visits, (grace, visits) => {
    const rule = { grace, window: Infinity }
    const exact = new ExactSupersessions()
    const tokens: ModelToken[] = [{ generation: 1, issuedAt: 0 }]
    exact.issue(tokens[0] ?? assert.fail())
    let family = newFamily
    let now = 0
    for (const { wait, back } of visits) {
      now += wait
      const token = tokens.at(-1 - Math.min(back, tokens.length - 1)) ?? assert.fail()
      const before = family
      const { isExchanged, family: after } = present(before, token, { rule, now })
      family = after
      const supersededAt = exact.supersededAt(token)
      assert.equal(isExchanged, supersededAt === undefined)
      if (supersededAt === undefined) {
        seen.exchanges++
        exact.use(token, now)
        const successor = { generation: token.generation + 1, issuedAt: now }
        exact.issue(successor)
        tokens.push(successor)
        continue
      }
      const isReused = now - supersededAt >= grace
      if (before.generation - token.generation > 32) {
        // Beyond the end of a full list, a token counts as superseded longer ago than the grace period.
        assert.equal(after.endReason, 'replayed')
        if (!isReused) seen.outOfRoom++
      } else if (exact.wasUsed(token) || token.generation === before.generation) {
        assert.equal(after.endReason === 'replayed', isReused)
      } else if (after.endReason === 'replayed') {
        assert.ok(isReused, 'a token that was never used is not reused too early')
      } else if (isReused) {
        const nextAt = before.confirmations[before.generation - token.generation - 1] ?? -Infinity
        assert.ok(now - nextAt < grace, 'and at most a grace period after the next confirmation')
        seen.late++
      }
      if (after.endReason) {
        seen.reuses++
        return
      }
      seen.refusals++
    }
  }), histories)
  for (const [what, count] of Object.entries(seen)) t.ok(count > 0, `${count} ${what}`)
})

t.test('no honest session ends in the model: lost responses, thirty tabs, late duplicates', async t => {
  const turn = fc.record({
    tabs: fc.oneof(
      { weight: 6, arbitrary: fc.integer({ min: 1, max: 3 }) }, { weight: 1, arbitrary: fc.constant(30) }),
    arrived: fc.option(fc.nat(29)),
    duplicates: fc.array(fc.nat(40), { maxLength: 3 }),
    wait: fc.constantFrom(0, 0, 0, 0, 1, 7, 9, 10, 11, 3_600)
  })
  // A browser that opens thirty tabs one after the other confirms a token with each.
  const tab = { tabs: 1, arrived: 0, duplicates: [], wait: 0 }
  const restored = fc.constant(Array.from({ length: 30 }, () => tab))
  const turns = fc.array(fc.oneof(
    { weight: 20, arbitrary: turn.map(turn => [turn]) }, { weight: 1, arbitrary: restored }
  ), { maxLength: 60, size: 'max' }).map(turns => turns.flat())
  let longest = 0

  fc.assert(fc.property(fc.constantFrom(0, 10), turns, (grace, turns) => {
    const rule = { grace, window: Infinity }
    let family = newFamily
    let now = 0
    let jar: ModelToken = { generation: 1, issuedAt: 0 }
    const sent: Array<{ token: ModelToken, at: number }> = []
    const refresh = (token: ModelToken) => {
      const { isExchanged, family: after } = present(family, token, { rule, now })
      family = after
      return isExchanged ? { generation: token.generation + 1, issuedAt: now } : undefined
    }
    for (const { tabs, arrived, duplicates, wait } of turns) {
      now += wait
      // A client that would confirm more tokens than the list has room for takes its time.
      if (family.confirmations.filter(time => time > now - grace).length >= 32) now += grace
      const late = sent.filter(({ at }) => at + grace > now)
      for (const back of duplicates) refresh((late.at(-1 - back) ?? { token: jar }).token)
      const successors = Array.from({ length: tabs }, () => refresh(jar))
      assert.ok(successors.every(successor => successor))
      sent.push({ token: jar, at: now })
      if (arrived !== null) jar = successors[arrived % tabs] ?? jar
      longest = Math.max(longest, family.confirmations.length)
    }
    assert.ok(refresh(jar))
    assert.equal(family.endReason, null)
  }), histories)
  t.equal(longest, 32)
})
