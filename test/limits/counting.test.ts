import { randomUUID } from 'node:crypto'
import { setMaxListeners } from 'node:events'
import { readFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import type { Test } from 'tap'
import { load } from '../../src/config/config.ts'
import { variables } from '../../src/config/variables.ts'
import { hashingQueue, type QueueRejection } from '../../src/passwords/hashing-queue.ts'
import { Problem } from '../../src/http/problem.ts'
import { build, newUser } from '../support/app.ts'
import { verifiedBy } from '../support/limits-page.ts'
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
const hashingQueueTest = 'test/src/hashing-queue.test.ts'
const attacks = 'test/stories/attacks.test.ts'
const mailer = 'test/plugins/mailer.test.ts'
const service = await build(t, defaultLimits)

t.test('limits-001: names every variable of a limit with its default', async t => {
  const text = readFileSync('docs/limits.md', 'utf8')
  const presets = new Map(Object.entries(variables).map(([name, { preset }]) => [name, preset]))
  const named = [...text.matchAll(/`([A-Z][A-Z0-9]*_[A-Z0-9_]+)(?:=([^`]+))?`(?: \(`([^`]+)`\))?/g)]
  t.ok(named.length > 20)
  for (const [, name = '', value, preset] of named) {
    t.ok(presets.has(name) || name === 'UV_THREADPOOL_SIZE', name)
    if (value !== undefined) t.doesNotThrow(() => load({ [name]: value }), `${name}=${value}`)
    if (preset !== undefined) t.equal(presets.get(name), preset, `the default of ${name}`)
  }
  for (const name of presets.keys()) {
    if (/^(RATE_LIMIT|REDIS_URL|LOGIN_|ARGON2_|PASSWORD_(?!RESET)|TRUST_PROXY)/.test(name)) {
      t.ok(text.includes(name), `${name} is on the page`)
    }
  }
})

verifiedBy(t, 'limits-003: a network is an IPv4 address or an IPv6 /64', {
  'test/src/network.test.ts': [
    'is an IPv4 address, also in its IPv6 form',
    'is the /64 of an IPv6 address in any spelling'
  ],
  [rateLimit]: ['a network has one spelling: an IPv4 address, or an IPv6 /64'],
  [throttle]: ['an IPv6 network is a /64, and an IPv4-mapped address is an IPv4 address']
})

verifiedBy(t, 'limits-004: an account is the same in every spelling', {
  [throttle]: [
    'all spellings of an address are the same account',
    'accounts that do not exist are counted and answered in the same way'
  ]
})

verifiedBy(t, 'limits-005: a device is known by its cookie', {
  [throttle]: ['an attack on one account from many networks', 'belongs to an account, and cannot be forged'],
  'test/routes/sign-in.test.ts': [
    'sets Secure cookies with the __Host- prefix if the issuer has https',
    'delivers the refresh token in an HttpOnly cookie, or on request in the body'
  ]
})

verifiedBy(t, 'limits-006: accounts that do not exist are counted alike', {
  [throttle]: ['accounts that do not exist are counted and answered in the same way']
})

t.test('limits-007: address and username have separate counters in a network', async t => {
  const other = await secondInstance(t, service, { ...defaultLimits, LOGIN_ACCOUNT_LIMIT: '12/24h' })
  const { email } = await registerFromNewNetwork(other, { username: 'countess' })
  const address = newAddress()
  for (const login of [{ email }, { username: 'countess' }]) {
    t.strictSame(
      statuses(await inSequence(6, () => guessPassword(other, login, address))),
      [401, 401, 401, 401, 401, 429]
    )
  }
  t.strictSame(
    statuses(await inSequence(3, i => guessPassword(other, i % 2 ? { email } : { username: 'countess' }))),
    [401, 401, 429],
    'ten failures so far, then two'
  )
})

