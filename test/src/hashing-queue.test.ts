import { setTimeout as pause } from 'node:timers/promises'
import fc from 'fast-check'
import { Problem } from '../../src/http/problem.ts'
import {
  hashingQueue, type HashingQueue, type QueueLimits, type QueueRejection, type QueueTicket
} from '../../src/passwords/hashing-queue.ts'
import { deferred, type Deferred } from '../support/deferred.ts'
import { scale } from '../support/soak.ts'
import type { Teardown } from '../support/teardown.ts'
import { t } from '../support/test.ts'

interface QueuedTask {
  name: string
  abort: (reason: unknown) => void
  end: Deferred
  settled: Promise<unknown>
  outcomes: unknown[]
}

/** Runs tasks in a queue until the test ends them; aborts the remaining tasks at the end of the test. */
function manualTasks (t: Teardown, queue: HashingQueue) {
  const all: QueuedTask[] = []
  t.teardown(() => {
    for (const { abort, end } of all) {
      abort('the test is over')
      end.resolve()
    }
  })
  const started: QueuedTask[] = []
  const running = new Set<QueuedTask>()
  function add (name: string, ticket: QueueTicket = {}): QueuedTask {
    const controller = new AbortController()
    const abort = (reason: unknown) => controller.abort(reason)
    const task: QueuedTask = { name, abort, end: deferred(), settled: Promise.resolve(), outcomes: [] }
    task.settled = queue.run(async () => {
      started.push(task)
      running.add(task)
      try {
        await task.end.promise
      } finally {
        running.delete(task)
      }
      return name
    }, { ...ticket, signal: controller.signal })
      .then(value => task.outcomes.push(value), (error: unknown) => task.outcomes.push(error))
    all.push(task)
    return task
  }
  /** Ends the tasks one after the other, and returns their names in the order in which they started. */
  async function runInOrder (): Promise<string[]> {
    for (let i = 0; i < started.length; i++) {
      started[i]?.end.resolve()
      await started[i]?.settled
      await microtasks()
    }
    return started.map(({ name }) => name)
  }
  return { started, running, add, runInOrder }
}

const countTimers = () => process.getActiveResourcesInfo().filter(kind => kind === 'Timeout').length
const microtasks = async () => { for (let i = 0; i < 10; i++) await Promise.resolve() }
const isOverloaded = (outcome: unknown) => outcome instanceof Problem && outcome.code === 'overloaded'
const retryAfterOf = (outcome: unknown) =>
  outcome instanceof Problem ? Number(outcome.headers['retry-after']) : NaN
const generousLimits: QueueLimits = { maxWaitMs: 60_000, maxWaiting: 500 }

t.test('the order of service', async t => {
  t.test('is round-robin among networks, and first in, first out within one', async t => {
    const { add, runInOrder } = manualTasks(t, hashingQueue(1, generousLimits))
    for (const name of ['a1', 'a2', 'a3', 'b1', 'b2', 'c1', 'a4']) add(name, { network: name.slice(0, 1) })
    t.strictSame(await runInOrder(), ['a1', 'a2', 'b1', 'c1', 'a3', 'b2', 'a4'])
  })

  t.test('lets a single login from a quiet network overtake a flood', async t => {
    const { add, runInOrder } = manualTasks(t, hashingQueue(1, generousLimits))
    for (let i = 0; i < 100; i++) add(`flood ${i}`, { network: 'flood' })
    add('quiet', { network: 'quiet' })
    t.equal((await runInOrder()).indexOf('quiet'), 2, 'only the running and the next task come before it')
  })

  t.test('gives three of four turns to known devices', async t => {
    const { add, runInOrder } = manualTasks(t, hashingQueue(1, generousLimits))
    add('running')
    for (let i = 0; i < 4; i++) add(`s${i}`, { network: `${i}` })
    for (let i = 0; i < 7; i++) add(`k${i}`, { network: `${i}`, isKnownDevice: true })
    t.strictSame(await runInOrder(), [
      'running', 'k0', 'k1', 'k2', 's0', 'k3', 'k4', 'k5', 's1', 'k6', 's2', 's3'
    ])
  })
})

