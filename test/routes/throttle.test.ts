import { hkdfSync } from 'node:crypto'
import { setTimeout as pause } from 'node:timers/promises'
import fc from 'fast-check'
import { encodeDevice } from '../../src/authentication/known-device.ts'
import { newId } from '../../src/crypto/random.ts'
import { connect } from '../../src/database/database.ts'
import {
  keepFailure, purgeExpired, recordSuccess, refund
} from '../../src/throttle/sign-in-throttle.ts'
import { build, keyEncryptionKey, newUser, type Service } from '../support/app.ts'
import type { Answer, Browser } from '../support/client.ts'
import {
  defaultLimits as limits, forwardedFor, inSequence, newAddress, passTime, registerFromNewNetwork, statuses,
  withoutLimits, type UserOfOwnNetwork
} from '../support/other-networks.ts'
import { waitUntil } from '../support/polling.ts'
import { repeatUnavailable } from '../support/repetition.ts'
import { scale } from '../support/soak.ts'
import { t } from '../support/test.ts'

const wrongPassword = 'not the password'
const newPassword = 'another phrase of mine'

type SignInCredentials = { email: string, password: string } | { username: string, password: string }
type SignInIdentifier = { email: string } | { username: string }

const signInWith = async (browser: Browser, credentials: SignInCredentials, address = newAddress()) =>
  await browser.post('/v1/auth/login', credentials, forwardedFor(address))
/** Signs in from an unknown device. */
const signIn = async (service: Service, credentials: SignInCredentials, address: string) =>
  await signInWith(service.browser(), credentials, address)
/** Tries a wrong password from an unknown device. */
const guess = async (service: Service, login: SignInIdentifier, address: string) =>
  await signIn(service, { ...login, password: wrongPassword }, address)
const guessInSequence = async (count: number, service: Service, login: SignInIdentifier, address: string) =>
  await inSequence(count, () => guess(service, login, address))
const distinctStatuses = (answers: Answer[]) => [...new Set(statuses(answers))]

// So many sign-ins at once for one account wait for each other, on a busy machine for longer than usual.
const patience = { lockTimeoutMs: 4_000 }

