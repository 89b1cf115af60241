import { hkdfSync } from 'node:crypto'
import { setTimeout as pause } from 'node:timers/promises'
import fc from 'fast-check'
import t from 'tap'
import { encodeDevice } from '../../src/authentication/known-device.ts'
import { newId } from '../../src/crypto/random.ts'
import { purgeExpired, recordSuccess, refund, type CountedAttempt } from '../../src/throttle/sign-in-throttle.ts'
import { build, keyEncryptionKey, newUser, type Service } from '../support/app.ts'
import {
  defaultLimits as limits, forwardedFor, inSequence, newAddress, passTime, statuses, withoutLimits
} from '../support/other-networks.ts'

const wrong = 'not the password'

type Login = { email: string, password: string } | { username: string, password: string }
const signIn = async ({ browser }: Service, login: Login, ip: string) =>
  await browser().post('/v1/auth/login', login, forwardedFor(ip))

t.test('failed sign-ins', async t => {
  const service = await build(t, limits)
  const register = async () => {
    const somebody = newUser()
    await service.browser().post('/v1/auth/register', somebody, forwardedFor(newAddress()))
    return somebody
  }

  t.test('at the limit even the right password must wait, for the time in Retry-After', async t => {
    const { email, password } = await register()
    const here = newAddress()
    t.strictSame(statuses(await inSequence(5, () => signIn(service, { email, password: wrong }, here))), [401, 401, 401, 401, 401])
    const refused = await signIn(service, { email, password }, here)
    t.match(refused, { status: 429, body: { code: 'too_many_requests' }, headers: { 'retry-after': '30' } })
    t.strictSame(refused.cookies, [])
    await passTime(service, 29)
    t.match(await signIn(service, { email, password }, here), { status: 429, headers: { 'retry-after': '1' } })
    await passTime(service, 1)
    t.match(await signIn(service, { email, password }, here), { status: 200 })
  })

  t.test('each wait is twice as long as the previous one, up to an hour', async t => {
    const { email } = await register()
    const here = newAddress()
    await inSequence(4, () => signIn(service, { email, password: wrong }, here))
    const waits: number[] = []
    for (let round = 0; round < 10; round++) {
      t.equal((await signIn(service, { email, password: wrong }, here)).status, 401)
      const { status, headers } = await signIn(service, { email, password: wrong }, here)
      t.equal(status, 429)
      waits.push(Number(headers['retry-after']))
      await passTime(service, Number(headers['retry-after']))
    }
    t.strictSame(waits, [30, 60, 120, 240, 480, 960, 1920, 3600, 3600, 3600])
  })

  t.test('refused attempts do not count, and do not extend the wait', async t => {
    const { email } = await register()
    const here = newAddress()
    await inSequence(5, () => signIn(service, { email, password: wrong }, here))
    const refused = await inSequence(30, () => signIn(service, { email, password: wrong }, here))
    t.strictSame(new Set(statuses(refused)), new Set([429]))
    t.ok(refused.every(({ headers }) => Number(headers['retry-after']) <= 30))
    await passTime(service, 30)
    t.equal((await signIn(service, { email, password: wrong }, here)).status, 401)
    const elsewhere = await Promise.all(Array.from({ length: 40 }, () => signIn(service, { email: newUser().email, password: wrong }, here)))
    t.strictSame(new Set(statuses(elsewhere)), new Set([401]), 'nor does it use up what the network is allowed')
  })

  t.test('failures are forgotten after a window, and decay below the limit', async t => {
    const { email } = await register()
    const here = newAddress()
    await inSequence(6, () => signIn(service, { email, password: wrong }, here))
    await passTime(service, 30 + 15 * 60)
    t.strictSame(statuses(await inSequence(6, () => signIn(service, { email, password: wrong }, here))), [401, 401, 401, 401, 401, 429])
    const there = newAddress()
    await inSequence(4, () => signIn(service, { email, password: wrong }, there))
    await passTime(service, 6 * 60)
    t.strictSame(statuses(await inSequence(4, () => signIn(service, { email, password: wrong }, there))), [401, 401, 401, 429], 'two of five in six of fifteen minutes')
  })

  t.test('a success resets the failures of the account from its network', async t => {
    const { email, password } = await register()
    const here = newAddress()
    for (let round = 0; round < 3; round++) {
      t.strictSame(statuses(await inSequence(4, () => signIn(service, { email, password: wrong }, here))), [401, 401, 401, 401])
      t.equal((await signIn(service, { email, password }, here)).status, 200)
    }
  })

  t.test('accounts that do not exist are counted and answered in the same way', async t => {
    const { email, password } = await register()
    const comparable = ({ status, headers: { 'x-request-id': _id, date: _date, 'content-length': _length, ...headers }, body: { instance: _instance, ...body }, cookies }: Awaited<ReturnType<typeof signIn>>) => ({ status, headers, body, cookies })
    for (const nobody of [{ email: newUser().email }, { email: 'not an address' }, { email: '\u0000\ud800' }, { username: 'nobody' }, { username: '💥' }]) {
      const here = newAddress()
      const there = newAddress()
      const unknown = await inSequence(7, () => signIn(service, { ...nobody, password: wrong }, here))
      const known = await inSequence(7, () => signIn(service, { email, password: wrong }, there))
      t.strictSame(unknown.map(comparable), known.map(comparable), JSON.stringify(nobody))
      t.equal(unknown.at(-1)?.status, 429)
    }
    t.equal((await signIn(service, { email, password }, newAddress())).status, 200, 'and none of it elsewhere')
  })

  t.test('all spellings of an address are the same account', async t => {
    const { email } = await register()
    const here = newAddress()
    const spellings = [email, email.toUpperCase(), ` ${email} `, email.replace('@', '＠').replace('＠', '@'), email.replace('example.com', 'EXAMPLE.com'), email]
    const answers = []
    for (const spelling of spellings) answers.push(await signIn(service, { email: spelling, password: wrong }, here))
    t.strictSame(statuses(answers), [401, 401, 401, 401, 401, 429])
  })

  t.test('concurrent guesses on two instances cannot exceed the limit', async t => {
    const other = await build(t, limits, { url: service.url })
    await fc.assert(fc.asyncProperty(fc.integer({ min: 2, max: 40 }), fc.integer({ min: 0, max: 4 }), fc.boolean(), async (parallel, before, exists) => {
      const { email } = exists ? await register() : newUser()
      const here = newAddress()
      await inSequence(before, () => signIn(service, { email, password: wrong }, here))
      const answers = await Promise.all(Array.from({ length: parallel }, async (_, i) => {
        // One that waits for the lock on the counters for too long is not counted, and told to come back.
        for (;;) {
          const answer = await signIn(i % 2 ? service : other, { email, password: wrong }, here)
          if (answer.status !== 503) return answer
        }
      }))
      const judged = answers.filter(({ status }) => status === 401).length
      t.equal(judged, Math.min(parallel, 5 - before))
      t.strictSame(answers.filter(({ status }) => ![401, 429].includes(status)).map(({ text }) => text), [])
    }), { numRuns: 12 })
  })

  t.test('concurrent successes leave no failures', async t => {
    const { email, password } = await register()
    const here = newAddress()
    const answers = await Promise.all(Array.from({ length: 5 }, () => signIn(service, { email, password }, here)))
    t.strictSame(statuses(answers), [200, 200, 200, 200, 200])
    t.strictSame(statuses(await inSequence(6, () => signIn(service, { email, password: wrong }, here))), [401, 401, 401, 401, 401, 429])
  })

  t.test('an IPv6 network is a /64, and an IPv4-mapped address is an IPv4 address', async t => {
    const { email } = await register()
    const one = [1, 2, 3, 4, 5].map(n => `2001:db8:0:7::${n}`)
    for (const ip of one) t.equal((await signIn(service, { email, password: wrong }, ip)).status, 401)
    t.equal((await signIn(service, { email, password: wrong }, '2001:db8::7:ffff:ffff:ffff:ffff')).status, 429)
    t.equal((await signIn(service, { email, password: wrong }, '2001:db8:0:8::1')).status, 401)
    const four = newAddress()
    for (const ip of [four, `::ffff:${four}`, four, `[::ffff:${four}]:4711`, `${four}:80`]) t.equal((await signIn(service, { email, password: wrong }, ip)).status, 401, ip)
    t.equal((await signIn(service, { email, password: wrong }, `::FFFF:${four}`)).status, 429)
  })

  t.test('a network that tries many accounts is throttled, and others are not', async t => {
    const { email, password } = await register()
    const here = newAddress()
    const tried = await inSequence(50, () => signIn(service, { email: newUser().email, password: wrong }, here))
    t.strictSame(new Set(statuses(tried)), new Set([401]))
    t.match(await signIn(service, { email, password }, here), { status: 429, headers: { 'retry-after': '30' } })
    t.match(await signIn(service, { email, password }, newAddress()), { status: 200 })
    await passTime(service, 30)
    t.match(await signIn(service, { email, password }, here), { status: 200 })
    t.match(await signIn(service, { email: newUser().email, password: wrong }, here), { status: 401 }, 'an own account that is signed in to between')
    t.match(await signIn(service, { email: newUser().email, password: wrong }, here), { status: 429, headers: { 'retry-after': '60' } }, 'does not start it anew')
  })

  t.test('a large network with few failures is not throttled', async t => {
    const here = newAddress()
    for (let hour = 0; hour < 6; hour++) {
      t.strictSame(new Set(statuses(await inSequence(40, () => signIn(service, { email: newUser().email, password: wrong }, here)))), new Set([401]))
      await passTime(service, 13 * 60)
    }
  })

  t.test('the audit log has one event for each wait', async t => {
    const { email } = await register()
    const here = newAddress()
    await inSequence(9, () => signIn(service, { email, password: wrong }, here))
    const events = await service.sql<{ type: string, detail: object, known: boolean }>('select type, detail, user_id is not null as known from audit_events where host(ip) = $1 order by id', [here])
    t.strictSame(events.map(({ type }) => type), [...Array(5).fill('login.failed'), 'login.throttled'])
    t.match(events.at(-1), { detail: { wait: 30 }, known: true })
    await passTime(service, 30)
    await inSequence(3, () => signIn(service, { email, password: wrong }, here))
    t.equal((await service.sql("select 1 from audit_events where host(ip) = $1 and type = 'login.throttled'", [here])).length, 2)
  })

  t.test('a flood of refused attempts takes no locks and writes nothing', async t => {
    const { email } = await register()
    const here = newAddress()
    await inSequence(6, () => signIn(service, { email, password: wrong }, here))
    const [before] = await service.sql<{ count: number }>('select count(*)::int from login_throttles')
    await service.app.db.transaction(async tx => {
      await tx.query('select key from login_throttles for update')
      const began = performance.now()
      const refused = await Promise.all(Array.from({ length: 40 }, () => signIn(service, { email, password: wrong }, here)))
      t.strictSame(new Set(statuses(refused)), new Set([429]))
      t.ok(performance.now() - began < 2_500)
    })
    t.strictSame(await service.sql('select count(*)::int from login_throttles'), [before])
  })

  t.test('a wait from a clock that ran ahead is ignored', async t => {
    const { email, password } = await register()
    const here = newAddress()
    await inSequence(6, () => signIn(service, { email, password: wrong }, here))
    await passTime(service, -86_400 * 365)
    t.equal((await signIn(service, { email, password }, here)).status, 200)
  })

  t.test('cached plans find counters by their key', async t => {
    const { db } = (await build(t, limits)).app
    const scans = await db.transaction(async tx => {
      for (let i = 0; i < 20; i++) await tx.query({ name: 'a count', text: 'select wait_seconds from count_login_attempt($1, $2, $3)' }, [[Buffer.from(`one ${i}`), Buffer.from('all')], [5, 50], [900, 900]])
      for (let i = 0; i < 20; i++) await purgeExpired(tx, i % 2 ? Buffer.from([i]) : undefined, 2)
      return await tx.query("select pg_stat_get_xact_numscans('login_throttles'::regclass)::int as count")
    })
    t.strictSame(scans, [{ count: 0 }])
  })

  t.test('the table does not reveal what was typed', async t => {
    await signIn(service, { email: 'my secret password', password: wrong }, newAddress())
    const { rows } = { rows: await service.sql<{ line: string }>('select t::text as line from login_throttles t') }
    t.ok(rows.length > 0)
    t.notMatch(rows.map(({ line }) => line).join(), /secret|6d7920736563726574/)
  })

  t.test('counting, refunding, resetting and purging do not block each other', async t => {
    const busy = await build(t, { LOGIN_RATE_LIMIT: '1000/1s', LOGIN_NETWORK_LIMIT: '1000/1s', LOGIN_ACCOUNT_LIMIT: '1000/1s' }, { url: service.url })
    const { db, throttle } = busy.app
    const ends = [refund, recordSuccess, async (_db: unknown, _attempt: CountedAttempt) => {}]
    const clearing = { done: false }
    const cleared = (async () => {
      for (let after: Buffer | undefined; !clearing.done;) after = await purgeExpired(db, after, 2)
    })()
    await Promise.all(Array.from({ length: 9 }, async (_, party) => {
      for (let i = 0; i < 100; i++) {
        const attempt = await throttle.countAttempt(db, { identifier: `email ${i % 3}`, userId: undefined, network: `${(i + party) % 2}`, device: undefined }, {})
        await ends[(i + party) % ends.length]?.(db, attempt)
      }
    })).finally(() => { clearing.done = true })
    await cleared
    await busy.sql("update login_throttles set expires_at = now() - interval '1 s'")
    for (let after: Buffer | undefined, more = true; more; more = after !== undefined) after = await purgeExpired(db, after, 2)
    t.strictSame(await busy.sql('select 1 from login_throttles'), [], 'and nothing is left of it')
  })

  t.test('limits can be off', async t => {
    const open = await build(t, { ...limits, ...withoutLimits }, { url: service.url })
    const { email, password } = await register()
    const here = newAddress()
    t.strictSame(new Set(statuses(await inSequence(60, () => signIn(open, { email, password: wrong }, here)))), new Set([401]))
    t.equal((await signIn(open, { email, password }, here)).status, 200)
  })
})