t.test('the queue keeps its invariants in any order of arrivals, ends and departures', async () => {
  const assertThat = (condition: boolean, claim: string) => {
    if (!condition) throw new Error(`not true: ${claim}`)
  }
  const network = fc.constantFrom('a', 'b', 'c', 'd')
  const action = fc.oneof(
    {
      weight: 5,
      arbitrary: fc.record({ kind: fc.constant('arrives' as const), network, known: fc.boolean() })
    },
    {
      weight: 3,
      arbitrary: fc.record({ kind: fc.constant('ends' as const), which: fc.nat(), fails: fc.boolean() })
    },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('leaves' as const), which: fc.nat() }) }
  )
  const concurrencies = fc.integer({ min: 1, max: 4 })
  const sequences = fc.array(action, { maxLength: 200, size: 'max' })
  await fc.assert(fc.asyncProperty(concurrencies, sequences, async (concurrency, actions) => {
    const maxWaiting = 8
    const queue = hashingQueue(concurrency, { maxWaitMs: 60_000, maxWaiting })
    const events: string[] = []
    queue.observe({
      started: () => events.push('started'),
      ended: () => events.push('ended'),
      refused: reason => events.push(reason)
    })
    const { started, running, add } = manualTasks({ teardown () {} }, queue)
    const all: QueuedTask[] = []
    const waiting = () => all.filter(task => task.outcomes.length === 0 && !started.includes(task))
    const pick = (tasks: Iterable<QueuedTask>, which: number) => {
      const list = [...tasks]
      return list[which % Math.max(1, list.length)]
    }
    // How many tasks have started since each waiting task was added.
    const overtakenBy = new Map<QueuedTask, number>()

    for (const action of actions) {
      if (action.kind === 'arrives') {
        all.push(
          add(`${action.network}${action.known ? ' known' : ''}`, {
            network: action.network,
            isKnownDevice: action.known
          })
        )
      }
      if (action.kind === 'ends') {
        const { end } = pick(running, action.which) ?? {}
        if (action.fails) end?.reject(new Error('it failed'))
        else end?.resolve()
      }
      if (action.kind === 'leaves') pick(waiting(), action.which)?.abort('gone')
      const before = started.length
      await microtasks()
      for (const task of waiting()) {
        overtakenBy.set(task, (overtakenBy.get(task) ?? 0) + started.length - before)
      }

      const stillWaiting = waiting()
      const countOf = (name: string) => stillWaiting.filter(task => task.name === name).length
      assertThat(
        running.size <= concurrency && queue.running === running.size,
        'at most `concurrency` tasks run'
      )
      assertThat(
        stillWaiting.length === 0 || running.size === concurrency,
        'no task waits while there is room to run it'
      )
      assertThat(
        queue.waiting === stillWaiting.length && stillWaiting.length <= 2 * maxWaiting,
        'each line is bounded'
      )
      for (const task of stillWaiting) {
        assertThat(
          countOf(task.name) <= (maxWaiting * 3) / 4,
          'the last quarter of the places is for other networks'
        )
      }
      // Each place of its own network waits for three other networks, and each of those for three known
      // devices.
      for (const task of stillWaiting) {
        assertThat((overtakenBy.get(task) ?? 0) < maxWaiting * 4 * 4, 'no task starves')
      }
    }
    while (running.size > 0) {
      for (const { end } of running) end.resolve()
      await microtasks()
    }
    await Promise.all(all.map(({ settled }) => settled))
    assertThat(all.every(({ outcomes }) => outcomes.length === 1), 'each task settles once')
    for (const name of new Set(all.map(({ name }) => name))) {
      const inOrder = all.filter(task => task.name === name && started.includes(task))
      assertThat(
        started.filter(task => task.name === name).every((task, index) => task === inOrder[index]),
        'one network is served in order'
      )
    }
    for (const { outcomes, name } of all) {
      const [outcome] = outcomes
      assertThat(
        outcome === name ||
          outcome === 'gone' ||
          isOverloaded(outcome) ||
          (outcome instanceof Error && outcome.message === 'it failed'),
        'each task ends with its result, its error or a rejection'
      )
    }
    assertThat(
      events.filter(event => event === 'started').length === started.length,
      'each start was observed'
    )
    assertThat(events.filter(event => event === 'ended').length === started.length, 'each end was observed')
    assertThat(
      events.length - 2 * started.length === all.length - started.length,
      'each rejection was observed'
    )
    assertThat(queue.waiting === 0 && queue.running === 0, 'no task is left')
  }), { numRuns: scale(300, 100) })
})

