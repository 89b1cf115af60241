import assert from 'node:assert/strict'
import { isDeepStrictEqual } from 'node:util'
import fc from 'fast-check'
import { mint, parse } from '../../src/sessions/refresh-token.ts'
import { build, newUser, type Service } from '../support/app.ts'
import { repeatUnavailable } from '../support/repetition.ts'
import { t } from '../support/test.ts'
import {
  newFamily, present, sessionLife, tokenLife,
  type ModelFamily, type ModelToken, type RotationRule
} from '../support/token-family-model.ts'
import { scale } from '../support/soak.ts'

// A soak test makes many more. A history is judged by the model alone, and a run by two instances over HTTP.
const histories = { numRuns: scale(200_000, 2_000) }
const runs = (share: number) => ({ numRuns: Math.ceil(share * scale(300, 30)) })

// In seconds. Time passes in steps of 700 s or more, and no sum of steps is closer than 100 s to a limit. A
// run may take a minute on a busy machine without any effect on its result.
const day = 86_400
const strict: RotationRule = { grace: 0, window: Infinity }
const usual: RotationRule = { grace: 1_000, window: Infinity }
const windowed: RotationRule = { grace: 1_000, window: 6_000 }
const hasty: RotationRule = { grace: 3_200, window: 1_800 }
const toleranceSeconds = 300

// Two instances for each rule, all on one database.
const { url } = await build(t)
const instances = new Map<RotationRule, readonly [Service, Service]>()
for (const rule of [strict, usual, windowed, hasty]) {
  const settings = {
    SESSION_TTL: `${sessionLife}s`,
    REFRESH_TOKEN_TTL: `${tokenLife}s`,
    REFRESH_REPLAY_GRACE: `${rule.grace}s`,
    ...rule.window < Infinity && { REFRESH_RETRY_WINDOW: `${rule.window}s` }
  }
  const pair = [await build(t, settings, { url }), await build(t, settings, { url })] as const
  // A request that waits too long for a connection is answered 503, so all connections are opened first.
  for (const { app } of pair) {
    await Promise.all(Array.from({ length: 10 }, async () => await app.db.query('select 1')))
  }
  instances.set(rule, pair)
}

/** A token with its text, which changes when time passes. */
interface Token extends ModelToken { text: string }

interface FamilyRow {
  generation: number | null
  hash: string | null
  /** How many seconds ago the generations were confirmed, the latest first. */
  ages: number[] | null
  end_reason: string | null
}