t.test('an attack on one account from many networks', async t => {
  const service = await build(t, { ...limits, LOGIN_ACCOUNT_LIMIT: '20/24h' })
  const owner = newUser()
  const home = newAddress()
  const laptop = service.browser()
  await laptop.post('/v1/auth/register', { ...owner, username: 'owner' }, forwardedFor(home))
  const guess = async (login: object = { email: owner.email }) => await service.browser().post('/v1/auth/login', { ...login, password: wrong }, forwardedFor(newAddress()))

  const first = await inSequence(20, () => guess())
  t.strictSame(new Set(statuses(first)), new Set([401]))
  t.match(await guess(), { status: 429, headers: { 'retry-after': '30' } }, 'is stopped')
  t.match(await guess({ username: 'owner' }), { status: 429 }, 'by whatever name')
  t.match(await service.browser().post('/v1/auth/login', owner, forwardedFor(newAddress())), { status: 429 }, 'as is a stranger who knows the password')
  t.match(await laptop.post('/v1/auth/login', owner, forwardedFor(newAddress())), { status: 200 }, 'the owner signs in where they did before, wherever that is now')
  t.match(await guess(), { status: 429 }, 'which lets the others in no sooner')

  await t.test('guesses from a known device have a counter of their own', async t => {
    const stolen = async (password: string) => {
      const browser = service.browser()
      browser.jar.set('device', laptop.jar.get('device') ?? '')
      return await browser.post('/v1/auth/login', { email: owner.email, password }, forwardedFor(newAddress()))
    }
    t.strictSame(statuses(await inSequence(6, () => stolen(wrong))), [401, 401, 401, 401, 401, 429])
    await passTime(service, 30)
    t.match(await stolen(owner.password), { status: 200 })
  })

  await t.test('concurrent guesses from many networks cannot exceed the limit', async t => {
    const victim = newUser()
    await service.browser().post('/v1/auth/register', victim, forwardedFor(home))
    const answers = await Promise.all(Array.from({ length: 60 }, () => service.browser().post('/v1/auth/login', { email: victim.email, password: wrong }, forwardedFor(newAddress()))))
    t.equal(answers.filter(({ status }) => status === 401).length, 20)
    t.equal(answers.filter(({ status }) => status === 429).length, 40)
  })
})

