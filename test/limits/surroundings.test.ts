import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { request } from 'node:http'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import type { AddressInfo } from 'node:net'
import { promisify } from 'node:util'
import type { Test } from 'tap'
import { exitCode } from '../../src/config/config-error.ts'
import { load } from '../../src/config/config.ts'
import { variables } from '../../src/config/variables.ts'
import { fitsInMemory, hashingMemoryBytes } from '../../src/calibration/calibration.ts'
import { build, type Service } from '../support/app.ts'
import { skip, startServer } from '../support/nginx.ts'
import { blocks, verifiedBy } from '../support/limits-page.ts'
import {
  secondInstance,
  forwardedFor,
  guessPassword,
  inSequence,
  withoutLimits,
  registerFromNewNetwork,
  statuses
} from '../support/other-networks.ts'
import { isCompiled, moduleFile } from '../support/program.ts'
import { temporaryFolder } from '../support/temporary-folder.ts'
import { t } from '../support/test.ts'

const rateLimit = 'test/plugins/rate-limit.test.ts'
const commands = 'test/cli/commands.test.ts'
const argon2 = 'test/src/argon2.test.ts'
const service = await build(t)

const [headerLines = ''] = blocks('Behind a proxy', 'nginx')
const trustedProxies = [
  ...blocks('Behind a proxy', 'ini')
    .join('')
    .matchAll(/^TRUST_PROXY=(\S+)/gm)
].map(([, value = '']) => value)

/**
 * Runs nginx with the page's lines before the service. Returns a function that sends a request through it
 * from an address, and returns the status.
 */
async function behindNginx (t: Test, { app }: Service) {
  await app.listen({ host: '127.0.0.1', port: 0 })
  const { port: servicePort } = app.server.address() as AddressInfo
  const locations = `location / { ${headerLines} proxy_pass http://127.0.0.1:${servicePort}; }`
  const { port } = await startServer(t, { locations })
  return async (localAddress: string, { method = 'GET', path = '/v1/me', body = '', headers = {} } = {}) => {
    const sent = request({
      port,
      host: '127.0.0.1',
      localAddress,
      path,
      method,
      agent: false,
      headers: { 'content-type': 'application/json', ...headers }
    }).end(body)
    const [answer] = await once(sent, 'response')
    answer.resume()
    return answer.statusCode
  }
}
t.test('limits-070: without TRUST_PROXY all clients are one network', { skip }, async t => {
  const send = await behindNginx(t, await secondInstance(t, service, { RATE_LIMIT: '1/1m' }))
  t.strictSame([await send('127.0.0.2'), await send('127.0.0.3')], [401, 429])
  const sendGuess = await behindNginx(
    t,
    await secondInstance(t, service, { ...withoutLimits, LOGIN_NETWORK_LIMIT: '3/15m' })
  )
  t.strictSame(
    await inSequence(4, i =>
      sendGuess(`127.0.0.${i + 2}`, {
        method: 'POST',
        path: '/v1/auth/login',
        body: JSON.stringify({ email: `${i}@example.com`, password: 'x' })
      })
    ),
    [401, 401, 401, 429]
  )
})

