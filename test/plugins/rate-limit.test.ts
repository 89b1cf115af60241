import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { request as httpRequest } from 'node:http'
import { connect, createServer, type AddressInfo } from 'node:net'
import { join } from 'node:path'
import fc from 'fast-check'
import type { Test } from 'tap'
import { ConfigError } from '../../src/config/config-error.ts'
import { freePort } from '../../src/database/embedded/server.ts'
import { build, newUser, type Service } from '../support/app.ts'
import type { Answer } from '../support/client.ts'
import { run } from '../support/command-line.ts'
import { mapConcurrently } from '../support/concurrency.ts'
import { createDatabase } from '../support/postgres.ts'
import { redisServer, skip, type RedisServer } from '../support/redis.ts'
import { waitUntil } from '../support/polling.ts'
import { scale } from '../support/soak.ts'
import { temporaryFolder } from '../support/temporary-folder.ts'
import { t } from '../support/test.ts'

const from = (address: string) => ({ 'x-forwarded-for': address })
const behindProxy = { TRUST_PROXY: '127.0.0.1' }

let networks = 0
/** An address of a network that has sent no requests. */
const newAddress = () => `198.51.${Math.floor(++networks / 250)}.${networks % 250 + 1}`

const outageWarnings = ({ logs }: Service) =>
  logs.filter(({ msg }) => /^Redis is unavailable:/.test(String(msg)))
const recoveryMessages = ({ logs }: Service) =>
  logs.filter(({ msg }) => /^Redis is available again:/.test(String(msg)))

/** Sends this many requests from an address, 20 at a time, to the instances in turn. */
async function sendRequests (instances: Service[], address: string, count: number): Promise<Answer[]> {
  const browsers = instances.map(instance => instance.browser())
  const inTurn = Array.from({ length: count }, (_, index) => browsers[index % browsers.length] ?? [])
  // If all were sent at once, Redis would not answer each of them in time.
  return await mapConcurrently(inTurn.flat(), 20, async browser => await browser.get('/v1/me', from(address)))
}

const countAccepted = (answers: Answer[]) => answers.filter(({ status }) => status !== 429).length

