import { readFile } from 'node:fs/promises'
import { availableParallelism } from 'node:os'
import pg from 'pg'
import { arrivals, connections, percentile } from './arrivals.ts'
import * as bare from './bare.ts'
import type { Benchmark, Finding } from './benchmark.ts'
import { withConnections } from './connection.ts'
import * as people from './users.ts'
import { folder, postgres } from './postgres.ts'
import * as service from './service.ts'
import type { Logins } from './storm-logins.ts'
import { throughput } from './throughput.ts'

const inFlight = 8 * availableParallelism()
const [refreshesASecond, verificationsASecond] = [50, 100]
const [calm, storming] = [15, 30]
const accounts = 20_000
// The service's own: a turn is waited for for so long, in milliseconds; a hash takes so much memory, in units of a million bytes.
const [longestWait, hashMemory] = [5_000, 19_456 * 1_024 / 1e6]

/** What ten times the logins that are possible do to refreshes, verifications, the memory, and themselves. */
const storm: Benchmark = async t => {
  const url = await postgres(t)
  const { pid, port } = await service.start(t, folder(t), { DATABASE_URL: url, RATE_LIMIT: 'off', TRUST_PROXY: '127.0.0.1/32' })
  const everybody = await people.register(port, inFlight)
  await populate(url)
  const pool = connections(port)
  t.teardown(() => pool.close())
  const sessions = await Promise.all(everybody.map(async login => people.held(await pool.use(connection => connection.post('/v1/auth/login', login)))))

  const measure = async (seconds: number) => {
    // Nobody refreshes a session twice at a time.
    const turns = sessions.map(() => Promise.resolve())
    const refreshing = arrivals(refreshesASecond, seconds, index => {
      const [session, i] = [sessions[index % sessions.length], index % sessions.length]
      const turn = (turns[i] ?? Promise.resolve()).then(async () => {
        if (session) session.token = people.held(await pool.use(connection => connection.post('/v1/auth/refresh', { refresh_token: session.token }))).token
      })
      turns[i] = turn
      return turn
    })
    const verifying = arrivals(verificationsASecond, seconds, async index => {
      await pool.use(connection => connection.get('/v1/auth/verify', { authorization: `Bearer ${sessions[index % sessions.length]?.accessToken}` }))
    })
    const [refreshes, verifications] = await Promise.all([refreshing, verifying])
    return { refreshes: refreshes.map(({ ms }) => ms), verifications: verifications.map(({ ms }) => ms) }
  }

  const rate = await withConnections(port, inFlight, connections => throughput(inFlight, 4, async i => await connections[i]?.post('/v1/auth/login', everybody[i] ?? {})))
  // For the warmth.
  await measure(5)
  const idle = await measure(calm)
  const base = await resident(pid)

  const generator = bare.start(t, 'storm-logins')
  const memory = watch(pid)
  const sending = generator.ask<Logins>({ port, rate: rate * 10, seconds: storming, accounts, password: everybody[0]?.password })
  const [stormy, { accepted, refused, other }] = await Promise.all([measure(storming), sending])
  const most = await memory.stop()

  const hash = 1_000 * availableParallelism() / rate
  const slower = (name: string, before: number[], during: number[]): Finding => {
    const bound = percentile(before, 0.99)
    return { name: `storm: ${name}, p99`, measured: percentile(during, 0.99), bound: Math.round(Math.max(2 * bound, bound + 20) * 10) / 10, is: 'most', unit: ' ms', digits: 1 }
  }
  const linux = process.platform === 'linux'
  const list = (values: number[]) => [0.5, 0.95, 0.99, 1].map(share => percentile(values, share).toFixed(1)).join(' ')
  return {
    findings: [
      slower('refreshes', idle.refreshes, stormy.refreshes),
      slower('verifications', idle.verifications, stormy.verifications),
      { name: 'storm: refused logins, p99', measured: percentile(refused, 0.99), bound: 100, is: 'most', unit: ' ms', digits: 1 },
      { name: 'storm: accepted logins, the slowest', measured: percentile(accepted, 1), bound: Math.round(longestWait + hash), is: 'most', unit: ' ms', digits: 0 },
      { name: 'storm: memory', measured: linux ? most : undefined, bound: Math.round(base + availableParallelism() * hashMemory + 50), is: 'most', unit: ' MB', digits: 0 },
      { name: 'storm: logins that had another answer, or none', measured: other.length, bound: 0, is: 'most', unit: '', digits: 0 }
    ],
    notes: [
      `storm: ${rate.toFixed(1)} logins a second are possible; of ${(rate * 10).toFixed(0)} for ${storming} s, ${(accepted.length / storming).toFixed(1)} a second were accepted (${(accepted.length / storming / rate).toFixed(2)} of what is possible)`,
      `storm: milliseconds of 50, 95, 99 and 100 %: refreshes ${list(idle.refreshes)} before, ${list(stormy.refreshes)} meanwhile; verifications ${list(idle.verifications)}, ${list(stormy.verifications)}; accepted ${list(accepted)}; refused ${list(refused)}; memory ${base.toFixed(0)} MB before`,
      ...other.slice(0, 3).map(what => `storm: a login was answered ${what}`)
    ]
  }
}

// All have the password of the first, and its hash.
async function populate (url: string): Promise<void> {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  await client.query(`insert into users (id, email, canonical_email, password_hash)
    select uuid_v7(), address, address, password_hash from users, generate_series(0, $1 - 1) as i, concat('person-', i, '@storm.example') as address where email = 'person-0@example.com'`, [accounts])
  await client.query('vacuum analyze')
  await client.end()
}

/** The most memory that a process had until it was asked. */
function watch (pid: number) {
  let most = 0
  const look = async () => { most = Math.max(most, await resident(pid)) }
  const timer = setInterval(() => { void look() }, 100)
  return {
    async stop () {
      clearInterval(timer)
      await look()
      return most
    }
  }
}

// In units of a million bytes.
async function resident (pid: number): Promise<number> {
  if (process.platform !== 'linux') return NaN
  const status = await readFile(`/proc/${pid}/status`, 'utf8')
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1]) * 1_024 / 1e6
}

export default storm
