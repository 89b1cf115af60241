import { createHash, pbkdf2Sync, randomBytes, randomInt } from 'node:crypto'
import t from 'tap'
import { median } from '../../bench/throughput.ts'
import * as argon2id from '../../src/passwords/argon2id.ts'
import { cookiesOf, listen, post, newLoopbackAddress } from '../support/concurrency.ts'
import { build, newUser, type Service } from '../support/app.ts'
import { isSoak } from '../support/soak.ts'
import { ask, type Exchange } from '../support/wire.ts'

const register = '/v1/auth/register'
const login = '/v1/auth/login'
const wrongPassword = 'not the password'
const base64 = (bytes: Buffer) => bytes.toString('base64').replaceAll('=', '')

// Hashes of accounts that differ from a new hash. None of them takes longer to verify than a new hash. More
// expensive
// ones (such as bcrypt with a cost of 10) are distinguishable until their owner signs in.
const hashes: Record<string, () => string | Promise<string> | null> = {
  'no password': () => null,
  'a hash of less work': async () =>
    await argon2id.hash('older', { memoryKib: 4096, timeCost: 1, parallelism: 1 }),
  'a hash of bcrypt': () => '$2b$06$TArzT37JtOFyMApJrYQ67.o0g/n1SmflX8V26E2PJTims2hTcUCrO',
  'a hash of SHA-512-crypt': () =>
    '$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjlO/O817G3uBnIFNjnQJuesI68OTLiBFdcbYEdFCoEOfaS35inz1',
  'a hash of PBKDF2': () =>
    `$pbkdf2-sha256$1000$${base64(Buffer.alloc(16))}$${base64(pbkdf2Sync('older', Buffer.alloc(16), 1000, 32, 'sha256'))}`,
  'a salted digest': () =>
    `{SSHA512}${Buffer.concat([createHash('sha512').update('older').update('salt').digest(), Buffer.from('salt')]).toString('base64')}`
}

/** A request that is sent to learn whether an account exists. `body` creates a new body each time. */
interface Question { what: string, body: () => object }
/**
 * The first question of a flow is about no account. The others must get the same responses (`hasSameText`) in
 * the
 * same time (`hasSameTime`).
 */
interface Flow {
  what: string
  path: string
  hasSameText: boolean
  hasSameTime: boolean
  statuses: number[]
  questions: Question[]
}

const refusals = [401, 401, 401, 429, 429]
const fiveTimes = (status: number) => Array<number>(5).fill(status)
const linkRoutes = {
  'a password reset': '/v1/auth/password-reset',
  'a link to verify an address': '/v1/auth/email-verification',
  'a link to sign in': '/v1/auth/magic-link'
}

