import { readFile } from 'node:fs/promises'
import { availableParallelism } from 'node:os'
import pg from 'pg'
import { runOpenLoop, connectionPool, percentile } from './open-loop.ts'
import * as baseline from './baseline.ts'
import type { Benchmark, Measurement } from './benchmark.ts'
import { withConnections } from './connection.ts'
import * as testUsers from './users.ts'
import { temporaryFolder, startPostgres } from './postgres.ts'
import * as service from './service.ts'
import type { StormResult } from './storm-generator.ts'
import { measureRate } from './throughput.ts'

const inFlight = 8 * availableParallelism()
const [refreshesPerSecond, verificationsPerSecond] = [50, 100]
const [idleSeconds, stormSeconds] = [15, 30]
const accounts = 20_000
// The service's defaults: how long a login may wait in the hashing queue, and the memory of one hash.
const [maxWaitMs, hashMb] = [5_000, 19_456 * 1_024 / 1e6]

/**
 * Sends ten times the logins per second that are possible, and measures refreshes, token checks, memory and
 * the logins themselves meanwhile.
 */
const storm: Benchmark = async t => {
  const url = await startPostgres(t)
  const { pid, port } = await service.start(t, temporaryFolder(t), {
    DATABASE_URL: url,
    RATE_LIMIT: 'off',
    TRUST_PROXY: '127.0.0.1/32'
  })
  const users = await testUsers.registerUsers(port, inFlight)
  await populate(url)
  const pool = connectionPool(port)
  t.teardown(() => pool.close())
  const sessions = await Promise.all(
    users.map(async login =>
      testUsers.parseTokens(await pool.use(connection => connection.post('/v1/auth/login', login)))
    )
  )

  const measure = async (seconds: number) => {
    // A session is never refreshed twice at the same time.
    const previous = sessions.map(() => Promise.resolve())
    const refreshing = runOpenLoop(refreshesPerSecond, seconds, index => {
      const [session, i] = [sessions[index % sessions.length], index % sessions.length]
      const refresh = (previous[i] ?? Promise.resolve()).then(async () => {
        if (session) {
          session.token = testUsers.parseTokens(
            await pool.use(connection =>
              connection.post('/v1/auth/refresh', { refresh_token: session.token })
            )
          ).token
        }
      })
      previous[i] = refresh
      return refresh
    })
    const verifying = runOpenLoop(verificationsPerSecond, seconds, async index => {
      await pool.use(connection =>
        connection.get('/v1/auth/verify', {
          authorization: `Bearer ${sessions[index % sessions.length]?.accessToken}`
        })
      )
    })
    const [refreshes, verifications] = await Promise.all([refreshing, verifying])
    return { refreshes: refreshes.map(({ ms }) => ms), verifications: verifications.map(({ ms }) => ms) }
  }

  const rate = await withConnections(port, inFlight, connections =>
    measureRate(inFlight, 4, async i => await connections[i]?.post('/v1/auth/login', users[i] ?? {}))
  )
  // A process is slower in its first seconds, so they do not count.
  await measure(5)
  const idle = await measure(idleSeconds)
  const idleMb = await residentMb(pid)

  const generator = baseline.start(t, 'storm-generator')
  const memory = watchMemory(pid)
  const sending = generator.ask<StormResult>({
    port,
    rate: rate * 10,
    seconds: stormSeconds,
    accounts,
    password: users[0]?.password
  })
  const [during, { accepted, refused, other }] = await Promise.all([measure(stormSeconds), sending])
  const peakMb = await memory.stop()

  const hashMs = 1_000 * availableParallelism() / rate
  const compareWithIdle = (name: string, before: number[], during: number[]): Measurement => {
    const idleP99 = percentile(before, 0.99)
    return {
      name: `storm: p99 of ${name} during the storm, compared with idle`,
      measured: percentile(during, 0.99),
      bound: Math.round(Math.max(2 * idleP99, idleP99 + 20) * 10) / 10,
      limit: 'maximum',
      unit: ' ms',
      digits: 1
    }
  }
  const isLinux = process.platform === 'linux'
  const listPercentiles = (values: number[]) =>
    [0.5, 0.95, 0.99, 1].map(share => percentile(values, share).toFixed(1)).join(' ')
  return {
    findings: [
      compareWithIdle('refreshes', idle.refreshes, during.refreshes),
      compareWithIdle('verifications', idle.verifications, during.verifications),
      {
        name: 'storm: p99 of rejected logins',
        measured: percentile(refused, 0.99),
        bound: 100,
        limit: 'maximum',
        unit: ' ms',
        digits: 1
      },
      {
        name: 'storm: slowest accepted login',
        measured: percentile(accepted, 1),
        bound: Math.round(maxWaitMs + hashMs),
        limit: 'maximum',
        unit: ' ms',
        digits: 0
      },
      {
        name: 'storm: peak memory',
        measured: isLinux ? peakMb : undefined,
        bound: Math.round(idleMb + availableParallelism() * hashMb + 50),
        limit: 'maximum',
        unit: ' MB',
        digits: 0
      },
      {
        name: 'storm: logins that had another response, or none',
        measured: other.length,
        bound: 0,
        limit: 'maximum',
        unit: '',
        digits: 0
      }
    ],
    notes: [
      `storm: ${rate.toFixed(1)} logins/s are possible; of ${(rate * 10).toFixed(0)}/s for ` +
        `${stormSeconds} s, ${(accepted.length / stormSeconds).toFixed(1)}/s were accepted ` +
        `(${(accepted.length / stormSeconds / rate).toFixed(2)} of the possible rate)`,
      `storm: p50, p95, p99 and maximum in ms: refreshes ${listPercentiles(idle.refreshes)} idle, ` +
        `${listPercentiles(during.refreshes)} in the storm; verifications ` +
        `${listPercentiles(idle.verifications)}, ${listPercentiles(during.verifications)}; accepted ` +
        `${listPercentiles(accepted)}; rejected ${listPercentiles(refused)}; memory ` +
        `${idleMb.toFixed(0)} MB idle`,
      ...other.slice(0, 3).map(response => `storm: unexpected response to a login: ${response}`)
    ]
  }
}

/** Adds users with the password of the first user, and the same hash. */
async function populate (url: string): Promise<void> {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  await client.query(
    `insert into users (id, email, canonical_email, password_hash)
    select uuid_v7(), address, address, password_hash
    from users, generate_series(0, $1 - 1) as i, concat('person-', i, '@storm.example') as address
    where email = 'person-0@example.com'`,
    [accounts]
  )
  await client.query('vacuum analyze')
  await client.end()
}

/** Watches the resident memory of a process. `stop` returns the peak in megabytes. */
function watchMemory (pid: number) {
  let peakMb = 0
  const sample = async () => { peakMb = Math.max(peakMb, await residentMb(pid)) }
  const timer = setInterval(() => { void sample() }, 100)
  return {
    async stop () {
      clearInterval(timer)
      await sample()
      return peakMb
    }
  }
}

/** Returns the resident memory of a process in megabytes; NaN if the system does not report it. */
async function residentMb (pid: number): Promise<number> {
  if (process.platform !== 'linux') return NaN
  const status = await readFile(`/proc/${pid}/status`, 'utf8')
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1]) * 1_024 / 1e6
}

export default storm
