import { once } from 'node:events'
import { request as httpRequest } from 'node:http'
import { connect, createServer, type AddressInfo } from 'node:net'
import fc from 'fast-check'
import t, { type Test } from 'tap'
import { build, newUser, type Service } from '../support/app.ts'
import type { Answer } from '../support/client.ts'
import { redisServer, skip, type RedisServer } from '../support/redis.ts'
import { waitUntil } from '../support/polling.ts'
import { scale } from '../support/soak.ts'

const from = (address: string) => ({ 'x-forwarded-for': address })
const behindProxy = { TRUST_PROXY: '127.0.0.1' }

let networks = 0
/** The address of a network that nobody has asked from. */
const anybody = () => `198.51.${Math.floor(++networks / 250)}.${networks % 250 + 1}`

const away = ({ logs }: Service) => logs.filter(({ msg }) => /^Redis is unavailable:/.test(String(msg)))
const back = ({ logs }: Service) => logs.filter(({ msg }) => /^Redis is available again:/.test(String(msg)))

/** As many answers at a time to somebody, from several instances by turns. */
async function ask (instances: Service[], address: string, count: number): Promise<Answer[]> {
  const requests = Array.from({ length: Math.ceil(count / instances.length) }, () => instances.map(async instance => await instance.browser().get('/v1/me', from(address))))
  return await Promise.all(requests.flat())
}

const passed = (answers: Answer[]) => answers.filter(({ status }) => status !== 429).length