t.test('the routes of a class share one rate limit', async t => {
  const service = await build(t, { RATE_LIMIT: '10/1m', ...behindProxy })
  const remaining = ({ headers }: Answer) => Number(headers['ratelimit-remaining'])

  t.test('each request to any of them counts', async t => {
    const network = from(newAddress())
    const browser = service.browser()
    const generalAnswers = [
      await browser.get('/v1/me', network),
      await browser.send('HEAD', '/v1/me', undefined, network),
      await browser.post('/v1/auth/refresh', undefined, network),
      await browser.get('/docs', network),
      await browser.get('/nothing', network),
      await browser.delete('/v1/auth/login', network),
      await browser.send('OPTIONS', '/v1/me', undefined, network)
    ]
    t.strictSame(generalAnswers.map(remaining), [9, 8, 7, 6, 5, 4, 3])
    const passwordAnswers = [
      await browser.post('/v1/auth/login', newUser(), network),
      await browser.post('/v1/auth/register', newUser(), network),
      await browser.post('/v1/auth/login', newUser(), network)
    ]
    t.strictSame(passwordAnswers.map(({ status }) => status), [401, 201, 429])
    t.strictSame(passwordAnswers.map(remaining), [1, 0, 0], 'a fifth of the limit')
    const clientAnswers = [
      await browser.post('/oauth/token', 'grant_type=client_credentials', {
        ...network,
        'content-type': 'application/x-www-form-urlencoded'
      }),
      await browser.get('/oauth/token', network)
    ]
    t.strictSame(
      clientAnswers.map(remaining),
      [99, 2],
      '/oauth has ten times the limit, except for unknown methods'
    )
  })

  t.test('malformed requests count', async t => {
    const json = { 'content-type': 'application/json' }
    const malformed: Record<string, (network: Record<string, string>) => Promise<Answer>> = {
      'an unknown path': network => service.browser().get('/nothing', network),
      'an unknown method of a path': network => service.browser().delete('/v1/auth/login', network),
      'an OPTIONS request without an origin': network =>
        service.browser().send('OPTIONS', '/v1/me', undefined, network),
      'a preflight of a foreign origin': network =>
        service
          .browser()
          .send('OPTIONS', '/v1/me', undefined, {
            ...network,
            origin: 'https://evil.example',
            'access-control-request-method': 'GET'
          }),
      'a bad path': network => service.browser().get('/%zz', network),
      'bad JSON': network => service.browser().post('/v1/auth/refresh', '{', { ...network, ...json }),
      'a body that is too large': network =>
        service
          .browser()
          .post('/v1/auth/refresh', JSON.stringify({ refresh_token: 'x'.repeat(70_000) }), {
            ...network,
            ...json
          }),
      'an unknown media type': network =>
        service.browser().post('/v1/auth/refresh', 'x', { ...network, 'content-type': 'text/plain' }),
      'a member that is not in the schema': network =>
        service.browser().post('/v1/auth/refresh', { unknown: true }, network),
      'a query parameter that is not in the schema': network =>
        service.browser().get('/v1/me?unknown=1', network),
      'a bad token': network => service.browser().get('/v1/me', { ...network, authorization: 'Bearer x' })
    }
    for (const [kind, send] of Object.entries(malformed)) {
      const network = from(newAddress())
      const statuses = []
      for (let i = 0; i < 12; i++) statuses.push((await send(network)).status)
      t.ok(statuses.slice(0, 10).every(status => status >= 400 && status < 429), kind)
      t.strictSame(statuses.slice(10), [429, 429], kind)
      t.match(
        await service.browser().get('/v1/me', network),
        { status: 429 },
        `all requests are refused after ${kind}`
      )
    }
  })

  t.test('a refusal has the error format of its route', async t => {
    const network = newAddress()
    await sendRequests([service], network, 10)
    const limitHeaders = {
      'retry-after': /^[1-9]\d?$/,
      'ratelimit-limit': '10',
      'ratelimit-remaining': '0',
      'ratelimit-reset': /^[1-9]\d?$/,
      'cache-control': 'no-store',
      'x-content-type-options': 'nosniff'
    }
    for (const path of ['/v1/me', '/nothing']) {
      t.match(
        await service.browser().get(path, from(network)),
        {
          status: 429,
          body: { code: 'too_many_requests' },
          headers: { ...limitHeaders, 'content-type': /^application\/problem\+json/ }
        },
        path
      )
    }
    t.match(await service.browser().get('/%zz', from(network)), {
      status: 429,
      body: { code: 'too_many_requests' },
      headers: { 'retry-after': limitHeaders['retry-after'], 'content-type': /^application\/problem\+json/ }
    })
    const head = await service.browser().send('HEAD', '/v1/me', undefined, from(network))
    t.match(head, { status: 429, headers: limitHeaders })
    t.equal(head.text, '')
    t.match(await service.browser().send('OPTIONS', '/v1/me', undefined, from(network)), {
      status: 429,
      headers: limitHeaders
    })
    const { refused } = service.app.rateLimiting
    t.ok(refused.general > 0 && refused.password > 0, 'refused requests are counted')

    const strict = await build(t, { RATE_LIMIT: '1/1m', ...behindProxy }, { url: service.url })
    const form = { ...from(network), 'content-type': 'application/x-www-form-urlencoded' }
    for (let i = 0; i < 10; i++) await strict.browser().post('/oauth/introspect', 'token=x', form)
    t.match(await strict.browser().post('/oauth/introspect', 'token=x', form), {
      status: 429,
      body: { error: 'temporarily_unavailable', error_description: /./ },
      headers: { 'retry-after': limitHeaders['retry-after'], 'content-type': /^application\/json/ }
    })
    t.strictSame(strict.app.rateLimiting.refused, { password: 0, mail: 0, client: 1, general: 0 })
  })

  t.test('preflights of allowed origins do not count', async t => {
    const withOrigin = await build(
      t,
      { RATE_LIMIT: '1/1m', CORS_ORIGINS: 'https://app.example.com' },
      { url: service.url }
    )
    const origin = { origin: 'https://app.example.com' }
    for (let i = 0; i < 3; i++) {
      t.match(
        await withOrigin
          .browser()
          .send('OPTIONS', '/v1/me', undefined, { ...origin, 'access-control-request-method': 'GET' }),
        { status: 204 }
      )
    }
    t.match(await withOrigin.browser().get('/v1/me', origin), { status: 401 })
    t.match(
      await withOrigin.browser().get('/v1/me', origin),
      {
        status: 429,
        headers: {
          'access-control-allow-origin': origin.origin,
          'access-control-expose-headers': /retry-after/
        }
      },
      'a page can read the headers of the refusal'
    )
  })

  t.test('the window ends at the time in the headers', async t => {
    const short = await build(t, { RATE_LIMIT: '1/2s' }, { url: service.url })
    const startedAt = performance.now()
    await short.browser().get('/v1/me')
    let answer = await short.browser().get('/v1/me')
    t.match(answer, { status: 429, headers: { 'retry-after': /^[12]$/ } })
    await waitUntil('the window has ended', async () => {
      answer = await short.browser().get('/v1/me')
      return answer.status !== 429
    })
    t.ok(performance.now() - startedAt > 1_990)
    t.match(answer, { status: 401, headers: { 'ratelimit-remaining': '0', 'ratelimit-reset': '2' } })
  })
})

