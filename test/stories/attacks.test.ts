import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { connect } from '../../src/database/database.ts'
import * as embeddedPostgres from '../../src/database/embedded/embedded-postgres.ts'
import { freePort } from '../../src/database/embedded/server.ts'
import { bytesOf, cookiesOf, mapConcurrently, listen, open, post, newLoopbackAddress, type Sender } from '../support/concurrency.ts'
import { sumCounter } from '../support/metrics.ts'
import { build, environment, newUser, type Service } from '../support/app.ts'
import { mailTo } from '../support/inbox.ts'
import { createDatabase, sql } from '../support/postgres.ts'
import { ready, start } from '../support/process.ts'
import { ask, type Exchange } from '../support/wire.ts'
import { waitUntil } from '../support/polling.ts'
import { temporaryFolder } from '../support/temporary-folder.ts'

const login = '/v1/auth/login'
const wrong = 'not the password'
const statuses = (answers: Exchange[]) => answers.map(({ status }) => status)
const times = (count: number) => Array.from({ length: count }, (_, index) => index)

/** Somebody who has signed up: with a session, and a device that is known. */
async function register (origin: string, more: object = {}) {
  const owner = newUser()
  const answer = await post(origin, '/v1/auth/register', { ...owner, ...more })
  return { ...owner, cookie: cookiesOf(answer), token: String(JSON.parse(answer.text).access_token) }
}

/** How many passwords were judged wrong, by the audit log. */
async function judged (url: string) {
  const [row] = await sql<{ count: number }>(url, "select count(*)::int from audit_events where type = 'login.failed'")
  return row?.count ?? 0
}

/** How many passwords a process has hashed, by its metrics. */
async function hashed (origin: string) {
  const { text } = await ask('GET', `${origin}/metrics`)
  return Number(/^latchkey_hashing_duration_seconds_count (\d+)$/m.exec(text)?.[1])
}

/** Lets time go by for everything that was counted. */
const pass = async ({ sql }: Service, seconds: number) => await sql('update login_throttles set counted_at = counted_at - make_interval(secs => $1), waits_until = waits_until - make_interval(secs => $1), expires_at = expires_at - make_interval(secs => $1)', [seconds])

/** Does the same again and again while something else is under way. */
async function meanwhile<T> (work: Promise<unknown>, again: () => Promise<T>): Promise<T[]> {
  const state = { over: false }
  const done = work.finally(() => { state.over = true })
  const results: T[] = []
  while (!state.over) results.push(await again())
  await done
  return results
}

t.test('stolen lists of passwords, tried from hundreds of networks', async t => {
  const limits = { RATE_LIMIT: '300/1m', LOGIN_RATE_LIMIT: '5/15m', LOGIN_NETWORK_LIMIT: '2/15m', LOGIN_ACCOUNT_LIMIT: '100/24h' }
  const service = await build(t, limits)
  const origin = await listen(service)
  const owners = await mapConcurrently(times(12), 4, async () => await register(origin))
  const [early, late, ...others] = owners
  const list = [...others.map(({ email }) => email), ...times(50).map(() => newUser().email)]
  const target = (network: number, attempt: number) => {
    // Two networks hold a password that is right, one of them as the second on its list, one as the last.
    const owner = network === 0 && attempt === 1 ? early : network === 1 && attempt === 3 ? late : undefined
    return owner ? { email: owner.email, password: owner.password } : { email: list[(network * 4 + attempt) % list.length], password: wrong }
  }
  const attack = mapConcurrently(times(200), 24, async network => {
    const from = newLoopbackAddress()
    const answers: number[] = []
    for (const attempt of times(4)) answers.push((await post(origin, login, target(network, attempt), { from })).status)
    return answers
  })
  let turn = 0
  const honest = await meanwhile(attack, async () => {
    const { email, password } = owners[turn++ % owners.length] ?? newUser()
    return await post(origin, login, { email, password })
  })
  const [first, second, ...rest] = await attack
  t.strictSame(first, [401, 200, 401, 429], 'a password that is known and right is right, and frees nothing else')
  t.strictSame(second, [401, 401, 429, 429], 'but not behind two that were wrong')
  t.ok(rest.every(answers => answers.join() === '401,401,429,429'))
  t.equal(await judged(service.url), 400, 'of eight hundred')
  t.ok(honest.length > 5)
  t.strictSame(new Set(statuses(honest)), new Set([200]), `${honest.length} owners signed in meanwhile, each from a network of their own`)

  t.test('and of one network all at once', async t => {
    const from = newLoopbackAddress()
    const before = await judged(service.url)
    const answers = await mapConcurrently(times(40), 40, async () => await post(origin, login, { email: newUser().email, password: wrong }, { from }))
    t.equal(answers.filter(({ status }) => status === 401).length, 2)
    t.equal(await judged(service.url) - before, 2)
    t.match(await post(origin, login, { email: others[0]?.email, password: others[0]?.password }, { from }), { status: 429, headers: { 'retry-after': /^\d+$/ } })
    t.match(await post(origin, login, { email: others[0]?.email, password: others[0]?.password }), { status: 200 }, 'which others do not pay for')
    t.match(await post(origin, login, { email: others[0]?.email, password: others[0]?.password }, { from, cookie: others[0]?.cookie ?? '' }), { status: 200 }, 'nor does a neighbour in the same network on a device that is known')
  })
})