t.test('the routes of a class share one rate limit', async t => {
  const service = await build(t, { RATE_LIMIT: '10/1m', ...behindProxy })
  const remaining = ({ headers }: Answer) => Number(headers['ratelimit-remaining'])

  t.test('each request to any of them counts', async t => {
    const network = from(anybody())
    const browser = service.browser()
    const general = [await browser.get('/v1/me', network), await browser.send('HEAD', '/v1/me', undefined, network), await browser.post('/v1/auth/refresh', undefined, network), await browser.get('/docs', network), await browser.get('/nothing', network), await browser.delete('/v1/auth/login', network), await browser.send('OPTIONS', '/v1/me', undefined, network)]
    t.strictSame(general.map(remaining), [9, 8, 7, 6, 5, 4, 3])
    const ofPasswords = [await browser.post('/v1/auth/login', newUser(), network), await browser.post('/v1/auth/register', newUser(), network), await browser.post('/v1/auth/login', newUser(), network)]
    t.strictSame(ofPasswords.map(({ status }) => status), [401, 201, 429])
    t.strictSame(ofPasswords.map(remaining), [1, 0, 0], 'a fifth of it')
    const ofClients = [await browser.post('/oauth/token', 'grant_type=client_credentials', { ...network, 'content-type': 'application/x-www-form-urlencoded' }), await browser.get('/oauth/token', network)]
    t.strictSame(ofClients.map(remaining), [99, 2], 'ten times as many, but not of what is not there')
  })

  t.test('malformed requests count', async t => {
    const json = { 'content-type': 'application/json' }
    const wrong: Record<string, (network: Record<string, string>) => Promise<Answer>> = {
      'an unknown path': network => service.browser().get('/nothing', network),
      'a method that is not there': network => service.browser().delete('/v1/auth/login', network),
      'an OPTIONS of nobody': network => service.browser().send('OPTIONS', '/v1/me', undefined, network),
      'an OPTIONS of a foreign origin': network => service.browser().send('OPTIONS', '/v1/me', undefined, { ...network, origin: 'https://evil.example', 'access-control-request-method': 'GET' }),
      'a bad path': network => service.browser().get('/%zz', network),
      'bad JSON': network => service.browser().post('/v1/auth/refresh', '{', { ...network, ...json }),
      'a body that is too large': network => service.browser().post('/v1/auth/refresh', JSON.stringify({ refresh_token: 'x'.repeat(70_000) }), { ...network, ...json }),
      'a media type that is not known': network => service.browser().post('/v1/auth/refresh', 'x', { ...network, 'content-type': 'text/plain' }),
      'what is not in the schema': network => service.browser().post('/v1/auth/refresh', { unknown: true }, network),
      'a query that is not in the schema': network => service.browser().get('/v1/me?unknown=1', network),
      'a bad token': network => service.browser().get('/v1/me', { ...network, authorization: 'Bearer x' })
    }
    for (const [what, send] of Object.entries(wrong)) {
      const network = from(anybody())
      const statuses = []
      for (let i = 0; i < 12; i++) statuses.push((await send(network)).status)
      t.ok(statuses.slice(0, 10).every(status => status >= 400 && status < 429), what)
      t.strictSame(statuses.slice(10), [429, 429], what)
      t.match(await service.browser().get('/v1/me', network), { status: 429 }, `after ${what}, nothing else either`)
    }
  })

  t.test('a refusal has the error format of its route', async t => {
    const network = anybody()
    await ask([service], network, 10)
    const told = { 'retry-after': /^[1-9]\d?$/, 'ratelimit-limit': '10', 'ratelimit-remaining': '0', 'ratelimit-reset': /^[1-9]\d?$/, 'cache-control': 'no-store', 'x-content-type-options': 'nosniff' }
    for (const path of ['/v1/me', '/nothing']) {
      t.match(await service.browser().get(path, from(network)), { status: 429, body: { code: 'too_many_requests' }, headers: { ...told, 'content-type': /^application\/problem\+json/ } }, path)
    }
    t.match(await service.browser().get('/%zz', from(network)), { status: 429, body: { code: 'too_many_requests' }, headers: { 'retry-after': told['retry-after'], 'content-type': /^application\/problem\+json/ } })
    const head = await service.browser().send('HEAD', '/v1/me', undefined, from(network))
    t.match(head, { status: 429, headers: told })
    t.equal(head.text, '')
    t.match(await service.browser().send('OPTIONS', '/v1/me', undefined, from(network)), { status: 429, headers: told })
    const { refused } = service.app.rateLimiting
    t.ok(refused.general > 0 && refused.password > 0, 'and it is counted how many were refused')

    const strict = await build(t, { RATE_LIMIT: '1/1m', ...behindProxy }, { url: service.url })
    const form = { ...from(network), 'content-type': 'application/x-www-form-urlencoded' }
    for (let i = 0; i < 10; i++) await strict.browser().post('/oauth/introspect', 'token=x', form)
    t.match(await strict.browser().post('/oauth/introspect', 'token=x', form), { status: 429, body: { error: 'temporarily_unavailable', error_description: /./ }, headers: { 'retry-after': told['retry-after'], 'content-type': /^application\/json/ } })
    t.strictSame(strict.app.rateLimiting.refused, { password: 0, mail: 0, client: 1, general: 0 })
  })

  t.test('preflights of allowed origins do not count', async t => {
    const open = await build(t, { RATE_LIMIT: '1/1m', CORS_ORIGINS: 'https://app.example.com' }, { url: service.url })
    const origin = { origin: 'https://app.example.com' }
    for (let i = 0; i < 3; i++) t.match(await open.browser().send('OPTIONS', '/v1/me', undefined, { ...origin, 'access-control-request-method': 'GET' }), { status: 204 })
    t.match(await open.browser().get('/v1/me', origin), { status: 401 })
    t.match(await open.browser().get('/v1/me', origin), { status: 429, headers: { 'access-control-allow-origin': origin.origin, 'access-control-expose-headers': /retry-after/ } }, 'a page can read why it was refused')
  })

  t.test('the window ends when the headers say', async t => {
    const short = await build(t, { RATE_LIMIT: '1/2s' }, { url: service.url })
    const begun = performance.now()
    await short.browser().get('/v1/me')
    let answer = await short.browser().get('/v1/me')
    t.match(answer, { status: 429, headers: { 'retry-after': /^[12]$/ } })
    while (answer.status === 429) answer = await short.browser().get('/v1/me')
    t.ok(performance.now() - begun > 1_990)
    t.match(answer, { status: 401, headers: { 'ratelimit-remaining': '0', 'ratelimit-reset': '2' } })
  })
})