t.test('limits-071: with TRUST_PROXY the last untrusted address counts', { skip }, async t => {
  const send = await behindNginx(
    t,
    await secondInstance(t, service, { RATE_LIMIT: '1/1m', TRUST_PROXY: trustedProxies[0] })
  )
  t.strictSame(
    [await send('127.0.0.2'), await send('127.0.0.3'), await send('127.0.0.2'), await send('127.0.0.3')],
    [401, 401, 429, 429]
  )
  t.strictSame(
    await inSequence(3, i => send('127.0.0.4', { headers: { 'x-forwarded-for': `203.0.113.${i}` } })),
    [401, 429, 429]
  )
  // For each example of the page: requests of one client through different proxies.
  const routes: Array<Array<[peer: string, forwarded: string]>> = [
    [
      ['127.0.0.1', '198.51.100.7'],
      ['::1', '198.51.100.7']
    ],
    [
      ['172.18.0.2', '198.51.100.7'],
      ['172.18.255.9', '203.0.113.1, 198.51.100.7']
    ],
    [
      ['10.0.0.5', '198.51.100.7, 173.245.63.9'],
      ['10.0.0.5', '203.0.113.1, 198.51.100.7, 2400:cb00::9'],
      ['173.245.48.1', '198.51.100.7']
    ]
  ]
  t.equal(trustedProxies.length, routes.length)
  for (const [index, TRUST_PROXY] of trustedProxies.entries()) {
    const { app } = await secondInstance(t, service, { RATE_LIMIT: '10/1m', TRUST_PROXY })
    const remaining = []
    for (const [remoteAddress, forwarded] of routes[index] ?? []) {
      remaining.push(
        (await app.inject({ path: '/v1/me', remoteAddress, headers: { 'x-forwarded-for': forwarded } }))
          .headers['ratelimit-remaining']
      )
    }
    t.strictSame(remaining, ['9', '8', '7'].slice(0, remaining.length), TRUST_PROXY)
  }
})

verifiedBy(t, 'limits-072: no other header counts', {
  [rateLimit]: [
    'without a trusted proxy the connection counts',
    'the last address, which the trusted proxy added, counts',
    'the first untrusted address of a chain of proxies counts'
  ]
})

t.test('limits-073: missing ranges of a CDN are taken for clients', async t => {
  const { browser } = await secondInstance(t, service, {
    RATE_LIMIT: '10/1m',
    TRUST_PROXY: '127.0.0.1,173.245.48.0/20'
  })
  const remaining = await inSequence(
    2,
    async i =>
      (await browser().get('/v1/me', forwardedFor(`198.51.100.${i}, 104.16.0.1`))).headers[
        'ratelimit-remaining'
      ]
  )
  t.strictSame(remaining, ['9', '8'])
})

t.test('limits-074: names and wide ranges are rejected', async t => {
  for (const TRUST_PROXY of ['proxy.example.com', 'localhost', '1', 'true', '10.0.0.0/7', 'fc00::/6']) {
    try {
      load({ TRUST_PROXY })
      t.fail(TRUST_PROXY)
    } catch (error) {
      t.equal(exitCode(error), 78)
    }
  }
  for (const TRUST_PROXY of ['10.0.0.0/8', 'fc00::/7']) t.ok(load({ TRUST_PROXY }).trustProxy)
})

t.test('limits-075: a trusted address is believed', async t => {
  const { browser } = await secondInstance(t, service, { RATE_LIMIT: '1/1m', TRUST_PROXY: '127.0.0.1' })
  t.strictSame(
    statuses(await inSequence(5, i => browser().get('/v1/me', forwardedFor(`192.0.2.${i}`)))),
    Array(5).fill(401)
  )
})

t.test('limits-076: the audit log shows the address', async t => {
  const behindProxy = await secondInstance(t, service, { TRUST_PROXY: '127.0.0.1' })
  const { email, password } = await registerFromNewNetwork(behindProxy)
  await guessPassword(behindProxy, { email, password }, '203.0.113.9, 192.0.2.77')
  const [query = ''] = blocks('Behind a proxy', 'sql')
  t.match(await service.sql(query), [{ address: '192.0.2.77', user_agent: 'lightMyRequest' }, {}])
})

t.test('limits-084: the cost of argon2', async t => {
  t.strictSame(
    [
      variables.ARGON2_MEMORY_KIB.preset,
      variables.ARGON2_TIME_COST.preset,
      variables.ARGON2_PARALLELISM.preset
    ],
    ['19456', '2', '1']
  )
})

t.test('limits-085: the concurrency of argon2', async t => {
  t.equal(load({}).passwords.concurrency, availableParallelism())
  t.equal(load({ ARGON2_CONCURRENCY: '1' }).passwords.concurrency, 1)
})

t.test('limits-086: the build of argon2', async t => {
  t.equal(variables.ARGON2_BUILD.preset, 'auto')
  t.equal((await secondInstance(t, service, { ARGON2_BUILD: 'prebuilt' })).app.passwords.build, 'prebuilt')
})

