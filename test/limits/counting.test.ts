import { randomUUID } from 'node:crypto'
import { setMaxListeners } from 'node:events'
import { readFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import t, { type Test } from 'tap'
import { load } from '../../src/config/config.ts'
import { variables } from '../../src/config/variables.ts'
import { hashingQueue, type QueueRejection } from '../../src/passwords/hashing-queue.ts'
import { Problem } from '../../src/http/problem.ts'
import { build, newUser } from '../support/app.ts'
import { hold } from '../support/limits-page.ts'
import { secondInstance, defaultLimits, forwardedFor, guessPassword, inSequence, withoutLimits, registerUser, newAddress, statuses } from '../support/other-networks.ts'

const throttle = 'test/routes/throttle.test.ts'
const rateLimit = 'test/plugins/rate-limit.test.ts'
const lane = 'test/src/hashing-lane.test.ts'
const attacks = 'test/stories/attacks.test.ts'
const mailer = 'test/plugins/mailer.test.ts'
const { holds, isHeldBy, end } = hold(t, '', 'Who is counted', 'What is limited')
const service = await build(t, defaultLimits)

holds('What Latchkey refuses, to whom, for how long, and what to turn.', async t => {
  const text = readFileSync('docs/limits.md', 'utf8')
  const presets = new Map(Object.entries(variables).map(([name, { preset }]) => [name, preset]))
  const named = [...text.matchAll(/`([A-Z][A-Z0-9]*_[A-Z0-9_]+)(?:=([^`]+))?`(?: \(`([^`]+)`\))?/g)]
  t.ok(named.length > 20)
  for (const [, name = '', value, preset] of named) {
    t.ok(presets.has(name) || name === 'UV_THREADPOOL_SIZE', name)
    if (value !== undefined) t.doesNotThrow(() => load({ [name]: value }), `${name}=${value}`)
    if (preset !== undefined) t.equal(presets.get(name), preset, `the default of ${name}`)
  }
  for (const name of presets.keys()) if (/^(RATE_LIMIT|REDIS_URL|LOGIN_|ARGON2_|PASSWORD_(?!RESET)|TRUST_PROXY)/.test(name)) t.ok(text.includes(name), `${name} is on the page`)
})
isHeldBy('Every sentence and every row of this page is held by a test.', { 'test/limits/page.ts': ['every heading is held somewhere'] })

isHeldBy('| network | an IPv4 address, also one that is written as IPv6 (`::ffff:192.0.2.1`), or the /64 of an IPv6 address |', {
  'test/src/network.test.ts': ['is an IPv4 address, also one that is written as IPv6', 'is the /64 of an IPv6 address, however it is written'],
  [rateLimit]: ['in one spelling: an IPv4 address, or an IPv6 /64'],
  [throttle]: ['a network of IPv6 is its /64, and one that maps IPv4 is that']
})
isHeldBy('| account | the one that was meant, however its address is written; where there is none, what was typed |', { [throttle]: ['an address is the same account however it is written', 'counts the same for an account that is not there, and answers the same'] })
isHeldBy('| device | a browser on which somebody signed in to the account before, known by the cookie `__Host-device` (over plain http: `device`) |', {
  [throttle]: ['an attack on one account from many networks', "is the account's own, and nobody else can make it"],
  'test/routes/sign-in.test.ts': ['behind https the cookie is Secure, and bound to the host', 'delivers the refresh token in a cookie that no script reads, unless it is asked for in the body']
})
isHeldBy('An account that is not there is counted, and answered, like one that is.', { [throttle]: ['counts the same for an account that is not there, and answers the same'] })
holds('From one network, guesses by the address and by the username of one account are counted apart; from everywhere they are counted together.', async t => {
  const other = await secondInstance(t, service, { ...defaultLimits, LOGIN_ACCOUNT_LIMIT: '12/24h' })
  const { email } = await registerUser(other, { username: 'countess' })
  const here = newAddress()
  for (const login of [{ email }, { username: 'countess' }]) t.strictSame(statuses(await inSequence(6, () => guessPassword(other, login, here))), [401, 401, 401, 401, 401, 429])
  t.strictSame(statuses(await inSequence(3, i => guessPassword(other, i % 2 ? { email } : { username: 'countess' }))), [401, 401, 429], 'ten, and two')
})