t.test('one account, guessed at from many networks', async t => {
  const service = await build(t, { LOGIN_RATE_LIMIT: '5/15m', LOGIN_NETWORK_LIMIT: '50/15m', LOGIN_ACCOUNT_LIMIT: '20/24h' })
  const origin = await listen(service)
  const { email, password, cookie } = await register(origin)
  const attack = mapConcurrently(times(200), 24, async () => await post(origin, login, { email, password: wrong }))
  const owner = await meanwhile(attack, async () => await post(origin, login, { email, password }, { cookie }))
  t.strictSame(new Set(statuses(owner)), new Set([200]), `the owner signed in ${owner.length} times meanwhile`)
  t.equal((await attack).filter(({ status }) => status === 401).length, 20)
  t.equal(await judged(service.url), 20)

  const stranger = await post(origin, login, { email, password })
  t.match(stranger, { status: 429, headers: { 'retry-after': /^([12]?\d|30)$/ } }, 'without the device the owner is told how long')
  const wait = Number(stranger.headers['retry-after'])
  const [row] = await service.sql<{ waits: number }>('select ceil(extract(epoch from max(waits_until) - clock_timestamp()))::int as waits from login_throttles')
  t.ok(row && row.waits <= wait && row.waits > wait - 20, `${row?.waits} of ${wait} s are left`)
  await pass(service, wait)
  t.match(await post(origin, login, { email, password }), { status: 200 }, 'and after exactly that gets in')
})

t.test('forged headers that name another network', async t => {
  const limits = { RATE_LIMIT: '1000/1m', LOGIN_RATE_LIMIT: '4/15m', LOGIN_NETWORK_LIMIT: '50/15m', LOGIN_ACCOUNT_LIMIT: '100/24h' }
  const names = ['X-Forwarded-For', 'x-forwarded-for', 'X-Real-IP', 'X-Client-IP', 'True-Client-IP', 'CF-Connecting-IP', 'Fastly-Client-IP', 'X-Cluster-Client-IP', 'X-Forwarded', 'Forwarded-For', 'X-Originating-IP', 'Client-IP', 'X-Remote-Addr', 'X-ProxyUser-Ip', 'Via']
  const forged = (n: number) => [
    names.map(name => `${name}: 203.0.113.${n}`), [`Forwarded: for=203.0.113.${n};proto=https;by=127.0.0.1`],
    times(50).map(i => `X-Forwarded-For: 10.${n}.0.${i}`), [`X-Forwarded-For: ${times(900).map(i => `10.${n}.${i >> 8}.${i & 255}`).join(', ')}`],
    [`X-Forwarded-For: 127.0.0.1, 127.0.0.1, 203.0.113.${n}`], [`X-Forwarded-For: "2001:db8:${n}::1", [2001:db8:${n}::1]:80, ::ffff:203.0.113.${n}`], ['X-Forwarded-For: , ,', 'X-Forwarded-Host: 127.0.0.1'],
    [`X-Forwarded-For: 203.0.113.${n}\x0b`, 'X-Forwarded-For: %31'], ['Connection: X-Forwarded-For, close', `X-Forwarded-For: 203.0.113.${n}`]
  ][n % 9] ?? []
  for (const [what, trusted, honest] of [['without a proxy', 'off', []], ['behind one', '127.0.0.1', ['X-Forwarded-For: 198.51.100.7']]] as const) {
    await t.test(what, async t => {
      const service = await build(t, { ...limits, TRUST_PROXY: trusted })
      const origin = await listen(service)
      const { email } = newUser()
      const from = trusted === 'off' ? newLoopbackAddress() : '127.0.0.1'
      const answers = []
      for (const n of times(27)) answers.push(await post(origin, login, { email, password: wrong }, { from, lines: [...forged(n), ...honest] }))
      t.strictSame(new Set(statuses(answers.filter(({ status }) => status !== 400))), new Set([401, 429]))
      t.equal(answers.filter(({ status }) => status === 401).length, 4)
      t.equal((await service.sql('select 1 from login_throttles')).length, 3, 'the counters of one network')
      t.strictSame(await service.sql("select distinct host(ip) as ip from audit_events where type like 'login.%'"), [{ ip: trusted === 'off' ? from : '198.51.100.7' }])
    })
  }
})

/** Takes the only place in which passwords are hashed, as soon as it is free. */
function hold ({ app: { passwords: { queue } } }: Service) {
  const [start, end] = [event(), event()]
  const running = queue.run(async () => {
    start.happens()
    await end.promise
  })
  return {
    started: start.promise,
    async release () {
      end.happens()
      await running
    }
  }
}
function event () {
  let resolve = () => {}
  const promise = new Promise<void>(_resolve => { resolve = _resolve })
  return { promise, happens: () => resolve() }
}

const serial = { ARGON2_CONCURRENCY: '1' }

