import pg from 'pg'
import * as baseline from './baseline.ts'
import type { Benchmark } from './benchmark.ts'
import { withConnections } from './connection.ts'
import * as testUsers from './users.ts'
import { temporaryFolder, startPostgres } from './postgres.ts'
import * as service from './service.ts'
import { compare, median, formatSpread, measureRate } from './throughput.ts'

const [inFlight, sessionsEach] = [16, 50]

/** Requests of sessions, to a service or to its baseline. */
interface SessionRequests {
  port: number
  path: string
  body: (session: testUsers.SessionTokens) => object
  onResponse: (session: testUsers.SessionTokens, response: string) => void
}

/**
 * Measures the refreshes per second, as a fraction of the rate of a baseline route that updates one row and
 * signs one token.
 */
const refresh: Benchmark = async t => {
  const url = await startPostgres(t)
  // Sign-ins are not measured, so the hash is cheap.
  const { port } = await service.start(t, temporaryFolder(t), {
    DATABASE_URL: url,
    RATE_LIMIT: 'off',
    ARGON2_MEMORY_KIB: '1024',
    ARGON2_TIME_COST: '1'
  })
  const users = await testUsers.registerUsers(port, inFlight)
  // Each connection refreshes its own sessions in turn.
  const sessionsByConnection = await withConnections(port, inFlight, connections =>
    Promise.all(
      connections.map(async (connection, i) => {
        const sessions: testUsers.SessionTokens[] = []
        while (sessions.length < sessionsEach) {
          sessions.push(testUsers.parseTokens(await connection.post('/v1/auth/login', users[i] ?? {})))
        }
        return sessions
      })
    )
  )
  await createBaselineTable(url)
  const baselinePort = await baseline.start(t, 'refresh-baseline').ask<number>({ url })

  /** Measures how many of these requests are answered per second, with a session of its own in each. */
  const measureRequests = ({ port, path, body, onResponse }: SessionRequests, seconds: number) =>
    withConnections(port, inFlight, connections =>
      measureRate(inFlight, seconds, async i => {
        const [sessions, connection] = [sessionsByConnection[i], connections[i]]
        const session = sessions?.shift()
        if (!sessions || !connection || !session) return
        sessions.push(session)
        onResponse(session, await connection.post(path, body(session)))
      })
    )

  const { rates, baselineRates, ratios } = await compare(
    { rounds: 20, seconds: 0.5, warmUp: 4 },
    seconds =>
      measureRequests({
        port,
        path: '/v1/auth/refresh',
        body: ({ token }) => ({ refresh_token: token }),
        onResponse: (session, response) => {
          session.token = testUsers.parseTokens(response).token
        }
      }, seconds),
    seconds =>
      measureRequests({
        port: baselinePort,
        path: '/refresh',
        body: ({ id }) => ({ session_id: id }),
        onResponse: (_session, response) => testUsers.parseTokens(response)
      }, seconds)
  )
  return {
    findings: [
      {
        name: 'refresh: refreshes per second / baseline (one update, one signature)',
        measured: median(ratios),
        bound: 0.6,
        limit: 'minimum',
        unit: '',
        digits: 3
      }
    ],
    notes: [
      `refresh: ${median(rates).toFixed(0)}/s with ${inFlight} in flight and ` +
        `${inFlight * sessionsEach} sessions; baseline ${median(baselineRates).toFixed(0)}/s; ` +
        `quartiles of the ratio ${formatSpread(ratios, 2)}`
    ]
  }
}

/** Creates a table with as many rows as the service's, and the same fill factor. */
async function createBaselineTable (url: string): Promise<void> {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  await client.query(`
    create table baseline (
      session_id uuid primary key,
      generation integer not null default 0,
      last_used_at timestamptz not null default now()
    ) with (fillfactor = 50);
    insert into baseline (session_id) select session_id from refresh_tokens;
    analyze`)
  await client.end()
}

export default refresh
