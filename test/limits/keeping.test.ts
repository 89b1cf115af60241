import { randomBytes } from 'node:crypto'
import t from 'tap'
import { variables } from '../../src/config/variables.ts'
import { passwordReasons } from '../../src/http/problem.ts'
import { createLocalCounters } from '../../src/throttle/local-counters.ts'
import { run } from '../support/command-line.ts'
import { build, keyEncryptionKey, newUser } from '../support/app.ts'
import { createDatabase } from '../support/postgres.ts'
import { flakyProxy } from '../support/flaky-proxy.ts'
import { hold } from '../support/limits-page.ts'
import { secondInstance, defaultLimits, forwardedFor, guessPassword, inSequence, withoutLimits, registerUser, newAddress, statuses } from '../support/other-networks.ts'

const throttle = 'test/routes/throttle.test.ts'
const rateLimit = 'test/plugins/rate-limit.test.ts'
const attacks = 'test/stories/attacks.test.ts'
const { holds, isHeldBy, isAdvice, end } = hold(t, 'The owner of an attacked account', 'What is kept, and where', 'When something is away', 'Many people behind one address', 'Passwords')
const service = await build(t, defaultLimits)
const open = { ...withoutLimits, TRUST_PROXY: '127.0.0.1' }

isHeldBy('While strangers wait, the owner signs in on any device that is known, from any network.', { [throttle]: ['an attack on one account from many networks'] })
isHeldBy('Failures on a known device count for that device alone, by `LOGIN_RATE_LIMIT`.', { [throttle]: ['guesses from the device of the owner are counted for themselves'] })
isHeldBy('In the queue known devices have three of four turns.', { 'test/src/hashing-queue.test.ts': ['are first those of known devices, three of four'] })
holds('Whoever is signed in stays so: a refresh is not held up by failed sign-ins.', async t => {
  const { email, browser } = await registerUser(service)
  const here = newAddress()
  await inSequence(6, () => guessPassword(service, { email }, here))
  t.strictSame(statuses(await inSequence(3, () => browser.post('/v1/auth/refresh', undefined, forwardedFor(here)))), [200, 200, 200])
})
isHeldBy('The cookie knows a browser for 180 days after a sign-in, for the last four accounts.', { [throttle]: ['knows the device for 180 days', 'remembers four accounts of a device, and stays the same device'] })
holds('Nobody can make one without `KEY_ENCRYPTION_KEY`, and it signs nobody in.', async t => {
  const { email, browser } = await registerUser(service)
  const device = `device=${browser.jar.get('device')}`
  t.match(await service.browser().post('/v1/auth/refresh', undefined, { cookie: device }), { status: 401 })
  t.match(await service.browser().post('/v1/auth/login', { email, password: 'x' }, { cookie: device }), { status: 401 })
  t.match(await service.browser().get('/v1/me', { cookie: device }), { status: 401 })
})
holds('A change of the password, and on a known device signing out everywhere (`DELETE /v1/me/sessions`), forget all devices but the one it is done on; `npx latchkey sessions end --user ID` forgets all.', async t => {
  const strict = await secondInstance(t, service, { ...open, LOGIN_ACCOUNT_LIMIT: '1/24h' })
  const { email, password, id, browser: laptop } = await registerUser(strict)
  const phone = strict.browser()
  await phone.post('/v1/auth/login', { email, password }, forwardedFor(newAddress()))
  const next = 'another phrase of mine'
  const known = async (password: string) => statuses(await inSequence(2, async i => {
    const browser = i ? phone : laptop
    const answer = await browser.post('/v1/auth/login', { email, password }, forwardedFor(newAddress()))
    // The sign-in ended the session that the browser had.
    if (answer.status === 200) browser.accessToken = answer.body.access_token
    return answer
  }))
  await guessPassword(strict, { email })
  t.strictSame(await known(password), [200, 200])
  t.match(await laptop.post('/v1/me/password', { current_password: password, new_password: next }), { status: 204 })
  t.strictSame(await known(next), [200, 429])
  await service.sql('truncate login_throttles')
  await phone.post('/v1/auth/login', { email, password: next }, forwardedFor(newAddress()))
  await guessPassword(strict, { email })
  t.strictSame(await known(next), [200, 200])
  t.match(await laptop.delete('/v1/me/sessions'), { status: 204 })
  t.strictSame(await known(next), [200, 429])
  t.match(await run(t, ['sessions', 'end', '--user', id], { DATABASE_URL: service.url, KEY_ENCRYPTION_KEY: keyEncryptionKey.toString('base64') }), { code: 0 })
  t.strictSame(await known(next), [429, 429])
})
isHeldBy('An owner without a known device waits like a stranger, at most an hour at a time.', { [throttle]: ['an attack on one account from many networks', 'each wait is twice the one before, up to an hour'] })

