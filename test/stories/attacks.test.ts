import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Test } from 'tap'
import { connect } from '../../src/database/database.ts'
import * as embeddedPostgres from '../../src/database/embedded/embedded-postgres.ts'
import { freePort } from '../../src/database/embedded/server.ts'
import {
  bytesOf, cookiesOf, mapConcurrently, listen, open, post, newLoopbackAddress, type Sender
} from '../support/concurrency.ts'
import { deferred } from '../support/deferred.ts'
import { sumCounter } from '../support/metrics.ts'
import { build, environment, newUser, type Service } from '../support/app.ts'
import { mailTo } from '../support/inbox.ts'
import { passTime } from '../support/other-networks.ts'
import { createDatabase, sql } from '../support/postgres.ts'
import { ready, start } from '../support/process.ts'
import { t } from '../support/test.ts'
import { ask, type WireResponse } from '../support/wire.ts'
import { waitUntil } from '../support/polling.ts'
import { onlyInSoak } from '../support/soak.ts'
import { temporaryFolder } from '../support/temporary-folder.ts'

const login = '/v1/auth/login'
const wrongPassword = 'not the password'
const statuses = (answers: WireResponse[]) => answers.map(({ status }) => status)
const times = (count: number) => Array.from({ length: count }, (_, index) => index)

/** A new user with a session and a known device. */
async function register (origin: string, more: object = {}) {
  const owner = newUser()
  const answer = await post(origin, '/v1/auth/register', { ...owner, ...more })
  return { ...owner, cookie: cookiesOf(answer), token: String(JSON.parse(answer.text).access_token) }
}

/** How many passwords were found wrong, according to the audit log. */
async function countFailedLogins (url: string) {
  const [row] = await sql<{ count: number }>(
    url,
    "select count(*)::int from audit_events where type = 'login.failed'"
  )
  return row?.count ?? 0
}

/** How many passwords a process has hashed, according to its metrics. */
async function countHashes (origin: string) {
  const { text } = await ask('GET', `${origin}/metrics`)
  return Number(/^latchkey_hashing_duration_seconds_count (\d+)$/m.exec(text)?.[1])
}

/** Repeats an action until the work has ended, and returns the results of the action. */
async function repeatDuring<T> (work: Promise<unknown>, action: () => Promise<T>): Promise<T[]> {
  const state = { hasEnded: false }
  const end = work.finally(() => { state.hasEnded = true })
  const results: T[] = []
  while (!state.hasEnded) results.push(await action())
  await end
  return results
}

t.test('credential stuffing from hundreds of networks', async t => {
  const limits = {
    RATE_LIMIT: '300/1m',
    LOGIN_RATE_LIMIT: '5/15m',
    LOGIN_NETWORK_LIMIT: '2/15m',
    LOGIN_ACCOUNT_LIMIT: '100/24h'
  }
  const service = await build(t, limits)
  const origin = await listen(service)
  const owners = await mapConcurrently(times(12), 4, async () => await register(origin))
  const [firstOwner, secondOwner, ...otherOwners] = owners
  const stolenAddresses = [...otherOwners.map(({ email }) => email), ...times(50).map(() => newUser().email)]
  const credentialsOf = (network: number, attempt: number) => {
    // Two networks have a right password: one as the second of its list, the other as the last.
    const owner = network === 0 && attempt === 1
      ? firstOwner
      : network === 1 && attempt === 3 ? secondOwner : undefined
    if (owner) return { email: owner.email, password: owner.password }
    return {
      email: stolenAddresses[(network * 4 + attempt) % stolenAddresses.length],
      password: wrongPassword
    }
  }
  const attack = mapConcurrently(times(200), 24, async network => {
    const from = newLoopbackAddress()
    const answers: number[] = []
    for (const attempt of times(4)) {
      answers.push((await post(origin, login, credentialsOf(network, attempt), { from })).status)
    }
    return answers
  })
  let logins = 0
  const ownerLogins = await repeatDuring(attack, async () => {
    const { email, password } = owners[logins++ % owners.length] ?? newUser()
    return await post(origin, login, { email, password })
  })
  const [firstAnswers, secondAnswers, ...otherAnswers] = await attack
  t.strictSame(
    firstAnswers,
    [401, 200, 401, 429],
    'a right password is accepted, and resets no other failure'
  )
  t.strictSame(secondAnswers, [401, 401, 429, 429], 'a right password is not accepted over the limit')
  t.ok(otherAnswers.every(answers => answers.join() === '401,401,429,429'))
  t.equal(await countFailedLogins(service.url), 400, 'half of the eight hundred guesses')
  t.ok(ownerLogins.length > 5)
  const message = `${ownerLogins.length} owners signed in meanwhile, each from another network`
  t.strictSame(new Set(statuses(ownerLogins)), new Set([200]), message)

  t.test('stays within the limit if one network sends all guesses at once', async t => {
    const from = newLoopbackAddress()
    const before = await countFailedLogins(service.url)
    const answers = await mapConcurrently(
      times(40),
      40,
      async () => await post(origin, login, { email: newUser().email, password: wrongPassword }, { from })
    )
    t.equal(answers.filter(({ status }) => status === 401).length, 2)
    t.equal(await countFailedLogins(service.url) - before, 2)
    t.match(
      await post(
        origin,
        login,
        { email: otherOwners[0]?.email, password: otherOwners[0]?.password },
        { from }
      ),
      { status: 429, headers: { 'retry-after': /^\d+$/ } }
    )
    t.match(
      await post(origin, login, { email: otherOwners[0]?.email, password: otherOwners[0]?.password }),
      { status: 200 },
      'clients of other networks are not throttled'
    )
    t.match(
      await post(
        origin,
        login,
        { email: otherOwners[0]?.email, password: otherOwners[0]?.password },
        { from, cookie: otherOwners[0]?.cookie ?? '' }
      ),
      { status: 200 },
      'a known device in the same network is not throttled either'
    )
  })
})

