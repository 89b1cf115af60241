import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { isDeepStrictEqual } from 'node:util'
import fc from 'fast-check'
import t from 'tap'
import { load } from '../../src/config/config.ts'
import { mint, parse } from '../../src/sessions/refresh-token.ts'
import { rotate } from '../../src/sessions/rotation.ts'
import { build, environment, newUser, type Service } from '../support/app.ts'

// FC_RUNS=10 makes ten times as many runs.
const runs = (count: number) => ({ numRuns: Math.ceil(count * Number(process.env['FC_RUNS'] ?? 1)) })

const minute = 60
const day = 86_400
const tokenLife = 7 * day
const sessionLife = 10 * day

/** Seconds. */
interface Rule { grace: number, window: number }

// Waits are multiples of 7 s, or long: never near an edge of these, for a run takes time of its own.
const strict: Rule = { grace: 0, window: Infinity }
const usual: Rule = { grace: 10, window: Infinity }
const windowed: Rule = { grace: 10, window: minute }
const hasty: Rule = { grace: 32, window: 18 }

// Two instances for each rule, all on one database.
const { url } = await build(t)
const instances = new Map<Rule, readonly [Service, Service]>()
for (const rule of [strict, usual, windowed, hasty]) {
  const settings = {
    SESSION_TTL: `${sessionLife}s`,
    REFRESH_TOKEN_TTL: `${tokenLife}s`,
    REFRESH_REPLAY_GRACE: `${rule.grace}s`,
    ...rule.window < Infinity && { REFRESH_RETRY_WINDOW: `${rule.window}s` }
  }
  const pair = [await build(t, settings, { url }), await build(t, settings, { url })] as const
  // A connection that is not had in time, where many ask at once on a busy machine, would be a 503.
  for (const { app } of pair) await Promise.all(Array.from({ length: 10 }, async () => await app.db.query('select 1')))
  instances.set(rule, pair)
}

/** A token, told from others by which object it is: its text changes when time passes. */
interface Token { text: string, generation: number, issuedAt: number }

/** The session of somebody new, on both instances. Time is in seconds, and passes for this session alone. */
// The longest time, in seconds, that a run took for real between two steps of its own time.
let slowest = 0
let excused = 0

/** A run whose real time grew to what the rules count in says nothing: the machine was too busy for it. Ten such runs are too many. */
const fair = <Args extends unknown[]>(run: (...args: Args) => Promise<void>) => async (...args: Args): Promise<void> => {
  slowest = 0
  try {
    await run(...args)
  } catch (error) {
    if (slowest < 2 || ++excused > 10) throw error
  }
}

