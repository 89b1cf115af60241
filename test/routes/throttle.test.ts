import { hkdfSync } from 'node:crypto'
import { setTimeout as pause } from 'node:timers/promises'
import fc from 'fast-check'
import t from 'tap'
import { encodeDevice } from '../../src/authentication/known-device.ts'
import { newId } from '../../src/crypto/random.ts'
import { purgeExpired, recordSuccess, refund, type CountedAttempt } from '../../src/throttle/sign-in-throttle.ts'
import { build, keyEncryptionKey, newUser, type Service } from '../support/app.ts'

const limits = { TRUST_PROXY: '127.0.0.1', LOGIN_RATE_LIMIT: '5/15m', LOGIN_NETWORK_LIMIT: '50/15m', LOGIN_ACCOUNT_LIMIT: '100/24h' }
const off = { LOGIN_RATE_LIMIT: 'off', LOGIN_NETWORK_LIMIT: 'off', LOGIN_ACCOUNT_LIMIT: 'off' }
const wrong = 'not the password'

let networks = 0
/** An address that nobody else in this file has. */
const newAddress = () => {
  networks++
  return `203.${networks >> 16 & 255}.${networks >> 8 & 255}.${networks & 255}`
}
const from = (ip: string) => ({ 'x-forwarded-for': ip })
type Login = { email: string, password: string } | { username: string, password: string }
const signIn = async ({ browser }: Service, login: Login, ip: string) => await browser().post('/v1/auth/login', login, from(ip))
const statuses = (answers: Array<{ status: number }>) => answers.map(({ status }) => status)
const inRow = async <T>(count: number, work: () => Promise<T>) => {
  const results: T[] = []
  for (let i = 0; i < count; i++) results.push(await work())
  return results
}
/** Lets time go by for everything that was counted. */
const pass = async ({ sql }: Service, seconds: number) => await sql('update login_throttles set counted_at = counted_at - make_interval(secs => $1), waits_until = waits_until - make_interval(secs => $1), expires_at = expires_at - make_interval(secs => $1)', [seconds])