t.test('password guessing at one account from many networks', async t => {
  const service = await build(t, {
    LOGIN_RATE_LIMIT: '5/15m',
    LOGIN_NETWORK_LIMIT: '50/15m',
    LOGIN_ACCOUNT_LIMIT: '20/24h'
  })
  const origin = await listen(service)
  const { email, password, cookie } = await register(origin)
  const attack = mapConcurrently(
    times(200),
    24,
    async () => await post(origin, login, { email, password: wrongPassword })
  )
  const ownerLogins = await repeatDuring(
    attack,
    async () => await post(origin, login, { email, password }, { cookie })
  )
  t.strictSame(new Set(statuses(ownerLogins)), new Set([200]), `${ownerLogins.length} sign-ins of the owner`)
  t.equal((await attack).filter(({ status }) => status === 401).length, 20)
  t.equal(await countFailedLogins(service.url), 20)

  const throttled = await post(origin, login, { email, password })
  t.match(
    throttled,
    { status: 429, headers: { 'retry-after': /^([12]?\d|30)$/ } },
    'without the device the owner must wait'
  )
  const retrySeconds = Number(throttled.headers['retry-after'])
  const [row] = await service.sql<{ seconds: number }>(`
    select ceil(extract(epoch from max(waits_until) - clock_timestamp()))::int as seconds
    from login_throttles`)
  t.ok(
    row && row.seconds <= retrySeconds && row.seconds > retrySeconds - 20,
    `${row?.seconds} of ${retrySeconds} s`
  )
  await passTime(service, retrySeconds)
  t.match(
    await post(origin, login, { email, password }),
    { status: 200 },
    'after Retry-After the owner can sign in'
  )
})

t.test('forged headers do not change the network of a client', async t => {
  const limits = {
    RATE_LIMIT: '1000/1m',
    LOGIN_RATE_LIMIT: '4/15m',
    LOGIN_NETWORK_LIMIT: '50/15m',
    LOGIN_ACCOUNT_LIMIT: '100/24h'
  }
  const headerNames = [
    'X-Forwarded-For', 'x-forwarded-for', 'X-Real-IP', 'X-Client-IP', 'True-Client-IP', 'CF-Connecting-IP',
    'Fastly-Client-IP', 'X-Cluster-Client-IP', 'X-Forwarded', 'Forwarded-For', 'X-Originating-IP',
    'Client-IP', 'X-Remote-Addr', 'X-ProxyUser-Ip', 'Via'
  ]
  const forgedLines = (n: number) =>
    [
      headerNames.map(name => `${name}: 203.0.113.${n}`),
      [`Forwarded: for=203.0.113.${n};proto=https;by=127.0.0.1`],
      times(50).map(i => `X-Forwarded-For: 10.${n}.0.${i}`),
      [
        `X-Forwarded-For: ${times(900)
          .map(i => `10.${n}.${i >> 8}.${i & 255}`)
          .join(', ')}`
      ],
      [`X-Forwarded-For: 127.0.0.1, 127.0.0.1, 203.0.113.${n}`],
      [`X-Forwarded-For: "2001:db8:${n}::1", [2001:db8:${n}::1]:80, ::ffff:203.0.113.${n}`],
      ['X-Forwarded-For: , ,', 'X-Forwarded-Host: 127.0.0.1'],
      [`X-Forwarded-For: 203.0.113.${n}\x0b`, 'X-Forwarded-For: %31'],
      ['Connection: X-Forwarded-For, close', `X-Forwarded-For: 203.0.113.${n}`]
    ][n % 9] ?? []
  const cases = [
    ['without a proxy', 'off', []],
    ['behind a proxy', '127.0.0.1', ['X-Forwarded-For: 198.51.100.7']]
  ] as const
  for (const [title, trusted, proxyLines] of cases) {
    await t.test(title, async t => {
      const service = await build(t, { ...limits, TRUST_PROXY: trusted })
      const origin = await listen(service)
      const { email } = newUser()
      const from = trusted === 'off' ? newLoopbackAddress() : '127.0.0.1'
      const answers = []
      for (const n of times(27)) {
        answers.push(
          await post(
            origin,
            login,
            { email, password: wrongPassword },
            { from, lines: [...forgedLines(n), ...proxyLines] }
          )
        )
      }
      t.strictSame(new Set(statuses(answers.filter(({ status }) => status !== 400))), new Set([401, 429]))
      t.equal(answers.filter(({ status }) => status === 401).length, 4)
      t.equal((await service.sql('select 1 from login_throttles')).length, 3, 'one network has been counted')
      t.strictSame(
        await service.sql("select distinct host(ip) as ip from audit_events where type like 'login.%'"),
        [{ ip: trusted === 'off' ? from : '198.51.100.7' }]
      )
    })
  }
})

/** Occupies the only place of the hashing queue as soon as it is free, until `release`. */
function occupyQueue ({ app: { passwords: { queue } } }: Service) {
  const [start, end] = [deferred(), deferred()]
  const task = queue.run(async () => {
    start.resolve()
    await end.promise
  })
  return {
    started: start.promise,
    async release () {
      end.resolve()
      await task
    }
  }
}

const oneAtATime = { ARGON2_CONCURRENCY: '1' }