async function signIn (rule: Rule) {
  const [one, other] = instances.get(rule) ?? assert.fail()
  const { app } = one
  const either = (index: number) => (index % 2 === 0 ? one : other).browser()
  const { body } = await one.browser().post('/v1/auth/register', { ...newUser(), refresh_token_delivery: 'body' })
  const sessionId: string = body.session_id
  const clock = { now: 0 }
  let passed = performance.now()
  const key = app.keyring.getMacKey()
  const read = (text: string) => parse(text, () => key.secret) ?? assert.fail()
  const receive = (text: string): Token => ({ text, generation: read(text).generation, issuedAt: clock.now })
  const first = receive(body.refresh_token)
  const tokens = [first]
  const row = async () => (await app.db.query<Seen>(`
    select generation, encode(token_hash, 'hex') as hash, milestone, settled, end_reason
    from sessions left join refresh_tokens on session_id = id where id = $1`, [sessionId]))[0]

  return {
    clock,
    first,
    /** All there ever were. */
    tokens,
    /** One of the newest. */
    recent: (back: number) => tokens.at(-1 - back) ?? first,
    row,
    hash: (token: Token | undefined) => token ? read(token.text).hash.toString('hex') : '',
    /** The child, or undefined where the token is refused. */
    refresh: async (token: Token, instance: number) => {
      const { status, body } = await either(instance).post('/v1/auth/refresh', { refresh_token: token.text })
      slowest = Math.max(slowest, (performance.now() - passed) / 1000)
      if (status === 401) return undefined
      assert.equal(status, 200)
      const child = receive(body.refresh_token)
      assert.equal(child.generation, token.generation + 1)
      tokens.push(child)
      return child
    },
    signOut: async (token: Token, instance: number) => {
      const { status } = await either(instance).post('/v1/auth/logout', { refresh_token: token.text })
      assert.equal(status, 204)
      return true
    },
    /** As if everything had happened earlier; a token says when it was issued, and so it is issued anew. */
    pass: async (seconds: number) => {
      if (seconds === 0) return
      clock.now += seconds
      // What the run took since then has passed by itself.
      const shift = seconds - (performance.now() - passed) / 1000
      passed = performance.now()
      const { hash } = await row() ?? {}
      const [settled] = await app.db.query<{ hash: string | null }>("select encode(settled_hash, 'hex') as hash from refresh_tokens where session_id = $1", [sessionId])
      let held: Buffer | undefined
      let last: Buffer | undefined
      for (const token of tokens) {
        const { generation, issuedAt, hash: present } = read(token.text)
        token.text = mint(key, { sessionId, generation, issuedAt: new Date(issuedAt.getTime() - shift * 1000) })
        if (present.toString('hex') === hash) held = read(token.text).hash
        if (present.toString('hex') === settled?.hash) last = read(token.text).hash
      }
      await app.db.query(`
        with earlier as (
          update refresh_tokens set token_hash = coalesce($3, token_hash), settled_hash = coalesce($4, settled_hash), confirmed_at = confirmed_at - make_interval(secs => $2),
            rotated_at = rotated_at - make_interval(secs => $2), milestone_at = milestone_at - make_interval(secs => $2)
          where session_id = $1
        )
        update sessions set authenticated_at = authenticated_at - make_interval(secs => $2), expires_at = expires_at - make_interval(secs => $2)
        where id = $1`, [sessionId, shift, held ?? null, last ?? null])
    }
  }
}
interface Seen { generation: number | null, hash: string | null, milestone: number | null, settled: number | null, end_reason: string | null }

/** The row as the table has it; times on the test's clock. */
interface Row { generation: number, held: Token | undefined, confirmedAt: number, milestone: number, milestoneAt: number, settled: number, settledToken: Token | undefined, end: 'replayed' | 'logout' | null }

const opened: Row = { generation: 0, held: undefined, confirmedAt: 0, milestone: 0, milestoneAt: 0, settled: 0, settledToken: undefined, end: null }

/** The table of the rotation: whether a token that was presented at `at` is exchanged, and the row after it. */
function judge (row: Row, token: Token, { grace, window }: Rule, now: number, at = now): [exchanged: boolean, row: Row] {
  const { generation, issuedAt } = token
  const live = now < sessionLife && now < issuedAt + tokenLife
  if (row.end) return [false, row]
  if (live && generation === row.generation + 1) {
    const milestone = now >= row.milestoneAt + grace && { ...now >= row.confirmedAt + grace ? { settled: row.generation, settledToken: row.held } : { settled: row.milestone, settledToken: undefined }, milestone: generation, milestoneAt: now }
    return [true, { ...row, generation, held: token, confirmedAt: now, ...milestone }]
  }
  if (generation > row.generation || (token === row.held && now < row.confirmedAt + window)) return [live && generation === row.generation, row]
  const replayed = at >= row.confirmedAt + grace || generation < row.settled || (generation === row.settled && row.settledToken !== undefined && token !== row.settledToken) || (generation < row.milestone && at >= row.milestoneAt + grace)
  return [false, replayed ? { ...row, end: 'replayed' } : row]
}

/** A refresh with a token, and whether it was exchanged; without a token, a sign-out. */
interface Served { token?: Token, exchanged: boolean }

// What the clock of a test moves with every step: a power of two, so that sums are exact.
const tick = 2 ** -10

/**
 * What the row may be after requests made at once: they are served in some order, and each is judged by when it
 * was presented, which is before or after others were served.
 */