t.test('a flood of clients that are slow, or go', async t => {
  const service = await build(t, { ...serial, LOGIN_RATE_LIMIT: '5/15m' })
  const origin = await listen(service)
  const { queue } = service.app.passwords
  const ada = await register(origin)
  // What is foreseen of the queue is learnt from those before.
  await mapConcurrently(times(20), 1, async () => await post(origin, login, { email: newUser().email, password: wrong }))
  const { rss } = process.memoryUsage()

  await t.test('keeps no place of those that have gone, and nobody else waits', async t => {
    const before = await judged(service.url)
    await service.sql('delete from login_throttles')
    const { release } = hold(service)
    const guess = () => bytesOf(login, { email: newUser().email, password: wrong })
    const gone = times(25).map(() => open(origin, guess()))
    const pipelined = times(3).map(() => open(origin, times(5).map(guess).join('')))
    const deaf = times(25).map(() => open(origin, guess()))
    // Of a connection's requests only the first is begun.
    await waitUntil('all wait', () => queue.waiting === 53)
    // Whoever ends their half of the connection gets no answer either: they have gone.
    times(25).forEach(() => open(origin, guess()).end())

    const waits: number[] = []
    let cookie = ada.cookie
    for (let round = 0; round < 10; round++) {
      const begun = performance.now()
      const refreshed = await post(origin, '/v1/auth/refresh', '', { cookie })
      t.equal(refreshed.status, 200)
      cookie = cookiesOf(refreshed)
      t.equal((await ask('GET', `${origin}/v1/auth/verify`, [`authorization: Bearer ${ada.token}`])).status, 204)
      waits.push(performance.now() - begun)
    }
    t.ok(Math.max(...waits) < 1_000, `a refresh and a verification took ${Math.round(Math.max(...waits))} ms at most`)

    for (const socket of gone) socket.destroy()
    await waitUntil('the places of those that went are free', () => queue.waiting === 28)
    for (const socket of pipelined) socket.destroy()
    await waitUntil('also of those that had sent several requests at once', () => queue.waiting === 25)
    const honest = post(origin, login, { email: ada.email, password: ada.password })
    await waitUntil('the honest one waits', () => queue.waiting === 26)
    await release()
    t.equal((await honest).status, 200)
    await waitUntil('it is empty', () => queue.waiting === 0 && queue.running === 0)
    for (const socket of deaf) {
      const [answer] = await once(socket, 'data')
      t.match(String(answer), /^HTTP\/1\.1 401 /)
      socket.destroy()
    }
    t.equal(await judged(service.url) - before, 25, 'what was not judged is not in the log')
    const [row] = await service.sql<{ count: number }>('select count(*)::int from login_throttles where failures > 0')
    t.equal(row?.count, 75, 'nor in a counter')
  })

  await t.test('is let go that drips its bodies', async t => {
    const strict = await build(t, { ...serial, REQUEST_TIMEOUT: '2s' }, { url: service.url })
    const origin = await listen(strict)
    const sockets = times(200).map(() => open(origin, bytesOf(login, { email: newUser().email }, { length: 20_000 })))
    const dripping = setInterval(() => sockets.forEach(socket => socket.writable && socket.write(' ')), 200)
    t.teardown(() => clearInterval(dripping))
    for (let round = 0; round < 5; round++) t.equal((await post(origin, login, { email: ada.email, password: ada.password })).status, 200)
    t.equal(strict.app.passwords.queue.waiting, 0)
    await Promise.all(sockets.map(async socket => {
      // A byte that crosses the answer makes the connection fail: then it is over, too.
      const over = new Promise(resolve => socket.once('end', resolve).once('close', resolve))
      const answer = await new Promise(resolve => socket.once('data', resolve))
      t.match(String(answer), /^HTTP\/1\.1 408 /)
      socket.resume()
      await over
      socket.destroy()
    }))
  })

  t.ok(process.memoryUsage().rss - rss < 150_000_000, 'and takes little memory')
})

t.test('many logins of one network hold up nobody of another', async t => {
  const service = await build(t, serial)
  const origin = await listen(service)
  const { queue } = service.app.passwords
  const ada = await register(origin)
  const from = newLoopbackAddress()
  // Turns that took no time: nobody is sent away because each is expected to take long.
  for (let turn = 0; turn < 80; turn++) await queue.run(async () => {})
  const { release } = hold(service)
  let answered = 0
  const flood = times(40).map(async () => {
    const { status } = await post(origin, login, { email: newUser().email, password: wrong }, { from })
    answered++
    return status
  })
  await waitUntil('they wait', () => queue.waiting === 40)
  const honest = post(origin, login, { email: ada.email, password: ada.password })
  await waitUntil('the honest one too', () => queue.waiting === 41)
  await release()
  t.equal((await honest).status, 200)
  t.ok(answered < 20, `after ${answered} of the others`)
  // Where a hash takes long here, some waited for too long.
  const others = await Promise.all(flood)
  t.strictSame(new Set(others), new Set(others.includes(503) ? [401, 503] : [401]))
})