t.test('failed sign-ins', async t => {
  const service = await build(t, limits)
  const register = async () => {
    const somebody = newUser()
    await service.browser().post('/v1/auth/register', somebody, from(newAddress()))
    return somebody
  }

  t.test('after the last one allowed, even the right password has to wait, and it is told exactly how long', async t => {
    const { email, password } = await register()
    const here = newAddress()
    t.strictSame(statuses(await inRow(5, () => signIn(service, { email, password: wrong }, here))), [401, 401, 401, 401, 401])
    const refused = await signIn(service, { email, password }, here)
    t.match(refused, { status: 429, body: { code: 'too_many_requests' }, headers: { 'retry-after': '30' } })
    t.strictSame(refused.cookies, [])
    await pass(service, 29)
    t.match(await signIn(service, { email, password }, here), { status: 429, headers: { 'retry-after': '1' } })
    await pass(service, 1)
    t.match(await signIn(service, { email, password }, here), { status: 200 })
  })

  t.test('each wait is twice the one before, up to an hour', async t => {
    const { email } = await register()
    const here = newAddress()
    await inRow(4, () => signIn(service, { email, password: wrong }, here))
    const waits: number[] = []
    for (let round = 0; round < 10; round++) {
      t.equal((await signIn(service, { email, password: wrong }, here)).status, 401)
      const { status, headers } = await signIn(service, { email, password: wrong }, here)
      t.equal(status, 429)
      waits.push(Number(headers['retry-after']))
      await pass(service, Number(headers['retry-after']))
    }
    t.strictSame(waits, [30, 60, 120, 240, 480, 960, 1920, 3600, 3600, 3600])
  })

  t.test('what is refused does not count, and makes no wait longer', async t => {
    const { email } = await register()
    const here = newAddress()
    await inRow(5, () => signIn(service, { email, password: wrong }, here))
    const refused = await inRow(30, () => signIn(service, { email, password: wrong }, here))
    t.strictSame(new Set(statuses(refused)), new Set([429]))
    t.ok(refused.every(({ headers }) => Number(headers['retry-after']) <= 30))
    await pass(service, 30)
    t.equal((await signIn(service, { email, password: wrong }, here)).status, 401)
    const elsewhere = await Promise.all(Array.from({ length: 40 }, () => signIn(service, { email: newUser().email, password: wrong }, here)))
    t.strictSame(new Set(statuses(elsewhere)), new Set([401]), 'nor does it use up what the network is allowed')
  })

  t.test('is forgotten after the window without a failure, and below the limit bit by bit', async t => {
    const { email } = await register()
    const here = newAddress()
    await inRow(6, () => signIn(service, { email, password: wrong }, here))
    await pass(service, 30 + 15 * 60)
    t.strictSame(statuses(await inRow(6, () => signIn(service, { email, password: wrong }, here))), [401, 401, 401, 401, 401, 429])
    const there = newAddress()
    await inRow(4, () => signIn(service, { email, password: wrong }, there))
    await pass(service, 6 * 60)
    t.strictSame(statuses(await inRow(4, () => signIn(service, { email, password: wrong }, there))), [401, 401, 401, 429], 'two of five in six of fifteen minutes')
  })

  t.test('a success forgets the failures of the account from there', async t => {
    const { email, password } = await register()
    const here = newAddress()
    for (let round = 0; round < 3; round++) {
      t.strictSame(statuses(await inRow(4, () => signIn(service, { email, password: wrong }, here))), [401, 401, 401, 401])
      t.equal((await signIn(service, { email, password }, here)).status, 200)
    }
  })

  t.test('counts the same for an account that is not there, and answers the same', async t => {
    const { email, password } = await register()
    const comparable = ({ status, headers: { 'x-request-id': _id, date: _date, 'content-length': _length, ...headers }, body: { instance: _instance, ...body }, cookies }: Awaited<ReturnType<typeof signIn>>) => ({ status, headers, body, cookies })
    for (const nobody of [{ email: newUser().email }, { email: 'not an address' }, { email: '\u0000\ud800' }, { username: 'nobody' }, { username: '💥' }]) {
      const here = newAddress()
      const there = newAddress()
      const unknown = await inRow(7, () => signIn(service, { ...nobody, password: wrong }, here))
      const known = await inRow(7, () => signIn(service, { email, password: wrong }, there))
      t.strictSame(unknown.map(comparable), known.map(comparable), JSON.stringify(nobody))
      t.equal(unknown.at(-1)?.status, 429)
    }
    t.equal((await signIn(service, { email, password }, newAddress())).status, 200, 'and none of it elsewhere')
  })

  t.test('an address is the same account however it is written', async t => {
    const { email } = await register()
    const here = newAddress()
    const spellings = [email, email.toUpperCase(), ` ${email} `, email.replace('@', '＠').replace('＠', '@'), email.replace('example.com', 'EXAMPLE.com'), email]
    const answers = []
    for (const spelling of spellings) answers.push(await signIn(service, { email: spelling, password: wrong }, here))
    t.strictSame(statuses(answers), [401, 401, 401, 401, 401, 429])
  })

  t.test('of guesses made at the same moment on two instances exactly those allowed are judged', async t => {
    const other = await build(t, limits, { url: service.url })
    await fc.assert(fc.asyncProperty(fc.integer({ min: 2, max: 40 }), fc.integer({ min: 0, max: 4 }), fc.boolean(), async (parallel, before, exists) => {
      const { email } = exists ? await register() : newUser()
      const here = newAddress()
      await inRow(before, () => signIn(service, { email, password: wrong }, here))
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

  t.test('right passwords at the same moment are not failures afterwards', async t => {
    const { email, password } = await register()
    const here = newAddress()
    const answers = await Promise.all(Array.from({ length: 5 }, () => signIn(service, { email, password }, here)))
    t.strictSame(statuses(answers), [200, 200, 200, 200, 200])
    t.strictSame(statuses(await inRow(6, () => signIn(service, { email, password: wrong }, here))), [401, 401, 401, 401, 401, 429])
  })

  t.test('a network of IPv6 is its /64, and one that maps IPv4 is that', async t => {
    const { email } = await register()
    const one = [1, 2, 3, 4, 5].map(n => `2001:db8:0:7::${n}`)
    for (const ip of one) t.equal((await signIn(service, { email, password: wrong }, ip)).status, 401)
    t.equal((await signIn(service, { email, password: wrong }, '2001:db8::7:ffff:ffff:ffff:ffff')).status, 429)
    t.equal((await signIn(service, { email, password: wrong }, '2001:db8:0:8::1')).status, 401)
    const four = newAddress()
    for (const ip of [four, `::ffff:${four}`, four, `[::ffff:${four}]:4711`, `${four}:80`]) t.equal((await signIn(service, { email, password: wrong }, ip)).status, 401, ip)
    t.equal((await signIn(service, { email, password: wrong }, `::FFFF:${four}`)).status, 429)
  })

  t.test('one network that tries many accounts is stopped, and the others are not', async t => {
    const { email, password } = await register()
    const here = newAddress()
    const tried = await inRow(50, () => signIn(service, { email: newUser().email, password: wrong }, here))
    t.strictSame(new Set(statuses(tried)), new Set([401]))
    t.match(await signIn(service, { email, password }, here), { status: 429, headers: { 'retry-after': '30' } })
    t.match(await signIn(service, { email, password }, newAddress()), { status: 200 })
    await pass(service, 30)
    t.match(await signIn(service, { email, password }, here), { status: 200 })
    t.match(await signIn(service, { email: newUser().email, password: wrong }, here), { status: 401 }, 'an own account that is signed in to between')
    t.match(await signIn(service, { email: newUser().email, password: wrong }, here), { status: 429, headers: { 'retry-after': '60' } }, 'does not start it anew')
  })

  t.test('a network of many people, whose failures are few for its size, is not stopped', async t => {
    const here = newAddress()
    for (let hour = 0; hour < 6; hour++) {
      t.strictSame(new Set(statuses(await inRow(40, () => signIn(service, { email: newUser().email, password: wrong }, here)))), new Set([401]))
      await pass(service, 13 * 60)
    }
  })

  t.test('writes what it did to the audit log, once for each wait', async t => {
    const { email } = await register()
    const here = newAddress()
    await inRow(9, () => signIn(service, { email, password: wrong }, here))
    const events = await service.sql<{ type: string, detail: object, known: boolean }>('select type, detail, user_id is not null as known from audit_events where host(ip) = $1 order by id', [here])
    t.strictSame(events.map(({ type }) => type), [...Array(5).fill('login.failed'), 'login.throttled'])
    t.match(events.at(-1), { detail: { wait: 30 }, known: true })
    await pass(service, 30)
    await inRow(3, () => signIn(service, { email, password: wrong }, here))
    t.equal((await service.sql("select 1 from audit_events where host(ip) = $1 and type = 'login.throttled'", [here])).length, 2)
  })

  t.test('a flood of what is refused neither waits for others nor writes', async t => {
    const { email } = await register()
    const here = newAddress()
    await inRow(6, () => signIn(service, { email, password: wrong }, here))
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

  t.test('a wait that a clock which ran ahead has left behind is none', async t => {
    const { email, password } = await register()
    const here = newAddress()
    await inRow(6, () => signIn(service, { email, password: wrong }, here))
    await pass(service, -86_400 * 365)
    t.equal((await signIn(service, { email, password }, here)).status, 200)
  })

  t.test('counters are found by their key, however small the table was when that was planned', async t => {
    const { db } = (await build(t, limits)).app
    const scans = await db.transaction(async tx => {
      for (let i = 0; i < 20; i++) await tx.query({ name: 'a count', text: 'select wait from count_login_attempt($1, $2, $3)' }, [[Buffer.from(`one ${i}`), Buffer.from('all')], [5, 50], [900, 900]])
      for (let i = 0; i < 20; i++) await purgeExpired(tx, i % 2 ? Buffer.from([i]) : undefined, 2)
      return await tx.query("select pg_stat_get_xact_numscans('login_throttles'::regclass)::int as count")
    })
    t.strictSame(scans, [{ count: 0 }])
  })

  t.test('the table says nothing of what was typed', async t => {
    await signIn(service, { email: 'my secret password', password: wrong }, newAddress())
    const { rows } = { rows: await service.sql<{ line: string }>('select t::text as line from login_throttles t') }
    t.ok(rows.length > 0)
    t.notMatch(rows.map(({ line }) => line).join(), /secret|6d7920736563726574/)
  })

  t.test('whoever counts, takes back, forgets and clears away at the same time gets through', async t => {
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

  t.test('limits may be off', async t => {
    const open = await build(t, { ...limits, ...off }, { url: service.url })
    const { email, password } = await register()
    const here = newAddress()
    t.strictSame(new Set(statuses(await inRow(60, () => signIn(open, { email, password: wrong }, here)))), new Set([401]))
    t.equal((await signIn(open, { email, password }, here)).status, 200)
  })
})

t.test('an attack on one account from many networks', async t => {
  const service = await build(t, { ...limits, LOGIN_ACCOUNT_LIMIT: '20/24h' })
  const owner = newUser()
  const home = newAddress()
  const laptop = service.browser()
  await laptop.post('/v1/auth/register', { ...owner, username: 'owner' }, from(home))
  const guess = async (login: object = { email: owner.email }) => await service.browser().post('/v1/auth/login', { ...login, password: wrong }, from(newAddress()))

  const first = await inRow(20, guess)
  t.strictSame(new Set(statuses(first)), new Set([401]))
  t.match(await guess(), { status: 429, headers: { 'retry-after': '30' } }, 'is stopped')
  t.match(await guess({ username: 'owner' }), { status: 429 }, 'by whatever name')
  t.match(await service.browser().post('/v1/auth/login', owner, from(newAddress())), { status: 429 }, 'as is a stranger who knows the password')
  t.match(await laptop.post('/v1/auth/login', owner, from(newAddress())), { status: 200 }, 'the owner signs in where they did before, wherever that is now')
  t.match(await guess(), { status: 429 }, 'which lets the others in no sooner')

  await t.test('guesses from the device of the owner are counted for themselves', async t => {
    const stolen = async (password: string) => {
      const browser = service.browser()
      browser.jar.set('device', laptop.jar.get('device') ?? '')
      return await browser.post('/v1/auth/login', { email: owner.email, password }, from(newAddress()))
    }
    t.strictSame(statuses(await inRow(6, () => stolen(wrong))), [401, 401, 401, 401, 401, 429])
    await pass(service, 30)
    t.match(await stolen(owner.password), { status: 200 })
  })

  await t.test('parallel guesses from everywhere are no way round', async t => {
    const victim = newUser()
    await service.browser().post('/v1/auth/register', victim, from(home))
    const answers = await Promise.all(Array.from({ length: 60 }, () => service.browser().post('/v1/auth/login', { email: victim.email, password: wrong }, from(newAddress()))))
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
    const { body } = await browser.post('/v1/auth/register', somebody, from(newAddress()))
    browser.accessToken = body.access_token
    return { ...somebody, id: body.user.id as string, browser, cookie: browser.jar.get('device') ?? '' }
  }
  /** Whether the cookie makes a difference, with everybody else locked out. */
  const isKnown = async (at: Service, { email, password }: { email: string, password: string }, cookie: string) => {
    const here = newAddress()
    await inRow(2, () => signIn(at, { email, password: wrong }, here))
    const { status } = await at.browser().post('/v1/auth/login', { email, password }, { ...from(here), cookie: `device=${cookie}` })
    t.ok([200, 429].includes(status))
    return status === 200
  }

  t.test('is the account\'s own, and nobody else can make it', async t => {
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

  t.test('knows the device for 180 days', async t => {
    const ada = await registered(service)
    const of = (days: number) => encodeDevice(secret, { id: newId(), accounts: [{ userId: ada.id, since: new Date(Date.now() - days * 86_400_000) }] })
    t.equal(await isKnown(service, ada, of(179.9)), true)
    t.equal(await isKnown(service, ada, of(180.1)), false)
  })

  t.test('remembers four accounts of a device, and stays the same device', async t => {
    const browser = service.browser()
    const family = []
    for (let i = 0; i < 5; i++) {
      const one = await registered(service)
      await browser.post('/v1/auth/login', { email: one.email, password: one.password }, from(newAddress()))
      family.push(one)
    }
    const cookie = browser.jar.get('device') ?? ''
    const known = []
    for (const one of family) known.push(await isKnown(service, one, cookie))
    t.strictSame(known, [false, true, true, true, true])
  })

  t.test('of several, as somebody may have planted one, the authentic one counts', async t => {
    const ada = await registered(service)
    t.equal(await isKnown(service, ada, `planted; device=${ada.cookie}`), true)
  })

  t.test('is revoked by a change of the password, and by signing out everywhere', async t => {
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

  t.test('is out of the reach of a thief who has an access token and nothing else', async t => {
    const ada = await registered(service)
    const thief = service.browser()
    thief.accessToken = ada.browser.accessToken
    t.match(await thief.delete('/v1/me/sessions'), { status: 204 })
    t.equal(await isKnown(service, ada, ada.cookie), true, 'the owner is no stranger')
    const changed = { email: ada.email, password: 'another phrase of mine' }
    t.match(await ada.browser.post('/v1/me/password', { current_password: ada.password, new_password: changed.password }, from(newAddress())), { status: 204 })
    thief.jar.set('device', ada.cookie)
    t.match(await thief.delete('/v1/me/sessions'), { status: 204, cookies: [] })
    t.equal(await isKnown(service, changed, thief.jar.get('device') ?? ''), false, 'a device that was forgotten is not known anew')
  })

  t.test('outlives its key-encryption key for as long as that is one of several', async t => {
    const ada = await registered(service)
    const next = Buffer.alloc(32, 7).toString('base64')
    const both = await build(t, { ...limits, LOGIN_RATE_LIMIT: '2/15m', KEY_ENCRYPTION_KEY: `${next},${keyEncryptionKey.toString('base64')}` }, { url: service.url })
    t.equal(await isKnown(both, ada, ada.cookie), true)
    const renewed = both.browser()
    await renewed.post('/v1/auth/login', { email: ada.email, password: ada.password }, from(newAddress()))
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
    const { body } = await browser.post('/v1/auth/register', somebody, from(newAddress()))
    browser.accessToken = body.access_token
    return { ...somebody, browser, id: body.user.id as string, session: body.session_id as string }
  }
  const change = async ({ browser }: Awaited<ReturnType<typeof registered>>, current: string, next: string, ip = newAddress()) =>
    await browser.post('/v1/me/password', { current_password: current, new_password: next }, from(ip))

  t.test('takes the old one, ends every other session, and keeps this one', async t => {
    const ada = await registered()
    const phone = service.browser()
    const { body } = await phone.post('/v1/auth/login', { email: ada.email, password: ada.password }, from(newAddress()))
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

  t.test('changes nothing for a wrong one, and that counts like a failed sign-in', async t => {
    const ada = await registered()
    const here = newAddress()
    ada.browser.jar.delete('device')
    const other = service.browser()
    await other.post('/v1/auth/login', { email: ada.email, password: ada.password }, from(newAddress()))
    t.strictSame(statuses(await inRow(3, () => change(ada, wrong, 'another phrase of mine', here))), [403, 403, 403])
    t.match(await change(ada, wrong, 'another phrase of mine', here), { status: 403, body: { code: 'invalid_credentials', status: 403 } })
    t.match(await signIn(service, { email: ada.email, password: wrong }, here), { status: 401 })
    t.match(await change(ada, ada.password, 'another phrase of mine', here), { status: 429, headers: { 'retry-after': '30' } })
    t.match(await signIn(service, { email: ada.email, password: ada.password }, here), { status: 429 })
    t.match(await other.post('/v1/auth/refresh'), { status: 200 })
    t.match(await change(ada, ada.password, 'another phrase of mine'), { status: 204 })
  })

  t.test('holds the new one to the same rules', async t => {
    const ada = await registered()
    t.match(await change(ada, ada.password, 'short'), { status: 422, body: { code: 'password_rejected', reasons: ['too_short'] } })
    t.match(await change(ada, ada.password, `my ${ada.email}`), { status: 422, body: { reasons: ['contains_email'] } })
    t.match(await change(ada, '', 'another phrase of mine'), { status: 400 })
    t.match(await change(ada, ada.password, 'x'.repeat(1025)), { status: 400 })
    t.match(await ada.browser.post('/v1/me/password', { new_password: 'another phrase of mine' }), { status: 400 })
    t.match(await service.browser().post('/v1/me/password', { current_password: ada.password, new_password: 'another phrase of mine' }), { status: 401 })
    t.match(await signIn(service, { email: ada.email, password: ada.password }, newAddress()), { status: 200 })
  })

  t.test('of two that race one wins, and the other changes nothing', async t => {
    const ada = await registered()
    const answers = await Promise.all(['one phrase of mine', 'other phrase of mine'].map(next => change(ada, ada.password, next)))
    t.strictSame(statuses(answers).sort(), [204, 403])
    const winner = answers[0]?.status === 204 ? 'one phrase of mine' : 'other phrase of mine'
    t.match(await signIn(service, { email: ada.email, password: winner }, newAddress()), { status: 200 })
  })

  t.test('while strangers wait for a turn: a known device gets its own for both passwords, and it is no failure where the second is not had', async t => {
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
      return await browser.post('/v1/me/password', { current_password: password, new_password: 'another phrase of mine' }, from(networks[index] ?? ''))
    })
    await waiting(2)
    // Of a network of which somebody waits no more do where there are many of others.
    const neighbour = busy.browser().post('/v1/auth/login', { email: neighbourly.email, password: neighbourly.password }, from(networks[1] ?? ''))
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

  t.test('is not for a session that has ended, or an account that was disabled since', async t => {
    const ada = await registered()
    await service.sql('update users set disabled_at = now() where id = $1', [ada.id])
    t.match(await change(ada, ada.password, 'another phrase of mine'), { status: 401, body: { code: 'invalid_token' } })
    await service.sql('update users set disabled_at = null where id = $1', [ada.id])
    await service.browser().post('/v1/auth/logout', undefined, { authorization: `Bearer ${ada.browser.accessToken}` })
    t.match(await change(ada, ada.password, 'another phrase of mine'), { status: 401, body: { code: 'invalid_token' } })
  })
})