function explain (row: Row, requests: Served[], rule: Rule, now: number): Row[] {
  if (requests.length === 0) return [row]
  return requests.flatMap(({ token, exchanged }, index) => {
    const outcomes = token ? [judge(row, token, rule, now), judge(row, token, rule, now, now - tick / 2)] : [[true, { ...row, end: row.end ?? 'logout' }] as const]
    return outcomes.flatMap(([expected, after]) => expected === exchanged ? explain(after, requests.toSpliced(index, 1), rule, now) : [])
  })
}

const holder = fc.constantFrom('owner' as const, 'thief' as const)
const lost = fc.boolean()
const on = fc.nat(1)

t.test('any interleaving on two instances keeps to the table', async t => {
  const back = fc.nat(9)
  const act = fc.oneof(
    // An owner who acts twice at once has two tabs.
    { weight: 12, arbitrary: fc.record({ who: holder, lost, on }) },
    { weight: 3, arbitrary: fc.record({ who: fc.constant('stray' as const), back, on }) },
    { weight: 1, arbitrary: fc.record({ who: fc.constant('leaver' as const), back, on }) }
  )
  const step = fc.oneof(
    { weight: 10, arbitrary: fc.array(act, { minLength: 1, maxLength: 3 }) },
    { weight: 4, arbitrary: fc.constantFrom(7, 7, 7, 14, 14, 70, 6 * day, 8 * day) },
    { weight: 2, arbitrary: fc.constant('theft' as const) }
  )
  // One who never rests for the grace.
  const hurry = fc.record({ who: holder, waits: fc.array(fc.constantFrom(0, 7), { minLength: 3, maxLength: 6 }) })
    .map(({ who, waits }) => waits.flatMap((wait, index) => [wait, [{ who, lost: false, on: index % 2 }]]))
  const life = fc.array(fc.oneof({ weight: 8, arbitrary: step.map(step => [step]) }, { weight: 1, arbitrary: hurry }), { maxLength: 24, size: 'max' }).map(steps => steps.flat())
  const cases = new Set<string>()

  await fc.assert(fc.asyncProperty(fc.constantFrom(strict, usual, windowed), life, fair(async (rule, steps) => {
    const session = await signIn(rule)
    const { clock } = session
    const purse = { owner: session.first, thief: session.first }
    let model = opened
    let further = 4
    for (const step of steps) {
      if (model.end && further-- === 0) return
      clock.now += tick
      if (typeof step === 'number') await session.pass(step)
      else if (step === 'theft') purse.thief = purse.owner
      else {
        const presented = step.map(act => 'back' in act ? session.recent(act.back) : purse[act.who])
        const served = await Promise.all(step.map(async ({ who, on }, index): Promise<Served & { child?: Token | undefined }> => {
          const token = presented[index] ?? session.first
          if (who === 'leaver') return { exchanged: await session.signOut(token, on) }
          const child = await session.refresh(token, on)
          return { token, child, exchanged: child !== undefined }
        }))
        const seen = await session.row()
        const rows = explain(model, served, rule, clock.now)
        const row = rows.find(({ end, generation, held, milestone, settled }) => isDeepStrictEqual({ ...seen }, end
          ? { generation: null, hash: null, milestone: null, settled: null, end_reason: end }
          : { generation, hash: session.hash(held), milestone, settled, end_reason: null }))
        assert.ok(row, `${JSON.stringify(served)} is not explained: ${JSON.stringify({ model, seen, rows })}`)
        cases.add(row.end ?? 'live')
        model = row
        for (const [index, act] of step.entries()) if ('lost' in act && !act.lost) purse[act.who] = served[index]?.child ?? purse[act.who]
      }
    }
  })), runs(100))
  t.strictSame([...cases].sort(), ['live', 'logout', 'replayed'])
})