/** Signs a new user in, on both instances. The clock of a session, in seconds, stands still between steps. */
async function signIn (rule: RotationRule) {
  const [one, other] = instances.get(rule) ?? assert.fail()
  const { app } = one
  const either = (index: number) => (index % 2 === 0 ? one : other).browser()
  const { body } = await one.browser()
    .post('/v1/auth/register', { ...newUser(), refresh_token_delivery: 'body' })
  const sessionId: string = body.session_id
  const clock = { now: 0 }
  const key = app.keyring.getMacKey()
  const read = (text: string) => parse(text, () => key.secret) ?? assert.fail()
  const receive = (text: string): Token =>
    ({ text, generation: read(text).generation, issuedAt: clock.now })
  const first = receive(body.refresh_token)
  const tokens = [first]
  const row = async () => (await app.db.query<FamilyRow>(`
    select generation, encode(token_hash, 'hex') as hash, end_reason, (
      select array_agg(extract(epoch from now() - confirmed_at)::float8 order by confirmed_at desc)
      from unnest(confirmations) as confirmed_at
    ) as ages
    from sessions left join refresh_tokens on session_id = id
    where id = $1`, [sessionId]))[0] ?? assert.fail()

  return {
    clock,
    first,
    /** All tokens that were issued. */
    tokens,
    /** One of the newest. */
    recent: (back: number) => tokens.at(-1 - back) ?? first,
    row,
    /** Whether the row is what the model expects it to be. */
    isRow: (seen: FamilyRow, { generation, current, confirmations, endReason }: ModelFamily) => {
      if (endReason) return isDeepStrictEqual({ ...seen }, { ...noRow, end_reason: endReason })
      const token = tokens.find(token => token === current)
      const { ages } = seen
      return seen.generation === generation && seen.end_reason === null &&
        seen.hash === (token ? read(token.text).hash.toString('hex') : '') &&
        ages?.length === confirmations.length &&
        confirmations.every((time, index) =>
          Math.abs(clock.now - time - (ages[index] ?? Infinity)) < toleranceSeconds)
    },
    /** The successor; undefined if the token is refused. */
    refresh: async (token: Token, instance: number) => {
      const { status, body } = await repeatUnavailable(async () =>
        await either(instance).post('/v1/auth/refresh', { refresh_token: token.text }))
      if (status === 401) return undefined
      assert.equal(status, 200)
      const successor = receive(body.refresh_token)
      assert.equal(successor.generation, token.generation + 1)
      tokens.push(successor)
      return successor
    },
    logout: async (token: Token, instance: number) => {
      const { status } = await repeatUnavailable(async () =>
        await either(instance).post('/v1/auth/logout', { refresh_token: token.text }))
      assert.equal(status, 204)
      return true
    },
    /** Lets time pass for this session alone. A token contains its time of issue, so it is issued anew. */
    pass: async (seconds: number) => {
      if (seconds === 0) return
      clock.now += seconds
      const { hash: before } = await row()
      let after: Buffer | undefined
      for (const token of tokens) {
        const { generation, issuedAt, hash } = read(token.text)
        const earlier = new Date(issuedAt.getTime() - seconds * 1_000)
        token.text = mint(key, { sessionId, generation, issuedAt: earlier })
        if (hash.toString('hex') === before) after = read(token.text).hash
      }
      await app.db.query(`
        with aged as (
          update refresh_tokens set
            token_hash = coalesce($3, token_hash),
            confirmations = array(
              select confirmed_at - make_interval(secs => $2) from unnest(confirmations) as confirmed_at
              order by 1 desc)
          where session_id = $1
        )
        update sessions set
          authenticated_at = authenticated_at - make_interval(secs => $2),
          expires_at = expires_at - make_interval(secs => $2)
        where id = $1`, [sessionId, seconds, after ?? null])
    }
  }
}
const noRow: FamilyRow = { generation: null, hash: null, ages: null, end_reason: null }

/** A refresh with a token, and whether it was exchanged; without a token, a logout. */
interface Served { token?: Token, isExchanged: boolean }

// How far the clock of a test moves with every step. It is a power of two, so that sums are exact.
const tick = 2 ** -10

/**
 * The families that concurrent requests can result in. They are served in some order, and each was presented
 * before or after the others were served.
 */
function outcomes (family: ModelFamily, requests: Served[], rule: RotationRule, now: number): ModelFamily[] {
  if (requests.length === 0) return [family]
  return requests.flatMap(({ token, isExchanged }, index) => {
    const possible = token
      ? [now, now - tick / 2].map(presentedAt => present(family, token, { rule, now, presentedAt }))
      : [{ isExchanged: true, family: { ...family, endReason: family.endReason ?? 'logout' } as const }]
    return possible.flatMap(({ isExchanged: expected, family: after }) =>
      expected === isExchanged ? outcomes(after, requests.toSpliced(index, 1), rule, now) : [])
  })
}

const holder = fc.constantFrom('owner' as const, 'thief' as const)
const lost = fc.boolean()
const on = fc.nat(1)

