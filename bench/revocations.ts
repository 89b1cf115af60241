import { randomBytes } from 'node:crypto'
import { setTimeout as pause } from 'node:timers/promises'
import Fastify from 'fastify'
import verifier from '../plugins/verifier.ts'
import * as clients from '../src/clients/service-clients.ts'
import { connect } from '../src/database/database.ts'
import { freePort } from '../src/database/embedded/server.ts'
import type { Benchmark, Teardown } from './benchmark.ts'
import { withConnections, type Connection } from './connection.ts'
import * as people from './users.ts'
import { folder, postgres } from './postgres.ts'
import * as service from './service.ts'

const [signOuts, inFlight] = [300, 8]
const often = 2

/** The time from a sign-out's answer until a second instance, and a service that follows the feed, refuse its access token, under load. */
const revocations: Benchmark = async t => {
  const url = await postgres(t)
  const port = await freePort()
  const issuer = `http://localhost:${port}`
  const environment = { DATABASE_URL: url, ISSUER_URL: issuer, RATE_LIMIT: 'off', ARGON2_MEMORY_KIB: '1024', ARGON2_TIME_COST: '1', KEY_ENCRYPTION_KEY: randomBytes(32).toString('base64') }
  const one = await service.start(t, folder(t), { ...environment, PORT: String(port) })
  const other = await service.start(t, folder(t), environment)
  const follower = await following(t, url, issuer)
  const everybody = await people.register(one.port, inFlight)

  const [instance, verified]: [number[], number[]] = [[], []]
  await withConnections(one.port, inFlight, async load => await withConnections(other.port, 1, async ([second]) => await withConnections(one.port, 1, async ([first]) => {
    if (!first || !second) return
    const over = new AbortController()
    // The others refresh as fast as they can.
    const busy = load.map(async (connection, i) => {
      let { token } = people.held(await connection.post('/v1/auth/login', everybody[i] ?? {}))
      while (!over.signal.aborted) ({ token } = people.held(await connection.post('/v1/auth/refresh', { refresh_token: token })))
    })
    for (let i = 0; i < signOuts; i++) {
      const { token, accessToken } = people.held(await first.post('/v1/auth/login', everybody[i % inFlight] ?? {}))
      const headers = { authorization: `Bearer ${accessToken}` }
      await second.get('/v1/auth/verify', headers)
      if (!await follower(headers)) throw new Error('the follower refuses a token that is good')
      await first.post('/v1/auth/logout', { refresh_token: token })
      const begun = performance.now()
      await Promise.all([
        until(async () => !await accepts(second, headers)).then(() => instance.push(performance.now() - begun)),
        until(async () => !await follower(headers)).then(() => verified.push(performance.now() - begun))
      ])
    }
    over.abort()
    await Promise.all(busy)
  })))

  const finding = (name: string, times: number[]) => ({ name: `revocation: 99 of 100 sign-outs are known ${name}`, measured: at(times, 0.99), bound: 1_000, is: 'most' as const, unit: ' ms', digits: 0 })
  const note = (name: string, times: number[]) => `${name} after ${at(times, 0.5).toFixed(0)} ms in the middle, ${at(times, 1).toFixed(0)} ms at the latest`
  return {
    findings: [finding('on a second instance within', instance), finding('in a following service within', verified)],
    notes: [`revocation: of ${signOuts} sign-outs beside ${inFlight} sessions that refresh all the time, ${note('the second instance knew', instance)}; ${note('the following service', verified)}`]
  }
}

/** A service that follows the feed; gives whether it accepts a token. */
async function following (t: Teardown, url: string, issuer: string) {
  const db = connect({ url })
  const { client_id: clientId, client_secret: clientSecret } = await clients.create(db, { name: 'follower', scopes: ['revocations'] }, {})
  await db.end()
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(verifier, { issuer, audience: issuer, clientId, clientSecret })
  app.get('/', { onRequest: app.requireAuth }, async () => 'yes')
  await app.ready()
  return async (headers: Record<string, string>) => (await app.inject({ url: '/', headers })).statusCode === 200
}

// The connection says no more than that it was no success.
const accepts = async (connection: Connection, headers: Record<string, string>) => await connection.get('/v1/auth/verify', headers).then(() => true, (error: Error) => {
  if (!error.message.includes('answered 401')) throw error
  return false
})

async function until (condition: () => Promise<boolean>): Promise<void> {
  while (!await condition()) await pause(often)
}

function at (times: number[], share: number): number {
  const sorted = [...times].sort((one, other) => one - other)
  return sorted[Math.ceil(sorted.length * share) - 1] ?? NaN
}

export default revocations