interface ReceivedText { status: number, text: string }

/**
 * Sends bytes from a local address, and returns everything that arrives until the end or until `isEnough`.
 */
async function sendRaw (
  service: Service,
  bytes: string,
  localAddress = '127.0.0.1',
  isEnough = (_text: string) => false
): Promise<ReceivedText> {
  const { port } = service.app.server.address() as AddressInfo
  const socket = connect({ port, host: '127.0.0.1', localAddress })
  let text = ''
  socket
    .setEncoding('utf8')
    .on('error', () => {})
    .on('data', chunk => {
      text += chunk
      if (isEnough(text)) socket.destroy()
    })
  socket.write(bytes)
  await once(socket, 'close')
  return { status: Number(text.split(' ')[1]), text }
}

t.test('an untrusted proxy leads to one warning', async t => {
  const warnings = ({ logs }: Service) => logs.filter(({ msg }) => /TRUST_PROXY/.test(String(msg)))
  for (const header of ['x-forwarded-for', 'forwarded', 'x-forwarded-proto']) {
    const service = await build(t, { TRUST_PROXY: '203.0.113.7' })
    const send = async (headers: Record<string, string>, remoteAddress: string) =>
      await service.app.inject({ url: '/livez', headers, remoteAddress })
    await send({}, '192.0.2.1')
    await send({ [header]: 'https' }, '203.0.113.7')
    t.strictSame(warnings(service), [], 'no warning without such a header, or from a trusted proxy')
    for (const peer of ['192.0.2.1', '192.0.2.1', '192.0.2.2']) await send({ [header]: 'https' }, peer)
    t.match(warnings(service), [
      {
        level: 40,
        peer: '192.0.2.1',
        header,
        msg: new RegExp(
          `^forwarding header ignored: ${header} came from 192\\.0\\.2\\.1, .* share one rate limit$`
        )
      }
    ])
    t.equal(warnings(service).length, 1)
  }
})

t.test('production warns once about unsafe settings at startup', async t => {
  const production = {
    NODE_ENV: 'production',
    ISSUER_URL: 'https://auth.example.com',
    DATABASE_URL: 'postgres://latchkey@db.internal/latchkey',
    ARGON2_MEMORY_KIB: '7168',
    ARGON2_TIME_COST: '5'
  }
  const service = await build(t, production)
  const warnings = service.logs.filter(
    ({ level, msg }) => level === 40 && /^(RATE_LIMIT|DATABASE_URL)/.test(String(msg))
  )
  t.match(warnings, [
    { msg: /^DATABASE_URL reaches db\.internal without TLS/ },
    { msg: /^RATE_LIMIT is off/ }
  ])
  t.equal(warnings.length, 2)
})