interface Told { status: number, text: string }

/** Sends bytes from an address of this machine and gives all that comes back, or what came until `enough`. */
async function raw (service: Service, bytes: string, localAddress = '127.0.0.1', enough = (_text: string) => false): Promise<Told> {
  const { port } = service.app.server.address() as AddressInfo
  const socket = connect({ port, host: '127.0.0.1', localAddress })
  let text = ''
  socket.setEncoding('utf8').on('error', () => {}).on('data', chunk => {
    text += chunk
    if (enough(text)) socket.destroy()
  })
  socket.write(bytes)
  await once(socket, 'close')
  return { status: Number(text.split(' ')[1]), text }
}

t.test('an untrusted proxy leads to one warning', async t => {
  const warned = ({ logs }: Service) => logs.filter(({ msg }) => /TRUST_PROXY/.test(String(msg)))
  for (const header of ['x-forwarded-for', 'forwarded', 'x-forwarded-proto']) {
    const service = await build(t, { TRUST_PROXY: '203.0.113.7' })
    const ask = async (headers: Record<string, string>, remoteAddress: string) => await service.app.inject({ url: '/livez', headers, remoteAddress })
    await ask({}, '192.0.2.1')
    await ask({ [header]: 'https' }, '203.0.113.7')
    t.strictSame(warned(service), [], 'neither without such a header, nor from a proxy that is trusted')
    for (const peer of ['192.0.2.1', '192.0.2.1', '192.0.2.2']) await ask({ [header]: 'https' }, peer)
    t.match(warned(service), [{ level: 40, peer: '192.0.2.1', header, msg: new RegExp(`^forwarding header ignored: ${header} came from 192\\.0\\.2\\.1, .* share one rate limit$`) }])
    t.equal(warned(service).length, 1)
  }
})

t.test('production warns once about unsafe settings at startup', async t => {
  const production = { NODE_ENV: 'production', ISSUER_URL: 'https://auth.example.com', DATABASE_URL: 'postgres://latchkey@db.internal/latchkey', ARGON2_MEMORY_KIB: '7168', ARGON2_TIME_COST: '5' }
  const service = await build(t, production)
  const told = service.logs.filter(({ level, msg }) => level === 40 && /^(RATE_LIMIT|DATABASE_URL)/.test(String(msg)))
  t.match(told, [{ msg: /^DATABASE_URL reaches db\.internal without TLS/ }, { msg: /^RATE_LIMIT is off/ }])
  t.equal(told.length, 2)
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
    const wrong = ['nonsense\r\n\r\n', `GET /livez HTTP/1.1\r\nhost: x\r\nx-long: ${'x'.repeat(20_000)}\r\n\r\n`, 'CONNECT example.com:443 HTTP/1.1\r\nhost: example.com:443\r\n\r\n', 'GET /v1/me HTTP/1.1\r\nhost: a\r\nhost: b\r\nconnection: close\r\n\r\n', 'GET /v1/me HTTP/1.1\r\nconnection: close\r\n\r\n']
    for (const [index, bytes] of wrong.entries()) {
      const address = `127.0.1.${index + 1}`
      const statuses = []
      for (let i = 0; i < 3; i++) statuses.push((await raw(service, bytes, address)).status)
      t.ok(statuses.every(status => [400, 405, 431].includes(status)), `${statuses}`)
      const { status, text } = await raw(service, bytes, address)
      if (index < 2) t.equal(text, '', 'bytes get no answer')
      else t.equal(status, 429, bytes.slice(0, 20))
      t.match(await raw(service, get, address), { status: 429 }, `after ${bytes.slice(0, 20)}`)
    }
    t.match(await raw(service, get, '127.0.1.99'), { status: 401 }, 'of its own network')
    t.match(await raw(service, 'GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n', '127.0.1.1'), { status: 200 })
  })

  t.test('bytes that are not HTTP do not count if a trusted proxy sends them', async t => {
    const service = await listening(behindProxy)
    for (let i = 0; i < 5; i++) t.match(await raw(service, 'nonsense\r\n\r\n'), { status: 400 })
    t.match(await raw(service, get), { status: 401 })
  })

  t.test('a request over the limit is refused before its body arrives', async t => {
    const service = await listening({ REQUEST_TIMEOUT: '60s' })
    const post = 'POST /v1/auth/refresh HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 60000\r\n\r\n{'
    for (let i = 0; i < 3; i++) await raw(service, get)
    const begun = performance.now()
    t.match(await raw(service, post, undefined, text => text.includes('too_many_requests')), { status: 429 })
    t.match(await raw(service, post.replace('/v1/auth/refresh', '/nothing'), undefined, text => text.includes('too_many_requests')), { status: 429 })
    t.ok(performance.now() - begun < 20_000)
  })
})

