import { generateKeyPairSync, randomUUID } from 'node:crypto'
import Fastify from 'fastify'
import { createSigner } from 'fast-jwt'
import verifierPlugin from '../plugins/verifier/fastify.ts'
import type { Teardown } from '../test/support/teardown.ts'
import type { Benchmark } from './benchmark.ts'
import { median, formatSpread } from './throughput.ts'

const [kid, audience] = ['bench', 'urn:bench']

/**
 * Measures the processor time that the verifier adds to a request, with a token in its cache and with a new
 * one.
 */
const verifier: Benchmark = async t => {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const issuer = await startIssuer(t, {
    ...publicKey.export({ format: 'jwk' }),
    alg: 'ES256',
    use: 'sig',
    kid
  })
  const sign = createSigner({
    algorithm: 'ES256',
    key: privateKey.export({ type: 'pkcs8', format: 'pem' }),
    kid,
    header: { alg: 'ES256', typ: 'at+jwt' }
  })
  const token = () => {
    const iat = Math.floor(Date.now() / 1_000)
    // The same number of claims as in the service's tokens.
    return sign({
      iss: issuer,
      aud: audience,
      sub: randomUUID(),
      client_id: 'latchkey',
      scope: 'account',
      iat,
      exp: iat + 900,
      jti: randomUUID(),
      sid: randomUUID(),
      auth_time: iat,
      amr: ['pwd'],
      roles: ['user']
    })
  }

  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(verifierPlugin, { issuer, audience, clientId: 'bench', clientSecret: 'bench' })
  app.get('/baseline', async () => 'ok')
  app.get('/verified', { onRequest: app.requireAuth }, async request => request.auth.sub && 'ok')
  await app.ready()
  if (!app.verifier.health().feed?.followed) throw new Error('the verifier does not follow the feed')

  /**
   * Sends requests one after the other, and returns the microseconds of each: processor time and elapsed
   * time.
   */
  async function measure (url: string, tokens: string[]): Promise<RequestTime> {
    const [startedAt, used] = [performance.now(), process.cpuUsage()]
    for (const token of tokens) {
      const { statusCode } = await app.inject({ url, headers: { authorization: `Bearer ${token}` } })
      if (statusCode !== 200) throw new Error(`${url} answered ${statusCode}`)
    }
    const { user, system } = process.cpuUsage(used)
    return {
      processor: (user + system) / tokens.length,
      clock: ((performance.now() - startedAt) * 1_000) / tokens.length
    }
  }
  /**
   * Returns the time that the verifier adds. The rounds are short, so that other processes slow down both
   * routes.
   */
  async function measureAdded (rounds: number, requests: number, tokens: (count: number) => string[]) {
    const times: Array<{ baseline: RequestTime, verified: RequestTime }> = []
    for (let round = -10; round < rounds; round++) {
      const used = tokens(requests)
      const [baseline, verified] = [await measure('/baseline', used), await measure('/verified', used)]
      if (round >= 0) times.push({ baseline, verified })
    }
    const addedTimes = (kind: keyof RequestTime) =>
      times.map(({ baseline, verified }) => verified[kind] - baseline[kind])
    return {
      processor: median(addedTimes('processor')),
      spread: formatSpread(addedTimes('processor'), 1),
      clock: median(addedTimes('clock')),
      baseline: median(times.map(({ baseline }) => baseline.clock))
    }
  }

  const cachedTokens = Array.from({ length: 100 }, token)
  const cached = await measureAdded(100, 500, count =>
    Array.from({ length: count }, (_, index) => cachedTokens[index % cachedTokens.length] ?? '')
  )
  const uncached = await measureAdded(60, 50, count => Array.from({ length: count }, token))
  return {
    findings: [
      {
        name: 'verifier: processor time added to a request, token in the cache',
        measured: cached.processor,
        bound: 20,
        limit: 'maximum',
        unit: ' µs',
        digits: 1
      },
      {
        name: 'verifier: processor time added to a request, new token',
        measured: uncached.processor,
        bound: 500,
        limit: 'maximum',
        unit: ' µs',
        digits: 0
      }
    ],
    notes: [
      `verifier: ${note('token in the cache', cached)}; ${note('new token', uncached)}; route without ` +
        `verifier ${cached.baseline.toFixed(0)} µs elapsed; ES256`
    ]
  }
}

interface RequestTime { processor: number, clock: number }

const note = (name: string, { processor, spread, clock }: RequestTime & { spread: string }) =>
  `${name} ${processor.toFixed(1)} µs processor time (quartiles ${spread}), ${clock.toFixed(1)} µs elapsed`

/** Starts an issuer with only what a verifier needs: metadata, keys, and an empty revocation feed. */
async function startIssuer (t: Teardown, jwk: object): Promise<string> {
  const app = Fastify({ forceCloseConnections: true })
  t.teardown(() => app.close())
  const url = { issuer: '' }
  app.get('/.well-known/oauth-authorization-server', async () => ({
    ...url,
    jwks_uri: `${url.issuer}/jwks`,
    revocation_feed_endpoint: `${url.issuer}/revocations`
  }))
  app.get('/jwks', async () => ({ keys: [jwk] }))
  app.get('/revocations', (_request, reply) => {
    reply.hijack()
    reply.raw.writeHead(200, { 'content-type': 'text/event-stream' }).write(': synced\n\n')
    const heartbeats = setInterval(() => reply.raw.write(': heartbeat\n\n'), 5_000)
    reply.raw.on('close', () => clearInterval(heartbeats))
  })
  url.issuer = await app.listen({ host: '127.0.0.1', port: 0 })
  return url.issuer
}

export default verifier