t.test('over real connections', async t => {
  const { url } = await build(t)
  const listening = async (overrides: Record<string, string>) => {
    const service = await build(t, { RATE_LIMIT: '3/1m', ...overrides }, { url })
    await service.app.listen({ host: '127.0.0.1', port: 0 })
    return service
  }
  const get = 'GET /v1/me HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n'

  t.test('bytes that are not HTTP count, and get no response over the limit', async t => {
    const service = await listening({})
    const malformed = [
      'nonsense\r\n\r\n',
      `GET /livez HTTP/1.1\r\nhost: x\r\nx-long: ${'x'.repeat(20_000)}\r\n\r\n`,
      'CONNECT example.com:443 HTTP/1.1\r\nhost: example.com:443\r\n\r\n',
      'GET /v1/me HTTP/1.1\r\nhost: a\r\nhost: b\r\nconnection: close\r\n\r\n',
      'GET /v1/me HTTP/1.1\r\nconnection: close\r\n\r\n'
    ]
    for (const [index, bytes] of malformed.entries()) {
      const address = `127.0.1.${index + 1}`
      const statuses = []
      for (let i = 0; i < 3; i++) statuses.push((await sendRaw(service, bytes, address)).status)
      t.ok(statuses.every(status => [400, 405, 431].includes(status)), `${statuses}`)
      const { status, text } = await sendRaw(service, bytes, address)
      if (index < 2) t.equal(text, '', 'no response to bytes that are not HTTP')
      else t.equal(status, 429, bytes.slice(0, 20))
      t.match(await sendRaw(service, get, address), { status: 429 }, `after ${bytes.slice(0, 20)}`)
    }
    t.match(await sendRaw(service, get, '127.0.1.99'), { status: 401 }, 'another network is not limited')
    t.match(
      await sendRaw(service, 'GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n', '127.0.1.1'),
      { status: 200 }
    )
  })

  t.test('bytes that are not HTTP do not count if a trusted proxy sends them', async t => {
    const service = await listening(behindProxy)
    for (let i = 0; i < 5; i++) t.match(await sendRaw(service, 'nonsense\r\n\r\n'), { status: 400 })
    t.match(await sendRaw(service, get), { status: 401 })
  })

  t.test('a request over the limit is refused before its body arrives', async t => {
    const service = await listening({ REQUEST_TIMEOUT: '60s' })
    const post =
      'POST /v1/auth/refresh HTTP/1.1\r\nhost: x\r\n' +
      'content-type: application/json\r\ncontent-length: 60000\r\n\r\n{'
    for (let i = 0; i < 3; i++) await sendRaw(service, get)
    // The bodies never arrive.
    t.match(await sendRaw(service, post, undefined, text => text.includes('too_many_requests')), {
      status: 429
    })
    t.match(
      await sendRaw(service, post.replace('/v1/auth/refresh', '/nothing'), undefined, text =>
        text.includes('too_many_requests')
      ),
      { status: 429 }
    )
  })
})

/** Returns the keys of the Redis counters that one request increments. */
async function countersOf (
  redis: RedisServer,
  service: Service,
  lines: Array<[name: string, value: string]>,
  { localAddress = '127.0.0.1', path = '/v1/me' } = {}
): Promise<unknown> {
  const { port } = service.app.server.address() as AddressInfo
  await redis.command('flushall')
  const sent = httpRequest({
    port,
    host: '127.0.0.1',
    localAddress,
    path,
    agent: false,
    headers: ['host', 'x', ...lines.flat()]
  })
  sent.end()
  const [answer] = await once(sent, 'response')
  answer.resume()
  await once(answer, 'close')
  let keys: unknown = []
  // A request that no hook sees is counted after its response.
  for (let i = 0; i < 100 && Array.isArray(keys) && keys.length === 0; i++) {
    keys = await redis.command('keys', '*')
  }
  return keys
}

