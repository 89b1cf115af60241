import { build, newUser } from '../support/app.ts'
import { cookiesOf, listen, newLoopbackAddress, post } from '../support/concurrency.ts'
import {
  apiFlows, login, register, secretApiFlows, wrongPassword, type Question
} from '../support/enumeration.ts'
import { t } from '../support/test.ts'
import { ask, type WireResponse } from '../support/wire.ts'

const timeHeaders = ['retry-after', 'ratelimit-reset']
/** A cookie whose value is replaced by another one of the same length. */
const maskValue = (line: string) =>
  line.replace(/=([\w-]+);/, (_, value: string) => `=${'x'.repeat(value.length)};`)
/** The parts of a response that must be equal: not the date, the values of cookies, and remaining times. */
const comparable = ({ status, rawHeaders, text }: WireResponse) => ({
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
  const same = (await apiFlows(service, origin))
    .filter(({ hasSameText }) => hasSameText)
    .map(flow => ({ ...flow, origin }))
  const all = [
    ...same,
    ...(await secretApiFlows(verifyingService, verifyingOrigin)).map(flow => ({
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
            await ask(method, `${origin}${path}?${query}`, {
              lines: [...lines, 'content-type: application/json'],
              body: Buffer.from(JSON.stringify(body())),
              from: newLoopbackAddress()
            })
          )
        }
        const [expected, ...others] = await Promise.all(questions.map(answersTo))
        for (const answer of others) t.strictSame(answer, expected, `${method} ${path}`)
      }
    }
  })
})
