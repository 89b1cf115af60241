import { randomBytes, randomInt } from 'node:crypto'
import pg from 'pg'
import { connect } from '../src/database/database.ts'
import { findActiveKey, loadKeyring } from '../src/tokens/keyring.ts'
import { mint } from '../src/sessions/refresh-token.ts'
import type { Teardown } from '../test/support/teardown.ts'
import type { Benchmark } from './benchmark.ts'
import { withConnections } from './connection.ts'
import * as testUsers from './users.ts'
import { temporaryFolder, startPostgres } from './postgres.ts'
import * as service from './service.ts'
import { compare, median, formatSpread, measureRate } from './throughput.ts'

const inFlight = 16
const [smallCount, largeCount] = [10_000, 1_000_000]

/**
 * Measures the refreshes per second of random sessions among a million, as a fraction of the rate with
 * 10,000.
 */
const sessions: Benchmark = async t => {
  const [small, large] = [await startWithSessions(t, smallCount), await startWithSessions(t, largeCount)]
  const { rates, baselineRates, ratios } = await compare(
    { rounds: 20, seconds: 0.5, warmUp: 4 },
    large, small
  )
  return {
    findings: [
      {
        name: 'sessions: refreshes per second with 1,000,000 sessions / with 10,000',
        measured: median(ratios),
        bound: 0.8,
        limit: 'minimum',
        unit: '',
        digits: 3
      }
    ],
    notes: [
      `sessions: ${median(rates).toFixed(0)} refreshes/s with ${largeCount} sessions, ` +
        `${median(baselineRates).toFixed(0)}/s with ${smallCount}; quartiles of the ratio ` +
        `${formatSpread(ratios, 2)}`
    ]
  }
}

/**
 * Starts a service with this many sessions, and returns a function that measures its refreshes per second.
 */
async function startWithSessions (t: Teardown, count: number): Promise<(seconds: number) => Promise<number>> {
  const url = await startPostgres(t)
  const key = randomBytes(32)
  const { port } = await service.start(t, temporaryFolder(t), {
    DATABASE_URL: url,
    RATE_LIMIT: 'off',
    ARGON2_MEMORY_KIB: '1024',
    ARGON2_TIME_COST: '1',
    KEY_ENCRYPTION_KEY: key.toString('base64')
  })
  await testUsers.registerUsers(port, 1)
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  await client.query(
    `insert into sessions (id, user_id, methods, remembered, user_agent, ip, expires_at)
    select uuid_v7(), users.id, '{pwd}', false,
      'Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0', '127.0.0.1',
      now() + interval '30 days'
    from users, generate_series(1, $1)`,
    [count]
  )
  await client.query(
    'insert into refresh_tokens (session_id) select id from sessions where not exists (select from ' +
      'refresh_tokens where session_id = id)'
  )
  await client.query('vacuum analyze')
  await client.query('checkpoint')
  const { rows } = await client.query<{ id: string }>(
    'select id from sessions order by random() limit 200000'
  )
  await client.end()
  const db = connect({ url })
  const mac = findActiveKey([...(await loadKeyring(db, [key])).refreshTokenKeys.values()], new Date())
  await db.end()
  if (!mac) throw new Error('there is no active key')

  // The clients' tokens are made here, because a million sign-ins would take hours.
  const generations = new Map<string, number>()
  return seconds => withConnections(port, inFlight, connections => measureRate(inFlight, seconds, async i => {
    // Each connection has its own sessions, so a session is never refreshed twice at the same time.
    const id = rows[i + inFlight * randomInt(Math.floor(rows.length / inFlight))]?.id ?? ''
    const generation = (generations.get(id) ?? 0) + 1
    generations.set(id, generation)
    await connections[i]?.post('/v1/auth/refresh', {
      refresh_token: mint(mac, { sessionId: id, generation, issuedAt: new Date() })
    })
  }))
}

export default sessions
