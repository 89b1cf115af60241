import { createHash, pbkdf2Sync, randomBytes, randomInt } from 'node:crypto'
import t from 'tap'
import { median } from '../../bench/throughput.ts'
import * as argon2id from '../../src/passwords/argon2id.ts'
import { cookiesOf, listen, post, newLoopbackAddress } from '../support/concurrency.ts'
import { build, newUser, type Service } from '../support/app.ts'
import { ask, type Exchange } from '../support/wire.ts'

const register = '/v1/auth/register'
const login = '/v1/auth/login'
const wrong = 'not the password'
const base64 = (bytes: Buffer) => bytes.toString('base64').replaceAll('=', '')

// What accounts may have in the place of a hash that was made here today. No wrong password takes longer than against
// that: what costs more (bcrypt from a cost of 10 on, say) tells itself, until its owner signs in.
const hashes: Record<string, () => string | Promise<string> | null> = {
  'no password': () => null,
  'a hash of less work': async () => await argon2id.hash('older', { memoryKib: 4096, timeCost: 1, parallelism: 1 }),
  'a hash of bcrypt': () => '$2b$06$TArzT37JtOFyMApJrYQ67.o0g/n1SmflX8V26E2PJTims2hTcUCrO',
  'a hash of SHA-512-crypt': () => '$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjlO/O817G3uBnIFNjnQJuesI68OTLiBFdcbYEdFCoEOfaS35inz1',
  'a hash of PBKDF2': () => `$pbkdf2-sha256$1000$${base64(Buffer.alloc(16))}$${base64(pbkdf2Sync('older', Buffer.alloc(16), 1000, 32, 'sha256'))}`,
  'a salted digest': () => `{SSHA512}${Buffer.concat([createHash('sha512').update('older').update('salt').digest(), Buffer.from('salt')]).toString('base64')}`
}

/** What somebody sends, each time anew, who wants to know whether there is an account. */
interface Question { what: string, body: () => object }
/** A way to ask: the first question is of nobody, and the others are to be answered like it, in the same words and in the same time. */
interface Flow { what: string, path: string, words: boolean, time: boolean, statuses: number[], questions: Question[] }

const refusals = [401, 401, 401, 429, 429]
const always = (status: number) => Array<number>(5).fill(status)
const asked = { 'a password reset': '/v1/auth/password-reset', 'a link to prove an address': '/v1/auth/email-verification', 'a link to sign in': '/v1/auth/magic-link' }

