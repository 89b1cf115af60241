import { generateKeyPairSync, randomUUID } from 'node:crypto'
import Fastify from 'fastify'
import { createSigner } from 'fast-jwt'
import verifierPlugin from '../plugins/verifier.ts'
import type { Benchmark, Teardown } from './benchmark.ts'
import { median, spread } from './throughput.ts'

const [kid, audience] = ['bench', 'urn:bench']

/** The microseconds of the processor that the verifier adds to a request, with a token that it has seen and with one that it has not. */
const verifier: Benchmark = async t => {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const issuer = await tinyIssuer(t, { ...publicKey.export({ format: 'jwk' }), alg: 'ES256', use: 'sig', kid })
  const sign = createSigner({ algorithm: 'ES256', key: privateKey.export({ type: 'pkcs8', format: 'pem' }), kid, header: { alg: 'ES256', typ: 'at+jwt' } })
  const token = () => {
    const iat = Math.floor(Date.now() / 1_000)
    // As many claims as the service's tokens have.
    return sign({ iss: issuer, aud: audience, sub: randomUUID(), client_id: 'latchkey', scope: 'account', iat, exp: iat + 900, jti: randomUUID(), sid: randomUUID(), auth_time: iat, amr: ['pwd'], roles: ['user'] })
  }

  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(verifierPlugin, { issuer, audience, clientId: 'bench', clientSecret: 'bench' })
  app.get('/bare', async () => 'ok')
  app.get('/verified', { onRequest: app.requireAuth }, async request => request.auth.sub && 'ok')
  await app.ready()
  if (!app.verifier.health().feed?.followed) throw new Error('the feed is not followed')

  // Microseconds for each of the requests, one after the other: of the processor, of which others may take as much as
  // they like, and by the clock.
  async function time (url: string, tokens: string[]): Promise<Time> {
    const [begun, used] = [performance.now(), process.cpuUsage()]
    for (const token of tokens) {
      const { statusCode } = await app.inject({ url, headers: { authorization: `Bearer ${token}` } })
      if (statusCode !== 200) throw new Error(`${url} answered ${statusCode}`)
    }
    const { user, system } = process.cpuUsage(used)
    return { processor: (user + system) / tokens.length, clock: (performance.now() - begun) * 1_000 / tokens.length }
  }
  // In rounds so short that what else the machine does meets both sides.
  async function added (rounds: number, requests: number, tokens: (count: number) => string[]) {
    const times: Array<{ bare: Time, verified: Time }> = []
    for (let round = -10; round < rounds; round++) {
      const used = tokens(requests)
      const [bare, verified] = [await time('/bare', used), await time('/verified', used)]
      if (round >= 0) times.push({ bare, verified })
    }
    const of = (kind: keyof Time) => times.map(({ bare, verified }) => verified[kind] - bare[kind])
    return { processor: median(of('processor')), spread: spread(of('processor'), 1), clock: median(of('clock')), bare: median(times.map(({ bare }) => bare.clock)) }
  }

  const few = Array.from({ length: 100 }, token)
  const seen = await added(100, 500, count => Array.from({ length: count }, (_, index) => few[index % few.length] ?? ''))
  const unseen = await added(60, 50, count => Array.from({ length: count }, token))
  return {
    findings: [
      { name: 'verifier: added to a request with a token it has seen', measured: seen.processor, bound: 20, is: 'most', unit: ' µs', digits: 1 },
      { name: 'verifier: added to a request with a token it has not', measured: unseen.processor, bound: 500, is: 'most', unit: ' µs', digits: 0 }
    ],
    notes: [`verifier: ${note('seen', seen)}; ${note('not seen', unseen)}; the bare route ${seen.bare.toFixed(0)} µs by the clock; ES256`]
  }
}

interface Time { processor: number, clock: number }

const note = (what: string, { processor, spread, clock }: Time & { spread: string }) => `${what} ${processor.toFixed(1)} µs of the processor (the middle half ${spread}), ${clock.toFixed(1)} µs by the clock`

// The least that a verifier needs: metadata, keys, and a feed in which nothing happens.
async function tinyIssuer (t: Teardown, jwk: object): Promise<string> {
  const app = Fastify({ forceCloseConnections: true })
  t.teardown(() => app.close())
  const url = { issuer: '' }
  app.get('/.well-known/oauth-authorization-server', async () => ({ ...url, jwks_uri: `${url.issuer}/jwks`, revocation_feed_endpoint: `${url.issuer}/revocations` }))
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
