import { setTimeout as pause } from 'node:timers/promises'
import fc from 'fast-check'
import t from 'tap'
import { Problem } from '../../src/http/problem.ts'
import { hashingQueue, type Bounds, type HashingQueue, type Refusal, type QueueTicket } from '../../src/passwords/hashing-queue.ts'
import { scale } from '../support/soak.ts'

interface Resolvers { promise: Promise<void>, resolve: () => void, reject: (error: Error) => void }
function resolvers (): Resolvers {
  let [resolve, reject]: [() => void, (error: Error) => void] = [() => {}, () => {}]
  const promise = new Promise<void>((...both) => { [resolve, reject] = both })
  return { promise, resolve, reject }
}

interface Test { teardown: (handler: () => unknown) => void }

interface Task { name: string, turn: QueueTicket, abort: (reason: unknown) => void, end: Resolvers, settled: Promise<unknown>, outcomes: unknown[] }

/** Tasks that take as long as the test says; none is left at its end. */
function bench (t: Test, queue: HashingQueue) {
  const all: Task[] = []
  t.teardown(() => {
    for (const { abort, end } of all) {
      abort('the test is over')
      end.resolve()
    }
  })
  const started: Task[] = []
  const running = new Set<Task>()
  function ask (name: string, turn: QueueTicket = {}): Task {
    const controller = new AbortController()
    const task: Task = { name, turn, abort: reason => controller.abort(reason), end: resolvers(), settled: Promise.resolve(), outcomes: [] }
    task.settled = queue.run(async () => {
      started.push(task)
      running.add(task)
      try {
        await task.end.promise
      } finally {
        running.delete(task)
      }
      return name
    }, { ...turn, signal: controller.signal }).then(value => task.outcomes.push(value), (error: unknown) => task.outcomes.push(error))
    all.push(task)
    return task
  }
  // Ends the tasks one after the other, and tells in which order they began.
  async function order (): Promise<string[]> {
    for (let i = 0; i < started.length; i++) {
      started[i]?.end.resolve()
      await started[i]?.settled
      await ticks()
    }
    return started.map(({ name }) => name)
  }
  return { started, running, ask, order }
}

const timers = () => process.getActiveResourcesInfo().filter(kind => kind === 'Timeout').length
const ticks = async () => { for (let i = 0; i < 10; i++) await Promise.resolve() }
const isOverloaded = (outcome: unknown) => outcome instanceof Problem && outcome.code === 'overloaded'
const secondsOf = (outcome: unknown) => outcome instanceof Problem ? Number(outcome.headers['retry-after']) : NaN
const patient: Bounds = { longestWait: 60_000, places: 500 }

t.test('the turns', async t => {
  t.test('go round the networks, and in order within each', async t => {
    const { ask, order } = bench(t, hashingQueue(1, patient))
    for (const name of ['a1', 'a2', 'a3', 'b1', 'b2', 'c1', 'a4']) ask(name, { network: name.slice(0, 1) })
    t.strictSame(await order(), ['a1', 'a2', 'b1', 'c1', 'a3', 'b2', 'a4'])
  })

  t.test('let a single login of a quiet network overtake a flood', async t => {
    const { ask, order } = bench(t, hashingQueue(1, patient))
    for (let i = 0; i < 100; i++) ask(`flood ${i}`, { network: 'flood' })
    ask('quiet', { network: 'quiet' })
    t.equal((await order()).indexOf('quiet'), 2, 'after the one that runs and the one that is next')
  })

  t.test('are first those of known devices, three of four', async t => {
    const { ask, order } = bench(t, hashingQueue(1, patient))
    ask('running')
    for (let i = 0; i < 4; i++) ask(`s${i}`, { network: `${i}` })
    for (let i = 0; i < 7; i++) ask(`k${i}`, { network: `${i}`, known: true })
    t.strictSame(await order(), ['running', 'k0', 'k1', 'k2', 's0', 'k3', 'k4', 'k5', 's1', 'k6', 's2', 's3'])
  })
})