t.test('failed sign-ins', async t => {
  const service = await build(t, limits)
  const patient = await build(t, limits, { url: service.url, ...patience })

  t.test('a correct password is no failure if the database fails afterwards', async t => {
    const { email, password, id, browser } = await registerFromNewNetwork(service)
    const address = newAddress()
    const db = connect({ url: service.url })
    t.teardown(async () => await db.end())
    await db.transaction(async tx => {
      await tx.query('select from users where id = $1 for update', [id])
      const answers = await inSequence(6, () => signIn(service, { email, password }, address))
      t.strictSame(distinctStatuses(answers), [503])
      const change = { current_password: password, new_password: newPassword }
      const changes = await inSequence(6, () => browser.post('/v1/me/password', change))
      t.strictSame(distinctStatuses(changes), [503])
    })
    t.match(await signIn(service, { email, password }, address), { status: 200 })
    t.match(await signInWith(browser, { email, password }), { status: 200 }, 'the device need not wait')
  })

  t.test('at the limit even the right password must wait, for the time in Retry-After', async t => {
    const { email, password } = await registerFromNewNetwork(service)
    const address = newAddress()
    const guesses = await guessInSequence(5, service, { email }, address)
    t.strictSame(statuses(guesses), [401, 401, 401, 401, 401])
    const refused = await signIn(service, { email, password }, address)
    t.match(refused, { status: 429, body: { code: 'too_many_requests' }, headers: { 'retry-after': '30' } })
    t.strictSame(refused.cookies, [])
    await passTime(service, 29)
    const stillRefused = await signIn(service, { email, password }, address)
    t.match(stillRefused, { status: 429, headers: { 'retry-after': '1' } })
    await passTime(service, 1)
    t.match(await signIn(service, { email, password }, address), { status: 200 })
  })

  t.test('each wait is twice as long as the previous one, up to an hour', async t => {
    const { email } = await registerFromNewNetwork(service)
    const address = newAddress()
    await guessInSequence(4, service, { email }, address)
    const waits: number[] = []
    for (let round = 0; round < 10; round++) {
      t.equal((await guess(service, { email }, address)).status, 401)
      const { status, headers } = await guess(service, { email }, address)
      t.equal(status, 429)
      waits.push(Number(headers['retry-after']))
      await passTime(service, Number(headers['retry-after']))
    }
    t.strictSame(waits, [30, 60, 120, 240, 480, 960, 1920, 3600, 3600, 3600])
  })

  t.test('refused attempts do not count, and do not extend the wait', async t => {
    const { email } = await registerFromNewNetwork(service)
    const address = newAddress()
    await guessInSequence(5, service, { email }, address)
    const refused = await guessInSequence(30, service, { email }, address)
    t.strictSame(distinctStatuses(refused), [429])
    t.ok(refused.every(({ headers }) => Number(headers['retry-after']) <= 30))
    await passTime(service, 30)
    t.equal((await guess(service, { email }, address)).status, 401)
    const otherAccounts = await Promise.all(
      Array.from({ length: 40 }, () => guess(patient, { email: newUser().email }, address)))
    t.strictSame(distinctStatuses(otherAccounts), [401], 'they do not count for the network either')
  })

  t.test('failures are forgotten after a window, and decay below the limit', async t => {
    const { email } = await registerFromNewNetwork(service)
    const address = newAddress()
    await guessInSequence(6, service, { email }, address)
    await passTime(service, 30 + 15 * 60)
    const afterWindow = await guessInSequence(6, service, { email }, address)
    t.strictSame(statuses(afterWindow), [401, 401, 401, 401, 401, 429])
    const otherAddress = newAddress()
    await guessInSequence(4, service, { email }, otherAddress)
    await passTime(service, 6 * 60)
    const afterDecay = await guessInSequence(4, service, { email }, otherAddress)
    t.strictSame(statuses(afterDecay), [401, 401, 401, 429], 'two of five decay in six of fifteen minutes')
  })

  t.test('a success resets the failures of the account from its network', async t => {
    const { email, password } = await registerFromNewNetwork(service)
    const address = newAddress()
    for (let round = 0; round < 3; round++) {
      t.strictSame(statuses(await guessInSequence(4, service, { email }, address)), [401, 401, 401, 401])
      t.equal((await signIn(service, { email, password }, address)).status, 200)
    }
  })

  t.test('accounts that do not exist are counted and answered in the same way', async t => {
    const { email, password } = await registerFromNewNetwork(service)
    const comparable = ({ status, headers, body, cookies }: Answer) => {
      const { 'x-request-id': _id, date: _date, 'content-length': _length, ...comparableHeaders } = headers
      const { instance: _instance, ...comparableBody } = body
      return { status, headers: comparableHeaders, body: comparableBody, cookies }
    }
    const unknownLogins = [
      { email: newUser().email }, { email: 'not an address' }, { email: '\u0000\ud800' },
      { username: 'nobody' }, { username: '💥' }
    ]
    for (const login of unknownLogins) {
      const unknown = await guessInSequence(7, service, login, newAddress())
      const known = await guessInSequence(7, service, { email }, newAddress())
      t.strictSame(unknown.map(comparable), known.map(comparable), JSON.stringify(login))
      t.equal(unknown.at(-1)?.status, 429)
    }
    const fromElsewhere = await signIn(service, { email, password }, newAddress())
    t.equal(fromElsewhere.status, 200, 'another network is not throttled')
  })

  t.test('all spellings of an address are the same account', async t => {
    const { email } = await registerFromNewNetwork(service)
    const address = newAddress()
    const spellings = [
      email, email.toUpperCase(), ` ${email} `, email.replace('@', '＠').replace('＠', '@'),
      email.replace('example.com', 'EXAMPLE.com'), email
    ]
    const answers = []
    for (const spelling of spellings) answers.push(await guess(service, { email: spelling }, address))
    t.strictSame(statuses(answers), [401, 401, 401, 401, 401, 429])
  })

  t.test('concurrent guesses on two instances cannot exceed the limit', async t => {
    const secondInstance = await build(t, limits, { url: service.url })
    const parallelArbitrary = fc.integer({ min: 2, max: 40 })
    const previousArbitrary = fc.integer({ min: 0, max: 4 })
    const property = async (parallel: number, previous: number, exists: boolean) => {
      const { email } = exists ? await registerFromNewNetwork(service) : newUser()
      const address = newAddress()
      await guessInSequence(previous, service, { email }, address)
      const answers = await Promise.all(Array.from({ length: parallel }, async (_, i) => {
        const instance = i % 2 ? service : secondInstance
        return await repeatUnavailable(async () => await guess(instance, { email }, address))
      }))
      const verifiedCount = answers.filter(({ status }) => status === 401).length
      t.equal(verifiedCount, Math.min(parallel, 5 - previous))
      const unexpected = answers.filter(({ status }) => ![401, 429].includes(status))
      t.strictSame(unexpected.map(({ text }) => text), [])
    }
    await fc.assert(
      fc.asyncProperty(parallelArbitrary, previousArbitrary, fc.boolean(), property),
      { numRuns: scale(12, 4) })
  })

  t.test('concurrent successes leave no failures', async t => {
    const { email, password } = await registerFromNewNetwork(service)
    const address = newAddress()
    const answers = await Promise.all(
      Array.from({ length: 5 }, () => signIn(patient, { email, password }, address)))
    t.strictSame(statuses(answers), [200, 200, 200, 200, 200])
    const guesses = await guessInSequence(6, service, { email }, address)
    t.strictSame(statuses(guesses), [401, 401, 401, 401, 401, 429])
  })

  t.test('an attempt over the limit waits for those that are being verified', async t => {
    const secondInstance = await build(t, limits, { url: service.url, ...patience })
    const { email, password } = await registerFromNewNetwork(service)
    const address = newAddress()
    for (const instances of [[patient], [patient, secondInstance]]) {
      const answers = await Promise.all(Array.from({ length: 20 }, async (_, i) =>
        await signIn(instances[i % instances.length] ?? patient, { email, password }, address)))
      t.strictSame(
        distinctStatuses(answers),
        [200],
        'many sign-ins at once with the correct password succeed'
      )
    }
    const mixed = await Promise.all([
      ...Array.from({ length: 4 }, () => guess(patient, { email }, address)),
      ...Array.from({ length: 6 }, () => signIn(patient, { email, password }, address))
    ])
    t.strictSame(statuses(mixed).sort(), [...Array(6).fill(200), ...Array(4).fill(401)])
    t.strictSame(await service.sql(`
      select 1 from audit_events where type = 'login.throttled' and host(ip) = $1`, [address]), [])
    const guesses = await guessInSequence(20, service, { email }, address)
    t.equal(guesses.filter(({ status }) => status === 401).length, 5, 'the limit is what it was')
  })

  t.test('an IPv6 network is a /64, and an IPv4-mapped address is an IPv4 address', async t => {
    const { email } = await registerFromNewNetwork(service)
    const ofOneNetwork = [1, 2, 3, 4, 5].map(n => `2001:db8:0:7::${n}`)
    for (const address of ofOneNetwork) t.equal((await guess(service, { email }, address)).status, 401)
    t.equal((await guess(service, { email }, '2001:db8::7:ffff:ffff:ffff:ffff')).status, 429)
    t.equal((await guess(service, { email }, '2001:db8:0:8::1')).status, 401)
    const ipv4 = newAddress()
    const spellings = [ipv4, `::ffff:${ipv4}`, ipv4, `[::ffff:${ipv4}]:4711`, `${ipv4}:80`]
    for (const address of spellings) {
      t.equal((await guess(service, { email }, address)).status, 401, address)
    }
    t.equal((await guess(service, { email }, `::FFFF:${ipv4}`)).status, 429)
  })

  t.test('a network that tries many accounts is throttled, and others are not', async t => {
    const { email, password } = await registerFromNewNetwork(service)
    const address = newAddress()
    const guessAnother = async () => await guess(service, { email: newUser().email }, address)
    t.strictSame(distinctStatuses(await inSequence(50, guessAnother)), [401])
    const refused = await signIn(service, { email, password }, address)
    t.match(refused, { status: 429, headers: { 'retry-after': '30' } })
    t.match(await signIn(service, { email, password }, newAddress()), { status: 200 })
    await passTime(service, 30)
    t.match(await signIn(service, { email, password }, address), { status: 200 })
    t.match(await guessAnother(), { status: 401 })
    const refusedAgain = { status: 429, headers: { 'retry-after': '60' } }
    t.match(await guessAnother(), refusedAgain, 'a success does not reset the failures of the network')
  })

  t.test('a large network with few failures is not throttled', async t => {
    const address = newAddress()
    for (let round = 0; round < 6; round++) {
      const guesses = await inSequence(40, () => guess(service, { email: newUser().email }, address))
      t.strictSame(distinctStatuses(guesses), [401])
      await passTime(service, 13 * 60)
    }
  })

  t.test('the audit log has one event for each wait', async t => {
    const { email } = await registerFromNewNetwork(service)
    const address = newAddress()
    const eventsOf = async () => await service.sql<{ type: string, detail: object, known: boolean }>(`
      select type, detail, user_id is not null as known from audit_events
      where host(ip) = $1 order by id`, [address])
    await guessInSequence(9, service, { email }, address)
    const events = await eventsOf()
    t.strictSame(events.map(({ type }) => type), [...Array(5).fill('login.failed'), 'login.throttled'])
    t.match(events.at(-1), { detail: { wait: 30 }, known: true })
    await passTime(service, 30)
    await guessInSequence(3, service, { email }, address)
    t.equal((await eventsOf()).filter(({ type }) => type === 'login.throttled').length, 2)
  })

  t.test('a flood of refused attempts takes no locks and writes nothing', async t => {
    const { email } = await registerFromNewNetwork(service)
    const address = newAddress()
    await guessInSequence(6, service, { email }, address)
    const [before] = await service.sql<{ count: number }>('select count(*)::int from login_throttles')
    await service.app.db.transaction(async tx => {
      await tx.query('select key from login_throttles for update')
      // An attempt that waited for these locks would be answered 503.
      const refused = await Promise.all(Array.from({ length: 40 }, () => guess(service, { email }, address)))
      t.strictSame(distinctStatuses(refused), [429])
    })
    t.strictSame(await service.sql('select count(*)::int from login_throttles'), [before])
  })

  t.test('a wait from a clock that ran ahead is ignored', async t => {
    const { email, password } = await registerFromNewNetwork(service)
    const address = newAddress()
    await guessInSequence(6, service, { email }, address)
    await passTime(service, -86_400 * 365)
    t.equal((await signIn(service, { email, password }, address)).status, 200)
  })

  t.test('cached plans find counters by their key', async t => {
    const { db } = (await build(t, limits)).app
    const statement = { name: 'a count', text: 'select wait_seconds from count_login_attempt($1, $2, $3)' }
    const scans = await db.transaction(async tx => {
      for (let i = 0; i < 20; i++) {
        await tx.query(statement, [[Buffer.from(`one ${i}`), Buffer.from('all')], [5, 50], [900, 900]])
      }
      for (let i = 0; i < 20; i++) await purgeExpired(tx, i % 2 ? Buffer.from([i]) : undefined, 2)
      return await tx.query("select pg_stat_get_xact_numscans('login_throttles'::regclass)::int as count")
    })
    t.strictSame(scans, [{ count: 0 }])
  })

  t.test('the table does not reveal what was typed', async t => {
    await guess(service, { email: 'my secret password' }, newAddress())
    const rows = await service.sql<{ line: string }>('select t::text as line from login_throttles t')
    t.ok(rows.length > 0)
    t.notMatch(rows.map(({ line }) => line).join(), /secret|6d7920736563726574/)
  })

  t.test('a success leaves a counter alone that appears while it waits for the others', async t => {
    const { throttle } = service.app
    const db = connect({ url: service.url, lockTimeoutMs: 60_000 })
    t.teardown(async () => await db.end())
    const attempt = { identifier: 'appearing', userId: undefined, network: newAddress(), device: undefined }
    const counted = await throttle.countAttempt(db, attempt, {})
    const { resetKey } = counted
    const login = async () =>
      await service.sql('select failures from login_throttles where key = $1', [resetKey])
    await service.sql('delete from login_throttles where key = $1', [resetKey])
    let success = Promise.resolve()
    await db.transaction(async tx => {
      await throttle.countAttempt(tx, attempt, {})
      success = recordSuccess(db, counted)
      await waitUntil('the success waits', async () => (await service.sql(
        "select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
      )).length > 0)
    })
    await success
    t.match(await login(), [{ failures: 1 }], 'to lock it now could deadlock')
  })

  t.test('counting, refunding, resetting and purging never deadlock', async t => {
    const lenient = await build(t, {
      LOGIN_RATE_LIMIT: '1000/1s', LOGIN_NETWORK_LIMIT: '1000/1s', LOGIN_ACCOUNT_LIMIT: '1000/1s'
    }, { url: service.url })
    const { throttle } = lenient.app
    // Only a deadlock fails: on a busy machine, a statement may wait long for one that waits for a processor.
    const db = connect({ url: service.url, lockTimeoutMs: 60_000 })
    t.teardown(() => db.end())
    const outcomes = [refund, recordSuccess, keepFailure]
    const state = { isDone: false }
    const purging = (async () => {
      for (let after: Buffer | undefined; !state.isDone;) after = await purgeExpired(db, after, 2)
    })()
    await Promise.all(Array.from({ length: 9 }, async (_, client) => {
      for (let i = 0; i < 100; i++) {
        const attempt = await throttle.countAttempt(db, {
          identifier: `email ${i % 3}`, userId: undefined, network: `${(i + client) % 2}`, device: undefined
        }, {})
        await outcomes[(i + client) % outcomes.length]?.(db, attempt)
      }
    })).finally(() => { state.isDone = true })
    await purging
    await lenient.sql("update login_throttles set expires_at = now() - interval '1 s'")
    let after: Buffer | undefined
    do after = await purgeExpired(db, after, 2); while (after !== undefined)
    t.strictSame(await lenient.sql('select 1 from login_throttles'), [], 'expired counters are purged')
  })

  t.test('limits can be off', async t => {
    const unlimited = await build(t, { ...limits, ...withoutLimits }, { url: service.url })
    const { email, password } = await registerFromNewNetwork(service)
    const address = newAddress()
    t.strictSame(distinctStatuses(await guessInSequence(60, unlimited, { email }, address)), [401])
    t.equal((await signIn(unlimited, { email, password }, address)).status, 200)
  })
})