/** Accounts of every kind, and the ways to ask for them. */
async function flows ({ sql }: Service, origin: string): Promise<Flow[]> {
  const account = async (what: string, change: string, ...values: unknown[]) => {
    const somebody = { ...newUser(), username: unheard() }
    await post(origin, register, somebody)
    await sql(`update users set ${change} where email = $1`, [somebody.email, ...values])
    return { what, ...somebody }
  }
  const known = await account('an account', 'name = null')
  const disabled = await account('a disabled account', 'disabled_at = now()')
  const proved = await account('an account', 'email_verified_at = now()')
  const strange = await account('an account with a hash that nobody knows', "password_hash = '$unknown$AAAA'")
  const older = []
  for (const [what, hash] of Object.entries(hashes)) older.push(await account(`an account with ${what}`, 'password_hash = $2', await hash()))
  const nobody = { what: 'an address of nobody', body: () => ({ email: newUser().email, password: wrong }) }
  const byAddress = ({ what, email }: { what: string, email: string }) => ({ what, body: () => ({ email, password: wrong }) })
  const refused = 'password1'
  return [
    {
      what: 'signing in',
      path: login,
      statuses: refusals,
      words: true,
      time: true,
      questions: [nobody, { what: 'a username of nobody', body: () => ({ username: unheard(), password: wrong }) }, { what: 'a username', body: () => ({ username: known.username, password: wrong }) }, ...[known, disabled, ...older].map(byAddress)]
    },
    {
      what: 'signing in with what cannot be',
      path: login,
      statuses: refusals,
      words: true,
      time: false,
      questions: [
        nobody,
        { what: 'no address', body: () => ({ email: `not an address ${unheard()}`, password: wrong }) },
        { what: 'no username', body: () => ({ username: `💥 ${unheard()}`, password: wrong }) },
        { what: 'a username, written otherwise', body: () => ({ username: known.username.toUpperCase(), password: wrong }) },
        { what: 'a password that nobody can have', body: () => ({ email: known.email, password: 'x'.repeat(1_000) }) },
        { what: 'half a character', body: () => ({ email: known.email, password: '\ud83d' }) },
        byAddress(strange)
      ]
    },
    {
      what: 'signing up with a password that is refused',
      path: register,
      statuses: always(422),
      words: true,
      // Nothing is hashed: what there is to compare no network shows.
      time: false,
      questions: [
        { what: 'an address of nobody', body: () => ({ email: newUser().email, password: refused }) },
        { what: 'an address that is taken', body: () => ({ email: known.email, password: refused }) },
        { what: 'a username that is taken', body: () => ({ email: newUser().email, username: known.username, password: refused }) }
      ]
    },
    {
      what: 'signing up',
      path: register,
      statuses: always(201),
      // As long as addresses need no proof, the status tells which are taken. A new account takes longer.
      words: false,
      time: false,
      questions: [
        { what: 'an address of nobody', body: () => newUser() },
        { what: 'an address that is taken', body: () => ({ ...newUser(), email: known.email }) }
      ]
    },
    {
      what: 'signing up with what is taken',
      path: register,
      statuses: always(409),
      // The code says whether it is the address or the username; the time says nothing more.
      words: false,
      time: true,
      questions: [
        { what: 'an address that is taken', body: () => ({ ...newUser(), email: known.email }) },
        { what: 'an address of a disabled account', body: () => ({ ...newUser(), email: disabled.email }) },
        { what: 'a username that is taken', body: () => ({ ...newUser(), username: known.username }) }
      ]
    },
    ...Object.entries(asked).map(([what, path]) => ({
      what: `asking for ${what}`,
      path,
      statuses: always(202),
      words: true,
      time: true,
      questions: [nobody, ...[known, disabled].map(byAddress), { what: 'an address that is proved', body: () => ({ email: proved.email, password: wrong }) }].map(({ what, body }) => ({ what, body: () => ({ email: body().email }) }))
    }))
  ]
}

/** The ways to ask where addresses must be proved: nobody learns there who has an account, not even by signing up. */
async function secretFlows ({ sql }: Service, origin: string): Promise<Flow[]> {
  const taken = newUser()
  await post(origin, register, taken)
  const pending = newUser()
  await post(origin, register, pending)
  const [{ email, password_hash: hash } = {}] = await sql<{ email: string, password_hash: string }>('select email, password_hash from pending_registrations where email = $1', [taken.email])
  await sql('insert into users (id, email, canonical_email, password_hash, email_verified_at) values (gen_random_uuid(), $1, $1, $2, now())', [email, hash])
  const unproved = newUser()
  await sql('insert into users (id, email, canonical_email, password_hash) values (gen_random_uuid(), $1, $1, $2)', [unproved.email, hash])
  const kinds = [{ what: 'an address that is taken', email: taken.email }, { what: 'an address that is to be proved', email: pending.email }, { what: 'an address of an account from before', email: unproved.email }]
  return [
    {
      what: 'signing up where addresses must be proved',
      path: register,
      statuses: always(202),
      words: true,
      time: true,
      questions: [{ what: 'an address of nobody', body: () => newUser() }, ...kinds.map(({ what, email }) => ({ what, body: () => ({ ...newUser(), email }) }))]
    },
    {
      what: 'signing in where addresses must be proved',
      path: login,
      statuses: refusals,
      words: true,
      time: true,
      questions: [{ what: 'an address of nobody', body: () => ({ email: newUser().email, password: wrong }) }, ...kinds.map(({ what, email }) => ({ what, body: () => ({ email, password: wrong }) }))]
    },
    {
      what: 'asking for another link to prove an address',
      path: asked['a link to prove an address'],
      statuses: always(202),
      words: true,
      time: true,
      questions: [{ what: 'an address of nobody', body: () => ({ email: newUser().email }) }, ...kinds.map(({ what, email }) => ({ what, body: () => ({ email }) }))]
    }
  ]
}
const unheard = () => `user.${randomBytes(6).toString('hex')}`