t.test('clients cannot spoof their network', { skip }, async t => {
  const redis = await redisServer(t)
  const { url } = await build(t)
  const listening = async (overrides: Record<string, string>) => {
    const service = await build(t, { RATE_LIMIT: '100000/1m', REDIS_URL: redis.url, ...overrides }, { url })
    await service.app.listen({ host: '127.0.0.1', port: 0 })
    return service
  }
  const generalKey = (network: string) => [`latchkey:rate:general:${network}`]
  const forwardedFor = (...values: string[]): Array<[string, string]> =>
    values.map(value => ['x-forwarded-for', value])
  const spoofs = [
    forwardedFor('203.0.113.1'),
    forwardedFor('203.0.113.1', '203.0.113.2'),
    forwardedFor('203.0.113.1, 203.0.113.2'),
    forwardedFor(''),
    forwardedFor(','),
    forwardedFor('unknown'),
    forwardedFor('127.0.0.1'),
    forwardedFor('::1'),
    forwardedFor('10.0.0.1, 127.0.0.1'),
    forwardedFor('[2001:db8::1]:443'),
    forwardedFor('203.0.113.1:80'),
    forwardedFor('\t203.0.113.1\t'),
    forwardedFor('"203.0.113.1"'),
    forwardedFor("'; drop table"),
    forwardedFor('0x7f.1'),
    forwardedFor('for=203.0.113.1'),
    forwardedFor(Array.from({ length: 1_000 }, (_, i) => `10.0.${i >> 8}.${i & 255}`).join(',')),
    [
      ['X-Forwarded-For', '203.0.113.1'],
      ['x-forwarded-for', '203.0.113.2']
    ] satisfies Array<[string, string]>,
    [
      ['forwarded', 'for=203.0.113.1'],
      ['x-real-ip', '203.0.113.1'],
      ['x-client-ip', '203.0.113.1'],
      ['cf-connecting-ip', '203.0.113.1'],
      ['true-client-ip', '203.0.113.1'],
      ['x-forwarded', '203.0.113.1'],
      ['x-forwarded-host', '203.0.113.1'],
      ['via', '1.1 203.0.113.1']
    ] satisfies Array<[string, string]>
  ]

  t.test('without a trusted proxy the connection counts', async t => {
    const service = await listening({})
    for (const lines of spoofs) {
      const description = JSON.stringify(lines).slice(0, 60)
      t.strictSame(await countersOf(redis, service, lines), generalKey('127.0.0.1'), description)
      t.strictSame(
        await countersOf(redis, service, lines, { path: '/%zz' }),
        generalKey('127.0.0.1'),
        `${description} and a bad path`
      )
    }
    t.strictSame(
      await countersOf(redis, service, forwardedFor('127.0.0.1'), { localAddress: '127.0.0.2' }),
      generalKey('127.0.0.2')
    )
  })

  t.test('the last address, which the trusted proxy added, counts', async t => {
    const service = await listening(behindProxy)
    for (const lines of spoofs) {
      const description = JSON.stringify(lines).slice(0, 60)
      for (const path of ['/v1/me', '/%zz', '/nothing']) {
        t.strictSame(
          await countersOf(redis, service, [...lines, ...forwardedFor('192.0.2.77')], { path }),
          generalKey('192.0.2.77'),
          `${description} ${path}`
        )
      }
      t.strictSame(
        await countersOf(redis, service, lines, { localAddress: '127.0.0.2' }),
        generalKey('127.0.0.2'),
        `${description} from an untrusted peer`
      )
    }
    const printable = fc.string({
      unit: fc.integer({ min: 0x20, max: 0x7e }).map(code => String.fromCharCode(code)),
      maxLength: 60
    })
    await fc.assert(fc.asyncProperty(fc.array(printable, { maxLength: 3 }), async values => {
      const found = await countersOf(redis, service, [
        ...forwardedFor(...values),
        ...forwardedFor('192.0.2.78')
      ])
      return JSON.stringify(found) === JSON.stringify(generalKey('192.0.2.78'))
    }), { numRuns: scale(100, 30) })
  })

  t.test('the first untrusted address of a chain of proxies counts', async t => {
    const service = await listening({ TRUST_PROXY: '127.0.0.1, 10.0.0.0/8, fd00::/8' })
    const chains: Array<[value: string, network: string]> = [
      ['192.0.2.1, 10.1.1.1', '192.0.2.1'],
      ['192.0.2.1, 10.1.1.1, 10.2.2.2, fd00::1', '192.0.2.1'],
      ['203.0.113.9, 10.9.9.9, 192.0.2.1, 10.1.1.1', '192.0.2.1'],
      ['192.0.2.1, ::ffff:10.1.1.1', '192.0.2.1'],
      // If all are trusted proxies, the farthest one is the client.
      ['10.1.1.1, 10.2.2.2', '10.1.1.1'],
      // An address that cannot be parsed ends the chain at the connection.
      ['192.0.2.1, unknown', '127.0.0.1'],
      ['192.0.2.1, 11.0.0.1', '11.0.0.1']
    ]
    for (const [value, network] of chains) {
      t.strictSame(await countersOf(redis, service, forwardedFor(value)), generalKey(network), value)
    }
  })

  t.test('a network has one spelling: an IPv4 address, or an IPv6 /64', async t => {
    const service = await listening(behindProxy)
    const spellings: Array<[written: string, network: string]> = [
      ['192.0.2.5', '192.0.2.5'],
      ['192.0.2.5:4711', '192.0.2.5'],
      ['::ffff:192.0.2.5', '192.0.2.5'],
      ['::FFFF:C000:205', '192.0.2.5'],
      ['0:0:0:0:0:ffff:192.0.2.5', '192.0.2.5'],
      ['[::ffff:192.0.2.5]:443', '192.0.2.5'],
      ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2::/64'],
      ['2001:DB8:1:2::', '2001:db8:1:2::/64'],
      ['2001:0db8:0001:0002:ffff:ffff:ffff:ffff', '2001:db8:1:2::/64'],
      ['[2001:db8:1:2::9]:443', '2001:db8:1:2::/64'],
      ['[2001:db8:1:2::9]', '2001:db8:1:2::/64'],
      ['2001:db8:1:3::', '2001:db8:1:3::/64'],
      ['fe80::1%eth0', 'fe80:0:0:0::/64'],
      ['fe80::1%25en1', 'fe80:0:0:0::/64'],
      ['::2', '0:0:0:0::/64']
    ]
    for (const [written, network] of spellings) {
      t.strictSame(await countersOf(redis, service, forwardedFor(written)), generalKey(network), written)
    }
    await fc.assert(fc.asyncProperty(fc.ipV6(), async address => {
      const [found] = await countersOf(redis, service, forwardedFor(address)) as string[]
      return /^latchkey:rate:general:(?:[\d.]+|(?:[\da-f]+:){4}:\/64)$/.test(found ?? '')
    }), { numRuns: scale(200, 60) })
  })
})