t.test('any interleaving on two instances follows the truth table', async t => {
  const back = fc.nat(9)
  const act = fc.oneof(
    // An owner who acts twice at once has two tabs.
    { weight: 12, arbitrary: fc.record({ who: holder, lost, on }) },
    { weight: 3, arbitrary: fc.record({ who: fc.constant('any token' as const), back, on }) },
    { weight: 1, arbitrary: fc.record({ who: fc.constant('logout' as const), back, on }) }
  )
  const step = fc.oneof(
    { weight: 10, arbitrary: fc.array(act, { minLength: 1, maxLength: 3 }) },
    { weight: 4, arbitrary: fc.constantFrom(700, 700, 700, 1_400, 1_400, 7_000, 6 * day, 8 * day) },
    { weight: 2, arbitrary: fc.constant('theft' as const) }
  )
  // A holder who never pauses for the grace period.
  const hurry = fc.record({
    who: holder, waits: fc.array(fc.constantFrom(0, 700), { minLength: 3, maxLength: 6 })
  }).map(({ who, waits }) => waits.flatMap((wait, index) => [wait, [{ who, lost: false, on: index % 2 }]]))
  const life = fc.array(fc.oneof(
    { weight: 8, arbitrary: step.map(step => [step]) }, { weight: 1, arbitrary: hurry }
  ), { maxLength: 24, size: 'max' }).map(steps => steps.flat())
  const ends = new Set<string>()

  await fc.assert(fc.asyncProperty(fc.constantFrom(strict, usual, windowed), life, async (rule, steps) => {
    const session = await signIn(rule)
    const { clock } = session
    const held = { owner: session.first, thief: session.first }
    let family = newFamily
    let stepsAfterEnd = 4
    for (const step of steps) {
      if (family.endReason && stepsAfterEnd-- === 0) return
      clock.now += tick
      if (typeof step === 'number') await session.pass(step)
      else if (step === 'theft') held.thief = held.owner
      else {
        const presented = step.map(act => 'back' in act ? session.recent(act.back) : held[act.who])
        const served = await Promise.all(step.map(async (
          { who, on }, index
        ): Promise<Served & { successor?: Token | undefined }> => {
          const token = presented[index] ?? session.first
          if (who === 'logout') return { isExchanged: await session.logout(token, on) }
          const successor = await session.refresh(token, on)
          return { token, successor, isExchanged: successor !== undefined }
        }))
        const seen = await session.row()
        const possible = outcomes(family, served, rule, clock.now)
        const found = possible.find(each => session.isRow(seen, each))
        assert.ok(found, `unexpected: ${JSON.stringify({ served, family, seen, possible })}`)
        ends.add(found.endReason ?? 'live')
        family = found
        for (const [index, act] of step.entries()) {
          if ('lost' in act && !act.lost) held[act.who] = served[index]?.successor ?? held[act.who]
        }
      }
    }
  }), runs(1))
  t.strictSame([...ends].sort(), ['live', 'logout', 'replayed'])
})

t.test('no honest session ends: lost responses, concurrent tabs, late duplicates', async () => {
  const turn = fc.record({
    tabs: fc.integer({ min: 1, max: 3 }),
    arrived: fc.option(fc.nat(2)),
    duplicates: fc.array(fc.nat(6), { maxLength: 2 }),
    wait: fc.constantFrom(0, 0, 700, 1_400, 36_000)
  })

  const turns = fc.array(turn, { maxLength: 12, size: 'max' })
  await fc.assert(fc.asyncProperty(fc.constantFrom(strict, usual), turns, async (rule, turns) => {
    const session = await signIn(rule)
    let jar = session.first
    const sent: Array<{ token: Token, at: number }> = []
    for (const { tabs, arrived, duplicates, wait } of turns) {
      await session.pass(wait)
      // A proxy or a frozen connection delivers a request twice, within the grace period.
      const late = sent.filter(({ at }) => at + rule.grace > session.clock.now)
      const repeated = duplicates.map(async (back, index) => {
        await session.refresh((late.at(-1 - back) ?? { token: jar }).token, index)
      })
      const successors = await Promise.all(
        Array.from({ length: tabs }, async (_, index) => await session.refresh(jar, index)))
      await Promise.all(repeated)
      assert.ok(successors.every(successor => successor))
      sent.push({ token: jar, at: session.clock.now })
      // The jar keeps the response that arrived last, or all responses were lost.
      if (arrived !== null) jar = successors[arrived % tabs] ?? jar
    }
    assert.ok(await session.refresh(jar, 0))
    assert.equal((await session.row()).end_reason, null)
  }), runs(0.6))
})