t.test('a flood of clients that are slow or disconnect', async t => {
  const service = await build(t, { ...oneAtATime, LOGIN_RATE_LIMIT: '5/15m' })
  const origin = await listen(service)
  const { queue } = service.app.passwords
  const ada = await register(origin)
  // The queue estimates waits from the duration of earlier hashes.
  await mapConcurrently(
    times(20),
    1,
    async () => await post(origin, login, { email: newUser().email, password: wrongPassword })
  )
  const { rss } = process.memoryUsage()

  await t.test('keeps no places for disconnected clients, and delays no other client', async t => {
    const before = await countFailedLogins(service.url)
    await service.sql('delete from login_throttles')
    const { release } = occupyQueue(service)
    const guess = () => bytesOf(login, { email: newUser().email, password: wrongPassword })
    const disconnecting = times(25).map(() => open(origin, guess()))
    const pipelining = times(3).map(() => open(origin, times(5).map(guess).join('')))
    const notReading = times(25).map(() => open(origin, guess()))
    // Of the requests on one connection, only the first is processed.
    await waitUntil('all wait in the queue', () => queue.waiting === 53)
    // A client that ends its half of the connection counts as disconnected, and gets no response either.
    times(25).forEach(() => open(origin, guess()).end())

    const waits: number[] = []
    let cookie = ada.cookie
    for (let round = 0; round < 10; round++) {
      const startedAt = performance.now()
      const refreshed = await post(origin, '/v1/auth/refresh', '', { cookie })
      t.equal(refreshed.status, 200)
      cookie = cookiesOf(refreshed)
      t.equal(
        (await ask('GET', `${origin}/v1/auth/verify`, {
          lines: [`authorization: Bearer ${ada.token}`]
        })).status,
        204
      )
      waits.push(performance.now() - startedAt)
    }
    t.ok(
      Math.max(...waits) < 1_000,
      `the longest refresh and verification took ${Math.round(Math.max(...waits))} ms`
    )

    for (const socket of disconnecting) socket.destroy()
    await waitUntil('the places of the disconnected clients are free', () => queue.waiting === 28)
    for (const socket of pipelining) socket.destroy()
    await waitUntil('the places of the pipelining clients are free', () => queue.waiting === 25)
    const ownerLogin = post(origin, login, { email: ada.email, password: ada.password })
    await waitUntil('the sign-in of the owner waits', () => queue.waiting === 26)
    await release()
    t.equal((await ownerLogin).status, 200)
    await waitUntil('the queue is empty', () => queue.waiting === 0 && queue.running === 0)
    for (const socket of notReading) {
      const [answer] = await once(socket, 'data')
      t.match(String(answer), /^HTTP\/1\.1 401 /)
      socket.destroy()
    }
    t.equal(
      (await countFailedLogins(service.url)) - before,
      25,
      'guesses that were not verified are not in the audit log'
    )
    const [row] = await service.sql<{ count: number }>(
      'select count(*)::int from login_throttles where failures > 0'
    )
    t.equal(row?.count, 75, 'and are not counted')
  })

  await t.test('that sends its bodies in drips is disconnected', async t => {
    const impatient = await build(t, { ...oneAtATime, REQUEST_TIMEOUT: '2s' }, { url: service.url })
    const origin = await listen(impatient)
    const sockets = times(200).map(() =>
      open(origin, bytesOf(login, { email: newUser().email }, { length: 20_000 }))
    )
    const drips = setInterval(() => sockets.forEach(socket => socket.writable && socket.write(' ')), 200)
    t.teardown(() => clearInterval(drips))
    for (let round = 0; round < 5; round++) {
      t.equal((await post(origin, login, { email: ada.email, password: ada.password })).status, 200)
    }
    t.equal(impatient.app.passwords.queue.waiting, 0)
    await Promise.all(sockets.map(async socket => {
      // A byte that crosses the response makes the connection fail, which ends it as well.
      const end = new Promise(resolve => socket.once('end', resolve).once('close', resolve))
      const answer = await new Promise(resolve => socket.once('data', resolve))
      t.match(String(answer), /^HTTP\/1\.1 408 /)
      socket.resume()
      await end
      socket.destroy()
    }))
  })

  t.ok(process.memoryUsage().rss - rss < 150_000_000, 'the flood takes little memory')
})

t.test('many sign-ins from one network do not delay a client of another network', async t => {
  const service = await build(t, oneAtATime)
  const origin = await listen(service)
  const { queue } = service.app.passwords
  const ada = await register(origin)
  const from = newLoopbackAddress()
  // After these fast tasks the queue expects short waits, so it rejects no request for its expected wait.
  for (let count = 0; count < 80; count++) await queue.run(async () => {})
  const { release } = occupyQueue(service)
  let responses = 0
  const flood = times(40).map(async () => {
    const { status } = await post(
      origin,
      login,
      { email: newUser().email, password: wrongPassword },
      { from }
    )
    responses++
    return status
  })
  await waitUntil('the flood waits', () => queue.waiting === 40)
  const ownerLogin = post(origin, login, { email: ada.email, password: ada.password })
  await waitUntil('the sign-in of the owner waits, too', () => queue.waiting === 41)
  await release()
  t.equal((await ownerLogin).status, 200)
  t.ok(responses < 20, `after ${responses} responses to the flood`)
  // If hashing is slow on this machine, some of them have waited too long.
  const floodStatuses = await Promise.all(flood)
  t.strictSame(new Set(floodStatuses), new Set(floodStatuses.includes(503) ? [401, 503] : [401]))
})