t.test('instances with the same Redis count together', { skip }, async t => {
  const redis = await redisServer(t)
  const environment = { RATE_LIMIT: '50/1m', REDIS_URL: redis.url, ...behindProxy }
  const one = await build(t, environment)
  const instances = [one, await build(t, environment, { url: one.url })]

  t.test('their counts and headers are exact', async t => {
    const network = newAddress()
    const answers = await sendRequests(instances, network, 200)
    t.equal(countAccepted(answers), 50)
    const remaining = answers
      .filter(({ status }) => status === 401)
      .map(({ headers }) => Number(headers['ratelimit-remaining']))
    t.strictSame(
      remaining.sort((a, b) => b - a),
      Array.from({ length: 50 }, (_, index) => 49 - index),
      'each response has its own count'
    )
    const guesses = await Promise.all(
      Array.from(
        { length: 30 },
        async (_, index) =>
          await (instances[index % 2] ?? one)
            .browser()
            .post(index % 3 === 0 ? '/v1/auth/register' : '/v1/auth/login', '{', from(network))
      )
    )
    t.equal(countAccepted(guesses), 10, 'the class of password routes, too')
    t.strictSame(
      new Set((await redis.command('keys', `*${network}`)) as string[]),
      new Set([`latchkey:rate:general:${network}`, `latchkey:rate:password:${network}`]),
      'a key consists of the class and the network'
    )
    const ttl = Number(await redis.command('pttl', `latchkey:rate:general:${network}`))
    t.ok(ttl > 0 && ttl <= 60_000, 'a key expires')
  })

  t.test('counters survive a flushed script and get a lost expiry back', async t => {
    const network = newAddress()
    await sendRequests(instances, network, 10)
    await redis.command('script', 'flush')
    await redis.command('persist', `latchkey:rate:general:${network}`)
    t.strictSame(
      (await sendRequests(instances, network, 2))
        .map(({ headers }) => Number(headers['ratelimit-remaining']))
        .sort(),
      [38, 39]
    )
    t.ok(Number(await redis.command('pttl', `latchkey:rate:general:${network}`)) > 0)
  })

  t.test('the Redis user needs few rights', async t => {
    await redis.command(
      'acl',
      'setuser',
      'latchkey',
      'on',
      '>p@ss/w%rd',
      '~latchkey:rate:*',
      '+eval',
      '+evalsha',
      '+set',
      '+incrby',
      '+pttl',
      '+expire'
    )
    const service = await build(
      t,
      { ...environment, REDIS_URL: `redis://latchkey:p%40ss%2Fw%25rd@127.0.0.1:${redis.port}/0` },
      { url: one.url }
    )
    t.ok(service.app.rateLimiting.isShared)
    const network = newAddress()
    await sendRequests([one], network, 50)
    t.match(await sendRequests([service], network, 1), [{ status: 429 }])
  })
})