holds('| counts of requests | the process, the latest 50,000; with `REDIS_URL` Redis | count apart; with Redis together | forgets them; with Redis not | the window ends |', async t => {
  const counters = createLocalCounters(60_000)
  const add = (from: number, to: number) => { for (let i = from; i < to; i++) counters.increment(`${i}`) }
  add(0, 50_000)
  t.equal(counters.increment('0').current, 2)
  add(50_000, 50_001)
  t.equal(counters.increment('1').current, 1)
  t.equal(counters.increment('0').current, 3)
  const answers = await inSequence(2, async () => (await secondInstance(t, service, { RATE_LIMIT: '1/1m' })).browser().get('/v1/me'))
  t.strictSame(statuses(answers), [401, 401], 'forgotten by the next process')
})
isHeldBy('The service clears away by itself what has expired.', { 'test/limits/keeping.test.ts': ['clears away what has expired'], 'test/routes/sessions.test.ts': ['is cut to its retention in batches'] })
t.test('clears away what has expired', async t => {
  const { sql } = service
  await guessPassword(service, newUser())
  await sql("update login_throttles set expires_at = now() - interval '1 s'")
  // More than one page of them, and one that is in use.
  await sql("insert into mail_buckets (key, empty_at) select decode(md5(i::text), 'hex'), now() - interval '1 s' from generate_series(1, 12000) as i")
  await sql("insert into mail_buckets (key, empty_at) values ('\\x00', now() + interval '1 hour')")
  await secondInstance(t, service, defaultLimits)
  for (const end = Date.now() + 30_000; Date.now() < end && (await sql('select 1 from login_throttles where expires_at < now()')).length > 0;) await new Promise(resolve => setTimeout(resolve, 20))
  t.strictSame(await sql('select 1 from login_throttles where expires_at < now()'), [])
  for (const end = Date.now() + 30_000; Date.now() < end && (await sql('select 1 from mail_buckets where empty_at < now()')).length > 0;) await new Promise(resolve => setTimeout(resolve, 20))
  t.strictSame(await sql("select encode(key, 'hex') as key from mail_buckets where key = '\\x00' or empty_at < now()"), [{ key: '00' }])
})
holds('| failed sign-ins | the table `login_throttles` | count together | keeps them | a window after the last wait |', async t => {
  const here = newAddress()
  const { email } = await registerUser(service)
  await inSequence(3, () => guessPassword(service, { email }, here))
  const next = await secondInstance(t, service, defaultLimits)
  t.strictSame(statuses(await inSequence(3, () => guessPassword(next, { email }, here))), [401, 401, 429])
  t.strictSame(await service.sql('select (expires_at - waits_until)::text as window from login_throttles where waits_until > now() and failures = 5'), [{ window: '00:15:00' }])
})
isHeldBy('| requested mails and notifications | the table `mail_buckets` | count together | keeps them | the bucket is empty |', { [attacks]: ['gets exactly fifteen, on two instances at once'], 'test/limits/keeping.test.ts': ['clears away what has expired'] })
isHeldBy('| known devices | the browser\'s cookie | know the same | keeps them | 180 days have passed |', { [throttle]: ['knows the device for 180 days', 'outlives its key-encryption key for as long as that is one of several'] })
holds('| what happened | the table `audit_events` | write the same | keeps it | `AUDIT_RETENTION` (`365d`) has passed |', async t => {
  t.equal(variables.AUDIT_RETENTION.preset, '365d')
  await guessPassword(service, newUser())
  t.ok((await service.sql("select 1 from audit_events where type = 'login.failed'")).length > 0)
})
holds('`login_throttles` does not tell who was tried or from where: its keys are made with `KEY_ENCRYPTION_KEY`, and where another one comes first, counting begins anew.', async t => {
  const service = await build(t, defaultLimits)
  const { email } = await registerUser(service)
  const here = newAddress()
  await inSequence(6, () => guessPassword(service, { email }, here))
  t.match(await guessPassword(service, { email }, here), { status: 429 })
  const [old, next] = [keyEncryptionKey.toString('base64'), randomBytes(32).toString('base64')]
  t.match(await guessPassword(await secondInstance(t, service, { ...defaultLimits, KEY_ENCRYPTION_KEY: `${old},${next}` }), { email }, here), { status: 429 })
  t.match(await guessPassword(await secondInstance(t, service, { ...defaultLimits, KEY_ENCRYPTION_KEY: `${next},${old}` }), { email }, here), { status: 401 })
  const text = (await service.sql<{ line: string }>('select t::text as line from login_throttles t')).map(({ line }) => line).join('\n')
  t.notOk([email, here].some(word => text.includes(word) || text.includes(Buffer.from(word).toString('hex'))))
})
isHeldBy('`mail_buckets` names neither an address nor a network.', { [attacks]: ['leaves nothing in the database that names an address'] })
holds('Without Redis, so many instances allow a network so many times `RATE_LIMIT`.', async t => {
  const limits = { RATE_LIMIT: '4/1m', TRUST_PROXY: '127.0.0.1' }
  const three = await inSequence(3, async () => await secondInstance(t, service, limits))
  const here = newAddress()
  const answers = await inSequence(20, async i => await three[i % 3]?.browser().get('/v1/me', forwardedFor(here)))
  t.equal(answers.filter(answer => answer?.status === 401).length, 12)
})

