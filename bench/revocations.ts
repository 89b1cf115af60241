import { randomBytes } from 'node:crypto'
import { setTimeout as pause } from 'node:timers/promises'
import Fastify from 'fastify'
import verifier from '../plugins/verifier/fastify.ts'
import * as clients from '../src/clients/clients.ts'
import { connect } from '../src/database/database.ts'
import { freePort } from '../src/database/embedded/server.ts'
import type { Teardown } from '../test/support/teardown.ts'
import type { Benchmark } from './benchmark.ts'
import { withConnections, type HttpConnection } from './connection.ts'
import { percentile } from './open-loop.ts'
import * as testUsers from './users.ts'
import { temporaryFolder, startPostgres } from './postgres.ts'
import * as service from './service.ts'

const [signOuts, inFlight] = [300, 8]
const pollIntervalMs = 2

/**
 * Measures the time from the response to a sign-out until its access token is rejected under load: by a
 * second instance, and by a service that follows the revocation feed.
 */
const revocations: Benchmark = async t => {
  const url = await startPostgres(t)
  const port = await freePort()
  const issuer = `http://localhost:${port}`
  const environment = {
    DATABASE_URL: url,
    ISSUER_URL: issuer,
    RATE_LIMIT: 'off',
    ARGON2_MEMORY_KIB: '1024',
    ARGON2_TIME_COST: '1',
    KEY_ENCRYPTION_KEY: randomBytes(32).toString('base64')
  }
  const firstInstance = await service.start(t, temporaryFolder(t), { ...environment, PORT: String(port) })
  const secondInstance = await service.start(t, temporaryFolder(t), environment)
  const isAccepted = await startFollower(t, url, issuer)
  const users = await testUsers.registerUsers(firstInstance.port, inFlight)

  const [instanceMs, followerMs]: [number[], number[]] = [[], []]
  const measure = async (load: HttpConnection[], first: HttpConnection, second: HttpConnection) => {
    const stop = new AbortController()
    // Other clients refresh as fast as they can.
    const busy = load.map(async (connection, i) => {
      let { token } = testUsers.parseTokens(await connection.post('/v1/auth/login', users[i] ?? {}))
      while (!stop.signal.aborted) {
        ;({ token } = testUsers.parseTokens(
          await connection.post('/v1/auth/refresh', { refresh_token: token })
        ))
      }
    })
    for (let i = 0; i < signOuts; i++) {
      const { token, accessToken } = testUsers.parseTokens(
        await first.post('/v1/auth/login', users[i % inFlight] ?? {})
      )
      const headers = { authorization: `Bearer ${accessToken}` }
      await second.get('/v1/auth/verify', headers)
      if (!await isAccepted(headers)) throw new Error('the follower rejects a valid token')
      await first.post('/v1/auth/logout', { refresh_token: token })
      const startedAt = performance.now()
      await Promise.all([
        until(async () => !(await accepts(second, headers))).then(() =>
          instanceMs.push(performance.now() - startedAt)
        ),
        until(async () => !(await isAccepted(headers))).then(() =>
          followerMs.push(performance.now() - startedAt)
        )
      ])
    }
    stop.abort()
    await Promise.all(busy)
  }
  await withConnections(firstInstance.port, inFlight + 1, async ([first, ...load]) =>
    await withConnections(secondInstance.port, 1, async ([second]) => {
      if (first && second) await measure(load, first, second)
    })
  )

  const finding = (name: string, times: number[]) => ({
    name: `revocations: p99 from sign-out until ${name} rejects the token`,
    measured: percentile(times, 0.99),
    bound: 1_000,
    limit: 'maximum' as const,
    unit: ' ms',
    digits: 0
  })
  const note = (name: string, times: number[]) =>
    `${name} ${percentile(times, 0.5).toFixed(0)} ms (median), ${percentile(times, 1).toFixed(0)} ms ` +
      '(maximum)'
  return {
    findings: [finding('a second instance', instanceMs), finding('a following service', followerMs)],
    notes: [
      `revocations: ${signOuts} sign-outs while ${inFlight} sessions refresh: ` +
        `${note('second instance', instanceMs)}; ${note('following service', followerMs)}`
    ]
  }
}

/** Starts a service that follows the feed, and returns a function that tells whether it accepts a token. */
async function startFollower (t: Teardown, url: string, issuer: string) {
  const db = connect({ url })
  const { client_id: clientId, client_secret: clientSecret } = await clients.create(
    db,
    { name: 'follower', scopes: ['revocations'] },
    {}
  )
  await db.end()
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(verifier, { issuer, audience: issuer, clientId, clientSecret })
  app.get('/', { onRequest: app.requireAuth }, async () => 'yes')
  await app.ready()
  return async (headers: Record<string, string>) =>
    (await app.inject({ url: '/', headers })).statusCode === 200
}

// The connection throws if the response is not a success.
const accepts = async (connection: HttpConnection, headers: Record<string, string>) =>
  await connection.get('/v1/auth/verify', headers).then(
    () => true,
    (error: Error) => {
      if (!error.message.includes('answered 401')) throw error
      return false
    }
  )

async function until (condition: () => Promise<boolean>): Promise<void> {
  while (!await condition()) await pause(pollIntervalMs)
}

export default revocations