t.test('without a thief nobody is signed out: not by lost answers, by tabs that race, or by a late duplicate', async () => {
  const turn = fc.record({ tabs: fc.integer({ min: 1, max: 3 }), arrived: fc.option(fc.nat(2)), duplicates: fc.array(fc.nat(6), { maxLength: 2 }), wait: fc.constantFrom(0, 0, 7, 14, 3600) })

  await fc.assert(fc.asyncProperty(fc.constantFrom(strict, usual), fc.array(turn, { maxLength: 12, size: 'max' }), fair(async (rule, turns) => {
    const session = await signIn(rule)
    let jar = session.first
    const sent: Array<{ token: Token, at: number }> = []
    for (const { tabs, arrived, duplicates, wait } of turns) {
      await session.pass(wait)
      // What a proxy or a frozen connection delivers a second time, within the grace.
      const late = sent.filter(({ at }) => at + rule.grace > session.clock.now)
      const again = duplicates.map(async (back, index) => { await session.refresh((late.at(-1 - back) ?? { token: jar }).token, index) })
      const children = await Promise.all(Array.from({ length: tabs }, async (_, index) => await session.refresh(jar, index)))
      await Promise.all(again)
      assert.ok(children.every(child => child))
      sent.push({ token: jar, at: session.clock.now })
      // The jar keeps the answer that arrived last; or none did.
      if (arrived !== null) jar = children[arrived % tabs] ?? jar
    }
    assert.ok(await session.refresh(jar, 0))
    assert.equal((await session.row())?.end_reason, null)
  })), runs(60))
})

/** Keeps what two holders of one token have, and throws where an answer breaks what is promised of a theft. */
function watch ({ grace }: Rule, stolen: Token) {
  const purse = { owner: stolen, thief: stolen }
  const active = new Set<string>()
  // The first to use a token that the other cannot have: from then on the other holds a dead one.
  let ahead: { who: string, at: number } | undefined
  let confirmed = { token: stolen, at: -Infinity }
  let last = -Infinity
  // Attempts further apart than the grace, from the first of the second holder on, where they take turns.
  const turns: string[] = []
  let unheard = 0
  return {
    purse,
    observe: (who: 'owner' | 'thief', now: number, child: Token | undefined, ended: boolean, lost = false) => {
      const token = purse[who]
      const apart = now >= last + grace
      last = now
      if (active.add(who).size === 2 && apart && turns.at(-1) !== who) turns.push(who)
      assert.equal(child === undefined, ahead !== undefined && ahead.who !== who)
      if (child) {
        assert.equal(ended, false)
        if (token !== confirmed.token) {
          confirmed = { token, at: now }
        }
        if (token !== stolen) ahead ??= { who, at: now }
        if (lost) unheard++
        else purse[who] = child
      } else if (ahead) {
        const dead = now - ahead.at
        if (dead < grace) assert.equal(ended, false)
        // Who is ahead hides the other by confirming within the grace before, and not for long.
        else if (now >= confirmed.at + grace || dead > 3 * grace) assert.equal(ended, true)
      }
      // Whoever has lost the first answer may come once more.
      assert.ok(ended || turns.length < 3 + unheard)
      return turns.length
    }
  }
}