/** The limits that a network reads in the headers of the responses. */
const advertisedLimits = async (RATE_LIMIT: string) => {
  const { browser } = await secondInstance(t, service, { RATE_LIMIT })
  const answers = [
    await browser().get('/v1/me'),
    await browser().post('/v1/auth/magic-link', { email: newUser().email }),
    await browser().post('/v1/auth/login', newUser()),
    await browser().post('/oauth/token', 'grant_type=x', {
      'content-type': 'application/x-www-form-urlencoded'
    })
  ]
  return answers.map(({ headers }) => Number(headers['ratelimit-limit']))
}
t.test('limits-008: all routes share the rate limit', async t => {
  t.equal(variables.RATE_LIMIT.preset, '300/1m')
  const limited = await secondInstance(t, service, { RATE_LIMIT: '3/1m' })
  t.strictSame(
    statuses(
      await inSequence(4, i => limited.browser().get(['/v1/me', '/v1/me/sessions', '/nothing'][i % 3] ?? ''))
    ),
    [401, 401, 404, 429]
  )
})

t.test('limits-009: routes that take a password have a fifth', async t =>
  t.strictSame((await advertisedLimits(variables.RATE_LIMIT.preset))[2], 60)
)

t.test('limits-010: routes that request a mail have a tenth', async t =>
  t.strictSame((await advertisedLimits(variables.RATE_LIMIT.preset))[1], 30)
)

t.test('limits-011: /oauth has ten times the limit', async t =>
  t.strictSame((await advertisedLimits(variables.RATE_LIMIT.preset))[3], 3_000)
)

verifiedBy(t, 'limits-015: requested mails per address and network', {
  [attacks]: [
    'gets exactly five links of each kind, on two instances at once',
    'gets one more link in each interval, however long it lasts'
  ]
})

verifiedBy(t, 'limits-016: requested mails per address', {
  [attacks]: [
    'gets exactly fifteen, on two instances at once',
    'delays a requested link by one interval at most'
  ]
})

verifiedBy(t, 'limits-017: notifications per address', {
  [mailer]: ['are limited to fifteen notifications of a kind, then one every five minutes']
})

t.test('limits-012: failed sign-ins to one account', async t => {
  t.equal(variables.LOGIN_RATE_LIMIT.preset, '5/15m')
  const { email, browser } = await registerFromNewNetwork(service)
  const address = newAddress()
  t.strictSame(
    statuses(await inSequence(6, () => guessPassword(service, { email }, address))),
    [401, 401, 401, 401, 401, 429]
  )
  t.strictSame(
    statuses(
      await inSequence(6, () =>
        browser.post('/v1/auth/login', { email, password: 'not the password' }, forwardedFor(address))
      )
    ),
    [401, 401, 401, 401, 401, 429]
  )
})

t.test('limits-013: failed sign-ins of one network', async t => {
  t.equal(variables.LOGIN_NETWORK_LIMIT.preset, '50/15m')
  const address = newAddress()
  t.strictSame(statuses(await inSequence(51, () => guessPassword(service, newUser(), address))), [
    ...Array(50).fill(401),
    429
  ])
})

t.test('limits-014: failed sign-ins from all networks', async t => {
  t.equal(variables.LOGIN_ACCOUNT_LIMIT.preset, '100/24h')
  const owner = await registerFromNewNetwork(service)
  t.strictSame(statuses(await inSequence(101, () => guessPassword(service, { email: owner.email }))), [
    ...Array(100).fill(401),
    429
  ])
  t.match(
    await owner.browser.post(
      '/v1/auth/login',
      { email: owner.email, password: owner.password },
      forwardedFor(newAddress())
    ),
    { status: 200 }
  )
})

t.test('limits-018: passwords hashed at the same time', async t => {
  t.equal(load({}).passwords.concurrency, availableParallelism())
  const { app } = await secondInstance(t, service, { ARGON2_CONCURRENCY: '1' })
  const both = [app.passwords.hash('one'), app.passwords.hash('another')]
  t.strictSame([app.passwords.queue.running, app.passwords.queue.waiting], [1, 1])
  await Promise.all(both)
})