/** Creates accounts of every kind, and returns the flows that ask for them. */
async function flows ({ sql }: Service, origin: string): Promise<Flow[]> {
  const account = async (what: string, change: string, ...values: unknown[]) => {
    const user = { ...newUser(), username: newUsername() }
    await post(origin, register, user)
    await sql(`update users set ${change} where email = $1`, [user.email, ...values])
    return { what, ...user }
  }
  const known = await account('an account', 'name = null')
  const disabled = await account('a disabled account', 'disabled_at = now()')
  const verified = await account('an account', 'email_verified_at = now()')
  const withUnknownHash = await account(
    'an account with a hash of unknown format',
    "password_hash = '$unknown$AAAA'"
  )
  const withOtherHashes = []
  for (const [what, hash] of Object.entries(hashes)) {
    withOtherHashes.push(await account(`an account with ${what}`, 'password_hash = $2', await hash()))
  }
  const unknownAddress = {
    what: 'an unknown address',
    body: () => ({ email: newUser().email, password: wrongPassword })
  }
  const byAddress = ({ what, email }: { what: string; email: string }) => ({
    what,
    body: () => ({ email, password: wrongPassword })
  })
  const rejectedPassword = 'password1'
  return [
    {
      what: 'signing in',
      path: login,
      statuses: refusals,
      hasSameText: true,
      hasSameTime: true,
      questions: [
        unknownAddress,
        { what: 'an unknown username', body: () => ({ username: newUsername(), password: wrongPassword }) },
        { what: 'a username', body: () => ({ username: known.username, password: wrongPassword }) },
        ...[known, disabled, ...withOtherHashes].map(byAddress)
      ]
    },
    {
      what: 'signing in with malformed values',
      path: login,
      statuses: refusals,
      hasSameText: true,
      hasSameTime: false,
      questions: [
        unknownAddress,
        {
          what: 'a malformed address',
          body: () => ({ email: `not an address ${newUsername()}`, password: wrongPassword })
        },
        {
          what: 'a malformed username',
          body: () => ({ username: `💥 ${newUsername()}`, password: wrongPassword })
        },
        {
          what: 'a username in upper case',
          body: () => ({ username: known.username.toUpperCase(), password: wrongPassword })
        },
        {
          what: 'a password that is too long',
          body: () => ({ email: known.email, password: 'x'.repeat(1_000) })
        },
        { what: 'a lone surrogate', body: () => ({ email: known.email, password: '\ud83d' }) },
        byAddress(withUnknownHash)
      ]
    },
    {
      what: 'registering with a rejected password',
      path: register,
      statuses: fiveTimes(422),
      hasSameText: true,
      // Nothing is hashed, so the difference in time is too small to be observed over a network.
      hasSameTime: false,
      questions: [
        { what: 'an unknown address', body: () => ({ email: newUser().email, password: rejectedPassword }) },
        { what: 'a taken address', body: () => ({ email: known.email, password: rejectedPassword }) },
        {
          what: 'a taken username',
          body: () => ({ email: newUser().email, username: known.username, password: rejectedPassword })
        }
      ]
    },
    {
      what: 'registering',
      path: register,
      statuses: fiveTimes(201),
      // Without REQUIRE_EMAIL_VERIFICATION, the status reveals taken addresses. A new account takes longer.
      hasSameText: false,
      hasSameTime: false,
      questions: [
        { what: 'an unknown address', body: () => newUser() },
        { what: 'a taken address', body: () => ({ ...newUser(), email: known.email }) }
      ]
    },
    {
      what: 'registering a taken address or username',
      path: register,
      statuses: fiveTimes(409),
      // The code names the address or the username. The time reveals nothing more.
      hasSameText: false,
      hasSameTime: true,
      questions: [
        { what: 'a taken address', body: () => ({ ...newUser(), email: known.email }) },
        { what: 'an address of a disabled account', body: () => ({ ...newUser(), email: disabled.email }) },
        { what: 'a taken username', body: () => ({ ...newUser(), username: known.username }) }
      ]
    },
    ...Object.entries(linkRoutes).map(([what, path]) => ({
      what: `requesting ${what}`,
      path,
      statuses: fiveTimes(202),
      hasSameText: true,
      hasSameTime: true,
      questions: [
        unknownAddress,
        ...[known, disabled].map(byAddress),
        { what: 'a verified address', body: () => ({ email: verified.email, password: wrongPassword }) }
      ].map(({ what, body }) => ({ what, body: () => ({ email: body().email }) }))
    }))
  ]
}

/** The flows with REQUIRE_EMAIL_VERIFICATION, where not even a registration reveals an account. */
async function secretFlows ({ sql }: Service, origin: string): Promise<Flow[]> {
  const taken = newUser()
  await post(origin, register, taken)
  const pending = newUser()
  await post(origin, register, pending)
  const [{ email, password_hash: hash } = {}] = await sql<{ email: string; password_hash: string }>(
    'select email, password_hash from pending_registrations where email = $1',
    [taken.email]
  )
  await sql(
    `insert into users (id, email, canonical_email, password_hash, email_verified_at)
    values (gen_random_uuid(), $1, $1, $2, now())`,
    [email, hash]
  )
  const unverified = newUser()
  await sql(
    'insert into users (id, email, canonical_email, password_hash) values (gen_random_uuid(), $1, $1, $2)',
    [unverified.email, hash]
  )
  const kinds = [
    { what: 'a taken address', email: taken.email },
    { what: 'an address of a pending registration', email: pending.email },
    { what: 'an unverified address of an account', email: unverified.email }
  ]
  return [
    {
      what: 'registering if addresses must be verified',
      path: register,
      statuses: fiveTimes(202),
      hasSameText: true,
      hasSameTime: true,
      questions: [
        { what: 'an unknown address', body: () => newUser() },
        ...kinds.map(({ what, email }) => ({ what, body: () => ({ ...newUser(), email }) }))
      ]
    },
    {
      what: 'signing in if addresses must be verified',
      path: login,
      statuses: refusals,
      hasSameText: true,
      hasSameTime: true,
      questions: [
        { what: 'an unknown address', body: () => ({ email: newUser().email, password: wrongPassword }) },
        ...kinds.map(({ what, email }) => ({ what, body: () => ({ email, password: wrongPassword }) }))
      ]
    },
    {
      what: 'requesting another link to verify an address',
      path: linkRoutes['a link to verify an address'],
      statuses: fiveTimes(202),
      hasSameText: true,
      hasSameTime: true,
      questions: [
        { what: 'an unknown address', body: () => ({ email: newUser().email }) },
        ...kinds.map(({ what, email }) => ({ what, body: () => ({ email }) }))
      ]
    }
  ]
}
const newUsername = () => `user.${randomBytes(6).toString('hex')}`

