import t from 'tap'
import { variables } from '../../src/config/variables.ts'
import { build, newUser } from '../support/app.ts'
import { hold } from '../support/limits-page.ts'
import { secondInstance, fillHashingQueue, defaultLimits, forwardedFor, guessPassword, inSequence, withoutLimits, passTime, registerUser, newAddress, statuses } from '../support/other-networks.ts'

const throttle = 'test/routes/throttle.test.ts'
const { holds, isHeldBy, end } = hold(t, 'Failed sign-ins')
const service = await build(t, defaultLimits)

isHeldBy('An attempt is counted before it is judged: of guesses made at the same moment, on whichever instances, no more are judged than are allowed.', { [throttle]: ['of guesses made at the same moment on two instances exactly those allowed are judged', 'parallel guesses from everywhere are no way round'] })
isHeldBy('With the one that reaches the limit a wait of 30 seconds begins, in which nothing is judged, not even the right password.', { [throttle]: ['after the last one allowed, even the right password has to wait, and it is told exactly how long'] })
isHeldBy('After a wait one attempt is judged; each that is wrong doubles the wait, up to an hour.', { [throttle]: ['each wait is twice the one before, up to an hour'] })
isHeldBy('What is refused is not counted, and makes no wait longer.', { [throttle]: ['what is refused does not count, and makes no wait longer'] })
holds('Failures below the limit seep away, as many as the limit in its window: of `5/15m` one every three minutes.', async t => {
  t.equal(variables.LOGIN_RATE_LIMIT.preset, '5/15m')
  const { email } = await registerUser(service)
  const here = newAddress()
  await inSequence(4, () => guessPassword(service, { email }, here))
  await inSequence(8, async () => {
    await passTime(service, 3 * 60)
    t.match(await guessPassword(service, { email }, here), { status: 401 })
  })
  t.strictSame(statuses(await inSequence(2, () => guessPassword(service, { email }, here))), [401, 429])
})
holds('Once a wait is over, the failures before it are forgotten after a window without another.', async t => {
  const { email } = await registerUser(service)
  const here = newAddress()
  await inSequence(5, () => guessPassword(service, { email }, here))
  await passTime(service, 30 + 14.9 * 60)
  t.strictSame(statuses(await inSequence(2, () => guessPassword(service, { email }, here))), [401, 429], 'not before')
  await passTime(service, 60 + 15.1 * 60)
  t.strictSame(statuses(await inSequence(6, () => guessPassword(service, { email }, here))), [401, 401, 401, 401, 401, 429])
})

isHeldBy('A password that is set by a mailed link forgets those from this network, and those from everywhere.', { 'test/routes/links.test.ts': ['pardons the failures before it'] })
holds('A success forgets the failures for this account from this network, or on this device.', async t => {
  const { email, password, browser } = await registerUser(service)
  const here = newAddress()
  for (const send of [async (login: { email: string, password: string }) => await guessPassword(service, login, here), async (login: object) => await browser.post('/v1/auth/login', login, forwardedFor(newAddress()))]) {
    const answers = await inSequence(15, i => send({ email, password: i % 5 === 4 ? password : 'not the password' }))
    t.strictSame(statuses(answers), Array.from({ length: 15 }, (_, i) => i % 5 === 4 ? 200 : 401))
  }
})
holds('It takes nothing from what its network or the whole account have on their accounts.', async t => {
  const strict = await secondInstance(t, service, { ...withoutLimits, TRUST_PROXY: '127.0.0.1', LOGIN_NETWORK_LIMIT: '3/15m', LOGIN_ACCOUNT_LIMIT: '4/24h' })
  const { email, password } = await registerUser(strict)
  const here = newAddress()
  const answers = await inSequence(4, i => guessPassword(strict, i === 2 ? { email, password } : newUser(), here))
  t.strictSame(statuses(answers), [401, 401, 200, 401])
  t.match(await guessPassword(strict, { email, password }, here), { status: 429 }, 'the third of the network')
  t.strictSame(statuses(await inSequence(6, i => guessPassword(strict, i === 3 ? { email, password } : { email }))), [401, 401, 401, 200, 401, 429], 'the fourth of the account')
})
isHeldBy('A wrong `current_password` at `/v1/me/password` counts like a failed sign-in.', { [throttle]: ['changes nothing for a wrong one, and that counts like a failed sign-in'] })
isHeldBy('So does a wrong `password` that should confirm an address.', { 'test/routes/links.test.ts': ['takes the password, and a wrong one counts like a failed sign-in'] })
holds('Neither a full queue nor the right password of a disabled account counts as a failure.', async t => {
  const { email, password, id } = await registerUser(service)
  await service.sql('update users set disabled_at = now() where id = $1', [id])
  const here = newAddress()
  t.strictSame(statuses(await inSequence(7, () => guessPassword(service, { email, password }, here))), Array(7).fill(403))

  const { email: another } = await registerUser(service)
  const empty = fillHashingQueue(service.app.passwords)
  const there = newAddress()
  const refused = await inSequence(7, () => guessPassword(service, { email: another }, there))
  await empty()
  t.strictSame(statuses(refused), Array(7).fill(503))
  t.match(await guessPassword(service, { email: another }, there), { status: 401 })
})
end()
