import { createPublicKey } from 'node:crypto'
import pg from 'pg'
import * as bare from './bare.ts'
import type { Benchmark } from './benchmark.ts'
import { withConnections } from './connection.ts'
import * as people from './users.ts'
import { folder, postgres } from './postgres.ts'
import * as service from './service.ts'
import { compare, median, spread, throughput } from './throughput.ts'

const inFlight = 16

/** The checks a second for a gateway, as a share of those of a bare route that verifies the same tokens. */
const verify: Benchmark = async t => {
  const url = await postgres(t)
  const { port } = await service.start(t, folder(t), { DATABASE_URL: url, RATE_LIMIT: 'off', ARGON2_MEMORY_KIB: '1024', ARGON2_TIME_COST: '1' })
  const everybody = await people.register(port, inFlight)
  const headers = await withConnections(port, inFlight, connections => Promise.all(connections.map(async (connection, i) =>
    ({ authorization: `Bearer ${people.held(await connection.post('/v1/auth/login', everybody[i] ?? {})).accessToken}` }))))
  const jwks = await withConnections(port, 1, async ([connection]) => JSON.parse(await connection?.get('/.well-known/jwks.json') ?? ''))
  const publicKey = createPublicKey({ key: jwks.keys[0], format: 'jwk' }).export({ type: 'spki', format: 'pem' }).toString()
  const barePort = await bare.start(t, 'bare-verifier').ask<number>({ publicKey })

  const rate = (port: number, path: string, seconds: number) =>
    withConnections(port, inFlight, connections => throughput(inFlight, seconds, async i => { await connections[i]?.get(path, headers[i]) }))

  const before = await transactions(url)
  const begun = performance.now()
  const { ours, theirs, ratios } = await compare(
    { rounds: 20, seconds: 0.5, warmUp: 4 },
    seconds => rate(port, '/v1/auth/verify', seconds),
    seconds => rate(barePort, '/verify', seconds)
  )
  const spent = await transactions(url) - before
  return {
    findings: [{ name: 'verify: share of a bare route\'s rate', measured: median(ratios), bound: 0.7, is: 'least', unit: '', digits: 3 }],
    notes: [`verify: ${median(ours).toFixed(0)} a second, ${inFlight} in flight; a bare route ${median(theirs).toFixed(0)}; the middle half of the ratios ${spread(ratios, 2)}; ${spent} transactions of the database in ${((performance.now() - begun) / 1_000).toFixed(0)} s, which are those that look for revocations`]
  }
}

async function transactions (url: string): Promise<number> {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  const { rows } = await client.query<{ n: string }>('select xact_commit as n from pg_stat_database where datname = current_database()')
  await client.end()
  return Number(rows[0]?.n)
}

export default verify