/** Which counters one request on a connection of its own is counted in. */
async function counters (redis: RedisServer, service: Service, lines: Array<[name: string, value: string]>, { localAddress = '127.0.0.1', path = '/v1/me' } = {}): Promise<unknown> {
  const { port } = service.app.server.address() as AddressInfo
  await redis.command('flushall')
  const sent = httpRequest({ port, host: '127.0.0.1', localAddress, path, agent: false, headers: ['host', 'x', ...lines.flat()] })
  sent.end()
  const [answer] = await once(sent, 'response')
  answer.resume()
  await once(answer, 'close')
  let keys: unknown = []
  // What no hook sees is counted behind its answer.
  for (let i = 0; i < 100 && Array.isArray(keys) && keys.length === 0; i++) keys = await redis.command('keys', '*')
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
  const key = (network: string) => [`latchkey:rate:general:${network}`]
  const list = (...values: string[]): Array<[string, string]> => values.map(value => ['x-forwarded-for', value])
  const spoofs = [
    list('203.0.113.1'), list('203.0.113.1', '203.0.113.2'), list('203.0.113.1, 203.0.113.2'), list(''), list(','), list('unknown'), list('127.0.0.1'), list('::1'), list('10.0.0.1, 127.0.0.1'),
    list('[2001:db8::1]:443'), list('203.0.113.1:80'), list('\t203.0.113.1\t'), list('"203.0.113.1"'), list("'; drop table"), list('0x7f.1'), list('for=203.0.113.1'), list(Array.from({ length: 1_000 }, (_, i) => `10.0.${i >> 8}.${i & 255}`).join(',')),
    [['X-Forwarded-For', '203.0.113.1'], ['x-forwarded-for', '203.0.113.2']] satisfies Array<[string, string]>,
    [['forwarded', 'for=203.0.113.1'], ['x-real-ip', '203.0.113.1'], ['x-client-ip', '203.0.113.1'], ['cf-connecting-ip', '203.0.113.1'], ['true-client-ip', '203.0.113.1'], ['x-forwarded', '203.0.113.1'], ['x-forwarded-host', '203.0.113.1'], ['via', '1.1 203.0.113.1']] satisfies Array<[string, string]>
  ]

  t.test('without a trusted proxy the connection counts', async t => {
    const service = await listening({})
    for (const lines of spoofs) {
      const written = JSON.stringify(lines).slice(0, 60)
      t.strictSame(await counters(redis, service, lines), key('127.0.0.1'), written)
      t.strictSame(await counters(redis, service, lines, { path: '/%zz' }), key('127.0.0.1'), `${written} and a bad path`)
    }
    t.strictSame(await counters(redis, service, list('127.0.0.1'), { localAddress: '127.0.0.2' }), key('127.0.0.2'))
  })

  t.test('the last address, which the trusted proxy added, counts', async t => {
    const service = await listening(behindProxy)
    for (const lines of spoofs) {
      const written = JSON.stringify(lines).slice(0, 60)
      for (const path of ['/v1/me', '/%zz', '/nothing']) t.strictSame(await counters(redis, service, [...lines, ...list('192.0.2.77')], { path }), key('192.0.2.77'), `${written} ${path}`)
      t.strictSame(await counters(redis, service, lines, { localAddress: '127.0.0.2' }), key('127.0.0.2'), `${written} of one that is not trusted`)
    }
    const whatever = fc.string({ unit: fc.integer({ min: 0x20, max: 0x7e }).map(code => String.fromCharCode(code)), maxLength: 60 })
    await fc.assert(fc.asyncProperty(fc.array(whatever, { maxLength: 3 }), async values => {
      const found = await counters(redis, service, [...list(...values), ...list('192.0.2.78')])
      return JSON.stringify(found) === JSON.stringify(key('192.0.2.78'))
    }), { numRuns: scale(100, 30) })
  })

  t.test('the first untrusted address of a chain of proxies counts', async t => {
    const service = await listening({ TRUST_PROXY: '127.0.0.1, 10.0.0.0/8, fd00::/8' })
    const chains: Array<[value: string, network: string]> = [
      ['192.0.2.1, 10.1.1.1', '192.0.2.1'],
      ['192.0.2.1, 10.1.1.1, 10.2.2.2, fd00::1', '192.0.2.1'],
      ['203.0.113.9, 10.9.9.9, 192.0.2.1, 10.1.1.1', '192.0.2.1'],
      ['192.0.2.1, ::ffff:10.1.1.1', '192.0.2.1'],
      // All of them trusted: the farthest is who asks.
      ['10.1.1.1, 10.2.2.2', '10.1.1.1'],
      // Nobody trusted says it.
      ['192.0.2.1, unknown', '127.0.0.1'],
      ['192.0.2.1, 11.0.0.1', '11.0.0.1']
    ]
    for (const [value, network] of chains) t.strictSame(await counters(redis, service, list(value)), key(network), value)
  })

  t.test('a network has one spelling: an IPv4 address, or an IPv6 /64', async t => {
    const service = await listening(behindProxy)
    const spellings: Array<[written: string, network: string]> = [
      ['192.0.2.5', '192.0.2.5'], ['192.0.2.5:4711', '192.0.2.5'], ['::ffff:192.0.2.5', '192.0.2.5'], ['::FFFF:C000:205', '192.0.2.5'], ['0:0:0:0:0:ffff:192.0.2.5', '192.0.2.5'], ['[::ffff:192.0.2.5]:443', '192.0.2.5'],
      ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2::/64'], ['2001:DB8:1:2::', '2001:db8:1:2::/64'], ['2001:0db8:0001:0002:ffff:ffff:ffff:ffff', '2001:db8:1:2::/64'], ['[2001:db8:1:2::9]:443', '2001:db8:1:2::/64'], ['[2001:db8:1:2::9]', '2001:db8:1:2::/64'],
      ['2001:db8:1:3::', '2001:db8:1:3::/64'], ['fe80::1%eth0', 'fe80:0:0:0::/64'], ['fe80::1%25en1', 'fe80:0:0:0::/64'], ['::2', '0:0:0:0::/64']
    ]
    for (const [written, network] of spellings) t.strictSame(await counters(redis, service, list(written)), key(network), written)
    await fc.assert(fc.asyncProperty(fc.ipV6(), async address => {
      const [found] = await counters(redis, service, list(address)) as string[]
      return /^latchkey:rate:general:(?:[\d.]+|(?:[\da-f]+:){4}:\/64)$/.test(found ?? '')
    }), { numRuns: scale(200, 60) })
  })
})

