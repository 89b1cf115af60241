import type { Test } from 'tap'
import { run } from '../support/command-line.ts'
import { build, keyEncryptionKey, newUser } from '../support/app.ts'
import { blocks, claim, verifiedBy } from '../support/limits-page.ts'
import {
  secondInstance,
  fillHashingQueue,
  defaultLimits,
  forwardedFor,
  guessPassword,
  inSequence,
  passTime,
  registerFromNewNetwork,
  newAddress,
  statuses
} from '../support/other-networks.ts'
import { repeatUnavailable } from '../support/repetition.ts'
import { t } from '../support/test.ts'

const throttle = 'test/routes/throttle.test.ts'

const service = await build(t, defaultLimits)
// An instance on which everything that is counted has happened.
const measured = await build(t, { ...defaultLimits, RATE_LIMIT: '30/1m', ARGON2_CONCURRENCY: '2' })
const metrics = (async () => {
  const { email, password } = await registerFromNewNetwork(measured)
  await repeatUnavailable(async () => await guessPassword(measured, { email, password }))
  const address = newAddress()
  await inSequence(7, () => guessPassword(measured, { email }, address))
  const emptyQueue = fillHashingQueue(measured.app.passwords)
  await guessPassword(measured, newUser())
  await emptyQueue()
  return (await measured.browser().get('/metrics')).text
})()
/** Tests a row: each metric in its first cell exists, with the labels and values that the row names. */
const metricExists = (name: string, assertMore: (t: Test, text: string) => void = () => {}) =>
  t.test(name, async t => {
    const text = await metrics
    const row = claim(name.slice(0, 'limits-000'.length))
    const named = [...row.matchAll(/(latchkey_[a-z0-9_]+)(?:\{([a-z]+)(?:!?="([a-z_]+)")?\})?/g)]
    t.ok(named.length > 0)
    for (const [, name = '', label, value] of named) {
      t.match(text, new RegExp(`^# TYPE ${name} `, 'm'))
      if (label !== undefined) {
        t.match(
          text,
          new RegExp(`^${name}\\{${label}="${value ?? '[a-z_0-9]+'}"\\} `, 'm'),
          `${name} ${label}`
        )
      }
    }
    assertMore(t, text)
  })
/** The words in code style in the second cell of the row. */
const codeWords = (id: string) =>
  [...(claim(id).split('|')[2] ?? '').matchAll(/`([a-z_]+)`/g)].map(([, word = '']) => word)
metricExists('limits-095: sign-ins by result', (t, text) => {
  for (const word of codeWords('limits-095')) {
    t.match(text, new RegExp(`^latchkey_logins_total\\{result="${word}"\\} [1-9]`, 'm'))
  }
})