t.test('a theft is found out by the next refresh of the one holder, once the other has used a token of their own', async t => {
  t.test('in any life', async t => {
    const wait = fc.constantFrom<number[]>(0, 0, 7, 7, 14, 35, 3600)
    const before = fc.array(fc.record({ wait, lost, on }), { maxLength: 4 })
    const pace = fc.oneof({ weight: 3, arbitrary: wait.map(wait => [wait]) }, { weight: 1, arbitrary: fc.array(fc.constantFrom<number[]>(0, 7), { minLength: 2, maxLength: 7, size: 'max' }) })
    const rarely = fc.constantFrom(false, false, false, false, false, true)
    const visit = fc.record({ again: fc.constantFrom(false, false, true), pace, lost: rarely, on })
    const attempts = fc.array(visit, { minLength: 6, maxLength: 10, size: 'max' }).map(visits => {
      let who: 'owner' | 'thief' = 'owner'
      return visits.flatMap(({ again, pace, lost, on }) => {
        if (!again) who = who === 'owner' ? 'thief' : 'owner'
        return pace.map(wait => ({ who, wait, lost, on }))
      })
    })
    let found = 0

    await fc.assert(fc.asyncProperty(fc.constantFrom(strict, usual), before, attempts, fair(async (rule, before, attempts) => {
      const session = await signIn(rule)
      let stolen = session.first
      for (const { wait, lost, on } of before) {
        await session.pass(wait)
        const child = await session.refresh(stolen, on)
        if (child && !lost) stolen = child
      }
      const { purse, observe } = watch(rule, stolen)
      for (const { who, wait, lost, on } of attempts) {
        await session.pass(wait)
        const child = await session.refresh(purse[who], on)
        const { end_reason: reason } = await session.row() ?? {}
        observe(who, session.clock.now, child, reason === 'replayed', lost)
        if (reason) {
          found++
          return
        }
      }
    })), runs(80))
    t.ok(found > 20, `${found} were`)
  })

  t.test('in every order of seven attempts, as the table has it', async t => {
    const most = new Map<Rule, number>()
    for (const [rule, waits] of [[strict, [1]], [usual, [1, 9, 40]]] as const) {
      const choices = 2 * waits.length
      for (let schedule = 0; schedule < choices ** 7; schedule++) {
        const stolen: Token = { text: '', generation: 1, issuedAt: 0 }
        const { purse, observe } = watch(rule, stolen)
        let row = opened
        let now = 0
        for (let rest = schedule, attempt = 0; attempt < 7 && !row.end; attempt++, rest = Math.floor(rest / choices)) {
          const who = rest % 2 === 0 ? 'owner' : 'thief'
          now += waits[Math.floor(rest / 2) % waits.length] ?? 0
          const [exchanged, after] = judge(row, purse[who], rule, now)
          const child = { text: '', generation: purse[who].generation + 1, issuedAt: now }
          row = after
          most.set(rule, Math.max(most.get(rule) ?? 0, observe(who, now, exchanged ? child : undefined, row.end !== null)))
        }
      }
    }
    t.strictSame([...most.values()], [3, 3], 'three attempts of both, where they take turns, are enough and may be needed')
  })

  t.test('and so by the third of both, where they take turns, whoever comes first', async t => {
    for (const rule of [strict, usual]) {
      for (const [one, other] of [['owner', 'thief'], ['thief', 'owner']] as const) {
        const session = await signIn(rule)
        const purse = { owner: session.first, thief: session.first }
        for (const [index, who] of [one, other, one, other].entries()) {
          await session.pass(rule.grace + 7)
          const child = await session.refresh(purse[who], index)
          t.equal(child !== undefined, index < 3)
          purse[who] = child ?? purse[who]
          t.match(await session.row(), { end_reason: index < 3 ? null : 'replayed' })
        }
        for (const token of [...session.tokens]) t.equal(await session.refresh(token, 1), undefined)
      }
    }
  })
})

t.test('of the children of one token exactly one is ever confirmed', async () => {
  const rounds = fc.array(fc.record({ tabs: fc.integer({ min: 2, max: 8 }), repeats: fc.integer({ min: 1, max: 3 }) }), { minLength: 1, maxLength: 3 })

  await fc.assert(fc.asyncProperty(fc.constantFrom(strict, usual), rounds, fair(async (rule, rounds) => {
    const session = await signIn(rule)
    let parent = session.first
    const losers: Token[] = []
    for (const { tabs, repeats } of rounds) {
      const children = (await Promise.all(Array.from({ length: tabs }, async (_, index) => await session.refresh(parent, index)))).filter(child => child !== undefined)
      assert.equal(children.length, tabs)
      const uses = await Promise.all(Array.from({ length: tabs * repeats }, async (_, index) => {
        const child = children[index % tabs] ?? parent
        return await session.refresh(child, index) ? child : undefined
      }))
      const [confirmed, ...others] = new Set(uses.filter(child => child !== undefined))
      assert.ok(confirmed)
      assert.deepEqual(others, [])
      losers.push(...children.filter(child => child !== confirmed))
      const { end_reason: reason, hash } = await session.row() ?? {}
      if (reason === 'replayed' && rule === strict) break
      assert.equal(reason, null)
      assert.equal(hash, session.hash(confirmed))
      parent = confirmed
    }
    await session.pass(rule.grace + 7)
    const refusals = await Promise.all(losers.map(async (token, index) => await session.refresh(token, index)))
    assert.ok(refusals.every(child => !child))
    assert.equal((await session.row())?.end_reason, 'replayed')
  })), runs(40))
})