t.test('in any order of arrivals, ends and departures', async () => {
  const holds = (condition: boolean, what: string) => { if (!condition) throw new Error(`it does not hold that ${what}`) }
  const network = fc.constantFrom('a', 'b', 'c', 'd')
  const event = fc.oneof(
    { weight: 5, arbitrary: fc.record({ kind: fc.constant('arrives' as const), network, known: fc.boolean() }) },
    { weight: 3, arbitrary: fc.record({ kind: fc.constant('ends' as const), which: fc.nat(), fails: fc.boolean() }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('leaves' as const), which: fc.nat() }) }
  )
  await fc.assert(fc.asyncProperty(fc.integer({ min: 1, max: 4 }), fc.array(event, { maxLength: 200, size: 'max' }), async (concurrency, events) => {
    const places = 8
    const queue = hashingQueue(concurrency, { longestWait: 60_000, places })
    const told: string[] = []
    queue.observe({ started: () => told.push('started'), ended: () => told.push('ended'), refused: why => told.push(why) })
    const { started, running, ask } = bench({ teardown () {} }, queue)
    const all: Task[] = []
    const waiting = () => all.filter(task => task.outcomes.length === 0 && !started.includes(task))
    const pick = (tasks: Iterable<Task>, which: number) => { const list = [...tasks]; return list[which % Math.max(1, list.length)] }
    // How many others have begun since each began to wait.
    const passed = new Map<Task, number>()

    for (const event of events) {
      if (event.kind === 'arrives') all.push(ask(`${event.network}${event.known ? ' known' : ''}`, { network: event.network, known: event.known }))
      if (event.kind === 'ends') {
        const { end } = pick(running, event.which) ?? {}
        if (event.fails) end?.reject(new Error('it failed'))
        else end?.resolve()
      }
      if (event.kind === 'leaves') pick(waiting(), event.which)?.abort('gone')
      const before = started.length
      await ticks()
      for (const task of waiting()) passed.set(task, (passed.get(task) ?? 0) + started.length - before)

      const still = waiting()
      const of = (name: string) => still.filter(task => task.name === name).length
      holds(running.size <= concurrency && queue.running === running.size, 'so many at a time')
      holds(still.length === 0 || running.size === concurrency, 'nobody waits for nothing')
      holds(queue.waiting === still.length && still.length <= 2 * places, 'the line is bounded')
      for (const task of still) holds(of(task.name) <= places * 3 / 4, 'the last places are for other networks')
      // Three of each line's networks and three known devices for each turn of its own network.
      for (const task of still) holds((passed.get(task) ?? 0) < places * 4 * 4, 'nobody starves')
    }
    while (running.size > 0) {
      for (const { end } of running) end.resolve()
      await ticks()
    }
    await Promise.all(all.map(({ settled }) => settled))
    holds(all.every(({ outcomes }) => outcomes.length === 1), 'each is settled once')
    for (const name of new Set(all.map(({ name }) => name))) {
      const inOrder = all.filter(task => task.name === name && started.includes(task))
      holds(started.filter(task => task.name === name).every((task, index) => task === inOrder[index]), 'it is in order within a network')
    }
    for (const { outcomes: [outcome], name } of all) holds(outcome === name || outcome === 'gone' || isOverloaded(outcome) || (outcome instanceof Error && outcome.message === 'it failed'), 'it ends as it should')
    holds(told.filter(what => what === 'started').length === started.length, 'each start was told')
    holds(told.filter(what => what === 'ended').length === started.length, 'each end was told')
    holds(told.length - 2 * started.length === all.length - started.length, 'each refusal was told')
    holds(queue.waiting === 0 && queue.running === 0, 'nothing is left')
  }), { numRuns: scale(300, 100) })
})