t.test('a guess counts even if the client disconnects before the response', async t => {
  // Slow enough for a client to disconnect during the verification.
  const slowHashing = {
    ...oneAtATime,
    ARGON2_MEMORY_KIB: '19456',
    ARGON2_TIME_COST: '12',
    LOGIN_RATE_LIMIT: '3/15m'
  }
  const service = await build(t, slowHashing)
  const origin = await listen(service)
  const { queue } = service.app.passwords
  const { email, password } = await register(origin)

  await t.test('if its password was being verified', async t => {
    const from = newLoopbackAddress()
    for (const n of times(3)) {
      const socket = open(origin, bytesOf(login, { email, password: wrongPassword }), from)
      await waitUntil('the password is being verified', () => queue.running === 1)
      socket.destroy()
      await waitUntil('the failure is recorded', async () => await countFailedLogins(service.url) === n + 1)
    }
    t.match(await post(origin, login, { email, password }, { from }), { status: 429 })
  })

  await t.test('and opens no session if it was right, because nobody waits for that', async t => {
    const user = await register(origin)
    const countSessions = async () => (await service.sql<{ count: number }>(`
      select count(*)::int as count from sessions join users on users.id = user_id
      where email = $1`, [user.email]))[0]?.count
    const socket = open(origin, bytesOf(login, { email: user.email, password: user.password }))
    await waitUntil('the password is being verified', () => queue.running === 1)
    t.ok((await service.sql('select from login_throttles where failures > 0')).length > 0)
    const failures = async () => (await service.sql<{ sum: number }>(
      'select coalesce(sum(failures), 0)::float as sum from login_throttles'))[0]?.sum ?? 0
    const before = await failures()
    socket.destroy()
    await waitUntil('the attempt is refunded', async () => await failures() < before)
    t.equal(await countSessions(), 1, 'only that of the registration')
  })

  await t.test('but not if it was only waiting', async t => {
    const from = newLoopbackAddress()
    const { release } = occupyQueue(service)
    for (let round = 0; round < 8; round++) {
      const socket = open(origin, bytesOf(login, { email, password: wrongPassword }), from)
      await waitUntil('the guess waits', () => queue.waiting === 1)
      socket.destroy()
      await waitUntil('the guess has left the queue', () => queue.waiting === 0)
    }
    await release()
    await waitUntil(
      'the attempt is refunded',
      async () => (await service.sql('select 1 from login_throttles where failures > 3')).length === 0
    )
    t.match(await post(origin, login, { email, password }, { from }), { status: 200 })
    t.equal(await countFailedLogins(service.url), 3)
  })

  await t.test('nor if the current password was right, and only the new one was waiting', async t => {
    const ada = await register(origin)
    await service.sql('delete from login_throttles')
    const socket = open(
      origin,
      bytesOf(
        '/v1/me/password',
        { current_password: ada.password, new_password: 'another word of mine' },
        { token: ada.token }
      )
    )
    await waitUntil('the current password is being verified', () => queue.running === 1)
    const { started, release } = occupyQueue(service)
    await started
    await waitUntil('the new password waits', () => queue.waiting === 1)
    socket.destroy()
    await waitUntil('the guess has left the queue', () => queue.waiting === 0)
    await release()
    await waitUntil(
      'the attempt is refunded',
      async () => (await service.sql('select 1 from login_throttles where failures > 0')).length === 0
    )
    t.match(await post(origin, login, { email: ada.email, password: ada.password }), { status: 200 })
  })
})