t.test('the device cookie', async t => {
  const service = await build(t, { ...limits, LOGIN_RATE_LIMIT: '2/15m' })
  const secret = Buffer.from(hkdfSync('sha256', keyEncryptionKey, '', 'latchkey device', 32))
  const registered = async (service: Service) => {
    const browser = service.browser()
    const somebody = newUser()
    const { body } = await browser.post('/v1/auth/register', somebody, forwardedFor(newAddress()))
    browser.accessToken = body.access_token
    return { ...somebody, id: body.user.id as string, browser, cookie: browser.jar.get('device') ?? '' }
  }
  /** Whether the cookie makes a difference, with everybody else locked out. */
  const isKnown = async (at: Service, { email, password }: { email: string, password: string }, cookie: string) => {
    const here = newAddress()
    await inSequence(2, () => signIn(at, { email, password: wrong }, here))
    const { status } = await at.browser().post('/v1/auth/login', { email, password }, { ...forwardedFor(here), cookie: `device=${cookie}` })
    t.ok([200, 429].includes(status))
    return status === 200
  }

  t.test('belongs to an account, and cannot be forged', async t => {
    const ada = await registered(service)
    const eve = await registered(service)
    t.equal(await isKnown(service, ada, ada.cookie), true)
    t.equal(await isKnown(service, ada, eve.cookie), false)
    const bytes = Buffer.from(ada.cookie, 'base64url')
    for (let at = 0; at < bytes.length; at += 5) {
      const changed = Buffer.from(bytes)
      changed[at] = (changed[at] ?? 0) ^ 1
      t.equal(await isKnown(service, ada, changed.toString('base64url')), false, `with byte ${at} changed`)
    }
    const spliced = Buffer.concat([Buffer.from(eve.cookie, 'base64url').subarray(0, 17), bytes.subarray(17)])
    for (const forged of ['', 'x', ada.cookie.slice(0, -1), `${ada.cookie}A`, `${ada.cookie}=`, spliced.toString('base64url'), 'A'.repeat(4000), encodeDevice(Buffer.alloc(32), { id: newId(), accounts: [{ userId: ada.id, since: new Date() }] })]) {
      t.equal(await isKnown(service, ada, forged), false, forged.slice(0, 20))
    }
  })

  t.test('identifies the device for 180 days', async t => {
    const ada = await registered(service)
    const of = (days: number) => encodeDevice(secret, { id: newId(), accounts: [{ userId: ada.id, since: new Date(Date.now() - days * 86_400_000) }] })
    t.equal(await isKnown(service, ada, of(179.9)), true)
    t.equal(await isKnown(service, ada, of(180.1)), false)
  })

  t.test('remembers four accounts of a device, which keeps its id', async t => {
    const browser = service.browser()
    const family = []
    for (let i = 0; i < 5; i++) {
      const one = await registered(service)
      await browser.post('/v1/auth/login', { email: one.email, password: one.password }, forwardedFor(newAddress()))
      family.push(one)
    }
    const cookie = browser.jar.get('device') ?? ''
    const known = []
    for (const one of family) known.push(await isKnown(service, one, cookie))
    t.strictSame(known, [false, true, true, true, true])
  })

  t.test('the authentic one of several cookies counts (cookie tossing)', async t => {
    const ada = await registered(service)
    t.equal(await isKnown(service, ada, `planted; device=${ada.cookie}`), true)
  })

  t.test('is revoked by a password change, and by signing out everywhere', async t => {
    const ada = await registered(service)
    const before = ada.cookie
    t.match(await ada.browser.post('/v1/me/password', { current_password: ada.password, new_password: `${ada.password} and more` }), { status: 204 })
    const changed = { email: ada.email, password: `${ada.password} and more` }
    t.equal(await isKnown(service, changed, before), false)
    const renewed = ada.browser.jar.get('device') ?? ''
    t.equal(await isKnown(service, changed, renewed), true, 'but for the device where it was changed')
    t.match(await ada.browser.delete('/v1/me/sessions'), { status: 204 })
    t.equal(await isKnown(service, changed, renewed), false)
    const here = ada.browser.jar.get('device') ?? ''
    t.equal(await isKnown(service, changed, here), true)
    t.match(await ada.browser.delete('/v1/me/sessions?include_current=true'), { status: 204 })
    t.equal(await isKnown(service, changed, here), false)
  })

  t.test('cannot be obtained with a stolen access token', async t => {
    const ada = await registered(service)
    const thief = service.browser()
    thief.accessToken = ada.browser.accessToken
    t.match(await thief.delete('/v1/me/sessions'), { status: 204 })
    t.equal(await isKnown(service, ada, ada.cookie), true, 'the owner is no stranger')
    const changed = { email: ada.email, password: 'another phrase of mine' }
    t.match(await ada.browser.post('/v1/me/password', { current_password: ada.password, new_password: changed.password }, forwardedFor(newAddress())), { status: 204 })
    thief.jar.set('device', ada.cookie)
    t.match(await thief.delete('/v1/me/sessions'), { status: 204, cookies: [] })
    t.equal(await isKnown(service, changed, thief.jar.get('device') ?? ''), false, 'a device that was forgotten is not known anew')
  })

  t.test('stays valid while its key-encryption key is configured', async t => {
    const ada = await registered(service)
    const next = Buffer.alloc(32, 7).toString('base64')
    const both = await build(t, { ...limits, LOGIN_RATE_LIMIT: '2/15m', KEY_ENCRYPTION_KEY: `${next},${keyEncryptionKey.toString('base64')}` }, { url: service.url })
    t.equal(await isKnown(both, ada, ada.cookie), true)
    const renewed = both.browser()
    await renewed.post('/v1/auth/login', { email: ada.email, password: ada.password }, forwardedFor(newAddress()))
    const after = await build(t, { ...limits, LOGIN_RATE_LIMIT: '2/15m', KEY_ENCRYPTION_KEY: next }, { url: service.url })
    t.equal(await isKnown(after, ada, ada.cookie), false)
    t.equal(await isKnown(after, ada, renewed.jar.get('device') ?? ''), true)
  })
})