/** A hashing queue with its defaults, whose only running task ends with the test. */
async function occupiedQueue (t: Test, { hasFastTasks = false } = {}) {
  const queue = hashingQueue(1)
  // The expected wait is estimated from the duration of earlier tasks.
  if (hasFastTasks) await inSequence(200, () => queue.run(async () => {}))
  const rejections: QueueRejection[] = []
  queue.observe({ started () {}, ended () {}, refused: reason => rejections.push(reason) })
  const controller = new AbortController()
  const { signal } = controller
  setMaxListeners(0, signal)
  let end = () => {}
  queue.run(() => new Promise<void>(resolve => { end = resolve })).catch(() => {})
  t.teardown(() => {
    controller.abort('the test is over')
    end()
  })
  /** Adds this many tasks, each from a network of its own. Returns the problems of the rejected ones. */
  const addTasks = async (count: number, isKnownDevice = false) => {
    const outcomes = await Promise.all(Array.from({ length: count }, async (_, i) => {
      const ticket = { network: `${i}`, isKnownDevice, signal }
      const task = queue.run(async () => {}, ticket).catch((error: unknown) => error)
      return await Promise.race([task, new Promise(resolve => setImmediate(resolve))])
    }))
    return outcomes.filter(outcome => outcome instanceof Problem)
  }
  return { queue, rejections, addTasks }
}
t.test('limits-019: places in the hashing queue', async t => {
  const { queue, addTasks, rejections } = await occupiedQueue(t, { hasFastTasks: true })
  t.match(await addTasks(501), [{ status: 503 }])
  t.equal(queue.waiting, 500)
  t.match(await addTasks(501, true), [{ status: 503 }])
  t.equal(queue.waiting, 1_000)
  t.strictSame(rejections, ['full', 'full'])
})

t.test('limits-020: the wait in the hashing queue', async t => {
  const { queue, rejections, addTasks } = await occupiedQueue(t)
  const startedAt = performance.now()
  await addTasks(1)
  await waitFor(() => rejections.length > 0)
  t.ok(performance.now() - startedAt > 4_900)
  t.strictSame([...rejections, queue.waiting], ['late', 0])
})

t.test('limits-021: the routes that take a password', async t => {
  const limited = await secondInstance(t, service, {
    ...withoutLimits,
    TRUST_PROXY: '127.0.0.1',
    RATE_LIMIT: '75/1m'
  })
  const { browser } = await registerFromNewNetwork(limited)
  const headers = forwardedFor(newAddress())
  const paths = [
    '/v1/auth/login',
    '/v1/auth/register',
    '/v1/me/password',
    '/v1/me/email',
    '/v1/admin/users',
    ...['email-verification', 'password-reset', 'magic-link'].flatMap(page => [
      `/v1/auth/${page}/confirm`,
      `/${page}`
    ])
  ]
  const answers = [
    await browser.delete('/v1/me', headers),
    ...(await inSequence(paths.length, i => browser.post(paths[i] ?? '', {}, headers)))
  ]
  t.strictSame(
    answers.map(({ headers }) => Number(headers['ratelimit-remaining'])),
    Array.from({ length: 12 }, (_, i) => 14 - i)
  )
})

t.test('limits-022: the routes that request a mail', async t => {
  const limited = await secondInstance(t, service, {
    ...withoutLimits,
    TRUST_PROXY: '127.0.0.1',
    RATE_LIMIT: '50/1m'
  })
  const { browser } = await registerFromNewNetwork(limited)
  const headers = forwardedFor(newAddress())
  const paths = [
    '/v1/auth/email-verification',
    '/v1/auth/password-reset',
    '/v1/auth/magic-link',
    `/v1/admin/users/${randomUUID()}/password-reset`
  ]
  const answers = [
    ...(await inSequence(4, i => browser.post(paths[i] ?? '', {}, headers))),
    await browser.get('/v1/me/export', headers)
  ]
  t.strictSame(answers.map(({ headers }) => headers['ratelimit-remaining']), ['4', '3', '2', '1', '0'])
})

verifiedBy(t, 'limits-023: one export at a time', {
  'test/routes/account-deletion.test.ts': ['runs once at a time for a user, on all instances together']
})

t.test('limits-024: the routes without a rate limit', async t => {
  const { browser } = await secondInstance(t, service, {
    RATE_LIMIT: '1/1m',
    CORS_ORIGINS: 'https://app.example.com'
  })
  const preflight = { origin: 'https://app.example.com', 'access-control-request-method': 'GET' }
  for (const path of [
    '/livez', '/readyz', '/metrics', '/', '/favicon.ico', '/.well-known/jwks.json', '/v1/auth/verify'
  ]) {
    t.notOk(statuses(await inSequence(3, () => browser().get(path))).includes(429), path)
    const asked = statuses(await inSequence(2, () => browser().send('OPTIONS', path, undefined, preflight)))
    t.strictSame(asked, path === '/v1/auth/verify' ? [401, 401] : [204, 204], path)
  }
  t.strictSame(statuses(await inSequence(2, () => browser().get('/v1/me'))), [401, 429])
})