t.test('long and unusual passwords', async t => {
  const service = await build(t)
  const origin = await listen(service)
  const json = (email: string, password: string) =>
    `{"email":${JSON.stringify(email)},"password":${password}}`
  const changePassword = async ({ token }: { token: string }, current: string, next: string) =>
    await post(origin, '/v1/me/password', `{"current_password":${current},"new_password":${next}}`, { token })
  const passwordOfLength = (count: number, end = '') =>
    JSON.stringify('a b c d '.repeat(count / 8 + 1).slice(0, count - [...end].length) + end)

  // The JSON text of each password, the status if it is set, and the status of a sign-in before that.
  const cases: Array<[description: string, text: string, setStatus: number, loginStatus: number]> = [
    ['NUL', '"a word\\u0000another word"', 200, 401],
    ['control characters', '"a word\\u0001\\r\\n\\t\\u007f\\u0085"', 200, 401],
    ['256 code points', passwordOfLength(256), 200, 401],
    ['257 code points', passwordOfLength(257), 422, 401],
    ['1,024 code points', passwordOfLength(1_024), 422, 401],
    ['1,025 code points', passwordOfLength(1_025), 400, 400],
    ['256 code points outside of the basic plane', JSON.stringify('🔑🚪'.repeat(128)), 200, 401],
    ['a text that normalisation makes eighteen times as long', JSON.stringify('ﷺ'.repeat(200)), 422, 401],
    ['a lone high surrogate', '"\\ud83d a word of mine"', 400, 401],
    ['a lone low surrogate', '"a word of mine \\udd11"', 400, 401],
    ['surrogates in the wrong order', '"\\udd11\\ud83d a word of mine"', 400, 401],
    ['an escaped surrogate pair', '"\\ud83d\\udd11 a word of mine"', 200, 401],
    ['characters without width', '"\\u200b\\u200c\\u200d\\u2060\\ufeff\\u00ad\\u200b\\u200c"', 200, 401],
    ['bidirectional controls', '"\\u202ea word\\u202c \\u2066of mine\\u2069"', 200, 401],
    ['emoji of several code points', '"👩‍👩‍👧‍👦🏳️‍🌈👍🏽"', 200, 401],
    ['combining marks without a base character', JSON.stringify('\u0301'.repeat(300)), 422, 401],
    ['only blanks', '"            "', 200, 401],
    ['the empty string', '""', 400, 400],
    ['null', 'null', 400, 400],
    ['a number', '1234567890', 400, 400],
    ['a boolean', 'true', 400, 400],
    ['an array', '["a word of mine"]', 400, 400],
    ['an object', '{"length":12}', 400, 400],
    ['an object with names of string methods', '{"toString":"a word of mine","normalize":1}', 400, 400],
    ['a prototype', '{"__proto__":{"isAdmin":true}}', 400, 400],
    ['a constructor', '{"constructor":{"prototype":{"isAdmin":true}}}', 400, 400],
    ['deeply nested arrays', '['.repeat(15_000) + ']'.repeat(15_000), 400, 400],
    ['deeply nested objects', '{"a":'.repeat(9_000) + '1' + '}'.repeat(9_000), 400, 400],
    ['nested arrays that do not end', '['.repeat(60_000), 400, 400],
    ['a string that does not end', '"a word of mine', 400, 400],
    ['an invalid escape', '"a word \\x41 of mine"', 400, 400],
    ['a body of 65 KiB', `"${'x'.repeat(66_000)}"`, 413, 413]
  ]
  await mapConcurrently(cases, 4, async ([description, text, setStatus, loginStatus]) => {
    const { email } = newUser()
    t.equal((await post(origin, login, json(email, text))).status, loginStatus, `sign-in with ${description}`)
    t.equal(
      (await post(origin, '/v1/auth/register', json(email, text))).status,
      setStatus === 200 ? 201 : setStatus,
      `registration with ${description}`
    )
    if (setStatus === 200) {
      t.equal(
        (await post(origin, login, json(email, text))).status,
        200,
        `sign-in with ${description} after that`
      )
    }
    const ada = await register(origin)
    t.equal(
      (await changePassword(ada, JSON.stringify(ada.password), text)).status,
      setStatus === 200 ? 204 : setStatus,
      `change to ${description}`
    )
    t.equal(
      (await changePassword(ada, text, '"another word of mine"')).status,
      setStatus === 200 ? 204 : loginStatus === 401 ? 403 : loginStatus,
      `change from ${description}`
    )
  })

  t.test('are never truncated, and match only if they normalise to the same text', async t => {
    const pairs: Array<[description: string, registered: string, typed: string, isSame: boolean]> = [
      ['NFC and NFD', 'Zoë früh am Café', 'Zoë früh am Café'.normalize('NFD'), true],
      ['full width', 'a word of mine', 'ａ　ｗｏｒｄ　ｏｆ　ｍｉｎｅ', true],
      [
        'the last of 256 code points',
        JSON.parse(passwordOfLength(256, 'x')),
        JSON.parse(passwordOfLength(256, 'y')),
        false
      ],
      ['the last of 256 emoji', '🔑'.repeat(256), '🔑'.repeat(255) + '🔓', false],
      [
        '256 and 257 code points',
        JSON.parse(passwordOfLength(256)),
        JSON.parse(passwordOfLength(257)),
        false
      ],
      [
        '256 and 255 code points',
        JSON.parse(passwordOfLength(256)),
        JSON.parse(passwordOfLength(255)),
        false
      ],
      ['the text after NUL', 'a word of mine\0one', 'a word of mine\0other', false],
      ['NUL at the end', 'a word of mine', 'a word of mine\0', false],
      ['a blank at the end', 'a word of mine', 'a word of mine ', false],
      ['case', 'a word of mine', 'A word of mine', false],
      ['a character without width', 'a word of mine', 'a word\u200b of mine', false],
      ['direction', 'a word of mine', '\u202ea word of mine', false],
      [
        'a lone surrogate and its replacement character',
        'a word of mine \ufffd',
        'a word of mine \ud83d',
        false
      ],
      ['blanks and the empty string', ' '.repeat(12), '', false]
    ]
    for (const [description, registered, typed, isSame] of pairs) {
      const { email } = newUser()
      t.equal(
        (await post(origin, '/v1/auth/register', { email, password: registered })).status,
        201,
        description
      )
      t.equal((await post(origin, login, { email, password: registered })).status, 200, description)
      const { status } = await post(origin, login, { email, password: typed })
      t.equal(status, isSame ? 200 : typed === '' ? 400 : 401, description)
    }
  })

  t.test('of a body with duplicate members are taken from the last one', async t => {
    const { email } = newUser()
    t.equal(
      (
        await post(
          origin,
          '/v1/auth/register',
          `{"email":"${email}","password":"the first of mine","password":"the second of mine"}`
        )
      ).status,
      201
    )
    t.equal((await post(origin, login, { email, password: 'the first of mine' })).status, 401)
    t.equal((await post(origin, login, { email, password: 'the second of mine' })).status, 200)
    t.equal(
      (
        await post(
          origin,
          login,
          `{"email":"${email}","password":"the second of mine","pass\\u0077ord":"the first of mine"}`
        )
      ).status,
      401
    )
    for (const name of ['__proto__', 'constructor":{"prototype":{}},"x']) {
      t.equal(
        (
          await post(
            origin,
            login,
            `{"email":"${email}","password":"the second of mine","${name}":{"disabled":false}}`
          )
        ).status,
        400,
        name
      )
    }
  })

  t.test('of a million bytes are rejected before they arrive', async t => {
    const socket = open(origin, bytesOf(login, { email: newUser().email, password: 'x'.repeat(1_000_000) }))
    const [answer] = await once(socket, 'data')
    t.match(String(answer), /^HTTP\/1\.1 413 /)
    socket.destroy()
  })

  t.strictSame(service.logs.filter(({ level }) => Number(level) >= 50), [], 'no request caused an error')
})