t.test('the places', async t => {
  const fill = (t: Test, queue: HashingQueue) => {
    const reasons: Refusal[] = []
    queue.observe({ started () {}, ended () {}, refused: why => reasons.push(why) })
    return { ...bench(t, queue), reasons }
  }

  t.test('are taken by one network up to a quarter beside others, and the last quarter by networks that have none', async t => {
    const queue = hashingQueue(1, { longestWait: 60_000, places: 8 })
    const { ask, reasons } = fill(t, queue)
    ask('running')
    for (const network of ['other', 'flood', 'flood']) ask(network, { network })
    t.doesNotThrow(() => queue.assertCapacity({ network: 'third' }))
    t.throws(() => queue.assertCapacity({ network: 'flood' }), { code: 'overloaded' })
    t.strictSame(reasons, ['share'])
    for (const network of ['other', 'third', 'third']) ask(network, { network })
    t.throws(() => queue.assertCapacity({ network: 'third' }), { code: 'overloaded' })
    ask('fourth', { network: 'fourth' })
    t.throws(() => queue.assertCapacity({ network: 'fourth' }))
    t.strictSame(reasons, ['share', 'full', 'full'])
    ask('fifth', { network: 'fifth' })
    t.throws(() => queue.assertCapacity({ network: 'sixth' }))
    t.doesNotThrow(() => queue.assertCapacity({ network: 'sixth', known: true }), 'known devices have places of their own')
    t.equal(queue.waiting, 8)
  })

  t.test('are free at once when the caller goes', async t => {
    const before = timers()
    const queue = hashingQueue(1, { longestWait: 60_000, places: 1 })
    const { ask, reasons, order } = fill(t, queue)
    ask('running')
    const gone = ask('gone', { network: 'a' })
    t.throws(() => queue.assertCapacity({ network: 'b' }))
    gone.abort(new Error('the client has gone'))
    t.doesNotThrow(() => queue.assertCapacity({ network: 'b' }))
    ask('after', { network: 'b' })
    await gone.settled
    t.match(gone.outcomes, [{ message: 'the client has gone' }])
    t.strictSame(reasons, ['full', 'gone'])
    t.strictSame(await order(), ['running', 'after'])
    t.equal(timers(), before, 'and no timer is left of the one that went nor of the one that had its turn')
    const early = AbortSignal.abort(new Error('already gone'))
    await t.rejects(queue.run(async () => t.fail('it ran'), { signal: early }), { message: 'already gone' })
  })

  t.test('are given up by whose turn did not come in time, and leave no timer behind', async t => {
    const before = timers()
    const queue = hashingQueue(1, { longestWait: 100, places: 8 })
    const { ask, reasons, order } = fill(t, queue)
    ask('running')
    const late = ask('late')
    const begun = performance.now()
    await late.settled
    const waited = performance.now() - begun
    t.ok(waited > 80 && waited < 1_000, `${waited} ms`)
    t.ok(isOverloaded(late.outcomes[0]))
    t.strictSame(reasons, ['late'])
    t.equal(queue.waiting, 0)
    t.strictSame(await order(), ['running'])
    t.strictSame(timers(), before)
  })
})

t.test('the waiting time', async t => {
  const took = 15
  const work = async () => { await pause(took) }

  t.test('is foreseen within a factor, by place and line', async t => {
    // What is foreseen is whether one is let in: the bound is what is measured.
    for (const { turn, others } of [{ turn: { network: 'quiet' }, others: 12 }, { turn: { network: 'flood' }, others: 40 }, { turn: { network: 'quiet', known: true }, others: 40 }]) {
      const foreseen = async (longestWait: number) => {
        const queue = hashingQueue(2, { longestWait, places: 500 })
        for (let i = 0; i < 25; i++) await Promise.all([queue.run(work), queue.run(work)])
        const runs: Array<Promise<unknown>> = []
        for (let i = 0; i < others; i++) runs.push(queue.run(work, { network: turn.network === 'flood' ? 'flood' : `${i}` }).catch(() => {}))
        const begun = performance.now()
        let waited = 0
        const mine = queue.run(async () => { waited = performance.now() - begun }, turn)
        runs.push(mine)
        const refused = await Promise.allSettled(runs).then(() => mine).then(() => false, isOverloaded)
        return { refused, waited }
      }
      const { refused, waited } = await foreseen(60_000)
      t.notOk(refused)
      t.notOk((await foreseen(waited * 3 + 20)).refused, `${waited} ms is within three times as much`)
      t.ok((await foreseen(waited / 3)).refused, `${waited} ms is not within a third`)
    }
  })

  t.test('is told to a crowd so that whoever comes back when told gets in', async t => {
    const queue = hashingQueue(1, { longestWait: 300, places: 500 })
    const slow = async () => { await pause(20) }
    for (let i = 0; i < 40; i++) await queue.run(slow)
    const outcomes = await Promise.all(Array.from({ length: 120 }, (_, i) => queue.run(slow, { network: `${i}` }).then(() => 0, secondsOf)))
    const told = outcomes.filter(seconds => seconds > 0)
    t.ok(told.length > 60, `${told.length} were refused`)
    t.ok(told.every(seconds => seconds <= 5))
    t.ok(new Set(told).size > 1, 'not all are told the same')
    // In whole seconds those of one second come together: as many as are served in it, or wait.
    const perSecond = Math.max(...[...new Set(told)].map(seconds => told.filter(each => each === seconds).length))
    t.ok(perSecond <= 1_000 / 20 * 1.5, `${perSecond} come at once`)
  })
})