isHeldBy('| Redis | each instance counts by itself, from where the counts were, and tries again each second; nobody is refused for it, or waits longer than 100 ms |', { [rateLimit]: ['when it is killed, and started again', 'when it is frozen', 'from where all of them were, and no further than its limit'] })
isHeldBy('| Postgres | a sign-in is answered 503 `database_unavailable` with `Retry-After: 1`, whatever the password; requests are counted as before |', { 'test/faults/database.test.ts': ['with the database away nobody is told anything wrong'], 'test/limits/keeping.test.ts': ['requests are counted without Postgres'] })
isHeldBy('| the client, while it waits to be hashed | its place is free at once |', { 'test/src/hashing-queue.test.ts': ['are free at once when the caller goes'] })
isHeldBy('The log says `Redis is unavailable` when that begins, and `Redis is available again` when it ends.', { [rateLimit]: ['when it is killed, and started again'] })
t.test('requests are counted without Postgres', async t => {
  const { url, block } = await flakyProxy(t, await createDatabase(t))
  const { browser } = await build(t, { RATE_LIMIT: '10/1m' }, { url })
  block()
  t.strictSame(statuses(await inSequence(3, () => browser().post('/v1/auth/login', newUser()))), [503, 503, 429])
})

const told = async (RATE_LIMIT: string) => (await (await secondInstance(t, service, { RATE_LIMIT })).browser().post('/v1/auth/login', newUser())).headers['ratelimit-limit']
isHeldBy('An office or a carrier\'s NAT is one network.', { 'test/src/network.test.ts': ['is an IPv4 address, also one that is written as IPv6'] })
holds('The defaultLimits let 60 people sign in there each minute; with `RATE_LIMIT=1000/1m` it is 200.', async t => t.strictSame([await told(variables.RATE_LIMIT.preset), await told('1000/1m')], ['60', '200']))
holds('A thousand browsers that keep signed in ask for 67 refreshes a minute (`ACCESS_TOKEN_TTL` is `15m`).', async t => {
  t.equal(variables.ACCESS_TOKEN_TTL.preset, '15m')
  t.equal(Math.round(1_000 / 15), 67)
})
holds('`LOGIN_NETWORK_LIMIT=500/15m` bears as many mistakes; leave `LOGIN_RATE_LIMIT` and `LOGIN_ACCOUNT_LIMIT`, which are of one account, as they are.', async t => {
  const office = await build(t, { ...open, LOGIN_NETWORK_LIMIT: '500/15m' })
  const here = newAddress()
  await guessPassword(office, newUser(), here)
  // In the future, nothing seeps away meanwhile.
  await office.sql("update login_throttles set failures = 499, counted_at = counted_at + interval '1 min', expires_at = expires_at + interval '1 min'")
  t.strictSame(statuses(await inSequence(2, () => guessPassword(office, newUser(), here))), [401, 429])
})
holds('Mistakes of others do not hold up who signs in on a known device.', async t => {
  const office = await secondInstance(t, service, { ...open, LOGIN_NETWORK_LIMIT: '3/15m' })
  const { email, password, browser } = await registerUser(office)
  const here = newAddress()
  await inSequence(3, () => guessPassword(office, newUser(), here))
  t.match(await guessPassword(office, { email, password }, here), { status: 429 })
  t.match(await browser.post('/v1/auth/login', { email, password }, forwardedFor(here)), { status: 200 })
})
holds('A sign-in that is under way counts until it is judged: where more than `LOGIN_NETWORK_LIMIT` strangers of one network sign in at the same moment, those over it are told to wait, though their passwords are right.', async t => {
  const office = await secondInstance(t, service, { ...defaultLimits, LOGIN_NETWORK_LIMIT: '3/15m' })
  const people = await Promise.all(Array.from({ length: 4 }, () => registerUser(service)))
  const here = newAddress()
  const signIn = ({ email, password }: { email: string, password: string }) => guessPassword(office, { email, password }, here)
  const { queue } = office.app.passwords
  const ends: Array<() => void> = []
  const held = [1, 2].map(() => queue.run(() => new Promise<void>(resolve => { ends.push(resolve) })))
  const underWay = people.slice(0, 3).map(signIn)
  while (queue.waiting < 3) await new Promise(resolve => setImmediate(resolve))
  t.match(await signIn(people[3] ?? newUser()), { status: 429 })
  for (const end of ends) end()
  t.strictSame(statuses(await Promise.all(underWay)), [200, 200, 200])
  await Promise.all(held)
  t.strictSame(statuses(await inSequence(4, index => signIn(people[index] ?? { email: '', password: '' }))), [200, 200, 200, 200], 'a moment later there is room')
})