const moments = ['retry-after', 'ratelimit-reset']
/** A cookie but for its value, of which the length is left. */
const masked = (line: string) => line.replace(/=([\w-]+);/, (_, value: string) => `=${'x'.repeat(value.length)};`)
/** An answer but for the time of day and the values of cookies: what is left of a wait is only looked at. */
const comparable = ({ status, rawHeaders, text }: Exchange) => ({
  status,
  text,
  headers: rawHeaders.map((value, index) => {
    const name = index % 2 ? String(rawHeaders[index - 1]).toLowerCase() : ''
    if (name === 'set-cookie') return masked(value)
    return name === 'date' || (moments.includes(name) && Number(value) > 15 && Number(value) <= 60) ? name : value
  })
})
const lines = ['x-request-id: the-same', 'user-agent: the same']

t.test('answers', async t => {
  const limits = { RATE_LIMIT: '300/1m', LOGIN_RATE_LIMIT: '3/15m', LOGIN_NETWORK_LIMIT: '50/15m', LOGIN_ACCOUNT_LIMIT: '100/24h' }
  const service = await build(t, limits)
  const origin = await listen(service)
  const secretive = await build(t, { ...limits, REQUIRE_EMAIL_VERIFICATION: 'true' })
  const secretly = await listen(secretive)
  const same = (await flows(service, origin)).filter(({ words }) => words).map(flow => ({ ...flow, origin }))
  const all = [...same, ...(await secretFlows(secretive, secretly)).map(flow => ({ ...flow, origin: secretly }))]
  // The very first answer of a process writes its headers in another order.
  const warm = async (origin: string) => { await post(origin, login, { email: newUser().email, password: wrong }) }
  const eve = await post(origin, register, newUser())
  const spies = [{ who: 'a stranger', sender: {} }, { who: 'somebody who is signed in', sender: { cookie: cookiesOf(eve), token: String(JSON.parse(eve.text).access_token) } }]

  for (const { what: flow, path, questions, statuses, origin } of all) {
    for (const { who, sender } of spies) {
      const told = async ({ body }: Question) => {
        const from = newLoopbackAddress()
        const asked = body()
        const answers = []
        for (let i = 0; i < 5; i++) answers.push(comparable(await post(origin, path, asked, { ...sender, from, lines })))
        return answers
      }
      const [nobody, ...others] = questions
      if (!nobody) continue
      const expected = await told(nobody)
      t.strictSame(expected.map(({ status }) => status), statuses, flow)
      // A registration sets its cookie, and whether the address is taken does not show by it.
      const cookies = expected.flatMap(({ headers }) => headers.filter(value => /^\w+=x+;/.test(value)))
      t.strictSame(cookies.length, statuses.filter(status => status === 202 && path === register).length)
      t.notOk(cookies.some(cookie => !cookie.startsWith('registration_3000=')))
      for (const question of others) t.strictSame(await told(question), expected, `${flow}: ${question.what}, to ${who}`)
    }
  }

  t.test('from many networks are as many, for an account and for none', async t => {
    const strict = await build(t, { ...limits, LOGIN_ACCOUNT_LIMIT: '6/24h' }, { url: service.url })
    const there = await listen(strict)
    await warm(there)
    for (const { path, questions } of same.filter(({ path }) => path === login)) {
      const told = async ({ body }: Question) => {
        const asked = body()
        await service.sql('delete from login_throttles')
        const answers = []
        for (let i = 0; i < 8; i++) answers.push(comparable(await post(there, path, asked, { lines })))
        return answers
      }
      const [nobody, ...others] = questions
      if (!nobody) continue
      const expected = await told(nobody)
      t.strictSame(expected.map(({ status }) => status), [401, 401, 401, 401, 401, 401, 429, 429])
      for (const question of others) t.strictSame(await told(question), expected, question.what)
    }
  })

  t.test('of other methods say nothing', async t => {
    for (const { path, questions, origin } of all) {
      for (const method of ['HEAD', 'GET', 'OPTIONS', 'PUT', 'DELETE']) {
        const told = async ({ body }: Question) => {
          const query = new URLSearchParams(Object.entries(body()).map(([name, value]): [string, string] => [name, String(value)]))
          return comparable(await ask(method, `${origin}${path}?${query}`, [...lines, 'content-type: application/json'], Buffer.from(JSON.stringify(body())), newLoopbackAddress()))
        }
        const [expected, ...others] = await Promise.all(questions.map(told))
        for (const answer of others) t.strictSame(answer, expected, `${method} ${path}`)
      }
    }
  })
})

