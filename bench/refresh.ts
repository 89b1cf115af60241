import pg from 'pg'
import * as bare from './bare.ts'
import type { Benchmark } from './benchmark.ts'
import { withConnections } from './connection.ts'
import * as people from './users.ts'
import { folder, postgres } from './postgres.ts'
import * as service from './service.ts'
import { compare, median, spread, throughput } from './throughput.ts'

const [inFlight, sessionsEach] = [16, 50]

/** The refreshes a second, as a share of what a bare route does that changes one row and signs one token. */
const refresh: Benchmark = async t => {
  const url = await postgres(t)
  // Signing in is not what is measured: the cheapest hash.
  const { port } = await service.start(t, folder(t), { DATABASE_URL: url, RATE_LIMIT: 'off', ARGON2_MEMORY_KIB: '1024', ARGON2_TIME_COST: '1' })
  const everybody = await people.register(port, inFlight)
  // Each connection goes round sessions of its own, and each session from token to token.
  const circles = await withConnections(port, inFlight, connections => Promise.all(connections.map(async (connection, i) => {
    const circle: people.Held[] = []
    while (circle.length < sessionsEach) circle.push(people.held(await connection.post('/v1/auth/login', everybody[i] ?? {})))
    return circle
  })))
  await mirror(url)
  const barePort = await bare.start(t, 'bare-fastify').ask<number>({ url })

  const rate = (port: number, seconds: number, path: string, body: (session: people.Held) => object, after: (session: people.Held, answer: string) => void) =>
    withConnections(port, inFlight, connections => throughput(inFlight, seconds, async i => {
      const [circle, connection] = [circles[i], connections[i]]
      const session = circle?.shift()
      if (!circle || !connection || !session) return
      circle.push(session)
      after(session, await connection.post(path, body(session)))
    }))

  const { ours, theirs, ratios } = await compare(
    { rounds: 20, seconds: 0.5, warmUp: 4 },
    seconds => rate(port, seconds, '/v1/auth/refresh', ({ token }) => ({ refresh_token: token }), (session, answer) => { session.token = people.held(answer).token }),
    seconds => rate(barePort, seconds, '/refresh', ({ id }) => ({ session_id: id }), (_session, answer) => people.held(answer))
  )
  return {
    findings: [{ name: 'refresh: share of a bare route\'s rate', measured: median(ratios), bound: 0.6, is: 'least', unit: '', digits: 3 }],
    notes: [`refresh: ${median(ours).toFixed(0)} a second, ${inFlight} in flight, ${inFlight * sessionsEach} sessions; a bare route ${median(theirs).toFixed(0)}; the middle half of the ratios ${spread(ratios, 2)}`]
  }
}

// As many rows as the service has, with as much room on their pages.
async function mirror (url: string): Promise<void> {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  await client.query(`
    create table bare (session_id uuid primary key, generation integer not null default 0, last_used_at timestamptz not null default now()) with (fillfactor = 50);
    insert into bare (session_id) select session_id from refresh_tokens;
    analyze`)
  await client.end()
}

export default refresh
