import { randomBytes } from 'node:crypto'
import { connect } from '../src/database/database.ts'
import { findActiveKey, loadKeyring } from '../src/tokens/keyring.ts'
import { build } from '../test/support/app.ts'
import {
  authorizationOf, codeIn, destinationOf, newClient, redeem, signInFor
} from '../test/support/delegation.ts'
import { countStatements } from '../test/support/statement-count.ts'
import type { Teardown } from '../test/support/teardown.ts'
import * as baseline from './baseline.ts'
import type { Benchmark, Measurement, Report } from './benchmark.ts'
import { withConnections, type HttpConnection } from './connection.ts'
import { startPostgres, temporaryFolder } from './postgres.ts'
import * as providerClient from './provider-client.ts'
import { expiredCodes, measurePurge, measureSignIns, type PurgedProvider } from './provider-purge.ts'
import * as service from './service.ts'
import { compare, formatSpread, measureRate, median } from './throughput.ts'
import * as testUsers from './users.ts'

const [inFlight, sessionsEach] = [16, 50]
const rounds = { rounds: 16, seconds: 0.5, warmUp: 3 }

/** Measures what delegated login costs: statements, refreshes, anonymous visits, and the purge of codes. */
const provider: Benchmark = async t => {
  const url = await startPostgres(t)
  const key = randomBytes(32)
  const environment = {
    DATABASE_URL: url,
    RATE_LIMIT: 'off',
    ARGON2_MEMORY_KIB: '1024',
    ARGON2_TIME_COST: '1',
    KEY_ENCRYPTION_KEY: key.toString('base64')
  }
  const folder = temporaryFolder(t)
  const { port, stop } = await service.start(t, folder, environment)
  // A user may have a hundred sessions.
  await testUsers.registerUsers(port, inFlight)
  const client = await providerClient.createClient(url)
  const measured = { url, port, client }
  const reports = [
    await countRequests(t, url, environment),
    await measureRefreshes(measured, key),
    await measureVisits(t, measured)
  ]
  const undisturbed = await measureSignIns(measured)
  await stop()
  await providerClient.insertExpiredCodes(url, client.id, expiredCodes)
  // Housekeeping begins when the service starts.
  const purging = await service.start(t, folder, environment)
  reports.push(await measurePurge({ ...measured, port: purging.port }, undisturbed))
  return {
    findings: reports.flatMap(({ findings }) => findings),
    notes: reports.flatMap(({ notes }) => notes)
  }
}

const ratioOf = (name: string, ratios: number[], bound: number): Measurement =>
  ({ name, measured: median(ratios), bound, limit: 'minimum', unit: '', digits: 3 })

/** Counts the statements of an instance in this process. */
async function countRequests (
  t: Teardown, url: string, environment: Record<string, string>
): Promise<Report> {
  const instance = await build(t, environment, { url })
  const client = await newClient(instance)
  const { browser } = await signInFor(instance, client)
  const attempt = authorizationOf(client, { prompt: 'none' })
  const silent = await countStatements(async () => await browser.get(attempt.url))
  const code = codeIn(destinationOf(silent.result))
  const redeemed = await countStatements(async () =>
    await redeem(instance, client, { code, verifier: attempt.verifier }))
  const anonymous = await countStatements(async () =>
    await instance.browser().get(authorizationOf(client).url))
  const count = (name: string, measured: number, bound: number): Measurement =>
    ({ name: `provider: SQL statements of ${name}`, measured, bound, limit: 'maximum', unit: '', digits: 0 })
  return {
    findings: [
      count('a silent sign-in', silent.statements, 2),
      count('a redeemed code', redeemed.statements, 2),
      count('an anonymous visit', anonymous.statements, 0)
    ],
    notes: []
  }
}

type SendRefresh = (connection: HttpConnection, token: string) => Promise<string>