t.test('guesses that race the counter', async t => {
  const limits = { LOGIN_RATE_LIMIT: '5/15m', LOGIN_NETWORK_LIMIT: '50/15m', LOGIN_ACCOUNT_LIMIT: '8/24h' }
  const service = await build(t, limits)
  const origins = [await listen(service), await listen(await build(t, limits, { url: service.url }))]
  const countAllHashes = async () =>
    (await Promise.all(origins.map(countHashes))).reduce((sum, count) => sum + count, 0)
  const originOf = (n: number) => origins[n % 2] ?? ''
  const race = async (
    t: Test,
    allowed: number,
    count: number,
    guess: (n: number) => Promise<WireResponse>
  ) => {
    const before = [await countFailedLogins(service.url), await countAllHashes()]
    const answers = await mapConcurrently(times(count), count, guess)
    t.strictSame(new Set(statuses(answers).map(status => status === 403 ? 401 : status)), new Set([401, 429]))
    t.equal(answers.filter(({ status }) => status !== 429).length, allowed, 'answers')
    t.equal(await countFailedLogins(service.url) - Number(before[0]), allowed, 'events')
    t.equal(await countAllHashes() - Number(before[1]), allowed, 'hashes')
  }
  const ada = await register(originOf(0), { username: 'ada' })
  const from = newLoopbackAddress()

  await t.test('on several instances, from one network, stay within the limit', async t => {
    await race(
      t,
      5,
      60,
      async n =>
        await post(
          originOf(n),
          login,
          { email: n % 3 ? ada.email : ada.email.toUpperCase(), password: wrongPassword },
          { from }
        )
    )
  })

  await t.test('with a stolen access token share the limit of the sign-in', async t => {
    const eve = await register(originOf(0))
    const from = newLoopbackAddress()
    await race(t, 5, 40, async n =>
      n % 2
        ? await post(
          originOf(n >> 1),
          '/v1/me/password',
          { current_password: wrongPassword, new_password: 'another word of mine' },
          { from, token: eve.token }
        )
        : await post(originOf(n >> 1), login, { email: eve.email, password: wrongPassword }, { from })
    )
  })

  await t.test('through each route that takes a password, from many networks, share one limit', async t => {
    const bob = await register(originOf(0), { username: 'bob' })
    const guesses: Array<(n: number, sender: Sender) => Promise<WireResponse>> = [
      async n => await post(originOf(n), login, { email: bob.email, password: wrongPassword }),
      async n => await post(originOf(n), login, { username: 'bob', password: wrongPassword }),
      async n =>
        await post(
          originOf(n),
          '/v1/me/password',
          { current_password: wrongPassword, new_password: 'another word of mine' },
          { token: bob.token }
        )
    ]
    await race(
      t,
      8,
      60,
      async n => (await (guesses[n % 3] ?? guesses[0])?.(n >> 1, {})) ?? (await post(originOf(n), login, {}))
    )
  })
})

t.test('a fault during an attack allows no additional guesses', async t => {
  const limits = { LOGIN_RATE_LIMIT: '5/15m', LOGIN_NETWORK_LIMIT: '50/15m', LOGIN_ACCOUNT_LIMIT: '100/24h' }

  await t.test('if the service is killed while it verifies passwords', onlyInSoak, async t => {
    const url = await createDatabase(t)
    const cwd = temporaryFolder(t)
    const env = {
      ...limits,
      DATABASE_URL: url,
      KEY_ENCRYPTION_KEY: environment['KEY_ENCRYPTION_KEY'],
      ARGON2_CONCURRENCY: '1'
    }
    // One verification would take minutes.
    const first = start(
      t,
      cwd,
      { ...env, ARGON2_MEMORY_KIB: '65536', ARGON2_TIME_COST: '1000' },
      await freePort()
    )
    await ready(first, '/livez')
    const { email } = newUser()
    const from = newLoopbackAddress()
    const guesses = times(5).map(
      async () =>
        await post(first.base, login, { email, password: wrongPassword }, { from }).catch(() => undefined)
    )
    await waitUntil(
      'all guesses are counted',
      async () => (await sql(url, 'select 1 from login_throttles where failures > 4.5')).length > 0
    )
    first.child.kill('SIGKILL')
    t.strictSame(await Promise.all(guesses), times(5).map(() => undefined))
    const second = start(t, cwd, env, await freePort())
    await ready(second)
    t.match(await post(second.base, login, { email, password: wrongPassword }, { from }), { status: 429 })
  })

  await t.test('if the database is killed', onlyInSoak, async t => {
    const postgres = await embeddedPostgres.start(temporaryFolder(t))
    t.teardown(async () => { await postgres.stop() })
    const service = await build(t, limits, { url: postgres.url })
    const origin = await listen(service)
    const { email } = newUser()
    const from = newLoopbackAddress()
    const guess = async () => await post(origin, login, { email, password: wrongPassword }, { from })
    const answers = [await guess(), await guess()]
    process.kill(
      Number(readFileSync(join(postgres.dataDir, 'postmaster.pid'), 'utf8').split('\n')[0]),
      'SIGKILL'
    )
    await waitUntil('the database is available again', async () => {
      const answer = await guess()
      answers.push(answer)
      return answer.status === 429
    })
    t.strictSame(new Set(statuses(answers)), new Set([401, 503, 429]))
    t.ok(answers.filter(({ status }) => status === 401).length <= 5)
    t.ok(answers.filter(({ status }) => status === 401).length <= await countFailedLogins(postgres.url))
  })
})

const mailRoutes = {
  email_verification: '/v1/auth/email-verification',
  password_reset: '/v1/auth/password-reset',
  magic_link: '/v1/auth/magic-link'
}
type LinkPurpose = keyof typeof mailRoutes
const linkPurposes = Object.keys(mailRoutes) as LinkPurpose[]

/** The number of links by purpose, of all users. */
async function countLinks ({ sql }: Service) {
  const rows = await sql<{ purpose: string; count: number }>(
    'select purpose, count(*)::int from one_time_tokens where email_version > 0 group by purpose'
  )
  return Object.fromEntries(rows.map(({ purpose, count }) => [purpose, count]))
}

/** Makes room for one mail in each bucket. */
const leakOneMail = async ({ sql }: Service) => {
  await sql("update mail_buckets set empty_at = empty_at - interval '5 minutes'")
}

/** Requests a link, and returns the token of its mail. */
const requestLink = async (service: Service, origin: string, purpose: LinkPurpose, email: string) => {
  const { status } = await post(origin, mailRoutes[purpose], { email })
  if (status !== 202) throw new Error(`link request: ${status}`)
  return (await mailTo(service, email, purpose)).token
}