t.test('instances with the same Redis count together', { skip }, async t => {
  const redis = await redisServer(t)
  const environment = { RATE_LIMIT: '50/1m', REDIS_URL: redis.url, ...behindProxy }
  const one = await build(t, environment)
  const both = [one, await build(t, environment, { url: one.url })]

  t.test('their counts and headers are exact', async t => {
    // A machine so busy that Redis had no turn within 100 ms has counted apart for a while: that is what the log is for.
    for (let tries = 0; ; tries++) {
      const network = anybody()
      const answers = await ask(both, network, 200)
      if (tries < 5 && both.some(service => away(service).length > 0)) {
        await waitUntil('both share', () => both.every(({ app }) => app.rateLimiting.shared))
        for (const { logs } of both) logs.length = 0
        continue
      }
      t.equal(passed(answers), 50)
      const left = answers.filter(({ status }) => status === 401).map(({ headers }) => Number(headers['ratelimit-remaining']))
      t.strictSame(left.sort((a, b) => b - a), Array.from({ length: 50 }, (_, index) => 49 - index), 'and each was told how many were left')
      const guesses = await Promise.all(Array.from({ length: 30 }, async (_, index) => await (both[index % 2] ?? one).browser().post(index % 3 === 0 ? '/v1/auth/register' : '/v1/auth/login', '{', from(network))))
      t.equal(passed(guesses), 10, 'also where a password is taken')
      t.strictSame(new Set(await redis.command('keys', `*${network}`) as string[]), new Set([`latchkey:rate:general:${network}`, `latchkey:rate:password:${network}`]), 'a key says no more than whose it is')
      const ttl = Number(await redis.command('pttl', `latchkey:rate:general:${network}`))
      t.ok(ttl > 0 && ttl <= 60_000, 'and ends by itself')
      break
    }
  })

  t.test('counters survive a flushed script and get a lost expiry back', async t => {
    const network = anybody()
    await ask(both, network, 10)
    await redis.command('script', 'flush')
    await redis.command('persist', `latchkey:rate:general:${network}`)
    t.strictSame((await ask(both, network, 2)).map(({ headers }) => Number(headers['ratelimit-remaining'])).sort(), [38, 39])
    t.ok(Number(await redis.command('pttl', `latchkey:rate:general:${network}`)) > 0)
  })

  t.test('the Redis user needs few rights', async t => {
    await redis.command('acl', 'setuser', 'latchkey', 'on', '>p@ss/w%rd', '~latchkey:rate:*', '+eval', '+evalsha', '+set', '+incrby', '+pttl', '+expire')
    const service = await build(t, { ...environment, REDIS_URL: `redis://latchkey:p%40ss%2Fw%25rd@127.0.0.1:${redis.port}/0` }, { url: one.url })
    t.ok(service.app.rateLimiting.shared)
    const network = anybody()
    await ask([one], network, 50)
    t.match(await ask([service], network, 1), [{ status: 429 }])
  })
})