verifiedBy(t, 'limits-025: malformed requests count', {
  [rateLimit]: [
    'malformed requests count',
    'bytes that are not HTTP count, and get no response over the limit',
    'bytes that are not HTTP do not count if a trusted proxy sends them'
  ]
})

verifiedBy(t, 'limits-026: codes and Retry-After', {
  [rateLimit]: ['a refusal has the error format of its route'],
  [throttle]: ['at the limit even the right password must wait, for the time in Retry-After'],
  'test/plugins/http-behaviour.test.ts': [
    'more sign-ins than can be hashed wait for a while, and further ones get Retry-After'
  ]
})

t.test('limits-027: off disables a limit', async t => {
  const unlimited = await secondInstance(t, service, {
    ...withoutLimits,
    TRUST_PROXY: '127.0.0.1',
    RATE_LIMIT: 'off'
  })
  const { email } = await registerFromNewNetwork(unlimited)
  const address = newAddress()
  t.strictSame(
    new Set(statuses(await inSequence(120, () => guessPassword(unlimited, { email }, address)))),
    new Set([401])
  )
  t.throws(() => load({ ARGON2_CONCURRENCY: 'off' }), /ARGON2_CONCURRENCY must be a whole number/)
})

verifiedBy(t, 'limits-028: the kinds of requested mails', {
  [attacks]: [
    'shares its limit with notifications of a taken address and requested links',
    'gets exactly five links of each kind, on two instances at once',
    'a user who requests many changes to the address of a stranger'
  ]
})

t.test('limits-029: short-lived links can be requested more often', async t => {
  const { sql, browser } = await build(t, { MAGIC_LINK_TTL: '2m', PASSWORD_RESET_TTL: '1h' })
  const intervals: number[] = []
  for (const path of ['/v1/auth/magic-link', '/v1/auth/password-reset']) {
    await sql('delete from mail_buckets')
    await browser().post(path, { email: newUser().email })
    const [row] = await sql<{ seconds: number }>(
      'select extract(epoch from max(empty_at) - now())::float8 as seconds from mail_buckets'
    )
    intervals.push(Math.ceil((row?.seconds ?? 0) / 60))
  }
  t.strictSame(intervals, [1, 5])
})

verifiedBy(t, 'limits-030: requests of others do not use up the mails of the owner', {
  [attacks]: [
    'leaves the owner a link of each kind from another network',
    'gets one more link in each interval, however long it lasts'
  ]
})

verifiedBy(t, 'limits-031: a registration without its mail is dropped', {
  [attacks]: ['stores fifteen from many networks; the owner can register some minutes later']
})

verifiedBy(t, 'limits-032: the mails that are never dropped', {
  [attacks]: [
    'does not prevent a password reset that an administrator sends',
    'prevents neither the undo of a change of address nor the reset that follows it'
  ],
  [mailer]: ['are not counted if an administrator or the confirmation of an address caused them']
})

verifiedBy(t, 'limits-033: networks take turns in the queue', {
  [hashingQueueTest]: [
    'is round-robin among networks, and first in, first out within one',
    'lets a single login from a quiet network overtake a flood'
  ]
})

t.test('limits-034: a long expected wait is refused at once', async t => {
  const { queue, addTasks, rejections } = await occupiedQueue(t)
  t.match(await addTasks(61), [{ status: 503 }], 'each hash is expected to take 50 ms')
  t.equal(queue.waiting, 60)
  t.strictSame(rejections, ['wait'])
})

verifiedBy(t, 'limits-035: a network has at most a quarter of the queue', {
  [hashingQueueTest]: ['are limited to a quarter for one network, and the last quarter is for new networks']
})

t.test('limits-036: Retry-After of the queue', async t => {
  const { addTasks } = await occupiedQueue(t)
  const seconds = (await addTasks(5_000)).map(problem => Number(problem.headers['retry-after']))
  t.strictSame([Math.min(...seconds), Math.max(...seconds)], [1, 30])
  // The other half of the sentence: clients that wait that long are admitted.
  const title = 'gives concurrent clients different retry times, so that each retry finds a place'
  t.ok(readFileSync(hashingQueueTest, 'utf8').includes(`t.test('${title}'`))
})
