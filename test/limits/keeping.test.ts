import { randomBytes } from 'node:crypto'
import { variables } from '../../src/config/variables.ts'
import { passwordReasons } from '../../src/passwords/problems.ts'
import { createLocalCounters } from '../../src/throttle/local-counters.ts'
import { run } from '../support/command-line.ts'
import { build, keyEncryptionKey, newUser } from '../support/app.ts'
import { createDatabase } from '../support/postgres.ts'
import { flakyProxy } from '../support/flaky-proxy.ts'
import { claim, verifiedBy } from '../support/limits-page.ts'
import {
  secondInstance,
  defaultLimits,
  forwardedFor,
  guessPassword,
  inSequence,
  withoutLimits,
  registerFromNewNetwork,
  newAddress,
  statuses
} from '../support/other-networks.ts'
import { waitFor } from '../support/polling.ts'
import { t } from '../support/test.ts'

const throttle = 'test/routes/throttle.test.ts'
const rateLimit = 'test/plugins/rate-limit.test.ts'
const attacks = 'test/stories/attacks.test.ts'
const service = await build(t, defaultLimits)
const withoutLimitsBehindProxy = { ...withoutLimits, TRUST_PROXY: '127.0.0.1' }

verifiedBy(t, 'limits-049: the owner signs in on a known device', {
  [throttle]: ['an attack on one account from many networks']
})

verifiedBy(t, 'limits-050: a known device has its own counter', {
  [throttle]: ['guesses from a known device have a counter of their own']
})

verifiedBy(t, 'limits-051: known devices have three of four turns', {
  'test/src/hashing-queue.test.ts': ['gives three of four turns to known devices']
})

t.test('limits-052: a refresh is not throttled', async t => {
  const { email, browser } = await registerFromNewNetwork(service)
  const address = newAddress()
  await inSequence(6, () => guessPassword(service, { email }, address))
  t.strictSame(
    statuses(await inSequence(3, () => browser.post('/v1/auth/refresh', undefined, forwardedFor(address)))),
    [200, 200, 200]
  )
})

verifiedBy(t, 'limits-053: the device cookie lasts 180 days, for four accounts', {
  [throttle]: [
    'identifies the device for 180 days',
    'remembers four accounts of a device, which keeps its id'
  ]
})

t.test('limits-054: the device cookie does not authenticate', async t => {
  const { email, browser } = await registerFromNewNetwork(service)
  const device = `device_3000=${browser.jar.get('device_3000')}`
  t.match(await service.browser().post('/v1/auth/refresh', undefined, { cookie: device }), { status: 401 })
  t.match(await service.browser().post('/v1/auth/login', { email, password: 'x' }, { cookie: device }), {
    status: 401
  })
  t.match(await service.browser().get('/v1/me', { cookie: device }), { status: 401 })
})

t.test('limits-055: what forgets known devices', async t => {
  const strict = await secondInstance(t, service, {
    ...withoutLimitsBehindProxy,
    LOGIN_ACCOUNT_LIMIT: '1/24h'
  })
  const { email, password, id, browser: laptop } = await registerFromNewNetwork(strict)
  const phone = strict.browser()
  await phone.post('/v1/auth/login', { email, password }, forwardedFor(newAddress()))
  const next = 'another phrase of mine'
  const signInFromBoth = async (password: string) => statuses(await inSequence(2, async i => {
    const browser = i ? phone : laptop
    const answer = await browser.post('/v1/auth/login', { email, password }, forwardedFor(newAddress()))
    // The sign-in ended the previous session of the browser.
    if (answer.status === 200) browser.accessToken = answer.body.access_token
    return answer
  }))
  await guessPassword(strict, { email })
  t.strictSame(await signInFromBoth(password), [200, 200])
  t.match(await laptop.post('/v1/me/password', { current_password: password, new_password: next }), {
    status: 204
  })
  t.strictSame(await signInFromBoth(next), [200, 429])
  await service.sql('truncate login_throttles')
  await phone.post('/v1/auth/login', { email, password: next }, forwardedFor(newAddress()))
  await guessPassword(strict, { email })
  t.strictSame(await signInFromBoth(next), [200, 200])
  t.match(await laptop.delete('/v1/me/sessions'), { status: 204 })
  t.strictSame(await signInFromBoth(next), [200, 429])
  t.match(
    await run(t, ['sessions', 'end', '--user', id], {
      DATABASE_URL: service.url,
      KEY_ENCRYPTION_KEY: keyEncryptionKey.toString('base64')
    }),
    { code: 0 }
  )
  t.strictSame(await signInFromBoth(next), [429, 429])
})