const limited = (what: string, variable: keyof typeof variables, preset: string, beyond = '429, with waits that grow') => `| ${what} | \`${variable}\` | \`${preset}\` | ${beyond} |`
const window = '429 until the window ends'
/** The limits of a network, as answers name them. */
const told = async (RATE_LIMIT: string) => {
  const { browser } = await secondInstance(t, service, { RATE_LIMIT })
  const answers = [await browser().get('/v1/me'), await browser().post('/v1/auth/magic-link', { email: newUser().email }), await browser().post('/v1/auth/login', newUser()), await browser().post('/oauth/token', 'grant_type=x', { 'content-type': 'application/x-www-form-urlencoded' })]
  return answers.map(({ headers }) => Number(headers['ratelimit-limit']))
}
holds(limited('requests, to all routes together | network', 'RATE_LIMIT', '300/1m', window), async t => {
  t.equal(variables.RATE_LIMIT.preset, '300/1m')
  const limits = await secondInstance(t, service, { RATE_LIMIT: '3/1m' })
  t.strictSame(statuses(await inSequence(4, i => limits.browser().get(['/v1/me', '/v1/me/sessions', '/nothing'][i % 3] ?? ''))), [401, 401, 404, 429])
})
holds(`| those to routes that take a password, apart from the rest | network | a fifth of \`RATE_LIMIT\` | 60 a minute | ${window} |`, async t => t.strictSame((await told(variables.RATE_LIMIT.preset))[2], 60))
holds(`| those that ask for a mail, apart from the rest | network | a tenth of \`RATE_LIMIT\` | 30 a minute | ${window} |`, async t => t.strictSame((await told(variables.RATE_LIMIT.preset))[1], 30))
holds(`| those to \`/oauth\`, apart from the rest | network | ten times \`RATE_LIMIT\` | 3000 a minute | ${window} |`, async t => t.strictSame((await told(variables.RATE_LIMIT.preset))[3], 3_000))
isHeldBy('| requested mails of one kind | address and network | none | 5 at once, then one every 5 minutes | none is sent, and the answer is the same |', { [attacks]: ['gets exactly five links of each kind, on two instances at once', 'gets one more link in each interval, however long it went on'] })
isHeldBy('| requested mails of one kind | address | none | 15 at once, then one every 5 minutes | none is sent, and the answer is the same |', { [attacks]: ['gets exactly fifteen, on two instances at once', 'delays a good link by one interval at most'] })
isHeldBy('| notifications of one kind | address | none | 15 at once, then one every 5 minutes | none is sent |', { [mailer]: ['that notify are at most fifteen of a kind at once to an address, however it is written, and then one each five minutes'] })
holds(limited('wrong passwords for one account | network, or known device', 'LOGIN_RATE_LIMIT', '5/15m'), async t => {
  t.equal(variables.LOGIN_RATE_LIMIT.preset, '5/15m')
  const { email, browser } = await registerUser(service)
  const here = newAddress()
  t.strictSame(statuses(await inSequence(6, () => guessPassword(service, { email }, here))), [401, 401, 401, 401, 401, 429])
  t.strictSame(statuses(await inSequence(6, () => browser.post('/v1/auth/login', { email, password: 'not the password' }, forwardedFor(here)))), [401, 401, 401, 401, 401, 429])
})
holds(limited('wrong passwords for all accounts together | network', 'LOGIN_NETWORK_LIMIT', '50/15m'), async t => {
  t.equal(variables.LOGIN_NETWORK_LIMIT.preset, '50/15m')
  const here = newAddress()
  t.strictSame(statuses(await inSequence(51, () => guessPassword(service, newUser(), here))), [...Array(50).fill(401), 429])
})
holds(limited('wrong passwords from everywhere, but for known devices | account', 'LOGIN_ACCOUNT_LIMIT', '100/24h'), async t => {
  t.equal(variables.LOGIN_ACCOUNT_LIMIT.preset, '100/24h')
  const owner = await registerUser(service)
  t.strictSame(statuses(await inSequence(101, () => guessPassword(service, { email: owner.email }))), [...Array(100).fill(401), 429])
  t.match(await owner.browser.post('/v1/auth/login', { email: owner.email, password: owner.password }, forwardedFor(newAddress())), { status: 200 })
})
holds('| passwords hashed at a time | instance | `ARGON2_CONCURRENCY` | the number of cores | a place in the queue |', async t => {
  t.equal(load({}).passwords.concurrency, availableParallelism())
  const { app } = await secondInstance(t, service, { ARGON2_CONCURRENCY: '1' })
  const both = [app.passwords.hash('one'), app.passwords.hash('another')]
  t.strictSame([app.passwords.queue.running, app.passwords.queue.waiting], [1, 1])
  await Promise.all(both)
})
/** An instance's queue as it is, of which one turn is taken by somebody who leaves with the test. */
async function queue (t: Test, { fast = false } = {}) {
  const lane = hashingQueue(1)
  // From how long hashes took it is told how long somebody will wait.
  if (fast) await inSequence(200, () => lane.run(async () => {}))
  const refused: QueueRejection[] = []
  lane.observe({ started () {}, ended () {}, refused: why => refused.push(why) })
  const leaving = new AbortController()
  const { signal } = leaving
  setMaxListeners(0, signal)
  let end = () => {}
  lane.run(() => new Promise<void>(resolve => { end = resolve }))
  t.teardown(() => { leaving.abort('the test is over'); end() })
  /** As many, each from a network of their own; what they are told who are refused. */
  const arrive = async (count: number, known = false) => (await Promise.all(Array.from({ length: count }, async (_, i) => {
    const turn = lane.run(async () => {}, { network: `${i}`, known, signal }).catch((error: unknown) => error)
    return await Promise.race([turn, new Promise(resolve => setImmediate(resolve))])
  }))).filter(outcome => outcome instanceof Problem)
  return { lane, refused, arrive }
}
holds('| places in the queue | instance | none | 500 for strangers, 500 for known devices | 503 |', async t => {
  const { lane, arrive, refused } = await queue(t, { fast: true })
  t.match(await arrive(501), [{ status: 503 }])
  t.equal(lane.waiting, 500)
  t.match(await arrive(501, true), [{ status: 503 }])
  t.equal(lane.waiting, 1_000)
  t.strictSame(refused, ['full', 'full'])
})
holds('| the wait in the queue | password | none | 5 seconds | 503 |', async t => {
  const { lane, refused, arrive } = await queue(t)
  await arrive(1)
  const begun = performance.now()
  while (refused.length === 0) await new Promise(resolve => setTimeout(resolve, 10))
  t.ok(performance.now() - begun > 4_900)
  t.strictSame([...refused, lane.waiting], ['late', 0])
})