t.test('whoever goes before the answer has guessed all the same', async t => {
  // Slow enough to go in between.
  const slow = { ...serial, ARGON2_MEMORY_KIB: '19456', ARGON2_TIME_COST: '12', LOGIN_RATE_LIMIT: '3/15m' }
  const service = await build(t, slow)
  const origin = await listen(service)
  const { queue } = service.app.passwords
  const { email, password } = await register(origin)

  await t.test('where it was being judged', async t => {
    const from = newLoopbackAddress()
    for (const n of times(3)) {
      const socket = open(origin, bytesOf(login, { email, password: wrong }), from)
      await waitUntil('it is judged', () => queue.running === 1)
      socket.destroy()
      await waitUntil('it was', async () => await judged(service.url) === n + 1)
    }
    t.match(await post(origin, login, { email, password }, { from }), { status: 429 })
  })

  await t.test('but not where it only waited', async t => {
    const from = newLoopbackAddress()
    const { release } = hold(service)
    for (let round = 0; round < 8; round++) {
      const socket = open(origin, bytesOf(login, { email, password: wrong }), from)
      await waitUntil('it waits', () => queue.waiting === 1)
      socket.destroy()
      await waitUntil('it has gone', () => queue.waiting === 0)
    }
    await release()
    await waitUntil('it is taken back', async () => (await service.sql('select 1 from login_throttles where failures > 3')).length === 0)
    t.match(await post(origin, login, { email, password }, { from }), { status: 200 })
    t.equal(await judged(service.url), 3)
  })

  await t.test('nor where the old password was right, and there was no room for the new one', async t => {
    const ada = await register(origin)
    await service.sql('delete from login_throttles')
    const socket = open(origin, bytesOf('/v1/me/password', { current_password: ada.password, new_password: 'another word of mine' }, { token: ada.token }))
    await waitUntil('the old one is judged', () => queue.running === 1)
    const { started, release } = hold(service)
    await started
    await waitUntil('the new one waits', () => queue.waiting === 1)
    socket.destroy()
    await waitUntil('it has gone', () => queue.waiting === 0)
    await release()
    await waitUntil('it is taken back', async () => (await service.sql('select 1 from login_throttles where failures > 0')).length === 0)
    t.match(await post(origin, login, { email: ada.email, password: ada.password }), { status: 200 })
  })
})