verifiedBy(t, 'limits-056: an owner without a known device waits', {
  [throttle]: [
    'an attack on one account from many networks',
    'each wait is twice as long as the previous one, up to an hour'
  ]
})

t.test('limits-057: where request counters are kept', async t => {
  const counters = createLocalCounters(60_000)
  const add = (from: number, to: number) => { for (let i = from; i < to; i++) counters.increment(`${i}`) }
  add(0, 50_000)
  t.equal(counters.increment('0').current, 2)
  add(50_000, 50_001)
  t.equal(counters.increment('1').current, 1)
  t.equal(counters.increment('0').current, 3)
  const answers = await inSequence(2, async () =>
    (await secondInstance(t, service, { RATE_LIMIT: '1/1m' })).browser().get('/v1/me')
  )
  t.strictSame(statuses(answers), [401, 401], 'the next process starts counting anew')
})

verifiedBy(t, 'limits-062: housekeeping purges expired data', {
  'test/limits/keeping.test.ts': ['expired counters are purged'],
  'test/routes/sessions.test.ts': ['is purged in batches after its retention']
})

t.test('expired counters are purged', async t => {
  const { sql } = service
  await guessPassword(service, newUser())
  await sql("update login_throttles set expires_at = now() - interval '1 s'")
  // More expired buckets than one batch purges, and one that is in use.
  await sql(`
    insert into mail_buckets (key, empty_at)
    select decode(md5(i::text), 'hex'), now() - interval '1 s' from generate_series(1, 12000) as i`)
  await sql("insert into mail_buckets (key, empty_at) values ('\\x00', now() + interval '1 hour')")
  await secondInstance(t, service, defaultLimits)
  const isEmpty = async (query: string) => (await sql(query)).length === 0
  await waitFor(() => isEmpty('select 1 from login_throttles where expires_at < now()'))
  await waitFor(() => isEmpty('select 1 from mail_buckets where empty_at < now()'))
  t.strictSame(
    await sql("select encode(key, 'hex') as key from mail_buckets where key = '\\x00' or empty_at < now()"),
    [{ key: '00' }]
  )
})

t.test('limits-058: where failed sign-ins are kept', async t => {
  const address = newAddress()
  const { email } = await registerFromNewNetwork(service)
  await inSequence(3, () => guessPassword(service, { email }, address))
  const next = await secondInstance(t, service, defaultLimits)
  t.strictSame(statuses(await inSequence(3, () => guessPassword(next, { email }, address))), [401, 401, 429])
  t.strictSame(
    await service.sql(`
      select (expires_at - waits_until)::text as window from login_throttles
      where waits_until > now() and failures = 5`),
    [{ window: '00:15:00' }]
  )
})

verifiedBy(t, 'limits-059: where mail buckets are kept', {
  [attacks]: ['gets exactly fifteen, on two instances at once'],
  'test/limits/keeping.test.ts': ['expired counters are purged']
})

verifiedBy(t, 'limits-060: where known devices are kept', {
  [throttle]: ['identifies the device for 180 days', 'stays valid while its key-encryption key is configured']
})

t.test('limits-061: where events are kept', async t => {
  t.equal(variables.AUDIT_RETENTION.preset, '365d')
  await guessPassword(service, newUser())
  t.ok((await service.sql("select 1 from audit_events where type = 'login.failed'")).length > 0)
})

t.test('limits-063: the throttle table reveals neither accounts nor networks', async t => {
  const service = await build(t, defaultLimits)
  const { email } = await registerFromNewNetwork(service)
  const address = newAddress()
  await inSequence(6, () => guessPassword(service, { email }, address))
  t.match(await guessPassword(service, { email }, address), { status: 429 })
  const [oldKey, newKey] = [keyEncryptionKey.toString('base64'), randomBytes(32).toString('base64')]
  t.match(
    await guessPassword(
      await secondInstance(t, service, { ...defaultLimits, KEY_ENCRYPTION_KEY: `${oldKey},${newKey}` }),
      { email },
      address
    ),
    { status: 429 }
  )
  t.match(
    await guessPassword(
      await secondInstance(t, service, { ...defaultLimits, KEY_ENCRYPTION_KEY: `${newKey},${oldKey}` }),
      { email },
      address
    ),
    { status: 401 }
  )
  const text = (await service.sql<{ line: string }>('select t::text as line from login_throttles t'))
    .map(({ line }) => line)
    .join('\n')
  t.notOk(
    [email, address].some(word => text.includes(word) || text.includes(Buffer.from(word).toString('hex')))
  )
})