const timeHeaders = ['retry-after', 'ratelimit-reset']
/** A cookie whose value is replaced by another one of the same length. */
const maskValue = (line: string) =>
  line.replace(/=([\w-]+);/, (_, value: string) => `=${'x'.repeat(value.length)};`)
/** The parts of a response that must be equal: not the date, the values of cookies, and remaining times. */
const comparable = ({ status, rawHeaders, text }: Exchange) => ({
  status,
  text,
  headers: rawHeaders.map((value, index) => {
    const name = index % 2 ? String(rawHeaders[index - 1]).toLowerCase() : ''
    if (name === 'set-cookie') return maskValue(value)
    return name === 'date' || (timeHeaders.includes(name) && Number(value) > 15 && Number(value) <= 60)
      ? name
      : value
  })
})
const lines = ['x-request-id: the-same', 'user-agent: the same']

t.test('responses', async t => {
  const limits = {
    RATE_LIMIT: '300/1m',
    LOGIN_RATE_LIMIT: '3/15m',
    LOGIN_NETWORK_LIMIT: '50/15m',
    LOGIN_ACCOUNT_LIMIT: '100/24h'
  }
  const service = await build(t, limits)
  const origin = await listen(service)
  const verifyingService = await build(t, { ...limits, REQUIRE_EMAIL_VERIFICATION: 'true' })
  const verifyingOrigin = await listen(verifyingService)
  const same = (await flows(service, origin))
    .filter(({ hasSameText }) => hasSameText)
    .map(flow => ({ ...flow, origin }))
  const all = [
    ...same,
    ...(await secretFlows(verifyingService, verifyingOrigin)).map(flow => ({
      ...flow,
      origin: verifyingOrigin
    }))
  ]
  // The first response of a process has its headers in another order.
  const warmUp = async (origin: string) => {
    await post(origin, login, { email: newUser().email, password: wrongPassword })
  }
  const eve = await post(origin, register, newUser())
  const clients = [
    { who: 'an anonymous client', sender: {} },
    {
      who: 'a signed-in client',
      sender: { cookie: cookiesOf(eve), token: String(JSON.parse(eve.text).access_token) }
    }
  ]

  for (const { what: flow, path, questions, statuses, origin } of all) {
    for (const { who, sender } of clients) {
      const answersTo = async ({ body }: Question) => {
        const from = newLoopbackAddress()
        const sentBody = body()
        const answers = []
        for (let i = 0; i < 5; i++) {
          answers.push(comparable(await post(origin, path, sentBody, { ...sender, from, lines })))
        }
        return answers
      }
      const [unknown, ...others] = questions
      if (!unknown) continue
      const expected = await answersTo(unknown)
      t.strictSame(expected.map(({ status }) => status), statuses, flow)
      // Each registration sets its cookie, whether the address is taken or not.
      const cookies = expected.flatMap(({ headers }) => headers.filter(value => /^\w+=x+;/.test(value)))
      t.strictSame(cookies.length, statuses.filter(status => status === 202 && path === register).length)
      t.notOk(cookies.some(cookie => !cookie.startsWith('registration_3000=')))
      for (const question of others) {
        t.strictSame(await answersTo(question), expected, `${flow}: ${question.what}, to ${who}`)
      }
    }
  }

  t.test('from many networks are limited alike with and without an account', async t => {
    const strict = await build(t, { ...limits, LOGIN_ACCOUNT_LIMIT: '6/24h' }, { url: service.url })
    const origin = await listen(strict)
    await warmUp(origin)
    for (const { path, questions } of same.filter(({ path }) => path === login)) {
      const answersTo = async ({ body }: Question) => {
        const sentBody = body()
        await service.sql('delete from login_throttles')
        const answers = []
        for (let i = 0; i < 8; i++) answers.push(comparable(await post(origin, path, sentBody, { lines })))
        return answers
      }
      const [unknown, ...others] = questions
      if (!unknown) continue
      const expected = await answersTo(unknown)
      t.strictSame(expected.map(({ status }) => status), [401, 401, 401, 401, 401, 401, 429, 429])
      for (const question of others) t.strictSame(await answersTo(question), expected, question.what)
    }
  })

  t.test('to other methods do not depend on the account', async t => {
    for (const { path, questions, origin } of all) {
      for (const method of ['HEAD', 'GET', 'OPTIONS', 'PUT', 'DELETE']) {
        const answersTo = async ({ body }: Question) => {
          const query = new URLSearchParams(
            Object.entries(body()).map(([name, value]): [string, string] => [name, String(value)])
          )
          return comparable(
            await ask(
              method,
              `${origin}${path}?${query}`,
              [...lines, 'content-type: application/json'],
              Buffer.from(JSON.stringify(body())),
              newLoopbackAddress()
            )
          )
        }
        const [expected, ...others] = await Promise.all(questions.map(answersTo))
        for (const answer of others) t.strictSame(answer, expected, `${method} ${path}`)
      }
    }
  })
})