t.test('passwords that are long or odd', async t => {
  const service = await build(t)
  const origin = await listen(service)
  const json = (email: string, password: string) => `{"email":${JSON.stringify(email)},"password":${password}}`
  const change = async ({ token }: { token: string }, current: string, next: string) => await post(origin, '/v1/me/password', `{"current_password":${current},"new_password":${next}}`, { token })
  const a = (count: number, end = '') => JSON.stringify('a b c d '.repeat(count / 8 + 1).slice(0, count - [...end].length) + end)

  // As JSON is written; what is answered where it is set, and where one signs in with it before that.
  const odd: Array<[what: string, text: string, set: number, signIn: number]> = [
    ['NUL', '"a word\\u0000another word"', 200, 401],
    ['control characters', '"a word\\u0001\\r\\n\\t\\u007f\\u0085"', 200, 401],
    ['256 code points', a(256), 200, 401],
    ['257 code points', a(257), 422, 401],
    ['1,024 code points', a(1_024), 422, 401],
    ['1,025 code points', a(1_025), 400, 400],
    ['256 code points outside of the basic plane', JSON.stringify('🔑🚪'.repeat(128)), 200, 401],
    ['what grows eighteenfold when it is normalised', JSON.stringify('ﷺ'.repeat(200)), 422, 401],
    ['half of a surrogate pair', '"\\ud83d a word of mine"', 400, 401],
    ['the other half', '"a word of mine \\udd11"', 400, 401],
    ['surrogates in the wrong order', '"\\udd11\\ud83d a word of mine"', 400, 401],
    ['a pair of surrogates that is escaped', '"\\ud83d\\udd11 a word of mine"', 200, 401],
    ['no width', '"\\u200b\\u200c\\u200d\\u2060\\ufeff\\u00ad\\u200b\\u200c"', 200, 401],
    ['both directions', '"\\u202ea word\\u202c \\u2066of mine\\u2069"', 200, 401],
    ['emoji of several code points', '"👩‍👩‍👧‍👦🏳️‍🌈👍🏽"', 200, 401],
    ['combining marks on nothing', JSON.stringify('\u0301'.repeat(300)), 422, 401],
    ['blanks only', '"            "', 200, 401],
    ['nothing', '""', 400, 400],
    ['null', 'null', 400, 400],
    ['a number', '1234567890', 400, 400],
    ['a boolean', 'true', 400, 400],
    ['an array', '["a word of mine"]', 400, 400],
    ['an object', '{"length":12}', 400, 400],
    ['an object with the words of the language', '{"toString":"a word of mine","normalize":1}', 400, 400],
    ['a prototype', '{"__proto__":{"isAdmin":true}}', 400, 400],
    ['a constructor', '{"constructor":{"prototype":{"isAdmin":true}}}', 400, 400],
    ['a deep nest', '['.repeat(15_000) + ']'.repeat(15_000), 400, 400],
    ['a deep nest of objects', '{"a":'.repeat(9_000) + '1' + '}'.repeat(9_000), 400, 400],
    ['a nest that does not end', '['.repeat(60_000), 400, 400],
    ['a string that does not end', '"a word of mine', 400, 400],
    ['an escape that is none', '"a word \\x41 of mine"', 400, 400],
    ['a body of 65 KiB', `"${'x'.repeat(66_000)}"`, 413, 413]
  ]
  await mapConcurrently(odd, 4, async ([what, text, set, signIn]) => {
    const { email } = newUser()
    t.equal((await post(origin, login, json(email, text))).status, signIn, `${what}, to sign in`)
    t.equal((await post(origin, '/v1/auth/register', json(email, text))).status, set === 200 ? 201 : set, `${what}, to sign up`)
    if (set === 200) t.equal((await post(origin, login, json(email, text))).status, 200, `${what}, to sign in after that`)
    const ada = await register(origin)
    t.equal((await change(ada, JSON.stringify(ada.password), text)).status, set === 200 ? 204 : set, `${what}, to change to`)
    t.equal((await change(ada, text, '"another word of mine"')).status, set === 200 ? 204 : signIn === 401 ? 403 : signIn, `${what}, to prove`)
  })

  t.test('are never cut, and are the same only where they look the same', async t => {
    const pairs: Array<[what: string, one: string, other: string, same: boolean]> = [
      ['NFC and NFD', 'Zoë früh am Café', 'Zoë früh am Café'.normalize('NFD'), true],
      ['full width', 'a word of mine', 'ａ　ｗｏｒｄ　ｏｆ　ｍｉｎｅ', true],
      ['the last of 256 code points', JSON.parse(a(256, 'x')), JSON.parse(a(256, 'y')), false],
      ['the last of 256 emoji', '🔑'.repeat(256), '🔑'.repeat(255) + '🔓', false],
      ['256 and 257', JSON.parse(a(256)), JSON.parse(a(257)), false],
      ['256 and 255', JSON.parse(a(256)), JSON.parse(a(255)), false],
      ['what follows NUL', 'a word of mine\0one', 'a word of mine\0other', false],
      ['NUL at the end', 'a word of mine', 'a word of mine\0', false],
      ['a blank at the end', 'a word of mine', 'a word of mine ', false],
      ['case', 'a word of mine', 'A word of mine', false],
      ['what has no width', 'a word of mine', 'a word\u200b of mine', false],
      ['direction', 'a word of mine', '\u202ea word of mine', false],
      ['half of a surrogate pair and its replacement', 'a word of mine \ufffd', 'a word of mine \ud83d', false],
      ['no password, and one that cannot be', ' '.repeat(12), '', false]
    ]
    for (const [what, one, other, same] of pairs) {
      const { email } = newUser()
      t.equal((await post(origin, '/v1/auth/register', { email, password: one })).status, 201, what)
      t.equal((await post(origin, login, { email, password: one })).status, 200, what)
      const { status } = await post(origin, login, { email, password: other })
      t.equal(status, same ? 200 : other === '' ? 400 : 401, what)
    }
  })

  t.test('and what is said twice is the last that was said', async t => {
    const { email } = newUser()
    t.equal((await post(origin, '/v1/auth/register', `{"email":"${email}","password":"the first of mine","password":"the second of mine"}`)).status, 201)
    t.equal((await post(origin, login, { email, password: 'the first of mine' })).status, 401)
    t.equal((await post(origin, login, { email, password: 'the second of mine' })).status, 200)
    t.equal((await post(origin, login, `{"email":"${email}","password":"the second of mine","pass\\u0077ord":"the first of mine"}`)).status, 401)
    for (const name of ['__proto__', 'constructor":{"prototype":{}},"x']) {
      t.equal((await post(origin, login, `{"email":"${email}","password":"the second of mine","${name}":{"disabled":false}}`)).status, 400, name)
    }
  })

  t.test('of a million bytes are refused before they have come', async t => {
    const socket = open(origin, bytesOf(login, { email: newUser().email, password: 'x'.repeat(1_000_000) }))
    const [answer] = await once(socket, 'data')
    t.match(String(answer), /^HTTP\/1\.1 413 /)
    socket.destroy()
  })

  t.strictSame(service.logs.filter(({ level }) => Number(level) >= 50), [], 'and nothing of it is an error')
})

t.test('guesses that race the counter', async t => {
  const limits = { LOGIN_RATE_LIMIT: '5/15m', LOGIN_NETWORK_LIMIT: '50/15m', LOGIN_ACCOUNT_LIMIT: '8/24h' }
  const one = await build(t, limits)
  const origins = [await listen(one), await listen(await build(t, limits, { url: one.url }))]
  const work = async () => (await Promise.all(origins.map(hashed))).reduce((sum, count) => sum + count, 0)
  const at = (n: number) => origins[n % 2] ?? ''
  const race = async (t: Test, allowed: number, count: number, guess: (n: number) => Promise<Exchange>) => {
    const before = [await judged(one.url), await work()]
    const answers = await mapConcurrently(times(count), count, guess)
    t.strictSame(new Set(statuses(answers).map(status => status === 403 ? 401 : status)), new Set([401, 429]))
    t.equal(answers.filter(({ status }) => status !== 429).length, allowed, 'answers')
    t.equal(await judged(one.url) - Number(before[0]), allowed, 'events')
    t.equal(await work() - Number(before[1]), allowed, 'hashes')
  }
  const ada = await register(at(0), { username: 'ada' })
  const from = newLoopbackAddress()

  await t.test('on several instances, from one network', async t => {
    await race(t, 5, 60, async n => await post(at(n), login, { email: n % 3 ? ada.email : ada.email.toUpperCase(), password: wrong }, { from }))
  })

  await t.test('with an access token that was stolen, too, where as many are allowed', async t => {
    const eve = await register(at(0))
    const from = newLoopbackAddress()
    await race(t, 5, 40, async n => n % 2
      ? await post(at(n >> 1), '/v1/me/password', { current_password: wrong, new_password: 'another word of mine' }, { from, token: eve.token })
      : await post(at(n >> 1), login, { email: eve.email, password: wrong }, { from }))
  })

  await t.test('by each way to give a password, from many networks', async t => {
    const bob = await register(at(0), { username: 'bob' })
    const ways: Array<(n: number, sender: Sender) => Promise<Exchange>> = [
      async n => await post(at(n), login, { email: bob.email, password: wrong }),
      async n => await post(at(n), login, { username: 'bob', password: wrong }),
      async n => await post(at(n), '/v1/me/password', { current_password: wrong, new_password: 'another word of mine' }, { token: bob.token })
    ]
    await race(t, 8, 60, async n => await (ways[n % 3] ?? ways[0])?.(n >> 1, {}) ?? await post(at(n), login, {}))
  })
})

