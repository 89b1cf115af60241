import { createPublicKey } from 'node:crypto'
import pg from 'pg'
import * as baseline from './baseline.ts'
import type { Benchmark } from './benchmark.ts'
import { withConnections } from './connection.ts'
import * as testUsers from './users.ts'
import { temporaryFolder, startPostgres } from './postgres.ts'
import * as service from './service.ts'
import { compare, median, formatSpread, measureRate } from './throughput.ts'

const inFlight = 16

/**
 * Measures the token checks per second for a gateway, as a fraction of a baseline route with the same tokens.
 */
const verify: Benchmark = async t => {
  const url = await startPostgres(t)
  const { port } = await service.start(t, temporaryFolder(t), {
    DATABASE_URL: url,
    RATE_LIMIT: 'off',
    ARGON2_MEMORY_KIB: '1024',
    ARGON2_TIME_COST: '1'
  })
  const users = await testUsers.registerUsers(port, inFlight)
  const headers = await withConnections(port, inFlight, connections =>
    Promise.all(
      connections.map(async (connection, i) => {
        const response = await connection.post('/v1/auth/login', users[i] ?? {})
        return { authorization: `Bearer ${testUsers.parseTokens(response).accessToken}` }
      })
    )
  )
  const jwks = await withConnections(port, 1, async ([connection]) =>
    JSON.parse((await connection?.get('/.well-known/jwks.json')) ?? '')
  )
  const publicKey = createPublicKey({ key: jwks.keys[0], format: 'jwk' })
    .export({ type: 'spki', format: 'pem' })
    .toString()
  const baselinePort = await baseline.start(t, 'verify-baseline').ask<number>({ publicKey })

  const rate = (port: number, path: string, seconds: number) =>
    withConnections(port, inFlight, connections =>
      measureRate(inFlight, seconds, async i => {
        await connections[i]?.get(path, headers[i])
      })
    )

  const before = await countTransactions(url)
  const startedAt = performance.now()
  const { rates, baselineRates, ratios } = await compare(
    { rounds: 20, seconds: 0.5, warmUp: 4 },
    seconds => rate(port, '/v1/auth/verify', seconds),
    seconds => rate(baselinePort, '/verify', seconds)
  )
  const transactionCount = await countTransactions(url) - before
  return {
    findings: [
      {
        name: 'verify: checks per second / baseline (@fastify/jwt with its cache)',
        measured: median(ratios),
        bound: 0.7,
        limit: 'minimum',
        unit: '',
        digits: 3
      }
    ],
    notes: [
      `verify: ${median(rates).toFixed(0)}/s with ${inFlight} in flight; baseline ` +
        `${median(baselineRates).toFixed(0)}/s; quartiles of the ratio ${formatSpread(ratios, 2)}; ` +
        `${transactionCount} database transactions in ` +
        `${((performance.now() - startedAt) / 1_000).toFixed(0)} s, which poll for revocations`
    ]
  }
}

async function countTransactions (url: string): Promise<number> {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  const { rows } = await client.query<{ n: string }>(
    'select xact_commit as n from pg_stat_database where datname = current_database()'
  )
  await client.end()
  return Number(rows[0]?.n)
}

export default verify