metricExists('limits-096: requests over the rate limit by class', (t, text) =>
  t.strictSame(
    [...text.matchAll(/^latchkey_rate_limited_total\{class="(\w+)"/gm)].map(([, word]) => word).sort(),
    codeWords('limits-096').sort()
  )
)

metricExists('limits-097: whether counters are shared', (t, text) =>
  t.match(text, /^latchkey_rate_limits_shared 0$/m)
)

metricExists('limits-098: the depth of the queue')
metricExists('limits-099: the times of the queue')
metricExists('limits-100: the reasons of the queue', (t, text) =>
  t.strictSame(
    [...(/^# HELP latchkey_hashing_refused_total (.*)$/m.exec(text)?.[1]?.matchAll(/"(\w+)"/g) ?? [])].map(
      ([, word]) => word
    ),
    codeWords('limits-100')
  )
)

metricExists('limits-101: the argon2 build')
metricExists('limits-102: alert on guessing')
metricExists('limits-103: alert on throttling')
metricExists('limits-104: alert on floods')
metricExists('limits-105: alert on the queue')
metricExists('limits-106: alert on Redis')

// One network tries twelve accounts, enters one of them, and tries a name without an account. Six addresses
// try one account.
const [failuresPerMinute = '', mostFailures = '', enteredAccounts = ''] = blocks('During an attack', 'sql')
const attack = (async () => {
  const users = await inSequence(12, () => registerFromNewNetwork(service))
  const [stuffer, prefix] = [newAddress(), '2001:db8:0:7::']
  const [entered, attacked] = users
  for (const { email } of users) await guessPassword(service, { email }, stuffer)
  await guessPassword(service, newUser(), stuffer)
  if (entered) await guessPassword(service, { email: entered.email, password: entered.password }, stuffer)
  if (attacked) await inSequence(6, i => guessPassword(service, { email: attacked.email }, `${prefix}${i}`))
  return { stuffer, entered, attacked }
})()

t.test('limits-107: failures per minute', async t => {
  await attack
  const rows = await service.sql<{
    minute: Date
    failed: string
    addresses: string
    accounts: string
    nobody: string
  }>(failuresPerMinute)
  const sum = (column: 'failed' | 'nobody') => rows.reduce((total, row) => total + Number(row[column]), 0)
  t.strictSame([sum('failed'), sum('nobody')], [18, 1])
  t.ok(
    rows.length <= 2 &&
      rows.some(({ addresses, accounts }) => Number(addresses) >= 1 && Number(accounts) >= 1)
  )
})

t.test('limits-108: networks and accounts with most failures', async t => {
  const { stuffer, attacked } = await attack
  const [networks = '', accounts = ''] = mostFailures.split(/(?<=;)\n+/)
  t.strictSame(await service.sql(networks), [
    { network: `${stuffer}/32`, failed: '13', accounts: '12' },
    { network: '2001:db8:0:7::/64', failed: '5', accounts: '1' }
  ])
  t.match(await service.sql(accounts), [
    { user_id: attacked?.id, email: attacked?.email, failed: '6', addresses: '6' },
    { failed: '1' }
  ])
})

t.test('limits-109: accounts that an attacker entered', async t => {
  const { stuffer, entered } = await attack
  t.strictSame(await service.sql(enteredAccounts), [{ user_id: entered?.id, address: stuffer }])
})

t.test('limits-110: the events of failed sign-ins', async t => {
  await attack
  const { email, password, id } = await registerFromNewNetwork(service)
  const address = newAddress()
  await inSequence(9, () => guessPassword(service, { email }, address))
  await passTime(service, 30)
  await inSequence(9, () => guessPassword(service, { email }, address))
  t.equal(
    (await service.sql("select 1 from audit_events where type = 'login.throttled' and user_id = $1", [id]))
      .length,
    2
  )
  await service.sql('update users set disabled_at = now() where id = $1', [id])
  await guessPassword(service, { email, password })
  t.strictSame(
    await service.sql(
      "select distinct detail ->> 'reason' as reason from audit_events where type = 'login.failed' order by 1"
    ),
    ['account_disabled', 'unknown_account', 'wrong_password'].map(reason => ({ reason }))
  )
})

verifiedBy(t, 'limits-111: one network, many accounts', {
  [throttle]: ['a network that tries many accounts is throttled, and others are not']
})

verifiedBy(t, 'limits-112: one account, many networks', {
  [throttle]: ['an attack on one account from many networks']
})

t.test('limits-114: an entered account', async t => {
  const { email, password, id, browser } = await registerFromNewNetwork(service)
  const statement = /`(update [^`]+)`/.exec(claim('limits-114'))?.[1]?.replace('ID', id) ?? ''
  t.match(
    await run(t, ['sessions', 'end', '--user', id], {
      DATABASE_URL: service.url,
      KEY_ENCRYPTION_KEY: keyEncryptionKey.toString('base64')
    }),
    { code: 0, stdout: 'Ended 1 session.\n' }
  )
  t.match(await browser.post('/v1/auth/refresh'), { status: 401 })
  await service.sql(statement)
  t.match(await browser.post('/v1/auth/login', { email, password }, forwardedFor(newAddress())), {
    status: 403,
    body: { code: 'account_disabled' }
  })
})

t.test('limits-116: a lower limit applies to earlier failures', async t => {
  const { email } = await registerFromNewNetwork(service)
  const address = newAddress()
  t.strictSame(
    statuses(await inSequence(4, () => guessPassword(service, { email }, address))),
    [401, 401, 401, 401]
  )
  const strict = await secondInstance(t, service, { ...defaultLimits, LOGIN_RATE_LIMIT: '2/15m' })
  t.strictSame(statuses(await inSequence(2, () => guessPassword(strict, { email }, address))), [401, 429])
})

t.test('limits-117: truncate login_throttles resets everything', async t => {
  const service = await build(t, defaultLimits)
  const { email } = await registerFromNewNetwork(service)
  const address = newAddress()
  await inSequence(6, () => guessPassword(service, { email }, address))
  await service.sql('truncate login_throttles')
  t.strictSame(
    statuses(await inSequence(6, () => guessPassword(service, { email }, address))),
    [401, 401, 401, 401, 401, 429]
  )
})