/** The service, and what Redis does to it: it must notice, answer all the same, and come back. */
async function survives (t: Test, service: Service, { fault, mend, reason }: { fault: () => unknown, mend: () => unknown, reason: RegExp }) {
  await waitUntil('it shares', () => service.app.rateLimiting.shared)
  service.logs.length = 0
  const network = anybody()
  await ask([service], network, 10)
  await fault()
  const waits: number[] = []
  const statuses = new Set<number>()
  const round = async () => await Promise.all(Array.from({ length: 5 }, async () => {
    const begun = performance.now()
    const { status } = await service.browser().get('/v1/me', from(network))
    waits.push(performance.now() - begun)
    statuses.add(status)
  }))
  // More than the limit, of which Redis and this process have counted ten before.
  for (let i = 0; i < 12; i++) await round()
  t.strictSame(statuses, new Set([401, 429]), 'nobody is refused for it, but whoever is over the limit')
  await waitUntil('it says so', () => away(service).length > 0)
  t.match(away(service)[0], { level: 40, err: { message: reason } })
  t.ok(Math.max(...waits) < 1_000, `nobody waits for it: ${Math.round(Math.max(...waits))} ms at most`)
  t.match(await service.browser().get('/readyz'), { status: 200 })
  await mend()
  await waitUntil('it shares again', () => service.app.rateLimiting.shared)
  t.equal(away(service).length, 1, 'it is said once when it begins')
  t.equal(back(service).length, 1, 'and once when it ends')
  t.ok(Number(back(service)[0]?.['seconds']) >= 0)
}