t.test('a flood of link requests from one network', async t => {
  const service = await build(t)
  const secondService = await build(t, {}, { url: service.url })
  const origins = [await listen(service), await listen(secondService)]
  const [origin = ''] = origins
  const owner = await register(origin)
  await mailTo(service, owner.email, 'email_verification')
  await service.sql('delete from one_time_tokens')
  const from = newLoopbackAddress()
  const flood = async (email: string, count: number, network = (_n: number): string => from) => {
    for (const purpose of linkPurposes) {
      const answers = await mapConcurrently(
        times(count),
        16,
        async n => await post(origins[n % 2] ?? '', mailRoutes[purpose], { email }, { from: network(n) })
      )
      t.strictSame(
        new Set(answers.map(({ status, text }) => `${status} ${text}`)),
        new Set(['202 {"status":"accepted"}'])
      )
    }
  }

  await t.test('gets exactly five links of each kind, on two instances at once', async t => {
    await flood(owner.email, 100)
    t.strictSame(await countLinks(service), { email_verification: 5, magic_link: 5, password_reset: 5 })
    const [row] = await service.sql<{ jobs: number }>(
      "select count(*)::int as jobs from jobs where kind = 'mail' and attempts = 0"
    )
    t.ok(row && row.jobs <= 15, 'no mail is enqueued only to be dropped later')
    for (const purpose of linkPurposes) {
      for (let i = 0; i < 5; i++) await mailTo(service, owner.email, purpose)
    }
    const dropped = await sumCounter([service.app, secondService.app], 'latchkey_mails_total', {
      result: 'limited'
    })
    t.equal(dropped, 3 * 95, 'the metrics count the dropped mails')
  })

  await t.test('leaves the owner a link of each kind from another network', async t => {
    t.equal(
      (
        await post(origin, `${mailRoutes.email_verification}/confirm`, {
          token: await requestLink(service, origin, 'email_verification', owner.email),
          password: owner.password
        })
      ).status,
      204
    )
    t.equal(
      (
        await post(origin, `${mailRoutes.magic_link}/confirm`, {
          token: await requestLink(service, origin, 'magic_link', owner.email)
        })
      ).status,
      200
    )
    const token = await requestLink(service, origin, 'password_reset', owner.email)
    t.equal(
      (
        await post(origin, `${mailRoutes.password_reset}/confirm`, {
          token,
          new_password: 'a phrase of the owner'
        })
      ).status,
      204
    )
  })

  await t.test('gets as many links for an address without an account', async t => {
    await service.sql('delete from one_time_tokens')
    await flood(newUser().email, 30)
    t.strictSame(await countLinks(service), { email_verification: 5, magic_link: 5, password_reset: 5 })
  })

  await t.test('gets one more link in each interval, however long it lasts', async t => {
    await service.sql('delete from one_time_tokens')
    for (const count of [1, 2]) {
      await leakOneMail(service)
      await flood(owner.email, 30)
      t.strictSame(await countLinks(service), {
        magic_link: count,
        password_reset: count,
        email_verification: count
      })
    }
  })

  await t.test('does not wait for a row lock once it is limited', async t => {
    const db = connect({ url: service.url })
    t.teardown(() => db.end())
    await db.transaction(async tx => {
      await tx.query('select from mail_buckets for update')
      await flood(owner.email, 20)
    })
  })

  await t.test('leaves no address in the database', async t => {
    const [row] = await service.sql<{ text: string }>(
      "select string_agg(encode(key, 'escape') || empty_at, ' ') as text from mail_buckets"
    )
    t.notMatch(row?.text, /example|person|password_reset|127\.\d/)
  })
})

t.test('a botnet that requests links for one address', async t => {
  const service = await build(t)
  const secondService = await build(t, {}, { url: service.url })
  const origins = [await listen(service), await listen(secondService)]
  const [origin = ''] = origins
  const administrator = await register(origin)
  await service.sql("update users set roles = '{user,admin}' where email = $1", [administrator.email])
  const adminToken = String(
    JSON.parse(
      (await post(origin, login, { email: administrator.email, password: administrator.password })).text
    ).access_token
  )
  const owner = await register(origin)
  await post(origin, `${mailRoutes.email_verification}/confirm`, {
    token: (await mailTo(service, owner.email, 'email_verification')).token,
    password: owner.password
  })
  const id: string = JSON.parse(
    (await ask('GET', `${origin}/v1/me`, { lines: [`authorization: Bearer ${owner.token}`] })).text
  ).id
  // The owner will undo the change to this address.
  const newEmail = newUser().email
  await post(origin, '/v1/me/email', { password: owner.password, email: newEmail }, { token: owner.token })
  const changeToken = (await mailTo(service, newEmail, 'email_change')).token
  const networks = times(50).map(() => newLoopbackAddress())
  const flood = async () =>
    await mapConcurrently(
      times(1_000),
      24,
      async n =>
        await post(
          origins[n % 2] ?? '',
          mailRoutes.password_reset,
          { email: owner.email },
          { from: networks[n % 50] ?? '' }
        )
    )
  await service.sql('delete from one_time_tokens')

  await t.test('gets exactly fifteen, on two instances at once', async t => {
    t.strictSame(new Set(statuses(await flood())), new Set([202]))
    t.strictSame(await countLinks(service), { password_reset: 15 })
    for (let i = 0; i < 15; i++) await mailTo(service, owner.email, 'password_reset')
  })

  await t.test('does not prevent the owner from getting another kind of link', async t => {
    t.equal(
      (
        await post(origin, `${mailRoutes.magic_link}/confirm`, {
          token: await requestLink(service, origin, 'magic_link', owner.email)
        })
      ).status,
      200
    )
  })

  await t.test('delays a requested link by one interval at most', async t => {
    await service.sql('delete from one_time_tokens')
    t.equal((await post(origin, mailRoutes.password_reset, { email: owner.email })).status, 202)
    t.strictSame(await countLinks(service), {}, 'the owner gets the same response as other clients')
    await leakOneMail(service)
    await flood()
    t.strictSame(await countLinks(service), { password_reset: 1 })
    // The mail went to the owner, whichever client requested it.
    const { token } = await mailTo(service, owner.email, 'password_reset')
    t.equal(
      (await post(origin, `${mailRoutes.password_reset}/confirm`, { token, new_password: owner.password }))
        .status,
      204
    )
  })

  await t.test('does not prevent a password reset that an administrator sends', async t => {
    t.equal(
      (await post(origin, `/v1/admin/users/${id}/password-reset`, {}, { token: adminToken })).status,
      202
    )
    const { token } = await mailTo(service, owner.email, 'password_reset')
    t.equal(
      (await post(origin, `${mailRoutes.password_reset}/confirm`, { token, new_password: owner.password }))
        .status,
      204
    )
  })

  await t.test('prevents neither the undo of a change of address nor the reset that follows it', async t => {
    t.equal(
      (await post(origin, `${mailRoutes.email_verification}/confirm`, { token: changeToken })).status,
      410,
      'a pending change becomes invalid when the password changes'
    )
    const { access_token: accessToken } = JSON.parse(
      (await post(origin, login, { email: owner.email, password: owner.password })).text
    )
    await post(origin, '/v1/me/email', { password: owner.password, email: newEmail }, { token: accessToken })
    await post(origin, `${mailRoutes.email_verification}/confirm`, {
      token: (await mailTo(service, newEmail, 'email_change')).token,
      password: owner.password
    })
    await flood()
    const undoToken = (await mailTo(service, owner.email, 'email_changed')).token
    t.equal(
      (await post(origin, `${mailRoutes.email_verification}/confirm`, { token: undoToken })).status,
      204
    )
    const { token } = await mailTo(service, owner.email, 'password_reset')
    t.equal(
      (await post(origin, `${mailRoutes.password_reset}/confirm`, { token, new_password: owner.password }))
        .status,
      204
    )
  })
})