t.test('the waiting places', async t => {
  const observed = (t: Teardown, queue: HashingQueue) => {
    const reasons: QueueRejection[] = []
    queue.observe({ started () {}, ended () {}, refused: reason => reasons.push(reason) })
    return { ...manualTasks(t, queue), reasons }
  }

  t.test('are limited to a quarter for one network, and the last quarter is for new networks', async t => {
    const queue = hashingQueue(1, { maxWaitMs: 60_000, maxWaiting: 8 })
    const { add, reasons } = observed(t, queue)
    add('running')
    for (const network of ['other', 'flood', 'flood']) add(network, { network })
    t.doesNotThrow(() => queue.assertCapacity({ network: 'third' }))
    t.throws(() => queue.assertCapacity({ network: 'flood' }), { code: 'overloaded' })
    t.strictSame(reasons, ['share'])
    for (const network of ['other', 'third', 'third']) add(network, { network })
    t.throws(() => queue.assertCapacity({ network: 'third' }), { code: 'overloaded' })
    add('fourth', { network: 'fourth' })
    t.throws(() => queue.assertCapacity({ network: 'fourth' }))
    t.strictSame(reasons, ['share', 'full', 'full'])
    add('fifth', { network: 'fifth' })
    t.throws(() => queue.assertCapacity({ network: 'sixth' }))
    t.doesNotThrow(
      () => queue.assertCapacity({ network: 'sixth', isKnownDevice: true }),
      'known devices have places of their own'
    )
    t.equal(queue.waiting, 8)
  })

  t.test('become free at once when the client goes away', async t => {
    const before = countTimers()
    const queue = hashingQueue(1, { maxWaitMs: 60_000, maxWaiting: 1 })
    const { add, reasons, runInOrder } = observed(t, queue)
    add('running')
    const disconnected = add('disconnected', { network: 'a' })
    t.throws(() => queue.assertCapacity({ network: 'b' }))
    disconnected.abort(new Error('the client has disconnected'))
    t.doesNotThrow(() => queue.assertCapacity({ network: 'b' }))
    add('after', { network: 'b' })
    await disconnected.settled
    t.match(disconnected.outcomes, [{ message: 'the client has disconnected' }])
    t.strictSame(reasons, ['full', 'gone'])
    t.strictSame(await runInOrder(), ['running', 'after'])
    t.equal(countTimers(), before, 'no timer remains, neither of the aborted task nor of the other')
    const abortedSignal = AbortSignal.abort(new Error('already aborted'))
    await t.rejects(
      queue.run(async () => t.fail('the task ran'), { signal: abortedSignal }),
      { message: 'already aborted' }
    )
  })

  t.test('become free when a task has waited too long, and no timer remains', async t => {
    const before = countTimers()
    const queue = hashingQueue(1, { maxWaitMs: 100, maxWaiting: 8 })
    const { add, reasons, runInOrder } = observed(t, queue)
    add('running')
    const startedAt = performance.now()
    const late = add('late')
    await late.settled
    const waited = performance.now() - startedAt
    t.ok(waited > 80 && waited < 1_000, `${waited} ms`)
    t.ok(isOverloaded(late.outcomes[0]))
    t.strictSame(reasons, ['late'])
    t.equal(queue.waiting, 0)
    t.strictSame(await runInOrder(), ['running'])
    t.strictSame(countTimers(), before)
  })
})

t.test('the expected wait', async t => {
  const taskMs = 15
  const work = async () => { await pause(taskMs) }

  t.test('is estimated within a factor of three', async t => {
    // The estimate decides only whether a task is admitted, so the test varies the longest wait.
    const cases: Array<{ ticket: QueueTicket, others: number }> = [
      { ticket: { network: 'quiet' }, others: 12 },
      { ticket: { network: 'flood' }, others: 40 },
      { ticket: { network: 'quiet', isKnownDevice: true }, others: 40 }
    ]
    for (const { ticket, others } of cases) {
      const admission = async (maxWaitMs: number) => {
        const queue = hashingQueue(2, { maxWaitMs, maxWaiting: 500 })
        for (let i = 0; i < 25; i++) await Promise.all([queue.run(work), queue.run(work)])
        const runs: Array<Promise<unknown>> = []
        const isFlood = ticket.network === 'flood'
        for (let i = 0; i < others; i++) {
          runs.push(queue.run(work, { network: isFlood ? 'flood' : `${i}` }).catch(() => {}))
        }
        const startedAt = performance.now()
        let waitedMs = 0
        const measuredTask = queue.run(async () => { waitedMs = performance.now() - startedAt }, ticket)
        runs.push(measuredTask)
        const isRefused = await Promise.allSettled(runs)
          .then(() => measuredTask)
          .then(() => false, isOverloaded)
        return { isRefused, waitedMs }
      }
      const { isRefused, waitedMs } = await admission(60_000)
      t.notOk(isRefused)
      t.notOk(
        (await admission(waitedMs * 3 + 20)).isRefused,
        `admitted for ${waitedMs} ms if three times as much is allowed`
      )
      t.ok((await admission(waitedMs / 3)).isRefused, `refused for ${waitedMs} ms if a third is allowed`)
    }
  })

  t.test('gives concurrent clients different retry times, so that each retry finds a place', async t => {
    const queue = hashingQueue(1, { maxWaitMs: 300, maxWaiting: 500 })
    const slowTask = async () => { await pause(20) }
    for (let i = 0; i < 40; i++) await queue.run(slowTask)
    const outcomes = await Promise.all(
      Array.from({ length: 120 }, (_, i) =>
        queue.run(slowTask, { network: `${i}` }).then(() => 0, retryAfterOf)
      )
    )
    const retryTimes = outcomes.filter(seconds => seconds > 0)
    t.ok(retryTimes.length > 60, `${retryTimes.length} were refused`)
    t.ok(retryTimes.every(seconds => seconds <= 5))
    t.ok(new Set(retryTimes).size > 1, 'the retry times differ')
    // Retry-After has whole seconds, so all clients of one second retry together, and must fit in it.
    const perSecond = Math.max(
      ...[...new Set(retryTimes)].map(seconds => retryTimes.filter(each => each === seconds).length)
    )
    t.ok(perSecond <= 1_000 / 20 * 1.5, `${perSecond} clients retry in one second`)
  })
})
