import t, { type Test } from 'tap'
import { run } from '../support/command-line.ts'
import { build, keyEncryptionKey, newUser } from '../support/app.ts'
import { hold } from '../support/limits-page.ts'
import { secondInstance, fillHashingQueue, defaultLimits, forwardedFor, guessPassword, inSequence, passTime, registerUser, newAddress, statuses } from '../support/other-networks.ts'

const throttle = 'test/routes/throttle.test.ts'
const { blocks, holds, isHeldBy, isAdvice, end } = hold(t, 'What to watch', 'In an attack')

const service = await build(t, defaultLimits)
// Something of everything that is counted.
const watched = await build(t, { ...defaultLimits, RATE_LIMIT: '30/1m', ARGON2_CONCURRENCY: '2' })
const metrics = (async () => {
  const { email, password } = await registerUser(watched)
  // A machine that is too busy may answer with something else first.
  for (let tries = 0; tries < 20 && (await guessPassword(watched, { email, password })).status !== 200; tries++);
  const here = newAddress()
  await inSequence(7, () => guessPassword(watched, { email }, here))
  const empty = fillHashingQueue(watched.app.passwords)
  await guessPassword(watched, newUser())
  await empty()
  return (await watched.browser().get('/metrics')).text
})()
/** Each metric in the first cell of a row is there, with its labels, and with the values that the row names. */
const isThere = (row: string, more: (t: Test, text: string) => void = () => {}) => holds(row, async t => {
  const text = await metrics
  const named = [...row.matchAll(/(latchkey_[a-z0-9_]+)(?:\{([a-z]+)(?:!?="([a-z_]+)")?\})?/g)]
  t.ok(named.length > 0)
  for (const [, name = '', label, value] of named) {
    t.match(text, new RegExp(`^# TYPE ${name} `, 'm'))
    if (label !== undefined) t.match(text, new RegExp(`^${name}\\{${label}="${value ?? '[a-z_0-9]+'}"\\} `, 'm'), `${name} ${label}`)
  }
  more(t, text)
})
const words = (row: string) => [...(row.split('|')[2] ?? '').matchAll(/`([a-z_]+)`/g)].map(([, word = '']) => word)
const logins = '| `latchkey_logins_total{result}` | sign-ins: `ok`, `invalid_credentials`, `too_many_requests`, `overloaded` and other codes |'
isThere(logins, (t, text) => { for (const word of words(logins)) t.match(text, new RegExp(`^latchkey_logins_total\\{result="${word}"\\} [1-9]`, 'm')) })
const classes = '| `latchkey_rate_limited_total{class}` | requests over `RATE_LIMIT`: `password`, `mail`, `client` or `general` |'
isThere(classes, (t, text) => t.strictSame([...text.matchAll(/^latchkey_rate_limited_total\{class="(\w+)"/gm)].map(([, word]) => word).sort(), words(classes).sort()))
isThere('| `latchkey_rate_limits_shared` | 1 while Redis counts, 0 otherwise |', (t, text) => t.match(text, /^latchkey_rate_limits_shared 0$/m))
isThere('| `latchkey_hashing_queue_depth`, `latchkey_hashing_running` | passwords that wait, and that are hashed |')
isThere('| `latchkey_hashing_wait_seconds`, `latchkey_hashing_duration_seconds` | how long they wait, and how long one takes |')
const reasons = '| `latchkey_hashing_refused_total{reason}` | those that got no turn: `full`, `share`, `wait`, `late` or `gone` |'
isThere(reasons, (t, text) => t.strictSame([.../^# HELP latchkey_hashing_refused_total (.*)$/m.exec(text)?.[1]?.matchAll(/"(\w+)"/g) ?? []].map(([, word]) => word), words(reasons)))
isThere('| `latchkey_argon2_build_info{build}` | the build in use |')
isThere('| `rate(latchkey_logins_total{result="invalid_credentials"}[5m]) > 10 * rate(latchkey_logins_total{result="ok"}[5m])` | passwords are being tried |')
isThere('| `rate(latchkey_logins_total{result="too_many_requests"}[5m]) > 1` | guesses are being stopped |')
isThere('| `rate(latchkey_rate_limited_total{class="password"}[5m]) > 1` | a flood, or `TRUST_PROXY` is missing |')
isThere('| `rate(latchkey_hashing_refused_total{reason!="gone"}[5m]) > 0` | more sign-ins than this machine can hash |')
isThere('| `latchkey_rate_limits_shared == 0` | Redis is away (where there is one) |')

// Twelve accounts are tried from one network, one of them with success; one account from six; and a name that is nobody's.
const [minutes = '', most = '', entered = ''] = blocks('In an attack', 'sql')
const attack = (async () => {
  const people = await inSequence(12, () => registerUser(service))
  const [stuffer, prefix] = [newAddress(), '2001:db8:0:7::']
  const [victim, favourite] = people
  for (const { email } of people) await guessPassword(service, { email }, stuffer)
  await guessPassword(service, newUser(), stuffer)
  if (victim) await guessPassword(service, { email: victim.email, password: victim.password }, stuffer)
  if (favourite) await inSequence(6, i => guessPassword(service, { email: favourite.email }, `${prefix}${i}`))
  return { stuffer, victim, favourite }
})()

holds('How it goes, by the minute: failed sign-ins, from how many addresses, for how many accounts, and for names that no account has.', async t => {
  await attack
  const rows = await service.sql<{ minute: Date, failed: string, addresses: string, accounts: string, nobody: string }>(minutes)
  const sum = (column: 'failed' | 'nobody') => rows.reduce((all, row) => all + Number(row[column]), 0)
  t.strictSame([sum('failed'), sum('nobody')], [18, 1])
  t.ok(rows.length <= 2 && rows.some(({ addresses, accounts }) => Number(addresses) >= 1 && Number(accounts) >= 1))
})
holds('The networks that fail most, and the accounts that are tried most:', async t => {
  const { stuffer, favourite } = await attack
  const [networks = '', accounts = ''] = most.split(/(?<=;)\n+/)
  t.strictSame(await service.sql(networks), [{ network: `${stuffer}/32`, failed: '13', accounts: '12' }, { network: '2001:db8:0:7::/64', failed: '5', accounts: '1' }])
  t.match(await service.sql(accounts), [{ user_id: favourite?.id, email: favourite?.email, failed: '6', addresses: '6' }, { failed: '1' }])
})
holds('Accounts that were entered from an address which failed for ten others or more:', async t => {
  const { stuffer, victim } = await attack
  t.strictSame(await service.sql(entered), [{ user_id: victim?.id, address: stuffer }])
})
holds('`login.failed` has the reason `wrong_password`, `unknown_account` or `account_disabled`, and `login.throttled` stands there once for each wait.', async t => {
  await attack
  const { email, password, id } = await registerUser(service)
  const here = newAddress()
  await inSequence(9, () => guessPassword(service, { email }, here))
  await passTime(service, 30)
  await inSequence(9, () => guessPassword(service, { email }, here))
  t.equal((await service.sql("select 1 from audit_events where type = 'login.throttled' and user_id = $1", [id])).length, 2)
  await service.sql('update users set disabled_at = now() where id = $1', [id])
  await guessPassword(service, { email, password })
  t.strictSame(await service.sql("select distinct detail ->> 'reason' as reason from audit_events where type = 'login.failed' order by 1"), ['account_disabled', 'unknown_account', 'wrong_password'].map(reason => ({ reason })))
})

isHeldBy('| one network, many accounts | nothing: `LOGIN_NETWORK_LIMIT` stops it; lower that, or block the network at the proxy |', { [throttle]: ['one network that tries many accounts is stopped, and the others are not'] })
isHeldBy('| one account, many networks | nothing: `LOGIN_ACCOUNT_LIMIT` stops it; with `20/24h` after twenty |', { [throttle]: ['an attack on one account from many networks'] })
isAdvice('| many networks, a few tries each | lower `LOGIN_RATE_LIMIT`, and look for accounts that were entered; set `BREACHED_PASSWORDS_URL` |')
const enteredRow = '| an account that was entered | `npx latchkey sessions end --user ID`, and `update users set disabled_at = now() where id = \'ID\'` until its owner has been heard |'
holds(enteredRow, async t => {
  const { email, password, id, browser } = await registerUser(service)
  const statement = /`(update [^`]+)`/.exec(enteredRow)?.[1]?.replace('ID', id) ?? ''
  t.match(await run(t, ['sessions', 'end', '--user', id], { DATABASE_URL: service.url, KEY_ENCRYPTION_KEY: keyEncryptionKey.toString('base64') }), { code: 0, stdout: 'Ended 1 session.\n' })
  t.match(await browser.post('/v1/auth/refresh'), { status: 401 })
  await service.sql(statement)
  t.match(await browser.post('/v1/auth/login', { email, password }, forwardedFor(newAddress())), { status: 403, body: { code: 'account_disabled' } })
})
isAdvice('| the queue is full | lower `RATE_LIMIT`, or start more instances |')
holds('A lower limit holds from the restart on, also against what was counted before.', async t => {
  const { email } = await registerUser(service)
  const here = newAddress()
  t.strictSame(statuses(await inSequence(4, () => guessPassword(service, { email }, here))), [401, 401, 401, 401])
  const strict = await secondInstance(t, service, { ...defaultLimits, LOGIN_RATE_LIMIT: '2/15m' })
  t.strictSame(statuses(await inSequence(2, () => guessPassword(strict, { email }, here))), [401, 429])
})
holds('`truncate login_throttles` ends all waits and forgets all failures, the attacker\'s too.', async t => {
  const apart = await build(t, defaultLimits)
  const { email } = await registerUser(apart)
  const here = newAddress()
  await inSequence(6, () => guessPassword(apart, { email }, here))
  await apart.sql('truncate login_throttles')
  t.strictSame(statuses(await inSequence(6, () => guessPassword(apart, { email }, here))), [401, 401, 401, 401, 401, 429])
})
end()