type Holder = 'owner' | 'thief'

interface Attempt {
  who: Holder
  now: number
  successor: Token | undefined
  isEnded: boolean
  /** Whether the response was lost, so that the holder has the same token as before. */
  isLost?: boolean
}

/** Follows two holders of one token, and throws if a response breaks a promise about a theft. */
function watchTheft ({ grace }: RotationRule, stolen: Token) {
  const held = { owner: stolen, thief: stolen }
  const active = new Set<string>()
  // The first holder to use a token that the other one cannot have, and when this one confirmed such tokens.
  // From then on the other one holds a superseded token.
  let ahead: { who: string, confirmedAt: number[] } | undefined
  let current = stolen
  let last = -Infinity
  // Attempts further apart than the grace period, from the first of the second holder on, if they take turns.
  const turns: string[] = []
  let lostResponses = 0
  return {
    held,
    observe: ({ who, now, successor, isEnded, isLost = false }: Attempt) => {
      const token = held[who]
      const isApart = now >= last + grace
      last = now
      if (active.add(who).size === 2 && isApart && turns.at(-1) !== who) turns.push(who)
      assert.equal(successor === undefined, ahead !== undefined && ahead.who !== who)
      if (successor) {
        assert.equal(isEnded, false)
        if (token !== stolen) {
          ahead ??= { who, confirmedAt: [] }
          if (token !== current) ahead.confirmedAt.push(now)
        }
        current = token
        if (isLost) lostResponses++
        else held[who] = successor
      } else if (ahead) {
        // The stolen token was used. Any other token of this holder never was, and so it counts as superseded
        // with its generation.
        const [supersededAt = 0, nextAt = supersededAt] = ahead.confirmedAt
        assert.equal(isEnded, now >= (token === stolen ? supersededAt : nextAt) + grace)
      }
      // A holder who lost the first response may come once more.
      assert.ok(isEnded || turns.length < 3 + lostResponses)
      return turns.length
    }
  }
}