/** Compares the refreshes of clients with those of the first party. */
async function measureRefreshes ({ url, port, client }: PurgedProvider, key: Buffer): Promise<Report> {
  const db = connect({ url })
  const mac = findActiveKey([...(await loadKeyring(db, [key])).refreshTokenKeys.values()], new Date())
  await db.end()
  if (!mac) throw new Error('there is no active key')

  const prepare = async (clientId: string | undefined, scope: string, send: SendRefresh) => {
    const sessions = await providerClient.createSessions(
      url, mac, { count: inFlight * sessionsEach, scope, clientId })
    return async (seconds: number) => await withConnections(port, inFlight, async connections =>
      await measureRate(inFlight, seconds, async i => {
        // Each connection refreshes its own sessions in turn.
        const session = sessions[i]
        const connection = connections[i]
        if (!session || !connection) return
        session.token = JSON.parse(await send(connection, session.token)).refresh_token
        rotate(sessions, i)
      }))
  }
  const rotate = (sessions: providerClient.RefreshedSession[], i: number) => {
    const own = Array.from({ length: sessionsEach }, (_, index) => sessions[i + index * inFlight])
    const [first, ...others] = own
    for (const [index, session] of [...others, first].entries()) {
      if (session) sessions[i + index * inFlight] = session
    }
  }
  const asClient: SendRefresh = async (connection, token) => await connection.submit('/oauth/token', {
    grant_type: 'refresh_token', refresh_token: token, client_id: client.id
  })
  const ofFirstParty = await prepare(undefined, '', async (connection, token) =>
    await connection.post('/v1/auth/refresh', { refresh_token: token }))
  const plain = await compare(rounds, await prepare(client.id, 'profile', asClient), ofFirstParty)
  const identified = await compare(rounds, await prepare(client.id, 'openid', asClient), ofFirstParty)
  return {
    findings: [
      ratioOf('provider: refreshes per second of a client / of the first party', plain.ratios, 0.9)
    ],
    notes: [
      `provider: ${median(plain.rates).toFixed(0)} refreshes/s of a client, ` +
        `${median(plain.baselineRates).toFixed(0)}/s of the first party; quartiles of the ratio ` +
        `${formatSpread(plain.ratios, 2)}; with an ID token, which RS256 signs in addition, ` +
        `${median(identified.rates).toFixed(0)}/s, ratio ${median(identified.ratios).toFixed(2)}`
    ]
  }
}

/** Compares visits without a session with a bare route that serves the same bytes. */
async function measureVisits (t: Teardown, { url, port, client }: PurgedProvider): Promise<Report> {
  const answer = await fetch(`http://127.0.0.1:${port}${client.authorizationPath}`, { redirect: 'manual' })
  const hopByHop = new Set(['connection', 'keep-alive', 'date', 'content-length', 'transfer-encoding'])
  const headers = Object.fromEntries([...answer.headers].filter(([name]) => !hopByHop.has(name)))
  const question = { status: answer.status, headers, body: await answer.text() }
  const bare = await baseline.start(t, 'provider-baseline').ask<number>(question)
  const visits = (at: number) => async (seconds: number) =>
    await withConnections(at, inFlight, async connections =>
      await measureRate(inFlight, seconds, async i => {
        const { status } = await connections[i]?.visit(client.authorizationPath) ?? question
        if (status !== question.status) throw new Error(`the visit was answered with ${status}`)
      }))
  const countWritten = async () => (await providerClient.execute<{ written: number }>(url, `
    select (
      (select count(*) from sessions) + (select count(*) from authorization_codes) +
      (select count(*) from audit_events) + (select count(*) from jobs)
    )::int as written`))[0]?.written ?? NaN
  const before = await countWritten()
  const { rates, baselineRates, ratios } = await compare(rounds, visits(port), visits(bare))
  const written = await countWritten() - before
  return {
    findings: [
      ratioOf('provider: anonymous visits of /oauth/authorize / bare Fastify route, same bytes', ratios, 0.6),
      {
        name: 'provider: rows that anonymous visits write',
        measured: written,
        bound: 0,
        limit: 'maximum',
        unit: '',
        digits: 0
      }
    ],
    notes: [
      `provider: ${median(rates).toFixed(0)} anonymous visits/s, bare route ` +
        `${median(baselineRates).toFixed(0)}/s; quartiles of the ratio ${formatSpread(ratios, 2)}`
    ]
  }
}

export default provider