holds('`/v1/auth/login`, `/v1/auth/register`, `/v1/me/password`, `/v1/me/email`, `DELETE /v1/me` and `POST /v1/admin/users` take a password; whatever uses a mailed link counts with them.', async t => {
  const limits = await secondInstance(t, service, { ...withoutLimits, TRUST_PROXY: '127.0.0.1', RATE_LIMIT: '75/1m' })
  const { browser } = await registerUser(limits)
  const here = forwardedFor(newAddress())
  const posted = ['/v1/auth/login', '/v1/auth/register', '/v1/me/password', '/v1/me/email', '/v1/admin/users', ...['email-verification', 'password-reset', 'magic-link'].flatMap(page => [`/v1/auth/${page}/confirm`, `/${page}`])]
  const answers = [await browser.delete('/v1/me', here), ...await inSequence(posted.length, i => browser.post(posted[i] ?? '', {}, here))]
  t.strictSame(answers.map(({ headers }) => Number(headers['ratelimit-remaining'])), Array.from({ length: 12 }, (_, i) => 14 - i))
})
holds('`/v1/auth/email-verification`, `/v1/auth/password-reset`, `/v1/auth/magic-link` and the link that an administrator has mailed to set a password ask for a mail; `GET /v1/me/export` counts with them.', async t => {
  const limits = await secondInstance(t, service, { ...withoutLimits, TRUST_PROXY: '127.0.0.1', RATE_LIMIT: '50/1m' })
  const { browser } = await registerUser(limits)
  const here = forwardedFor(newAddress())
  const posted = ['/v1/auth/email-verification', '/v1/auth/password-reset', '/v1/auth/magic-link', `/v1/admin/users/${randomUUID()}/password-reset`]
  const answers = [...await inSequence(4, i => browser.post(posted[i] ?? '', {}, here)), await browser.get('/v1/me/export', here)]
  t.strictSame(answers.map(({ headers }) => headers['ratelimit-remaining']), ['4', '3', '2', '1', '0'])
})
isHeldBy('One export of an account runs at a time, on all instances together.', { 'test/routes/leaving.test.ts': ['runs once at a time, on all instances together'] })
holds('`/livez`, `/readyz`, `/metrics`, `/.well-known/jwks.json`, `GET /v1/auth/verify` and the preflights of allowed origins have no limit.', async t => {
  const { browser } = await secondInstance(t, service, { RATE_LIMIT: '1/1m', CORS_ORIGINS: 'https://app.example.com' })
  const preflight = { origin: 'https://app.example.com', 'access-control-request-method': 'GET' }
  for (const path of ['/livez', '/readyz', '/metrics', '/.well-known/jwks.json', '/v1/auth/verify']) {
    t.notOk(statuses(await inSequence(3, () => browser().get(path))).includes(429), path)
    t.strictSame(statuses(await inSequence(2, () => browser().send('OPTIONS', path, undefined, preflight))), [204, 204], path)
  }
  t.strictSame(statuses(await inSequence(2, () => browser().get('/v1/me'))), [401, 429])
})
isHeldBy('Unknown paths and malformed requests count like others, and so do bytes that are no HTTP, unless a trusted proxy sends them.', { [rateLimit]: ['of whatever is wrong with a request', 'what is no HTTP counts, and gets no answer over the limit', 'but nobody pays for it behind a proxy, which nobody has told whose it was'] })
isHeldBy('A 429 has the code `too_many_requests` (under `/oauth` the error `temporarily_unavailable`), a 503 of the queue the code `overloaded`, and each of them `Retry-After` in whole seconds.', {
  [rateLimit]: ['and whoever is over it is told in the words of what was asked'],
  [throttle]: ['after the last one allowed, even the right password has to wait, and it is told exactly how long'],
  'test/plugins/manners.test.ts': ['more sign-ins than can be hashed wait for a while, and further ones get Retry-After']
})
holds('`off` takes away a limit that has a variable, but not the one on hashing.', async t => {
  const open = await secondInstance(t, service, { ...withoutLimits, TRUST_PROXY: '127.0.0.1', RATE_LIMIT: 'off' })
  const { email } = await registerUser(open)
  const here = newAddress()
  t.strictSame(new Set(statuses(await inSequence(120, () => guessPassword(open, { email }, here)))), new Set([401]))
  t.throws(() => load({ ARGON2_CONCURRENCY: 'off' }), /ARGON2_CONCURRENCY must be a whole number/)
})
isHeldBy('Mails are requested by registrations and `/v1/auth/email-verification` (together one kind), by `/v1/auth/password-reset`, by `/v1/auth/magic-link`, and by `/v1/me/email` for the new address.', { [attacks]: ['counts the notifications of a taken address, and the links that are asked for, with them', 'gets exactly five links of each kind, on two instances at once', 'a user who asks to change to the address of a stranger, again and again'] })
holds('A link that is valid for less than 10 minutes can be requested more often: once in each half of its lifetime.', async t => {
  const { sql, browser } = await build(t, { MAGIC_LINK_TTL: '2m', PASSWORD_RESET_TTL: '1h' })
  const intervals: number[] = []
  for (const path of ['/v1/auth/magic-link', '/v1/auth/password-reset']) {
    await sql('delete from mail_buckets')
    await browser().post(path, { email: newUser().email })
    const [row] = await sql<{ seconds: number }>('select extract(epoch from max(empty_at) - now())::float8 as seconds from mail_buckets')
    intervals.push(Math.ceil((row?.seconds ?? 0) / 60))
  }
  t.strictSame(intervals, [1, 5])
})
isHeldBy('A request from one network costs the owner on another network nothing, and refused requests do not prolong the wait.', { [attacks]: ['leaves the owner a link of each kind from another network', 'gets one more link in each interval, however long it went on'] })
isHeldBy('If addresses must be verified first, a registration whose mail is dropped is not kept: the user must register again after some minutes.', { [attacks]: ['keeps fifteen from many networks; the owner registers again after some minutes'] })
isHeldBy('Resets that an administrator sends, invitations, and the mails that undo a change of address are never dropped.', { [attacks]: ['keeps no reset from the owner that an administrator sends', 'keeps neither the way back to the address from the owner, nor the reset that follows it'], [mailer]: ['that an administrator, or the proof of a mailbox, stands behind are not counted'] })
isHeldBy('In the queue networks take turns, so that a flood from one does not hold up another.', { [lane]: ['go round the networks, and in order within each', 'let a single login of a quiet network overtake a flood'] })
holds('Where a wait of more than 3 seconds is foreseen, the 503 comes at once.', async t => {
  const { lane, arrive, refused } = await queue(t)
  t.match(await arrive(61), [{ status: 503 }], 'of hashes that take 50 ms')
  t.equal(lane.waiting, 60)
  t.strictSame(refused, ['wait'])
})
isHeldBy('One network has a quarter of the places at most while others wait, and the last quarter is for networks that have none.', { [lane]: ['are taken by one network up to a quarter beside others, and the last quarter by networks that have none'] })
holds('`Retry-After` says when there will be room, and is never more than 30 seconds.', async t => {
  const { arrive } = await queue(t)
  const seconds = (await arrive(5_000)).map(problem => Number(problem.headers['retry-after']))
  t.strictSame([Math.min(...seconds), Math.max(...seconds)], [1, 30])
  // That is the other half of the sentence.
  t.ok(readFileSync(lane, 'utf8').includes('is told to a crowd so that whoever comes back when told gets in'))
})
end()