t.test('a fault in the middle of guessing gives no guess back', async t => {
  const limits = { LOGIN_RATE_LIMIT: '5/15m', LOGIN_NETWORK_LIMIT: '50/15m', LOGIN_ACCOUNT_LIMIT: '100/24h' }

  await t.test('where the service is killed while it judges', async t => {
    const url = await createDatabase(t)
    const cwd = temporaryFolder(t)
    const env = { ...limits, DATABASE_URL: url, KEY_ENCRYPTION_KEY: environment['KEY_ENCRYPTION_KEY'], ARGON2_CONCURRENCY: '1' }
    // Minutes to judge one.
    const first = start(t, cwd, { ...env, ARGON2_MEMORY_KIB: '65536', ARGON2_TIME_COST: '1000' }, await freePort())
    await ready(first, '/livez')
    const { email } = newUser()
    const from = newLoopbackAddress()
    const guesses = times(5).map(async () => await post(first.base, login, { email, password: wrong }, { from }).catch(() => undefined))
    await waitUntil('all are counted', async () => (await sql(url, 'select 1 from login_throttles where failures > 4.5')).length > 0)
    first.child.kill('SIGKILL')
    t.strictSame(await Promise.all(guesses), times(5).map(() => undefined))
    const second = start(t, cwd, env, await freePort())
    await ready(second)
    t.match(await post(second.base, login, { email, password: wrong }, { from }), { status: 429 })
  })

  await t.test('where the database is', async t => {
    const postgres = await embeddedPostgres.start(temporaryFolder(t))
    t.teardown(async () => { await postgres.stop() })
    const service = await build(t, limits, { url: postgres.url })
    const origin = await listen(service)
    const { email } = newUser()
    const from = newLoopbackAddress()
    const guess = async () => await post(origin, login, { email, password: wrong }, { from })
    const answers = [await guess(), await guess()]
    process.kill(Number(readFileSync(join(postgres.dataDir, 'postmaster.pid'), 'utf8').split('\n')[0]), 'SIGKILL')
    await waitUntil('it is back', async () => {
      const answer = await guess()
      answers.push(answer)
      return answer.status === 429
    })
    t.strictSame(new Set(statuses(answers)), new Set([401, 503, 429]))
    t.ok(answers.filter(({ status }) => status === 401).length <= 5)
    t.ok(answers.filter(({ status }) => status === 401).length <= await judged(postgres.url))
  })
})

const mailRoutes = {
  email_verification: '/v1/auth/email-verification',
  password_reset: '/v1/auth/password-reset',
  magic_link: '/v1/auth/magic-link'
}
type LinkPurpose = keyof typeof mailRoutes
const linkPurposes = Object.keys(mailRoutes) as LinkPurpose[]

/** How many links of each purpose there are, for whomever. */
async function countLinks ({ sql }: Service) {
  const rows = await sql<{ purpose: string, count: number }>('select purpose, count(*)::int from one_time_tokens group by purpose')
  return Object.fromEntries(rows.map(({ purpose, count }) => [purpose, count]))
}

/** Lets one mail leak out of each bucket. */
const leakOne = async ({ sql }: Service) => { await sql("update mail_buckets set empty_at = empty_at - interval '5 minutes'") }

/** Asks for a link until its mail is shown that was made for this very request. */
const requestLink = async (service: Service, origin: string, purpose: LinkPurpose, email: string) => {
  const { status } = await post(origin, mailRoutes[purpose], { email })
  if (status !== 202) throw new Error(`link request: ${status}`)
  return (await mailTo(service, email, purpose)).token
}