t.test('a theft is detected once both holders are active', async t => {
  const wait = fc.constantFrom<number[]>(0, 0, 700, 700, 1_400, 3_500, 36_000)
  const rarely = fc.constantFrom(false, false, false, false, false, true)
  const hurry = fc.array(fc.constantFrom<number[]>(0, 700), { minLength: 2, maxLength: 7, size: 'max' })
  const pace = fc.oneof(
    { weight: 3, arbitrary: wait.map(wait => [wait]) }, { weight: 1, arbitrary: hurry })
  const visit = fc.record({ again: fc.constantFrom(false, false, true), pace, lost: rarely, on })
  const attempts = fc.array(visit, { minLength: 6, maxLength: 10, size: 'max' }).map(visits => {
    let who: Holder = 'owner'
    return visits.flatMap(({ again, pace, lost, on }) => {
      if (!again) who = who === 'owner' ? 'thief' : 'owner'
      return pace.map(wait => ({ who, wait, lost, on }))
    })
  })

  t.test('in any life', async t => {
    const before = fc.array(fc.record({ wait, lost, on }), { maxLength: 4 })
    let detected = 0

    const rules = fc.constantFrom(strict, usual)
    await fc.assert(fc.asyncProperty(rules, before, attempts, async (rule, before, attempts) => {
      const session = await signIn(rule)
      let stolen = session.first
      for (const { wait, lost, on } of before) {
        await session.pass(wait)
        const successor = await session.refresh(stolen, on)
        if (successor && !lost) stolen = successor
      }
      const { held, observe } = watchTheft(rule, stolen)
      for (const { who, wait, lost: isLost, on } of attempts) {
        await session.pass(wait)
        const successor = await session.refresh(held[who], on)
        const { end_reason: reason } = await session.row()
        const isEnded = reason === 'replayed'
        observe({ who, now: session.clock.now, successor, isEnded, isLost })
        if (reason) {
          detected++
          return
        }
      }
    }), runs(0.8))
    t.ok(detected > runs(0.1).numRuns, `${detected} were`)
  })

  /** Lets the model judge each attempt. */
  function attempt (rule: RotationRule, stolen: Token) {
    const { held, observe } = watchTheft(rule, stolen)
    let family = newFamily
    return (who: Holder, now: number, isLost = false) => {
      const { isExchanged, family: after } = present(family, held[who], { rule, now })
      family = after
      const successor = { text: '', generation: held[who].generation + 1, issuedAt: now }
      const isEnded = family.endReason !== null
      const turns = observe({ who, now, successor: isExchanged ? successor : undefined, isEnded, isLost })
      return { turns, isEnded }
    }
  }

  t.test('in any history of the model', async t => {
    let detected = 0
    fc.assert(fc.property(fc.constantFrom(strict, usual), attempts, (rule, attempts) => {
      const visit = attempt(rule, { text: '', generation: 1, issuedAt: 0 })
      let now = 0
      for (const { who, wait, lost } of attempts) {
        now += wait
        if (visit(who, now, lost).isEnded) {
          detected++
          return
        }
      }
    }), histories)
    t.ok(detected > histories.numRuns / 4, `${detected} were`)
  })

  t.test('in every order of seven attempts in the model', async t => {
    const maxima = new Map<RotationRule, number>()
    for (const [rule, waits] of [[strict, [1]], [usual, [1, 900, 4_000]]] as const) {
      const choices = 2 * waits.length
      for (let schedule = 0; schedule < choices ** 7; schedule++) {
        const visit = attempt(rule, { text: '', generation: 1, issuedAt: 0 })
        let now = 0
        for (let left = schedule, index = 0; index < 7; index++, left = Math.floor(left / choices)) {
          now += waits[Math.floor(left / 2) % waits.length] ?? 0
          const { turns, isEnded } = visit(left % 2 === 0 ? 'owner' : 'thief', now)
          maxima.set(rule, Math.max(maxima.get(rule) ?? 0, turns))
          if (isEnded) break
        }
      }
    }
    t.strictSame([...maxima.values()], [3, 3], 'if they take turns, three are enough and may be needed')
  })

  t.test('by the third attempt of both if they take turns, whichever of them comes first', async t => {
    for (const rule of [strict, usual]) {
      for (const [one, other] of [['owner', 'thief'], ['thief', 'owner']] as const) {
        const session = await signIn(rule)
        const held = { owner: session.first, thief: session.first }
        for (const [index, who] of [one, other, one, other].entries()) {
          await session.pass(rule.grace + 700)
          const successor = await session.refresh(held[who], index)
          t.equal(successor !== undefined, index < 3)
          held[who] = successor ?? held[who]
          t.match(await session.row(), { end_reason: index < 3 ? null : 'replayed' })
        }
        for (const token of [...session.tokens]) t.equal(await session.refresh(token, 1), undefined)
      }
    }
  })
})