/** Asserts that the service logs an outage of Redis, serves requests during it, and recovers from it. */
async function assertSurvives (
  t: Test,
  service: Service,
  { fault, mend, reason }: { fault: () => unknown; mend: () => unknown; reason: RegExp }
) {
  await waitUntil('the instance shares counters', () => service.app.rateLimiting.isShared)
  service.logs.length = 0
  const network = newAddress()
  await sendRequests([service], network, 10)
  await fault()
  const waits: number[] = []
  const statuses = new Set<number>()
  const round = async () =>
    await Promise.all(
      Array.from({ length: 5 }, async () => {
        const startedAt = performance.now()
        const { status } = await service.browser().get('/v1/me', from(network))
        waits.push(performance.now() - startedAt)
        statuses.add(status)
      })
    )
  // More requests than the limit, of which Redis and this process have counted ten before.
  for (let i = 0; i < 12; i++) await round()
  t.strictSame(statuses, new Set([401, 429]), 'only requests over the limit are refused')
  await waitUntil('the outage is logged', () => outageWarnings(service).length > 0)
  t.match(outageWarnings(service)[0], { level: 40, err: { message: reason } })
  t.ok(Math.max(...waits) < 1_000, `the longest response took ${Math.round(Math.max(...waits))} ms`)
  t.match(await service.browser().get('/readyz'), { status: 200 })
  await mend()
  await waitUntil('the instance shares counters again', () => service.app.rateLimiting.isShared)
  t.equal(outageWarnings(service).length, 1, 'the start of the outage is logged once')
  t.equal(recoveryMessages(service).length, 1, 'the end of the outage is logged once')
  t.ok(Number(recoveryMessages(service)[0]?.['seconds']) >= 0)
}

t.test('a Redis Cluster or Sentinel ends the start', { skip }, async t => {
  const start = async (REDIS_URL: string) => await run(t, ['serve'], { DATABASE_URL, REDIS_URL, PORT: '0' })
  const DATABASE_URL = await createDatabase(t)
  const cluster = await redisServer(t, '--cluster-enabled', 'yes')
  t.match(await start(cluster.url), {
    code: 78,
    stderr: /REDIS_URL names a node of a Redis Cluster, which is not supported: name a Redis server /
  })

  const port = await freePort()
  const file = join(temporaryFolder(t), 'sentinel.conf')
  writeFileSync(file, `port ${port}\nbind 127.0.0.1\n`)
  const sentinel = spawn('redis-server', [file, '--sentinel'], { stdio: ['ignore', 'pipe', 'ignore'] })
  t.teardown(() => { sentinel.kill() })
  await new Promise<void>(resolve => {
    sentinel.stdout.on('data', chunk => { if (String(chunk).includes('Sentinel ID')) resolve() })
  })
  t.match(await start(`redis://127.0.0.1:${port}`), {
    code: 78, stderr: /REDIS_URL names a Redis Sentinel, which is not supported/
  })
})

t.test('a Redis Cluster that appears while the service runs is logged', { skip }, async t => {
  const cluster = await redisServer(t, '--cluster-enabled', 'yes')
  await cluster.kill()
  const service = await build(t, { RATE_LIMIT: '50/1m', REDIS_URL: cluster.url })
  t.match(outageWarnings(service), [{ err: { message: /ECONNREFUSED/ } }])
  await cluster.start()
  await waitUntil('the cluster is logged', () => outageWarnings(service).length > 1)
  t.match(
    outageWarnings(service)[1],
    { err: { message: /a node of a Redis Cluster, which is not supported/ } }
  )
})