t.test('a flood of registrations with one address', async t => {
  const service = await build(t, { REQUIRE_EMAIL_VERIFICATION: 'true' })
  const origin = await listen(service)
  const ada = newUser()
  const from = newLoopbackAddress()
  const requestRegistration = async (body: object, sender: Sender = {}) =>
    (await post(origin, '/v1/auth/register', body, sender)).status
  const countPending = async () => (await service.sql('select from pending_registrations')).length

  await t.test('stores five from one network, and does not prevent the one of the owner', async t => {
    t.strictSame(
      new Set(
        await mapConcurrently(
          times(30),
          8,
          async () => await requestRegistration({ ...newUser(), email: ada.email }, { from })
        )
      ),
      new Set([202])
    )
    t.equal(await countPending(), 5)
    for (let i = 0; i < 5; i++) await mailTo(service, ada.email, 'email_verification')
    t.equal(await requestRegistration(ada), 202)
    t.equal(await countPending(), 6)
    t.equal(
      (
        await post(origin, `${mailRoutes.email_verification}/confirm`, {
          token: (await mailTo(service, ada.email, 'email_verification')).token,
          password: ada.password
        })
      ).status,
      204
    )
    t.equal((await post(origin, login, ada)).status, 200)
  })

  await t.test('shares its limit with notifications of a taken address and requested links', async t => {
    for (let i = 0; i < 6; i++) t.equal(await requestRegistration({ ...newUser(), email: ada.email }), 202)
    for (let i = 0; i < 6; i++) await post(origin, mailRoutes.email_verification, { email: ada.email })
    t.equal(
      (await countPending()) +
        (await service.sql(
          "select from one_time_tokens where purpose = 'email_verification' and email_version > 0")).length,
      9,
      'fifteen with the six before'
    )
  })

  await t.test('stores fifteen from many networks; the owner can register some minutes later', async t => {
    const bob = newUser()
    await service.sql('delete from pending_registrations')
    await mapConcurrently(
      times(30),
      8,
      async () => await requestRegistration({ ...newUser(), email: bob.email })
    )
    t.equal(await countPending(), 15)
    t.equal(await requestRegistration(bob), 202)
    t.match(
      await post(origin, login, bob),
      { status: 401 },
      'a registration without a mail is not stored, because it could not be confirmed'
    )
    await leakOneMail(service)
    for (let i = 0; i < 15; i++) await mailTo(service, bob.email, 'email_verification')
    t.equal(await requestRegistration(bob), 202)
    t.match(await post(origin, login, bob), { status: 403 })
    t.equal(
      (
        await post(origin, `${mailRoutes.email_verification}/confirm`, {
          token: (await mailTo(service, bob.email, 'email_verification')).token,
          password: bob.password
        })
      ).status,
      204
    )
    t.equal((await post(origin, login, bob)).status, 200)
  })

  await t.test('without REQUIRE_EMAIL_VERIFICATION only drops the mail of a registration', async t => {
    const defaultService = await build(t, {}, { url: service.url })
    const origin = await listen(defaultService)
    const carol = newUser()
    for (let i = 0; i < 15; i++) await post(origin, mailRoutes.email_verification, { email: carol.email })
    t.equal((await post(origin, '/v1/auth/register', carol)).status, 201)
    t.strictSame(
      await service.sql(
        'select from one_time_tokens join users on users.id = user_id where users.email = $1',
        [carol.email]
      ),
      []
    )
    await leakOneMail(service)
    t.equal(
      (
        await post(origin, `${mailRoutes.email_verification}/confirm`, {
          token: await requestLink(defaultService, origin, 'email_verification', carol.email),
          password: carol.password
        })
      ).status,
      204
    )
  })
})

t.test('a user who requests many changes to the address of a stranger', async t => {
  const service = await build(t)
  const origin = await listen(service)
  const eve = await register(origin)
  const { email } = newUser()
  const from = newLoopbackAddress()
  const answers = await mapConcurrently(
    times(20),
    4,
    async () =>
      await post(origin, '/v1/me/email', { password: eve.password, email }, { token: eve.token, from })
  )
  t.strictSame(new Set(statuses(answers)), new Set([202]))
  t.strictSame(
    await service.sql("select count(*)::int as links from one_time_tokens where purpose = 'email_change'"),
    [{ links: 1 }]
  )
  for (let i = 0; i < 5; i++) await mailTo(service, email, 'email_change')
})
