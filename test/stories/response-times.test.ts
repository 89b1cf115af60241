import { randomInt } from 'node:crypto'
import type { Test } from 'tap'
import { median } from '../../bench/throughput.ts'
import { build, type Service } from '../support/app.ts'
import { listen, post } from '../support/concurrency.ts'
import { apiFlows, secretApiFlows, type Flow, type Question } from '../support/enumeration.ts'
import { isLinkRequest, pageFlows } from '../support/page-flows.ts'
import { isSoak } from '../support/soak.ts'
import { t } from '../support/test.ts'

// How often a question is asked in an attempt. A time that is closer than it must be needs fewer rounds.
const rounds = 60
const fewRounds = 24
// Other processes may disturb a measurement, so it is repeated.
const attempts = 3
const differsBy = (tolerance: number) => (ratio: number) => !(ratio > 1 / tolerance && ratio < tolerance)
const isDifferent = differsBy(1.25)
const isDoubtful = differsBy(1.1)

const shuffle = <Item>(items: readonly Item[]): Item[] => items
  .map(item => [item, randomInt(2 ** 32)] as const)
  .sort(([, a], [, b]) => a - b)
  .map(([item]) => item)

/** A flow at a service, whose response times are measured. */
interface MeasuredFlow {
  flow: Flow
  service: Service
  origin: string
  /** Whether too many mails were requested before. Otherwise none were. */
  isDropped: boolean
}

/** The same flow after too many mails have been requested for the address. */
const dropped = (flow: Flow): Flow => ({
  ...flow,
  what: `${flow.what} too often`,
  questions: flow.questions.map(({ what, body }) => {
    const fixed = body()
    return { what, body: () => fixed }
  })
})

t.test('response times', { skip: !isSoak && 'npm run test:soak measures them' }, async t => {
  // With the default costs, and one hash at a time.
  const costs = { ARGON2_MEMORY_KIB: undefined, ARGON2_TIME_COST: undefined, ARGON2_CONCURRENCY: '1' }
  const service = await build(t, costs)
  const verifyingService = await build(t, { ...costs, REQUIRE_EMAIL_VERIFICATION: 'true' })
  const origin = await listen(service)
  const verifyingOrigin = await listen(verifyingService)
  const ofApi = [
    ...(await apiFlows(service, origin)).map(flow => ({ flow, service, origin })),
    ...(await secretApiFlows(verifyingService, verifyingOrigin))
      .map(flow => ({ flow, service: verifyingService, origin: verifyingOrigin }))
  ].filter(({ flow }) => flow.hasSameTime)
  const belowLimit = [
    ...ofApi, ...ofApi.flatMap(({ flow, ...at }) => pageFlows([flow]).map(flow => ({ flow, ...at })))
  ].map(measured => ({ ...measured, isDropped: false }))
  const aboveLimit = belowLimit.filter(({ flow }) => isLinkRequest(flow))
    .map(({ flow, ...at }) => ({ ...at, flow: dropped(flow), isDropped: true }))

  for (const measured of [...belowLimit, ...aboveLimit]) {
    await t.test(`of ${measured.flow.what}`, async t => { await compareTimes(t, measured) })
  }
})

/** Asserts that each question is answered in the time of the first one. */
async function compareTimes (t: Test, measured: MeasuredFlow): Promise<void> {
  const [baseline, ...others] = measured.flow.questions
  if (!baseline) throw new Error('a flow has questions')
  const samples = new Map<Question, number[]>()
  const timeOf = (question: Question) => median(samples.get(question) ?? [])
  const ratioOf = (question: Question) => timeOf(question) / timeOf(baseline)

  // The service measures its hashing first, and the mail buckets are filled.
  await ask(t, measured, { questions: [baseline, ...others], times: measured.isDropped ? 16 : 5, samples })
  let different = others
  for (let attempt = 0; attempt < attempts && different.length > 0; attempt++) {
    samples.clear()
    await ask(t, measured, { questions: [baseline, ...different], times: fewRounds, samples })
    const doubtful = different.filter(question => isDoubtful(ratioOf(question)))
    if (doubtful.length > 0) {
      await ask(t, measured, { questions: [baseline, ...doubtful], times: rounds - fewRounds, samples })
    }
    different = doubtful.filter(question => isDifferent(ratioOf(question)))
  }
  t.pass(`${others.length} questions are answered in ${timeOf(baseline).toFixed(1)} ms`)
  for (const question of different) {
    const ratio = ratioOf(question).toFixed(3)
    t.fail(`${question.what}: ${timeOf(question).toFixed(1)} ms, ${ratio} of that without an account`)
  }
}

interface Asking { questions: Question[], times: number, samples: Map<Question, number[]> }

/** Asks each question so many times, in a random order, and adds the response times to the samples. */
async function ask (
  t: Test,
  { flow, service, origin, isDropped }: MeasuredFlow,
  asking: Asking
): Promise<void> {
  const { questions, times, samples } = asking
  const { path, statuses: [expected] } = flow
  for (let round = 0; round < times; round++) {
    if (!isDropped) await service.sql('delete from mail_buckets')
    for (const question of shuffle(questions)) {
      const body = question.body()
      const startedAt = performance.now()
      const { status } = await post(origin, path, body)
      samples.set(question, [...samples.get(question) ?? [], performance.now() - startedAt])
      if (status !== expected) t.equal(status, expected, question.what)
    }
  }
}