t.test('changing the password', async t => {
  const service = await build(t, limits)
  const registered = async () => {
    const browser = service.browser()
    const somebody = newUser()
    const { body } = await browser.post('/v1/auth/register', somebody, forwardedFor(newAddress()))
    browser.accessToken = body.access_token
    return { ...somebody, browser, id: body.user.id as string, session: body.session_id as string }
  }
  const change = async ({ browser }: Awaited<ReturnType<typeof registered>>, current: string, next: string, ip = newAddress()) =>
    await browser.post('/v1/me/password', { current_password: current, new_password: next }, forwardedFor(ip))

  t.test('requires the current one, and ends all other sessions', async t => {
    const ada = await registered()
    const phone = service.browser()
    const { body } = await phone.post('/v1/auth/login', { email: ada.email, password: ada.password }, forwardedFor(newAddress()))
    t.match(await change(ada, ada.password, 'another phrase of mine'), { status: 204, text: '' })
    t.match(await phone.get('/v1/me', { authorization: `Bearer ${body.access_token}` }), { status: 401 })
    t.match(await phone.post('/v1/auth/refresh'), { status: 401 })
    t.match(await ada.browser.get('/v1/me'), { status: 200 })
    t.match(await ada.browser.post('/v1/auth/refresh'), { status: 200 })
    t.match(await signIn(service, { email: ada.email, password: ada.password }, newAddress()), { status: 401 })
    t.match(await signIn(service, { email: ada.email, password: 'another phrase of mine' }, newAddress()), { status: 200 })
    const events = await service.sql<{ type: string, reason: string | null }>("select type, detail ->> 'reason' as reason from audit_events where user_id = $1 and actor_id = $1 and type in ('user.password_changed', 'session.ended')", [ada.id])
    t.strictSame(events.sort((a, b) => a.type < b.type ? -1 : 1), [{ type: 'session.ended', reason: 'password_changed' }, { type: 'user.password_changed', reason: null }])
  })

  t.test('a wrong current password counts as a failed sign-in', async t => {
    const ada = await registered()
    const here = newAddress()
    ada.browser.jar.delete('device')
    const other = service.browser()
    await other.post('/v1/auth/login', { email: ada.email, password: ada.password }, forwardedFor(newAddress()))
    t.strictSame(statuses(await inSequence(3, () => change(ada, wrong, 'another phrase of mine', here))), [403, 403, 403])
    t.match(await change(ada, wrong, 'another phrase of mine', here), { status: 403, body: { code: 'invalid_credentials', status: 403 } })
    t.match(await signIn(service, { email: ada.email, password: wrong }, here), { status: 401 })
    t.match(await change(ada, ada.password, 'another phrase of mine', here), { status: 429, headers: { 'retry-after': '30' } })
    t.match(await signIn(service, { email: ada.email, password: ada.password }, here), { status: 429 })
    t.match(await other.post('/v1/auth/refresh'), { status: 200 })
    t.match(await change(ada, ada.password, 'another phrase of mine'), { status: 204 })
  })

  t.test('applies the password policy to the new one', async t => {
    const ada = await registered()
    t.match(await change(ada, ada.password, 'short'), { status: 422, body: { code: 'password_rejected', reasons: ['too_short'] } })
    t.match(await change(ada, ada.password, `my ${ada.email}`), { status: 422, body: { reasons: ['contains_email'] } })
    t.match(await change(ada, '', 'another phrase of mine'), { status: 400 })
    t.match(await change(ada, ada.password, 'x'.repeat(1025)), { status: 400 })
    t.match(await ada.browser.post('/v1/me/password', { new_password: 'another phrase of mine' }), { status: 400 })
    t.match(await service.browser().post('/v1/me/password', { current_password: ada.password, new_password: 'another phrase of mine' }), { status: 401 })
    t.match(await signIn(service, { email: ada.email, password: ada.password }, newAddress()), { status: 200 })
  })

  t.test('only one of two concurrent changes succeeds', async t => {
    const ada = await registered()
    const answers = await Promise.all(['one phrase of mine', 'other phrase of mine'].map(next => change(ada, ada.password, next)))
    t.strictSame(statuses(answers).sort(), [204, 403])
    const winner = answers[0]?.status === 204 ? 'one phrase of mine' : 'other phrase of mine'
    t.match(await signIn(service, { email: ada.email, password: winner }, newAddress()), { status: 200 })
  })

  t.test('a full queue is no failure, and known devices get turns for both hashes', async t => {
    const busy = await build(t, { ...limits, ARGON2_CONCURRENCY: '1' }, { url: service.url })
    const { queue } = busy.app.passwords
    await service.sql('delete from login_throttles')
    const [neighbourly, ...people] = [await registered(), await registered(), await registered()]
    people[1]?.browser.jar.delete('device')
    let begin = () => {}
    const held = new Promise<void>(resolve => { begin = resolve })
    // Turns that took no time: how many may wait is not a matter of how long each would.
    for (let turn = 0; turn < 80; turn++) await queue.run(async () => {})
    const work: Array<Promise<void>> = [queue.run(async () => await held)]
    const waiting = async (count: number) => {
      for (const end = performance.now() + 20_000; queue.waiting < count && performance.now() < end;) await pause(5)
      t.equal(queue.waiting, count)
    }
    const networks = [newAddress(), newAddress()]
    const answers = people.map(async ({ browser, password }, index) => {
      browser.app = busy.app
      return await browser.post('/v1/me/password', { current_password: password, new_password: 'another phrase of mine' }, forwardedFor(networks[index] ?? ''))
    })
    await waiting(2)
    // Of a network of which somebody waits no more do where there are many of others.
    const neighbour = busy.browser().post('/v1/auth/login', { email: neighbourly.email, password: neighbourly.password }, forwardedFor(networks[1] ?? ''))
    await waiting(3)
    while (queue.waiting === work.length + 2) work.push(queue.run(async () => { await pause(50) }, { network: `${work.length}` }).catch(() => {}))
    t.ok(work.length > 490, `${work.length} wait`)
    begin()
    const [known, stranger] = await Promise.all(answers)
    t.match(known, { status: 204 })
    t.match(stranger, { status: 503, body: { code: 'overloaded' } })
    await Promise.all([...work, neighbour])
    t.strictSame(await service.sql('select sum(failures)::int as failures from login_throttles'), [{ failures: 0 }])
  })

  t.test('is refused for an ended session and for a disabled account', async t => {
    const ada = await registered()
    await service.sql('update users set disabled_at = now() where id = $1', [ada.id])
    t.match(await change(ada, ada.password, 'another phrase of mine'), { status: 401, body: { code: 'invalid_token' } })
    await service.sql('update users set disabled_at = null where id = $1', [ada.id])
    await service.browser().post('/v1/auth/logout', undefined, { authorization: `Bearer ${ada.browser.accessToken}` })
    t.match(await change(ada, ada.password, 'another phrase of mine'), { status: 401, body: { code: 'invalid_token' } })
  })
})
