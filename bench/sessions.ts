import { randomBytes, randomInt } from 'node:crypto'
import pg from 'pg'
import { connect } from '../src/database/database.ts'
import { findActiveKey, loadKeyring } from '../src/tokens/keyring.ts'
import { mint } from '../src/sessions/refresh-token.ts'
import type { Benchmark, Teardown } from './benchmark.ts'
import { withConnections } from './connection.ts'
import * as people from './users.ts'
import { folder, postgres } from './postgres.ts'
import * as service from './service.ts'
import { compare, median, spread, throughput } from './throughput.ts'

const inFlight = 16
const [few, many] = [10_000, 1_000_000]

/** The refreshes a second, each of a session taken at random, with a million sessions as a share of those with ten thousand. */
const sessions: Benchmark = async t => {
  const [small, large] = [await table(t, few), await table(t, many)]
  const { ours, theirs, ratios } = await compare({ rounds: 20, seconds: 0.5, warmUp: 4 }, large, small)
  return {
    findings: [{ name: 'refresh: rate with 1,000,000 sessions, as a share of that with 10,000', measured: median(ratios), bound: 0.8, is: 'least', unit: '', digits: 3 }],
    notes: [`sessions: ${median(ours).toFixed(0)} refreshes a second with ${many} sessions, ${median(theirs).toFixed(0)} with ${few}; the middle half of the ratios ${spread(ratios, 2)}`]
  }
}

/** A service with so many sessions; gives what measures its refreshes. */
async function table (t: Teardown, count: number): Promise<(seconds: number) => Promise<number>> {
  const url = await postgres(t)
  const key = randomBytes(32)
  const { port } = await service.start(t, folder(t), { DATABASE_URL: url, RATE_LIMIT: 'off', ARGON2_MEMORY_KIB: '1024', ARGON2_TIME_COST: '1', KEY_ENCRYPTION_KEY: key.toString('base64') })
  await people.register(port, 1)
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  await client.query(`insert into sessions (id, user_id, methods, remembered, user_agent, ip, expires_at)
    select uuid_v7(), users.id, '{pwd}', false, 'Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0', '127.0.0.1', now() + interval '30 days' from users, generate_series(1, $1)`, [count])
  await client.query('insert into refresh_tokens (session_id) select id from sessions where not exists (select from refresh_tokens where session_id = id)')
  await client.query('vacuum analyze')
  await client.query('checkpoint')
  const { rows } = await client.query<{ id: string }>('select id from sessions order by random() limit 200000')
  await client.end()
  const db = connect({ url })
  const mac = findActiveKey((await loadKeyring(db, [key])).refreshTokenKeys, new Date())
  await db.end()
  if (!mac) throw new Error('there is no key')

  // What a client holds is made here: signing a million people in would take hours.
  const generations = new Map<string, number>()
  return seconds => withConnections(port, inFlight, connections => throughput(inFlight, seconds, async i => {
    // Each connection has sessions of its own: no two refresh one at a time.
    const id = rows[i + inFlight * randomInt(Math.floor(rows.length / inFlight))]?.id ?? ''
    const generation = (generations.get(id) ?? 0) + 1
    generations.set(id, generation)
    await connections[i]?.post('/v1/auth/refresh', { refresh_token: mint(mac, { sessionId: id, generation, issuedAt: new Date() }) })
  }))
}

export default sessions