t.test('without Redis an instance counts by itself', { skip }, async t => {
  const redis = await redisServer(t)
  const environment = { RATE_LIMIT: '50/1m', REDIS_URL: redis.url, ...behindProxy }
  const one = await build(t, environment)

  await t.test('Redis is killed and restarted', async t => {
    await assertSurvives(t, one, {
      fault: redis.kill,
      mend: redis.start,
      reason: /the connection was closed|ECONNRESET|EPIPE/
    })
  })
  await t.test('Redis is frozen', async t => {
    const impatient = await build(t, environment, { url: one.url, redisTimeoutMs: 100 })
    const faults = { fault: redis.freeze, mend: redis.thaw, reason: /no answer in 100 ms/ }
    await assertSurvives(t, impatient, faults)
  })
  await t.test('Redis has no memory left', async t => {
    await assertSurvives(t, one, {
      fault: async () => await redis.command('config', 'set', 'maxmemory', '1'),
      mend: async () => await redis.command('config', 'set', 'maxmemory', '0'),
      reason: /OOM/
    })
  })
  await t.test('Redis is a read-only replica', async t => {
    await assertSurvives(t, one, {
      fault: async () => await redis.command('replicaof', '127.0.0.1', '1'),
      mend: async () => await redis.command('replicaof', 'no', 'one'),
      reason: /READONLY/
    })
  })
  await t.test('Redis closes the connection', async t => {
    await assertSurvives(t, one, {
      fault: async () => await redis.command('client', 'kill', 'type', 'normal'),
      mend: () => {},
      reason: /the connection was closed/
    })
  })

  await t.test('counting continues from the shared counts, up to the limit', async t => {
    const two = await build(t, environment, { url: one.url })
    await waitUntil('both share counters', () => [one, two].every(({ app }) => app.rateLimiting.isShared))
    const network = newAddress()
    // In turn, so that the last one has the latest count.
    for (let i = 0; i < 20; i++) await sendRequests([two, one], network, 2)
    await redis.kill()
    t.equal(countAccepted(await sendRequests([one], network, 60)), 10)
    t.ok(countAccepted(await sendRequests([two], network, 60)) <= 12)
    t.equal(
      countAccepted(await sendRequests([one], newAddress(), 60)),
      50,
      'a network without counts starts at zero'
    )
    await redis.start()
    await waitUntil('both share counters', () => [one, two].every(({ app }) => app.rateLimiting.isShared))
    const address = newAddress()
    t.equal(countAccepted(await sendRequests([one, two], address, 120)), 50)
  })

  await t.test('the service starts without Redis', async t => {
    await redis.kill()
    const service = await build(t, environment, { url: one.url })
    t.equal(countAccepted(await sendRequests([service], newAddress(), 60)), 50)
    t.match(outageWarnings(service), [{ err: { message: /ECONNREFUSED/ } }])
    await redis.start()
    await waitUntil('the instance shares counters', () => service.app.rateLimiting.isShared)
  })

  await t.test('a login that Redis refuses later is an outage, and the log has no password', async t => {
    await redis.command('acl', 'setuser', 'limited', 'on', '>limited-password', '~*', '+@all')
    const url = `redis://limited:limited-password@127.0.0.1:${redis.port}`
    const service = await build(t, { ...environment, REDIS_URL: url, LOG_LEVEL: 'trace' }, { url: one.url })
    await assertSurvives(t, service, {
      fault: async () => {
        await redis.command('acl', 'setuser', 'limited', 'resetpass', '>another-password')
        await redis.command('client', 'kill', 'user', 'limited')
      },
      mend: async () => await redis.command('acl', 'setuser', 'limited', 'resetpass', '>limited-password'),
      reason: /WRONGPASS|the connection was closed/
    })
    t.notMatch(JSON.stringify(service.logs), /limited-password/)
  })

  await t.test('a start with a login that Redis refuses ends, and names no password', async t => {
    await redis.command(
      'acl', 'setuser', 'limited', 'on', '>limited-password', '~*', '-@all', '+ping', '+hello'
    )
    await redis.command('config', 'set', 'requirepass', 'hunter2hunter2')
    for (const [url, reason] of [
      [`redis://:wrong-password@127.0.0.1:${redis.port}`, /REDIS_URL: the Redis server refuses its user/],
      [redis.url, /REDIS_URL has no password/],
      [`redis://limited:limited-password@127.0.0.1:${redis.port}`, /refuses commands to its user, .+ \+eval/]
    ] as const) {
      const refused = build(t, { ...environment, REDIS_URL: url, LOG_LEVEL: 'trace' }, { url: one.url })
      const error = await refused.then(() => undefined, (error: unknown) => error)
      t.ok(error instanceof ConfigError)
      t.match(String(error), reason)
      t.notMatch(String(error), /wrong-password|limited-password|hunter2/)
    }
    const withPassword = await build(
      t,
      { ...environment, REDIS_URL: `redis://:hunter2hunter2@127.0.0.1:${redis.port}` },
      { url: one.url }
    )
    t.ok(withPassword.app.rateLimiting.isShared)
  })

  await t.test('shutdown does not wait for a Redis that never answers', async t => {
    const silentServer = createServer(() => {}).listen(0, '127.0.0.1')
    t.teardown(() => silentServer.close())
    await once(silentServer, 'listening')
    const service = await build(
      t,
      { ...environment, REDIS_URL: `redis://127.0.0.1:${(silentServer.address() as AddressInfo).port}` },
      { url: one.url }
    )
    t.match(outageWarnings(service), [{ err: { message: /no answer in 1000 ms/ } }])
    t.equal(countAccepted(await sendRequests([service], newAddress(), 60)), 50)
    await service.app.close()
  })
})
