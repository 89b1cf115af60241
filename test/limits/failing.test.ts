import { variables } from '../../src/config/variables.ts'
import { build, newUser } from '../support/app.ts'
import { verifiedBy } from '../support/limits-page.ts'
import {
  secondInstance,
  fillHashingQueue,
  defaultLimits,
  forwardedFor,
  guessPassword,
  inSequence,
  withoutLimits,
  passTime,
  registerFromNewNetwork,
  newAddress,
  statuses
} from '../support/other-networks.ts'
import { t } from '../support/test.ts'

const throttle = 'test/routes/throttle.test.ts'
const service = await build(t, defaultLimits)

verifiedBy(t, 'limits-037: attempts are counted before they are verified', {
  [throttle]: [
    'concurrent guesses on two instances cannot exceed the limit',
    'concurrent guesses from many networks cannot exceed the limit'
  ]
})

verifiedBy(t, 'limits-038: the first wait is 30 seconds', {
  [throttle]: ['at the limit even the right password must wait, for the time in Retry-After']
})

verifiedBy(t, 'limits-039: each failure doubles the wait', {
  [throttle]: ['each wait is twice as long as the previous one, up to an hour']
})

verifiedBy(t, 'limits-040: refused attempts do not count', {
  [throttle]: ['refused attempts do not count, and do not extend the wait']
})

t.test('limits-041: failures decay at the rate of the limit', async t => {
  t.equal(variables.LOGIN_RATE_LIMIT.preset, '5/15m')
  const { email } = await registerFromNewNetwork(service)
  const address = newAddress()
  await inSequence(4, () => guessPassword(service, { email }, address))
  await inSequence(8, async () => {
    await passTime(service, 3 * 60)
    t.match(await guessPassword(service, { email }, address), { status: 401 })
  })
  t.strictSame(statuses(await inSequence(2, () => guessPassword(service, { email }, address))), [401, 429])
})

t.test('limits-042: failures are forgotten after a window', async t => {
  const { email } = await registerFromNewNetwork(service)
  const address = newAddress()
  await inSequence(5, () => guessPassword(service, { email }, address))
  await passTime(service, 30 + 14.9 * 60)
  t.strictSame(
    statuses(await inSequence(2, () => guessPassword(service, { email }, address))),
    [401, 429],
    'after less than a window, one attempt is allowed'
  )
  await passTime(service, 60 + 15.1 * 60)
  t.strictSame(
    statuses(await inSequence(6, () => guessPassword(service, { email }, address))),
    [401, 401, 401, 401, 401, 429]
  )
})

verifiedBy(t, 'limits-044: a mailed link resets the failures of the account', {
  'test/routes/one-time-tokens.test.ts': ['resets the failed sign-ins of the account']
})

t.test('limits-043: a success resets the failures of the account', async t => {
  const { email, password, browser } = await registerFromNewNetwork(service)
  const address = newAddress()
  for (const send of [
    async (login: { email: string; password: string }) => await guessPassword(service, login, address),
    async (login: object) => await browser.post('/v1/auth/login', login, forwardedFor(newAddress()))
  ]) {
    const answers = await inSequence(15, i =>
      send({ email, password: i % 5 === 4 ? password : 'not the password' })
    )
    t.strictSame(
      statuses(answers),
      Array.from({ length: 15 }, (_, i) => (i % 5 === 4 ? 200 : 401))
    )
  }
})

t.test('limits-045: a success does not reset the network or the whole account', async t => {
  const strict = await secondInstance(t, service, {
    ...withoutLimits,
    TRUST_PROXY: '127.0.0.1',
    LOGIN_NETWORK_LIMIT: '3/15m',
    LOGIN_ACCOUNT_LIMIT: '4/24h'
  })
  const { email, password } = await registerFromNewNetwork(strict)
  const address = newAddress()
  const answers = await inSequence(4, i =>
    guessPassword(strict, i === 2 ? { email, password } : newUser(), address)
  )
  t.strictSame(statuses(answers), [401, 401, 200, 401])
  t.match(
    await guessPassword(strict, { email, password }, address),
    { status: 429 },
    'the third failure of the network'
  )
  t.strictSame(
    statuses(await inSequence(6, i => guessPassword(strict, i === 3 ? { email, password } : { email }))),
    [401, 401, 401, 200, 401, 429],
    'the fourth failure of the account'
  )
})

verifiedBy(t, 'limits-046: a wrong current password counts', {
  [throttle]: ['a wrong current password counts as a failed sign-in']
})

verifiedBy(t, 'limits-047: a wrong password for an address counts', {
  'test/routes/one-time-tokens.test.ts': ['accepts the password, and counts a wrong one as a failed sign-in']
})

t.test('limits-048: a full queue and a disabled account do not count', async t => {
  const { email, password, id } = await registerFromNewNetwork(service)
  await service.sql('update users set disabled_at = now() where id = $1', [id])
  const address = newAddress()
  t.strictSame(
    statuses(await inSequence(7, () => guessPassword(service, { email, password }, address))),
    Array(7).fill(403)
  )

  const { email: otherEmail } = await registerFromNewNetwork(service)
  const emptyQueue = fillHashingQueue(service.app.passwords)
  const otherAddress = newAddress()
  const refused = await inSequence(7, () => guessPassword(service, { email: otherEmail }, otherAddress))
  await emptyQueue()
  t.strictSame(statuses(refused), Array(7).fill(503))
  t.match(await guessPassword(service, { email: otherEmail }, otherAddress), { status: 401 })
})