t.test('an attack on one account from many networks', async t => {
  const accountLimit = { ...limits, LOGIN_ACCOUNT_LIMIT: '20/24h' }
  const service = await build(t, accountLimit)
  const { email, password, browser: laptop } = await registerFromNewNetwork(service, { username: 'owner' })
  const guessElsewhere = async (
    login: SignInIdentifier = { email }
  ) => await guess(service, login, newAddress())

  t.strictSame(distinctStatuses(await inSequence(20, () => guessElsewhere())), [401])
  t.match(await guessElsewhere(), { status: 429, headers: { 'retry-after': '30' } }, 'is throttled')
  t.match(await guessElsewhere({ username: 'owner' }), { status: 429 }, 'also with the username')
  const unknownDevice = await signIn(service, { email, password }, newAddress())
  t.match(unknownDevice, { status: 429 }, 'also with the correct password on an unknown device')
  const knownDevice = await signInWith(laptop, { email, password })
  t.match(knownDevice, { status: 200 }, 'the owner signs in on a known device from any network')
  t.match(await guessElsewhere(), { status: 429 }, "the owner's success does not shorten the wait")

  await t.test('guesses from a known device have a counter of their own', async t => {
    const useStolenDevice = async (password: string) => {
      const browser = service.browser()
      browser.jar.set('device_3000', laptop.jar.get('device_3000') ?? '')
      return await signInWith(browser, { email, password })
    }
    const guesses = await inSequence(6, () => useStolenDevice(wrongPassword))
    t.strictSame(statuses(guesses), [401, 401, 401, 401, 401, 429])
    await passTime(service, 30)
    t.match(await useStolenDevice(password), { status: 200 })
  })

  await t.test('concurrent guesses from many networks cannot exceed the limit', async t => {
    const { email } = await registerFromNewNetwork(service)
    const patient = await build(t, accountLimit, { url: service.url, ...patience })
    const answers = await Promise.all(
      Array.from({ length: 60 }, () => guess(patient, { email }, newAddress())))
    t.equal(answers.filter(({ status }) => status === 401).length, 20)
    t.equal(answers.filter(({ status }) => status === 429).length, 40)
  })
})