t.test('of the successors of one token at most one is ever confirmed', async () => {
  const round = fc.record({ tabs: fc.integer({ min: 2, max: 8 }), repeats: fc.integer({ min: 1, max: 3 }) })
  const rounds = fc.array(round, { minLength: 1, maxLength: 3 })

  await fc.assert(fc.asyncProperty(fc.constantFrom(strict, usual), rounds, async (rule, rounds) => {
    const session = await signIn(rule)
    let predecessor = session.first
    const superseded: Token[] = []
    for (const { tabs, repeats } of rounds) {
      const answers = await Promise.all(
        Array.from({ length: tabs }, async (_, index) => await session.refresh(predecessor, index)))
      const successors = answers.filter(successor => successor !== undefined)
      assert.equal(successors.length, tabs)
      const uses = await Promise.all(Array.from({ length: tabs * repeats }, async (_, index) => {
        const token = successors[index % tabs] ?? predecessor
        return await session.refresh(token, index) ? token : undefined
      }))
      const [confirmed, ...others] = new Set(uses.filter(token => token !== undefined))
      assert.ok(confirmed)
      assert.deepEqual(others, [])
      superseded.push(...successors.filter(token => token !== confirmed))
      const seen = await session.row()
      if (seen.end_reason === 'replayed' && rule === strict) break
      assert.equal(seen.end_reason, null)
      assert.equal(seen.hash, parse(confirmed.text, secretOf(rule))?.hash.toString('hex'))
      predecessor = confirmed
    }
    await session.pass(rule.grace + 700)
    const answers = await Promise.all(
      superseded.map(async (token, index) => await session.refresh(token, index)))
    assert.ok(answers.every(successor => !successor))
    assert.equal((await session.row()).end_reason, 'replayed')
  }), runs(0.4))
})

const secretOf = (rule: RotationRule) => () => instances.get(rule)?.[0].app.keyring.getMacKey().secret

t.test('with a retry window the current token is taken within it, and reused after it', async () => {
  const retries = fc.array(fc.record({ steps: fc.nat(25), on }), { maxLength: 6, size: 'max' })
  const rules = fc.constantFrom(windowed, hasty)

  await fc.assert(fc.asyncProperty(rules, retries, fc.nat(6), async (rule, retries, used) => {
    const session = await signIn(rule)
    const token = session.first
    const answers = [await session.refresh(token, 0)]
    for (const { steps, on } of retries) {
      const now = session.clock.now
      let age = now + steps * 100
      while ([rule.window, rule.grace].some(limit => Math.abs(age - limit) < 400)) age += 100
      await session.pass(age - now)
      answers.push(await session.refresh(token, on))
      assert.equal(answers.at(-1) !== undefined, age < rule.window)
      const isReused = age > rule.window && age > rule.grace
      assert.equal((await session.row()).end_reason, isReused ? 'replayed' : null)
      if (isReused) return
    }
    // The window is that of the current token alone. A successor is accepted until it expires.
    await session.pass(3 * day)
    const successors = answers.filter(successor => successor !== undefined)
    assert.ok(await session.refresh(successors[used % successors.length] ?? token, 1))
  }), runs(0.6))
})

t.test('a logout is final once it is answered, even if other requests are under way', async () => {
  const script = fc.array(fc.nat(4), { maxLength: 5 })
  const others = fc.array(script, { minLength: 1, maxLength: 3 })
  const rules = fc.constantFrom(strict, usual)

  await fc.assert(fc.asyncProperty(rules, script, fc.nat(4), others, async (rule, first, back, others) => {
    const session = await signIn(rule)
    let isLoggedOut = false
    const follow = async (script: number[], on: number) => {
      for (const [index, back] of script.entries()) {
        const isLate = isLoggedOut
        const successor = await session.refresh(session.recent(back), on + index)
        assert.ok(!isLate || !successor)
      }
    }
    const logOut = async () => {
      await follow(first, 0)
      await session.logout(session.recent(back), 1)
      isLoggedOut = true
    }
    await Promise.all([logOut(), ...others.map(follow)])
    const answers = await Promise.all(
      session.tokens.flatMap(token => [session.refresh(token, 0), session.refresh(token, 1)]))
    assert.ok(answers.every(successor => !successor))
    const { end_reason: reason, ...row } = await session.row()
    assert.ok(reason === 'logout' || (rule === strict && reason === 'replayed'))
    assert.deepEqual({ ...row, end_reason: null }, noRow)
  }), runs(0.6))
})