verifiedBy(t, 'limits-064: the mail buckets reveal neither addresses nor networks', {
  [attacks]: ['leaves no address in the database']
})

t.test('limits-065: without Redis each instance counts by itself', async t => {
  const limits = { RATE_LIMIT: '4/1m', TRUST_PROXY: '127.0.0.1' }
  const instances = await inSequence(3, async () => await secondInstance(t, service, limits))
  const address = newAddress()
  const answers = await inSequence(
    20,
    async i => await instances[i % 3]?.browser().get('/v1/me', forwardedFor(address))
  )
  t.equal(answers.filter(answer => answer?.status === 401).length, 12)
})

verifiedBy(t, 'limits-066: without Redis counting continues', {
  [rateLimit]: [
    'Redis is killed and restarted',
    'Redis is frozen',
    'counting continues from the shared counts, up to the limit'
  ]
})

verifiedBy(t, 'limits-067: without Postgres rate limits apply', {
  'test/faults/database.test.ts': ['without the database, requests get 503 and no wrong answer'],
  'test/limits/keeping.test.ts': ['requests are counted without Postgres']
})

verifiedBy(t, 'limits-068: a client that leaves frees its place', {
  'test/src/hashing-queue.test.ts': ['become free at once when the client goes away']
})

verifiedBy(t, 'limits-069: an outage of Redis is logged when it starts and ends', {
  [rateLimit]: ['Redis is killed and restarted']
})

t.test('requests are counted without Postgres', async t => {
  const { url, block } = await flakyProxy(t, await createDatabase(t))
  const { browser } = await build(t, { RATE_LIMIT: '10/1m' }, { url })
  block()
  t.strictSame(
    statuses(await inSequence(3, () => browser().post('/v1/auth/login', newUser()))),
    [503, 503, 429]
  )
})

/** The limit of sign-ins that a network reads in the headers of a response. */
const advertisedLoginLimit = async (RATE_LIMIT: string) => {
  const { browser } = await secondInstance(t, service, { RATE_LIMIT })
  const { headers } = await browser().post('/v1/auth/login', newUser())
  return headers['ratelimit-limit']
}
verifiedBy(t, 'limits-077: an office is one network', {
  'test/src/network.test.ts': ['is an IPv4 address, also in its IPv6 form']
})

t.test('limits-078: how many people can sign in from one network', async t =>
  t.strictSame(
    [await advertisedLoginLimit(variables.RATE_LIMIT.preset), await advertisedLoginLimit('1000/1m')],
    ['60', '200']
  )
)

t.test('limits-079: how many refreshes a thousand browsers send', async t => {
  t.equal(variables.ACCESS_TOKEN_TTL.preset, '15m')
  t.equal(Math.round(1_000 / 15), 67)
})

t.test('limits-080: a higher LOGIN_NETWORK_LIMIT tolerates an office', async t => {
  const office = await build(t, { ...withoutLimitsBehindProxy, LOGIN_NETWORK_LIMIT: '500/15m' })
  const address = newAddress()
  await guessPassword(office, newUser(), address)
  // The failures are counted in the future, so none decays during the test.
  await office.sql(`
    update login_throttles set
      failures = 499,
      counted_at = counted_at + interval '1 min',
      expires_at = expires_at + interval '1 min'`)
  t.strictSame(statuses(await inSequence(2, () => guessPassword(office, newUser(), address))), [401, 429])
})

t.test('limits-081: errors of others do not throttle a known device', async t => {
  const office = await secondInstance(t, service, {
    ...withoutLimitsBehindProxy,
    LOGIN_NETWORK_LIMIT: '3/15m'
  })
  const { email, password, browser } = await registerFromNewNetwork(office)
  const address = newAddress()
  await inSequence(3, () => guessPassword(office, newUser(), address))
  t.match(await guessPassword(office, { email, password }, address), { status: 429 })
  t.match(await browser.post('/v1/auth/login', { email, password }, forwardedFor(address)), { status: 200 })
})