t.test('the device cookie', async t => {
  const settings = { ...limits, LOGIN_RATE_LIMIT: '2/15m' }
  const service = await build(t, settings)
  const secret = Buffer.from(hkdfSync('sha256', keyEncryptionKey, '', 'latchkey device', 32))
  /** Whether a device with this cookie can sign in while unknown devices of the network are throttled. */
  const isKnown = async (
    at: Service, { email, password }: Pick<UserOfOwnNetwork, 'email' | 'password'>, cookie: string
  ) => {
    const address = newAddress()
    await guessInSequence(2, at, { email }, address)
    const headers = { ...forwardedFor(address), cookie: `device_3000=${cookie}` }
    const { status } = await at.browser().post('/v1/auth/login', { email, password }, headers)
    t.ok([200, 429].includes(status))
    return status === 200
  }
  const deviceOf = ({ jar }: Browser) => jar.get('device_3000') ?? ''
  const changePassword = async ({ browser, password }: UserOfOwnNetwork, to: string) => await browser.post(
    '/v1/me/password', { current_password: password, new_password: to }, forwardedFor(newAddress()))

  t.test('belongs to an account, and cannot be forged', async t => {
    const ada = await registerFromNewNetwork(service)
    const eve = await registerFromNewNetwork(service)
    t.equal(await isKnown(service, ada, ada.device), true)
    t.equal(await isKnown(service, ada, eve.device), false)
    const bytes = Buffer.from(ada.device, 'base64url')
    for (let index = 0; index < bytes.length; index += 5) {
      const changed = Buffer.from(bytes)
      changed[index] = (changed[index] ?? 0) ^ 1
      const cookie = changed.toString('base64url')
      t.equal(await isKnown(service, ada, cookie), false, `with byte ${index} changed`)
    }
    const spliced = Buffer.concat([Buffer.from(eve.device, 'base64url').subarray(0, 17), bytes.subarray(17)])
    const account = { userId: ada.id, since: new Date() }
    const forgeries = [
      '', 'x', ada.device.slice(0, -1), `${ada.device}A`, `${ada.device}=`, spliced.toString('base64url'),
      'A'.repeat(4000), encodeDevice(Buffer.alloc(32), { id: newId(), accounts: [account] })
    ]
    for (const cookie of forgeries) t.equal(await isKnown(service, ada, cookie), false, cookie.slice(0, 20))
  })

  t.test('identifies the device for 180 days', async t => {
    const ada = await registerFromNewNetwork(service)
    const cookieOfAge = (days: number) => {
      const since = new Date(Date.now() - days * 86_400_000)
      return encodeDevice(secret, { id: newId(), accounts: [{ userId: ada.id, since }] })
    }
    t.equal(await isKnown(service, ada, cookieOfAge(179.9)), true)
    t.equal(await isKnown(service, ada, cookieOfAge(180.1)), false)
  })

  t.test('remembers four accounts of a device, which keeps its id', async t => {
    const browser = service.browser()
    const users: UserOfOwnNetwork[] = []
    for (let i = 0; i < 5; i++) {
      const user = await registerFromNewNetwork(service)
      await signInWith(browser, { email: user.email, password: user.password })
      users.push(user)
    }
    const cookie = deviceOf(browser)
    const known = []
    for (const user of users) known.push(await isKnown(service, user, cookie))
    t.strictSame(known, [false, true, true, true, true])
  })

  t.test('the authentic one of several cookies counts (cookie tossing)', async t => {
    const ada = await registerFromNewNetwork(service)
    t.equal(await isKnown(service, ada, `planted; device_3000=${ada.device}`), true)
  })

  t.test('is revoked by a password change, and by signing out everywhere', async t => {
    const ada = await registerFromNewNetwork(service)
    const changed = { email: ada.email, password: `${ada.password} and more` }
    t.match(await changePassword(ada, changed.password), { status: 204 })
    t.equal(await isKnown(service, changed, ada.device), false)
    const afterChange = deviceOf(ada.browser)
    t.equal(await isKnown(service, changed, afterChange), true, 'the device of the change stays known')
    t.match(await ada.browser.delete('/v1/me/sessions'), { status: 204 })
    t.equal(await isKnown(service, changed, afterChange), false)
    const afterSignOut = deviceOf(ada.browser)
    t.equal(await isKnown(service, changed, afterSignOut), true)
    t.match(await ada.browser.delete('/v1/me/sessions?include_current=true'), { status: 204 })
    t.equal(await isKnown(service, changed, afterSignOut), false)
  })

  t.test('cannot be obtained with a stolen access token', async t => {
    const ada = await registerFromNewNetwork(service)
    const thief = service.browser()
    thief.accessToken = ada.browser.accessToken
    t.match(await thief.delete('/v1/me/sessions'), { status: 204 })
    t.equal(await isKnown(service, ada, ada.device), true, "the owner's device stays known")
    t.match(await changePassword(ada, newPassword), { status: 204 })
    thief.jar.set('device_3000', ada.device)
    t.match(await thief.delete('/v1/me/sessions'), { status: 204, cookies: [] })
    const changed = { email: ada.email, password: newPassword }
    t.equal(await isKnown(service, changed, deviceOf(thief)), false, 'a revoked cookie is not renewed')
  })

  t.test('stays valid while its key-encryption key is configured', async t => {
    const ada = await registerFromNewNetwork(service)
    const newKey = Buffer.alloc(32, 7).toString('base64')
    const bothKeys = `${newKey},${keyEncryptionKey.toString('base64')}`
    const during = await build(t, { ...settings, KEY_ENCRYPTION_KEY: bothKeys }, { url: service.url })
    t.equal(await isKnown(during, ada, ada.device), true)
    const renewed = during.browser()
    await signInWith(renewed, { email: ada.email, password: ada.password })
    const after = await build(t, { ...settings, KEY_ENCRYPTION_KEY: newKey }, { url: service.url })
    t.equal(await isKnown(after, ada, ada.device), false)
    t.equal(await isKnown(after, ada, deviceOf(renewed)), true)
  })
})