t.test('without Redis an instance counts by itself', { skip }, async t => {
  const redis = await redisServer(t)
  const environment = { RATE_LIMIT: '50/1m', REDIS_URL: redis.url, ...behindProxy }
  const one = await build(t, environment)

  await t.test('Redis is killed and restarted', async t => {
    await survives(t, one, { fault: redis.kill, mend: redis.start, reason: /the connection was closed|ECONNRESET|EPIPE/ })
  })
  await t.test('Redis is frozen', async t => {
    await survives(t, one, { fault: redis.freeze, mend: redis.thaw, reason: /no answer in 100 ms/ })
  })
  await t.test('Redis has no memory left', async t => {
    await survives(t, one, { fault: async () => await redis.command('config', 'set', 'maxmemory', '1'), mend: async () => await redis.command('config', 'set', 'maxmemory', '0'), reason: /OOM/ })
  })
  await t.test('Redis is a read-only replica', async t => {
    await survives(t, one, { fault: async () => await redis.command('replicaof', '127.0.0.1', '1'), mend: async () => await redis.command('replicaof', 'no', 'one'), reason: /READONLY/ })
  })
  await t.test('Redis closes the connection', async t => {
    await survives(t, one, { fault: async () => await redis.command('client', 'kill', 'type', 'normal'), mend: () => {}, reason: /the connection was closed/ })
  })

  await t.test('counting continues from the shared counts, up to the limit', async t => {
    const two = await build(t, environment, { url: one.url })
    await waitUntil('both share', () => [one, two].every(({ app }) => app.rateLimiting.shared))
    const network = anybody()
    // By turns, and the last of them here.
    for (let i = 0; i < 20; i++) await ask([two, one], network, 2)
    await redis.kill()
    t.equal(passed(await ask([one], network, 60)), 10)
    t.ok(passed(await ask([two], network, 60)) <= 12)
    t.equal(passed(await ask([one], anybody(), 60)), 50, 'a new one begins anew')
    await redis.start()
    await waitUntil('both share', () => [one, two].every(({ app }) => app.rateLimiting.shared))
    const known = anybody()
    t.equal(passed(await ask([one, two], known, 120)), 50)
  })

  await t.test('the service starts without Redis', async t => {
    await redis.kill()
    const begun = performance.now()
    const service = await build(t, environment, { url: one.url })
    t.ok(performance.now() - begun < 10_000)
    t.equal(passed(await ask([service], anybody(), 60)), 50)
    t.match(away(service), [{ err: { message: /ECONNREFUSED/ } }])
    await redis.start()
    await waitUntil('it shares', () => service.app.rateLimiting.shared)
  })

  await t.test('a wrong password of Redis is never logged', async t => {
    await redis.command('config', 'set', 'requirepass', 'hunter2hunter2')
    for (const [url, reason] of [[`redis://:wrong-password@127.0.0.1:${redis.port}`, /WRONGPASS/], [redis.url, /NOAUTH/]] as const) {
      const service = await build(t, { ...environment, REDIS_URL: url, LOG_LEVEL: 'trace' }, { url: one.url })
      t.equal(passed(await ask([service], anybody(), 60)), 50)
      t.match(away(service), [{ err: { message: reason } }])
      t.notOk(JSON.stringify(service.logs).includes('wrong-password'))
    }
    const right = await build(t, { ...environment, REDIS_URL: `redis://:hunter2hunter2@127.0.0.1:${redis.port}` }, { url: one.url })
    t.ok(right.app.rateLimiting.shared)
  })

  await t.test('shutdown does not wait for a Redis that never answers', async t => {
    const mute = createServer(() => {}).listen(0, '127.0.0.1')
    t.teardown(() => mute.close())
    await once(mute, 'listening')
    const service = await build(t, { ...environment, REDIS_URL: `redis://127.0.0.1:${(mute.address() as AddressInfo).port}` }, { url: one.url })
    t.match(away(service), [{ err: { message: /no answer in 1000 ms/ } }])
    t.equal(passed(await ask([service], anybody(), 60)), 50)
    const begun = performance.now()
    await service.app.close()
    t.ok(performance.now() - begun < 5_000)
  })
})