t.test('limits-082: sign-ins count until they are verified, and further ones wait', async t => {
  const office = await secondInstance(t, service, { ...defaultLimits, LOGIN_NETWORK_LIMIT: '3/15m' })
  const users = await Promise.all(Array.from({ length: 4 }, () => registerFromNewNetwork(service)))
  const address = newAddress()
  const signIn = ({ email, password }: { email: string; password: string }) =>
    guessPassword(office, { email, password }, address)
  const { queue } = office.app.passwords
  const ends: Array<() => void> = []
  const runningTasks = [1, 2].map(() => queue.run(() => new Promise<void>(resolve => { ends.push(resolve) })))
  const waitingSignIns = users.slice(0, 3).map(signIn)
  await waitFor(() => queue.waiting >= 3)
  const further = signIn(users[3] ?? newUser())
  const isDone = await Promise.race([further, new Promise(resolve => setTimeout(resolve, 300, undefined))])
  t.equal(isDone, undefined)
  t.equal(queue.waiting, 3, 'it takes no place in the queue')
  for (const end of ends) end()
  t.strictSame(statuses(await Promise.all([...waitingSignIns, further])), [200, 200, 200, 200])
  await Promise.all(runningTasks)
  t.strictSame(
    statuses(await inSequence(4, index => signIn(users[index] ?? { email: '', password: '' }))),
    [200, 200, 200, 200],
    'once they are verified, the next sign-ins are accepted'
  )
})

t.test('limits-083: no network is exempt', async t => {
  const { browser } = await secondInstance(t, service, {
    RATE_LIMIT: '1/1m',
    TRUST_PROXY: '127.0.0.1,10.0.0.0/8'
  })
  for (const address of ['127.0.0.1', '10.0.0.1', '192.168.0.1']) {
    t.strictSame(
      statuses(await inSequence(2, () => browser().get('/v1/me', forwardedFor(address)))),
      [401, 429],
      address
    )
  }
})

const signUp = 'test/routes/sign-in.test.ts'
const policy = 'test/routes/password-policy.test.ts'
t.test('limits-118: the length of a password', async t => {
  t.equal(variables.PASSWORD_MIN_LENGTH.preset, '8')
  for (const [password, status] of [
    ['🦊ж語ß🦉é', 422],
    ['🦊ж語ß🦉éxy', 201],
    ['🦊'.repeat(256), 201],
    ['🦊'.repeat(257), 422]
  ] as const) {
    t.match(
      await service
        .browser()
        .post('/v1/auth/register', { ...newUser(), password }, forwardedFor(newAddress())),
      { status },
      password.slice(0, 20)
    )
  }
})

verifiedBy(t, 'limits-119: common and personal passwords', {
  [policy]: ['are exactly those of the list', 'words that name the owner or the service']
})

verifiedBy(t, 'limits-120: breached passwords', {
  [policy]: [
    'is rejected, and the server learns only five digits of its SHA-1',
    'no request waits longer than half a second for it',
    'because it does not listen, a new password is accepted'
  ]
})

t.test('limits-121: the reasons of a rejection', async t => {
  t.strictSame(
    [...claim('limits-121').matchAll(/`(\w+)`/g)].map(([, word]) => word).slice(2),
    passwordReasons
  )
  t.match(
    await service
      .browser()
      .post('/v1/auth/register', { ...newUser(), password: '1234' }, forwardedFor(newAddress())),
    { status: 422, body: { code: 'password_rejected', reasons: ['too_short', 'too_common'] } }
  )
})

verifiedBy(t, 'limits-122: no composition rules, no truncation', {
  [signUp]: ['accepts a long password in any script with any character, and never truncates it']
})

verifiedBy(t, 'limits-123: changes follow the same rules', {
  [throttle]: ['applies the password policy to the new one']
})

verifiedBy(t, 'limits-124: only a hash is stored', {
  [signUp]: ['stores only an argon2id hash of the password'],
  'test/plugins/pepper.test.ts': ['a hash alone, as in a dump, does not verify the password']
})