t.test('with a retry window the parent is taken within it, and a replay after it', async () => {
  const retries = fc.array(fc.record({ wait: fc.nat(25), on }), { maxLength: 6, size: 'max' })

  await fc.assert(fc.asyncProperty(fc.constantFrom(windowed, hasty), retries, fc.nat(6), fair(async (rule, retries, used) => {
    const session = await signIn(rule)
    const parent = session.first
    const children = [await session.refresh(parent, 0)]
    for (const { wait, on } of retries) {
      const now = session.clock.now
      let age = now + wait
      while ([rule.window, rule.grace].some(edge => Math.abs(age - edge) < 4)) age++
      await session.pass(age - now)
      children.push(await session.refresh(parent, on))
      assert.equal(children.at(-1) !== undefined, age < rule.window)
      const replayed = age > rule.window && age > rule.grace
      assert.equal((await session.row())?.end_reason, replayed ? 'replayed' : null)
      if (replayed) return
    }
    // The window is the parent's alone: a child is good for its life.
    await session.pass(3 * day)
    const good = children.filter(child => child !== undefined)
    assert.ok(await session.refresh(good[used % good.length] ?? parent, 1))
  })), runs(60))
})

t.test('a sign-out that is answered is final, whatever is under way', async () => {
  const script = fc.array(fc.nat(4), { maxLength: 5 })

  await fc.assert(fc.asyncProperty(fc.constantFrom(strict, usual), script, fc.nat(4), fc.array(script, { minLength: 1, maxLength: 3 }), async (rule, leaver, farewell, others) => {
    const session = await signIn(rule)
    let gone = false
    const follow = async (script: number[], on: number) => {
      for (const [index, back] of script.entries()) {
        const late = gone
        const child = await session.refresh(session.recent(back), on + index)
        assert.ok(!late || !child)
      }
    }
    const leave = async () => {
      await follow(leaver, 0)
      await session.signOut(session.recent(farewell), 1)
      gone = true
    }
    await Promise.all([leave(), ...others.map(follow)])
    const after = await Promise.all(session.tokens.flatMap(token => [session.refresh(token, 0), session.refresh(token, 1)]))
    assert.ok(after.every(child => !child))
    const { end_reason: reason, ...row } = await session.row() ?? {}
    assert.ok(reason === 'logout' || (rule === strict && reason === 'replayed'))
    assert.deepEqual(row, { generation: null, hash: null, milestone: null, settled: null })
  }), runs(60))
})

t.test('100,000 refreshes add no row and hardly a page: each is one heap-only update', async t => {
  const service = await build(t)
  const { lifetimes } = load(environment)
  const refreshes = 100_000
  const sessionIds: string[] = []
  for (let i = 0; i < 8; i++) sessionIds.push((await service.browser().post('/v1/auth/register', newUser())).body.session_id)
  await Promise.all(sessionIds.map(async sessionId => {
    for (let generation = 1; generation <= refreshes / sessionIds.length; generation++) {
      await rotate(service.app.db, { sessionId, generation, hash: randomBytes(32), issuedAt: new Date() }, lifetimes, {}, () => {}, () => undefined)
    }
  }))
  // What a connection did is counted at the latest when it ends.
  await service.app.close()
  const deadline = Date.now() + 10_000
  const stats = async () => (await service.sql<{ updates: number, hot: number, live: number, rows: number, bytes: number }>(`
    select n_tup_upd::int as updates, n_tup_hot_upd::int as hot, n_live_tup::int as live,
      (select count(*)::int from refresh_tokens) as rows, pg_total_relation_size(relid)::int as bytes
    from pg_stat_user_tables where relname = 'refresh_tokens'`))[0]
  let seen = await stats()
  while ((seen?.updates ?? 0) < refreshes && Date.now() < deadline) seen = await stats()
  t.match(seen, { updates: refreshes, live: 8, rows: 8 })
  t.ok((seen?.hot ?? 0) >= 0.95 * refreshes, `${seen?.hot} of them heap-only`)
  t.ok((seen?.bytes ?? Infinity) <= 4 * 1024 ** 2, `${seen?.bytes} bytes`)
})