t.test('a change of the password', async t => {
  const service = await build(t, limits)
  const change = async (
    { browser }: UserOfOwnNetwork,
    current: string,
    next = newPassword,
    address = newAddress()
  ) =>
    await browser.post(
      '/v1/me/password', { current_password: current, new_password: next }, forwardedFor(address))

  t.test('requires the current one, and ends all other sessions', async t => {
    const ada = await registerFromNewNetwork(service)
    const { email, password } = ada
    const phone = service.browser()
    const { body } = await signInWith(phone, { email, password })
    t.match(await change(ada, password), { status: 204, text: '' })
    t.match(await phone.get('/v1/me', { authorization: `Bearer ${body.access_token}` }), { status: 401 })
    t.match(await phone.post('/v1/auth/refresh'), { status: 401 })
    t.match(await ada.browser.get('/v1/me'), { status: 200 })
    t.match(await ada.browser.post('/v1/auth/refresh'), { status: 200 })
    t.match(await signIn(service, { email, password }, newAddress()), { status: 401 })
    t.match(await signIn(service, { email, password: newPassword }, newAddress()), { status: 200 })
    const events = await service.sql<{ type: string, reason: string | null }>(`
      select type, detail ->> 'reason' as reason from audit_events
      where user_id = $1 and actor_id = $1 and type in ('user.password_changed', 'session.ended')
      order by type`, [ada.id])
    t.strictSame(events, [
      { type: 'session.ended', reason: 'password_changed' }, { type: 'user.password_changed', reason: null }
    ])
  })

  t.test('a wrong current password counts as a failed sign-in', async t => {
    const ada = await registerFromNewNetwork(service)
    const { email, password } = ada
    const address = newAddress()
    ada.browser.jar.delete('device_3000')
    const otherBrowser = service.browser()
    await signInWith(otherBrowser, { email, password })
    const attempt = async (current: string) => await change(ada, current, newPassword, address)
    t.strictSame(statuses(await inSequence(3, () => attempt(wrongPassword))), [403, 403, 403])
    t.match(await attempt(wrongPassword), { status: 403, body: { code: 'invalid_credentials', status: 403 } })
    t.match(await guess(service, { email }, address), { status: 401 })
    t.match(await attempt(password), { status: 429, headers: { 'retry-after': '30' } })
    t.match(await signIn(service, { email, password }, address), { status: 429 })
    t.match(await otherBrowser.post('/v1/auth/refresh'), { status: 200 })
    t.match(await change(ada, password), { status: 204 })
  })

  t.test('applies the password policy to the new one', async t => {
    const ada = await registerFromNewNetwork(service)
    const { email, password } = ada
    t.match(await change(ada, password, 'short'), {
      status: 422, body: { code: 'password_rejected', reasons: ['too_short'] }
    })
    t.match(await change(ada, password, `my ${email}`), {
      status: 422, body: { reasons: ['contains_email'] }
    })
    t.match(await change(ada, ''), { status: 400 })
    t.match(await change(ada, password, 'x'.repeat(1025)), { status: 400 })
    t.match(await ada.browser.post('/v1/me/password', { new_password: newPassword }), { status: 400 })
    t.match(await change({ ...ada, browser: service.browser() }, password), { status: 401 })
    t.match(await signIn(service, { email, password }, newAddress()), { status: 200 })
  })

  t.test('only one of two concurrent changes succeeds', async t => {
    const ada = await registerFromNewNetwork(service)
    const [first, second] = ['one phrase of mine', 'other phrase of mine']
    const answers = await Promise.all([first, second].map(next => change(ada, ada.password, next)))
    t.strictSame(statuses(answers).sort(), [204, 403])
    const password = (answers[0]?.status === 204 ? first : second) ?? ''
    t.match(await signIn(service, { email: ada.email, password }, newAddress()), { status: 200 })
  })

  t.test('is not counted as a failure if the queue is full, which admits known devices', async t => {
    const busy = await build(t, { ...limits, ARGON2_CONCURRENCY: '1' }, { url: service.url })
    const { queue } = busy.app.passwords
    await service.sql('delete from login_throttles')
    const neighbour = await registerFromNewNetwork(service)
    const knownUser = await registerFromNewNetwork(service)
    const unknownUser = await registerFromNewNetwork(service)
    unknownUser.browser.jar.delete('device_3000')
    let release = () => {}
    const released = new Promise<void>(resolve => { release = resolve })
    // The queue estimates its length by the time of earlier jobs. These took none, so that many may wait.
    for (let i = 0; i < 80; i++) await queue.run(async () => {})
    const jobs: Array<Promise<void>> = [queue.run(async () => await released)]
    const waitForQueue = async (count: number) => {
      await waitUntil(() => `${queue.waiting} wait`, () => queue.waiting >= count)
      t.equal(queue.waiting, count)
    }
    const [knownNetwork, unknownNetwork] = [newAddress(), newAddress()]
    for (const { browser } of [knownUser, unknownUser]) browser.app = busy.app
    const knownChange = change(knownUser, knownUser.password, newPassword, knownNetwork)
    const unknownChange = change(unknownUser, unknownUser.password, newPassword, unknownNetwork)
    await waitForQueue(2)
    // While many networks wait, the queue admits no second job of a network.
    const { email, password } = neighbour
    const neighbourSignIn = signIn(busy, { email, password }, unknownNetwork)
    await waitForQueue(3)
    while (queue.waiting === jobs.length + 2) {
      jobs.push(queue.run(async () => { await pause(50) }, { network: `${jobs.length}` }).catch(() => {}))
    }
    t.ok(jobs.length > 490, `${jobs.length} wait`)
    release()
    t.match(await knownChange, { status: 204 })
    t.match(await unknownChange, { status: 503, body: { code: 'overloaded' } })
    await Promise.all([...jobs, neighbourSignIn])
    const failures = await service.sql('select sum(failures)::int as failures from login_throttles')
    t.strictSame(failures, [{ failures: 0 }])
  })

  t.test('is refused for an ended session and for a disabled account', async t => {
    const ada = await registerFromNewNetwork(service)
    const invalidToken = { status: 401, body: { code: 'invalid_token' } }
    await service.sql('update users set disabled_at = now() where id = $1', [ada.id])
    t.match(await change(ada, ada.password), invalidToken)
    await service.sql('update users set disabled_at = null where id = $1', [ada.id])
    const authorization = `Bearer ${ada.browser.accessToken}`
    await service.browser().post('/v1/auth/logout', undefined, { authorization })
    t.match(await change(ada, ada.password), invalidToken)
  })
})