const tsxSkip = !isCompiled && 'tsx uses the thread pool before the service can size it'
t.test('limits-087: the thread pool is sized by the program', { skip: tsxSkip }, async t => {
  // NODE_OPTIONS of the test runner would preload a module.
  const printSize = join(temporaryFolder(t), 'print-size.cjs')
  writeFileSync(printSize, "process.on('exit', () => console.error(process.env.UV_THREADPOOL_SIZE))")
  const poolSize = async (environment: Record<string, string>) => {
    const { stderr } = await promisify(execFile)(
      'env',
      [
        '-u',
        'NODE_OPTIONS',
        process.execPath,
        '--require',
        printSize,
        moduleFile('src/latchkey.cts'),
        '--version'
      ],
      { env: { PATH: process.env['PATH'], ...environment } }
    )
    return Number(stderr)
  }
  t.strictSame(
    [
      await poolSize({ ARGON2_CONCURRENCY: '6' }),
      await poolSize({}),
      await poolSize({ UV_THREADPOOL_SIZE: '3' })
    ],
    [10, availableParallelism() + 4, 3]
  )
})

verifiedBy(t, 'limits-088: what calibrate measures', {
  [commands]: [
    'measures the costs that OWASP accepts, with the build in use',
    'prints a table and the variables to set, which make a valid configuration',
    'recommends the strongest cost within the target, or else the fastest',
    'leaves out costs for which there is not enough memory'
  ]
})

t.test('limits-089: the memory for hashing', async t => {
  const cost = { memoryKib: Number(variables.ARGON2_MEMORY_KIB.preset), timeCost: 2 }
  const mib = 1_024 ** 2
  t.equal(hashingMemoryBytes(cost, 16), 304 * mib)
  t.strictSame(
    [fitsInMemory(cost, 16, (304 + 128) * mib), fitsInMemory(cost, 16, (304 + 128) * mib - 1)],
    [true, false]
  )
})

t.test('limits-090: large imported hashes are verified one at a time', async t => {
  const service = await build(t)
  // Slow enough that all six guesses arrive while the first one is verified.
  const usual = await secondInstance(t, service, { ARGON2_MEMORY_KIB: '1024', ARGON2_TIME_COST: '100' })
  const large = await secondInstance(t, service, { ARGON2_MEMORY_KIB: '8192', ARGON2_TIME_COST: '12' })
  const { app: { passwords: { queue } }, browser } = await secondInstance(t, service, {})
  /** The largest number of hashes that are verified at the same time. */
  const maxConcurrency = async ({ email }: { email: string }) => {
    let [running, maxRunning] = [0, 0]
    queue.observe({
      started () { maxRunning = Math.max(maxRunning, ++running) },
      ended () { running-- },
      refused () {}
    })
    const guess = async () => await browser().post('/v1/auth/login', { email, password: 'x' })
    t.strictSame(statuses(await Promise.all(Array.from({ length: 6 }, guess))), Array(6).fill(401))
    return maxRunning
  }
  t.equal(await maxConcurrency(await registerFromNewNetwork(usual)), 2)
  t.equal(await maxConcurrency(await registerFromNewNetwork(large)), 1)
})

verifiedBy(t, 'limits-091: weak costs do not start in production', {
  'test/src/config.test.ts': ['argon2 costs below those of OWASP are rejected']
})

verifiedBy(t, 'limits-092: older hashes are replaced at sign-in', {
  'test/routes/sign-in.test.ts': [
    'rehashes the password with stronger parameters, and never with weaker ones'
  ]
})

verifiedBy(t, 'limits-093: too few threads are logged', {
  [argon2]: [
    'if the pool has enough threads',
    'also if the pool has fewer threads than ARGON2_CONCURRENCY needs; a warning says so'
  ]
})

verifiedBy(t, 'limits-094: a build that does not work', {
  [argon2]: ['is skipped for the next one', 'makes the service use another one, or exit if it is configured']
})