holds('No network is exempt, not even your own.', async t => {
  const { browser } = await secondInstance(t, service, { RATE_LIMIT: '1/1m', TRUST_PROXY: '127.0.0.1,10.0.0.0/8' })
  for (const own of ['127.0.0.1', '10.0.0.1', '192.168.0.1']) t.strictSame(statuses(await inSequence(2, () => browser().get('/v1/me', forwardedFor(own)))), [401, 429], own)
})

const signUp = 'test/routes/sign-in.test.ts'
const policy = 'test/routes/password-policy.test.ts'
holds('A new password has at least `PASSWORD_MIN_LENGTH` characters (8) and at most 256; code points are counted, of any script.', async t => {
  t.equal(variables.PASSWORD_MIN_LENGTH.preset, '8')
  for (const [password, status] of [['🦊ж語ß🦉é', 422], ['🦊ж語ß🦉éxy', 201], ['🦊'.repeat(256), 201], ['🦊'.repeat(257), 422]] as const) t.match(await service.browser().post('/v1/auth/register', { ...newUser(), password }, forwardedFor(newAddress())), { status }, password.slice(0, 20))
})
isHeldBy('The commonest fifty thousand are refused, and those that contain the user\'s address or what stands before its `@`, their name or username, `SERVICE_NAME` (`Latchkey`), or what your domain is called.', { [policy]: ['are all those of the list, and no others', 'what everybody knows of the owner and the service'] })
isHeldBy('With `BREACHED_PASSWORDS_URL` those known from breaches are refused too; nobody waits for that list longer than half a second, and while it is away passwords are accepted without.', { [policy]: ['is refused, and the server learns five digits of its SHA-1', 'nobody is waited for longer than half a second', 'because nobody listens, a new password is accepted'] })
const refusal = 'The refusal is a 422 `password_rejected` whose `reasons` are some of `too_short`, `too_long`, `too_common`, `breached`, `contains_email`, `contains_name` and `contains_service`.'
holds(refusal, async t => {
  t.strictSame([...refusal.matchAll(/`(\w+)`/g)].map(([, word]) => word).slice(2), passwordReasons)
  t.match(await service.browser().post('/v1/auth/register', { ...newUser(), password: '1234' }, forwardedFor(newAddress())), { status: 422, body: { code: 'password_rejected', reasons: ['too_short', 'too_common'] } })
})
isHeldBy('No kinds of characters are demanded, and nothing is cut off.', { [signUp]: ['takes any other password whole: long, in any script, with any character'] })
isHeldBy('The same holds for a change as for signing up.', { [throttle]: ['holds the new one to the same rules'] })
isHeldBy('What is stored is an argon2id hash; with `PASSWORD_PEPPER=true` the database alone is of no use for guessing.', { [signUp]: ['keeps nothing of the password but an argon2id hash'], 'test/plugins/pepper.test.ts': ['a hash alone, as in a dump, does not tell the password'] })
isAdvice('Where passwords are the only factor, `PASSWORD_MIN_LENGTH=15` is the better choice.')
end()