t.test('response times', { skip: !isSoak && 'npm run test:soak measures them' }, async t => {
  // With the default costs, and one hash at a time.
  const service = await build(t, {
    ARGON2_MEMORY_KIB: undefined,
    ARGON2_TIME_COST: undefined,
    ARGON2_CONCURRENCY: '1'
  })
  const origin = await listen(service)
  const verifyingService = await build(t, {
    ARGON2_MEMORY_KIB: undefined,
    ARGON2_TIME_COST: undefined,
    ARGON2_CONCURRENCY: '1',
    REQUIRE_EMAIL_VERIFICATION: 'true'
  })
  const verifyingOrigin = await listen(verifyingService)
  const flowsBelowLimit = [
    ...(await flows(service, origin)).map(flow => ({ ...flow, service, origin })),
    ...(await secretFlows(verifyingService, verifyingOrigin)).map(flow => ({
      ...flow,
      service: verifyingService,
      origin: verifyingOrigin
    }))
  ].filter(({ hasSameTime }) => hasSameTime)
  // The same flows after too many mails have been requested for the address.
  const droppedFlows = flowsBelowLimit
    .filter(({ path }) => Object.values(linkRoutes).includes(path))
    .map(flow => ({
      ...flow,
      what: `${flow.what} too often`,
      questions: flow.questions.map(({ what, body }) => {
        const fixed = body()
        return { what, body: () => fixed }
      })
    }))
  const timed = [
    ...flowsBelowLimit.map(flow => ({ ...flow, isDropped: false })),
    ...droppedFlows.map(flow => ({ ...flow, isDropped: true }))
  ]

  for (const { what: flow, path, questions, service, origin, isDropped } of timed) {
    await t.test(`of ${flow}`, async t => {
      const samples = new Map<Question, number[]>()
      const round = async () => {
        if (!isDropped) await service.sql('delete from mail_buckets')
        for (const [question] of questions
          .map(question => [question, randomInt(2 ** 32)] as const)
          .sort(([, a], [, b]) => a - b)) {
          const body = question.body()
          const startedAt = performance.now()
          await post(origin, path, body)
          samples.set(question, [...(samples.get(question) ?? []), performance.now() - startedAt])
        }
      }
      const measure = async () => {
        samples.clear()
        for (let i = 0; i < 60; i++) await round()
        const [baseline = NaN, ...others] = questions.map(question => median(samples.get(question) ?? []))
        return others.map((time, index) => ({
          what: questions[index + 1]?.what,
          time,
          ratio: time / baseline
        }))
      }
      // The service measures its hashing first, and the mail buckets are filled.
      for (let i = 0; i < (isDropped ? 16 : 5); i++) await round()
      const isDifferent = ({ ratio }: { ratio: number }) => !(ratio > 0.8 && ratio < 1.25)
      let measured = await measure()
      // Other processes may have disturbed the measurement, so it is repeated.
      for (let repetition = 0; repetition < 2 && measured.some(isDifferent); repetition++) {
        measured = await measure()
      }
      for (const result of measured) {
        const { what, time, ratio } = result
        t.notOk(
          isDifferent(result),
          `${what}: ${time.toFixed(1)} ms, ${ratio.toFixed(3)} of that without an account`
        )
      }
    })
  }
})