t.test('a flood of link requests from one network', async t => {
  const service = await build(t)
  const other = await build(t, {}, { url: service.url })
  const origins = [await listen(service), await listen(other)]
  const [origin = ''] = origins
  const owner = await register(origin)
  await mailTo(service, owner.email, 'email_verification')
  await service.sql('delete from one_time_tokens')
  const from = newLoopbackAddress()
  const flood = async (email: string, count: number, network = (_n: number): string => from) => {
    for (const purpose of linkPurposes) {
      const answers = await mapConcurrently(times(count), 16, async n => await post(origins[n % 2] ?? '', mailRoutes[purpose], { email }, { from: network(n) }))
      t.strictSame(new Set(answers.map(({ status, text }) => `${status} ${text}`)), new Set(['202 {"status":"accepted"}']))
    }
  }

  await t.test('gets exactly five links of each kind, on two instances at once', async t => {
    await flood(owner.email, 100)
    t.strictSame(await countLinks(service), { email_verification: 5, magic_link: 5, password_reset: 5 })
    const [row] = await service.sql<{ jobs: number }>("select count(*)::int as jobs from jobs where kind = 'mail' and attempts = 0")
    t.ok(row && row.jobs <= 15, 'nor is a mail left to be dropped later')
    for (const purpose of linkPurposes) for (let i = 0; i < 5; i++) await mailTo(service, owner.email, purpose)
    const dropped = await sumCounter([service.app, other.app], 'latchkey_mails_total', { result: 'limited' })
    t.equal(dropped, 3 * 95, 'and the metrics tell how many were dropped')
  })

  await t.test('leaves the owner a link of each kind from another network', async t => {
    t.equal((await post(origin, `${mailRoutes.email_verification}/confirm`, { token: await requestLink(service, origin, 'email_verification', owner.email), password: owner.password })).status, 204)
    t.equal((await post(origin, `${mailRoutes.magic_link}/confirm`, { token: await requestLink(service, origin, 'magic_link', owner.email) })).status, 200)
    const token = await requestLink(service, origin, 'password_reset', owner.email)
    t.equal((await post(origin, `${mailRoutes.password_reset}/confirm`, { token, new_password: 'a phrase of the owner' })).status, 204)
  })

  await t.test('is as large, and as small, for an address that nobody has', async t => {
    await service.sql('delete from one_time_tokens')
    await flood(newUser().email, 30)
    t.strictSame(await countLinks(service), { email_verification: 5, magic_link: 5, password_reset: 5 })
  })

  await t.test('gets one more link in each interval, however long it went on', async t => {
    await service.sql('delete from one_time_tokens')
    for (const count of [1, 2]) {
      await leakOne(service)
      await flood(owner.email, 30)
      t.strictSame(await countLinks(service), { magic_link: count, password_reset: count, email_verification: count })
    }
  })

  await t.test('waits for nobody once it is refused', async t => {
    const db = connect({ url: service.url })
    t.teardown(() => db.end())
    await db.transaction(async tx => {
      await tx.query('select from mail_buckets for update')
      await flood(owner.email, 20)
    })
  })

  await t.test('leaves nothing in the database that names an address', async t => {
    const [row] = await service.sql<{ text: string }>("select string_agg(encode(key, 'escape') || empty_at, ' ') as text from mail_buckets")
    t.notMatch(row?.text, /example|person|password_reset|127\.\d/)
  })
})

t.test('a botnet that asks for links to one address', async t => {
  const service = await build(t)
  const other = await build(t, {}, { url: service.url })
  const origins = [await listen(service), await listen(other)]
  const [origin = ''] = origins
  const boss = await register(origin)
  await service.sql("update users set roles = '{user,admin}' where email = $1", [boss.email])
  const admin = String(JSON.parse((await post(origin, login, { email: boss.email, password: boss.password })).text).access_token)
  const owner = await register(origin)
  await post(origin, `${mailRoutes.email_verification}/confirm`, { token: (await mailTo(service, owner.email, 'email_verification')).token, password: owner.password })
  const id: string = JSON.parse((await ask('GET', `${origin}/v1/me`, [`authorization: Bearer ${owner.token}`])).text).id
  // Of a change of address that the owner will undo.
  const newEmail = newUser().email
  await post(origin, '/v1/me/email', { password: owner.password, email: newEmail }, { token: owner.token })
  const changeToken = (await mailTo(service, newEmail, 'email_change')).token
  const networks = times(50).map(() => newLoopbackAddress())
  const flood = async () => await mapConcurrently(times(1_000), 24, async n => await post(origins[n % 2] ?? '', mailRoutes.password_reset, { email: owner.email }, { from: networks[n % 50] ?? '' }))
  await service.sql('delete from one_time_tokens')

  await t.test('gets exactly fifteen, on two instances at once', async t => {
    t.strictSame(new Set(statuses(await flood())), new Set([202]))
    t.strictSame(await countLinks(service), { password_reset: 15 })
    for (let i = 0; i < 15; i++) await mailTo(service, owner.email, 'password_reset')
  })

  await t.test('keeps no other kind of link from the owner', async t => {
    t.equal((await post(origin, `${mailRoutes.magic_link}/confirm`, { token: await requestLink(service, origin, 'magic_link', owner.email) })).status, 200)
  })

  await t.test('delays a good link by one interval at most', async t => {
    await service.sql('delete from one_time_tokens')
    t.equal((await post(origin, mailRoutes.password_reset, { email: owner.email })).status, 202)
    t.strictSame(await countLinks(service), {}, 'the owner is answered like everybody')
    await leakOne(service)
    await flood()
    t.strictSame(await countLinks(service), { password_reset: 1 })
    // It went to the owner, whoever asked for it.
    const { token } = await mailTo(service, owner.email, 'password_reset')
    t.equal((await post(origin, `${mailRoutes.password_reset}/confirm`, { token, new_password: owner.password })).status, 204)
  })

  await t.test('keeps no reset from the owner that an administrator sends', async t => {
    t.equal((await post(origin, `/v1/admin/users/${id}/password-reset`, {}, { token: admin })).status, 202)
    const { token } = await mailTo(service, owner.email, 'password_reset')
    t.equal((await post(origin, `${mailRoutes.password_reset}/confirm`, { token, new_password: owner.password })).status, 204)
  })

  await t.test('keeps neither the way back to the address from the owner, nor the reset that follows it', async t => {
    t.equal((await post(origin, `${mailRoutes.email_verification}/confirm`, { token: changeToken })).status, 410, 'a change ends with the password')
    const { access_token: access } = JSON.parse((await post(origin, login, { email: owner.email, password: owner.password })).text)
    await post(origin, '/v1/me/email', { password: owner.password, email: newEmail }, { token: access })
    await post(origin, `${mailRoutes.email_verification}/confirm`, { token: (await mailTo(service, newEmail, 'email_change')).token, password: owner.password })
    await flood()
    const undo = (await mailTo(service, owner.email, 'email_changed')).token
    t.equal((await post(origin, `${mailRoutes.email_verification}/confirm`, { token: undo })).status, 204)
    const { token } = await mailTo(service, owner.email, 'password_reset')
    t.equal((await post(origin, `${mailRoutes.password_reset}/confirm`, { token, new_password: owner.password })).status, 204)
  })
})