t.test('times', async t => {
  // As it is by default, and one at a time.
  const service = await build(t, { ARGON2_MEMORY_KIB: undefined, ARGON2_TIME_COST: undefined, ARGON2_CONCURRENCY: '1' })
  const origin = await listen(service)
  const secretive = await build(t, { ARGON2_MEMORY_KIB: undefined, ARGON2_TIME_COST: undefined, ARGON2_CONCURRENCY: '1', REQUIRE_EMAIL_VERIFICATION: 'true' })
  const secretly = await listen(secretive)
  const usual = [...(await flows(service, origin)).map(flow => ({ ...flow, service, origin })), ...(await secretFlows(secretive, secretly)).map(flow => ({ ...flow, service: secretive, origin: secretly }))].filter(({ time }) => time)
  // Once too many mails were requested for an address, for one of nobody as for one of an account.
  const dropped = usual.filter(({ path }) => Object.values(asked).includes(path)).map(flow => ({
    ...flow,
    what: `${flow.what} too often`,
    questions: flow.questions.map(({ what, body }) => {
      const fixed = body()
      return { what, body: () => fixed }
    })
  }))
  const timed = [...usual.map(flow => ({ ...flow, isDropped: false })), ...dropped.map(flow => ({ ...flow, isDropped: true }))]

  for (const { what: flow, path, questions, service, origin, isDropped } of timed) {
    await t.test(`of ${flow}`, async t => {
      const samples = new Map<Question, number[]>()
      const round = async () => {
        if (!isDropped) await service.sql('delete from mail_buckets')
        for (const [question] of questions.map(question => [question, randomInt(2 ** 32)] as const).sort(([, a], [, b]) => a - b)) {
          const body = question.body()
          const begun = performance.now()
          await post(origin, path, body)
          samples.set(question, [...samples.get(question) ?? [], performance.now() - begun])
        }
      }
      const measure = async () => {
        samples.clear()
        for (let i = 0; i < 60; i++) await round()
        const [nobody = NaN, ...others] = questions.map(question => median(samples.get(question) ?? []))
        return others.map((time, index) => ({ what: questions[index + 1]?.what, time, ratio: time / nobody }))
      }
      // What it takes to hash is learnt, and the buckets are filled.
      for (let i = 0; i < (isDropped ? 16 : 5); i++) await round()
      const differ = ({ ratio }: { ratio: number }) => !(ratio > 0.8 && ratio < 1.25)
      let measured = await measure()
      // Others use the machine too.
      for (let again = 0; again < 2 && measured.some(differ); again++) measured = await measure()
      for (const each of measured) t.notOk(differ(each), `${each.what}: ${each.time.toFixed(1)} ms, ${each.ratio.toFixed(3)} of that of nobody`)
    })
  }
})