t.test('a flood of registrations with one address', async t => {
  const service = await build(t, { REQUIRE_EMAIL_VERIFICATION: 'true' })
  const origin = await listen(service)
  const ada = newUser()
  const from = newLoopbackAddress()
  const apply = async (body: object, sender: Sender = {}) => (await post(origin, '/v1/auth/register', body, sender)).status
  const pending = async () => (await service.sql('select from pending_registrations')).length

  await t.test('keeps five from one network, and leaves the owner theirs', async t => {
    t.strictSame(new Set(await mapConcurrently(times(30), 8, async () => await apply({ ...newUser(), email: ada.email }, { from }))), new Set([202]))
    t.equal(await pending(), 5)
    for (let i = 0; i < 5; i++) await mailTo(service, ada.email, 'email_verification')
    t.equal(await apply(ada), 202)
    t.equal(await pending(), 6)
    t.equal((await post(origin, `${mailRoutes.email_verification}/confirm`, { token: (await mailTo(service, ada.email, 'email_verification')).token, password: ada.password })).status, 204)
    t.equal((await post(origin, login, ada)).status, 200)
  })

  await t.test('counts the notifications of a taken address, and the links that are asked for, with them', async t => {
    for (let i = 0; i < 6; i++) t.equal(await apply({ ...newUser(), email: ada.email }), 202)
    for (let i = 0; i < 6; i++) await post(origin, mailRoutes.email_verification, { email: ada.email })
    t.equal(await pending() + (await service.sql("select from one_time_tokens where purpose = 'email_verification'")).length, 9, 'beside the six before')
  })

  await t.test('keeps fifteen from many networks; the owner registers again after some minutes', async t => {
    const bob = newUser()
    await service.sql('delete from pending_registrations')
    await mapConcurrently(times(30), 8, async () => await apply({ ...newUser(), email: bob.email }))
    t.equal(await pending(), 15)
    t.equal(await apply(bob), 202)
    t.match(await post(origin, login, bob), { status: 401 }, 'nothing is kept that nobody could confirm')
    await leakOne(service)
    for (let i = 0; i < 15; i++) await mailTo(service, bob.email, 'email_verification')
    t.equal(await apply(bob), 202)
    t.match(await post(origin, login, bob), { status: 403 })
    t.equal((await post(origin, `${mailRoutes.email_verification}/confirm`, { token: (await mailTo(service, bob.email, 'email_verification')).token, password: bob.password })).status, 204)
    t.equal((await post(origin, login, bob)).status, 200)
  })

  await t.test('in default mode costs only the mail of a registration, which can be asked for later', async t => {
    const open = await build(t, {}, { url: service.url })
    const there = await listen(open)
    const carol = newUser()
    for (let i = 0; i < 15; i++) await post(there, mailRoutes.email_verification, { email: carol.email })
    t.equal((await post(there, '/v1/auth/register', carol)).status, 201)
    t.strictSame(await service.sql('select from one_time_tokens join users on users.id = user_id where users.email = $1', [carol.email]), [])
    await leakOne(service)
    t.equal((await post(there, `${mailRoutes.email_verification}/confirm`, { token: await requestLink(open, there, 'email_verification', carol.email), password: carol.password })).status, 204)
  })
})

t.test('a user who asks to change to the address of a stranger, again and again', async t => {
  const service = await build(t)
  const origin = await listen(service)
  const eve = await register(origin)
  const { email } = newUser()
  const from = newLoopbackAddress()
  const answers = await mapConcurrently(times(20), 4, async () => await post(origin, '/v1/me/email', { password: eve.password, email }, { token: eve.token, from }))
  t.strictSame(new Set(statuses(answers)), new Set([202]))
  t.strictSame(await service.sql("select count(*)::int as links from one_time_tokens where purpose = 'email_change'"), [{ links: 1 }])
  for (let i = 0; i < 5; i++) await mailTo(service, email, 'email_change')
})
