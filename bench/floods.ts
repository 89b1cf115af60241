import { randomBytes } from 'node:crypto'
import { setTimeout as pause } from 'node:timers/promises'
import pg from 'pg'
import { smtpServer } from '../test/support/smtp.ts'
import { runOpenLoop, connectionPool, percentile } from './open-loop.ts'
import * as baseline from './baseline.ts'
import type { Benchmark, Measurement } from './benchmark.ts'
import type { FloodOptions, ResponseCounts, FloodRequest } from './flood-generator.ts'
import * as testUsers from './users.ts'
import { temporaryFolder, startPostgres } from './postgres.ts'
import * as service from './service.ts'

const floodSeconds = 12
const idleSeconds = 24
const perSecond = { readiness: 20, refreshes: 10, logins: 2 }
// A wait up to this long is always within the bound, however fast the idle service is.
const minBoundMs = 50
const bystanderCount = 16
const attackerSessions = 1_000
const attackerEndedSessions = 100_000
const attackerEvents = 18_000

interface WaitsMs { readiness: number[], refreshes: number[], logins: number[] }
type TestUser = testUsers.SessionTokens & { login: testUsers.RegistrationBody }
type Attack = Pick<FloodOptions, 'connections' | 'networks' | 'requests' | 'pipelined'> & {
  meanwhile?: () => Promise<void>
}

/**
 * Measures how long other users wait for `/readyz`, a refresh and a login while an attacker floods the
 * service, and compares that with an idle service. All limits except `MAX_SESSIONS_PER_USER` have their
 * defaults.
 */
const floods: Benchmark = async t => {
  const url = await startPostgres(t)
  const smtp = await smtpServer(t)
  const { port } = await service.start(t, temporaryFolder(t), {
    DATABASE_URL: url,
    TRUST_PROXY: '127.0.0.1/32',
    SMTP_URL: smtp.url,
    MAIL_FROM: 'login@example.com',
    MAX_SESSIONS_PER_USER: '1000'
  })
  const database = new pg.Client({ connectionString: url })
  await database.connect()
  t.teardown(() => database.end())
  const pool = connectionPool(port)
  t.teardown(() => pool.close())

  let requests = 0
  // Each request of a bystander comes from a network of its own, as if from many users.
  const network = () => ({ 'x-forwarded-for': `198.18.${(requests++ >> 8) % 256}.${requests % 256}` })
  const post = async (path: string, body: object) => await pool.use(async connection => {
    const { status, body: text } = await connection.send(path, body, network())
    if (status >= 300) throw new Error(`POST ${path} answered ${status}: ${text}`)
    return text
  })
  const register = async (email: string): Promise<TestUser> => {
    const login: testUsers.RegistrationBody = {
      email,
      password: `correct horse ${email.length} battery`,
      refresh_token_delivery: 'body'
    }
    return { login, ...testUsers.parseTokens(await post('/v1/auth/register', login)) }
  }

  const bystanders: TestUser[] = []
  for (let index = 0; index < bystanderCount; index++) {
    bystanders.push(await register(`bystander-${index}@example.com`))
  }
  const attacker = await register('attacker@example.com')
  const { rows: [{ id: attackerId } = { id: '' }] } = await database.query<{ id: string }>(
    "select id from users where email = 'attacker@example.com'")
  await database.query(addEndedSessions, [attackerId, attackerEndedSessions])
  await database.query(addEvents, [attackerId, attackerEvents])
  await database.query('vacuum analyze')

  const measure = async (seconds: number): Promise<WaitsMs> => {
    // A session is never refreshed twice at the same time.
    const previous = bystanders.map(() => Promise.resolve())
    // A request that fails counts as an infinite wait.
    const measureWaits = async (perSecond: number, work: (index: number) => Promise<unknown>) =>
      (await runOpenLoop(perSecond, seconds, async index => await work(index).then(() => true, () => false)))
        .map(({ ms, outcome: isSuccess }) => isSuccess ? ms : Infinity)
    const [readiness, refreshes, logins] = await Promise.all([
      measureWaits(
        perSecond.readiness,
        async () => await pool.use(async connection => await connection.get('/readyz'))
      ),
      measureWaits(perSecond.refreshes, async index => {
        const [i, user] = [index % bystanders.length, bystanders[index % bystanders.length]]
        const refresh = (previous[i] ?? Promise.resolve()).then(async () => {
          if (!user) return
          user.token = testUsers.parseTokens(
            await post('/v1/auth/refresh', { refresh_token: user.token })
          ).token
        })
        previous[i] = refresh.catch(() => {})
        await refresh
      }),
      measureWaits(
        perSecond.logins,
        async index => await post('/v1/auth/login', bystanders[index % bystanders.length]?.login ?? {})
      )
    ])
    return { readiness, refreshes, logins }
  }

  const authorization = `Bearer ${attacker.accessToken}`
  const request = (method: string, path: string, body?: object): FloodRequest => ({
    method, path, headers: { authorization }, ...body !== undefined && { body }
  })
  const attacks: Record<string, Attack> = {
    'API document': {
      connections: 20,
      networks: 1,
      requests: ['/docs/yaml', '/docs/json', '/openapi.json', '/docs/static/swagger-ui-bundle.js']
        .map(path => request('GET', path))
    },
    'deletion of all sessions': {
      connections: 20,
      networks: 1,
      requests: [request('DELETE', '/v1/me/sessions')],
      meanwhile: async () => { await database.query(addSessions, [attackerId, attackerSessions]) }
    },
    'mails to one address from one network': { connections: 20, networks: 1, requests: mailRequests },
    'mails to one address from 50 networks': { connections: 20, networks: 50, requests: mailRequests },
    'data exports': { connections: 20, networks: 1, requests: [request('GET', '/v1/me/export')] },
    'account changes': {
      connections: 20,
      networks: 1,
      requests: ['Ada', 'Grace'].map(name => request('PATCH', '/v1/me', { name }))
    },
    'unknown key ids, pipelined': {
      connections: 40,
      networks: 1,
      requests: [{
        method: 'GET',
        path: '/v1/auth/verify',
        headers: { authorization: `Bearer ${tokenWithUnknownKey()}` }
      }],
      pipelined: 5_000
    }
  }

  // A process is slower in its first seconds, so they do not count.
  await measure(4)
  const idle = await measure(idleSeconds)
  const generator = baseline.start(t, 'flood-generator')
  const findings: Measurement[] = []
  const notes = [`floods: idle: ${describe(idle)}`]
  let prefixes = 0
  for (const [name, { meanwhile, ...attack }] of Object.entries(attacks)) {
    const sending = generator.ask<ResponseCounts>({
      port,
      seconds: floodSeconds,
      prefix: `203.${prefixes++}`,
      ...attack
    })
    const stop = new AbortController()
    const preparing = meanwhile ? repeat(meanwhile, stop.signal) : undefined
    const [waits, responses] = await Promise.all([measure(floodSeconds), sending])
    stop.abort()
    await preparing
    for (const kind of ['readiness', 'refreshes', 'logins'] as const) {
      const bound = Math.max(2 * percentile(idle[kind], 0.99), minBoundMs)
      findings.push({
        name: `floods: p99 of ${kind} during ${name}, compared with idle`,
        measured: percentile(waits[kind], 0.99),
        bound: Math.round(bound * 10) / 10,
        limit: 'maximum',
        unit: ' ms',
        digits: 1
      })
    }
    const counts = Object.entries(responses).map(
      ([status, count]) => `${count} × ${status === '0' ? 'no response' : status}`
    )
    notes.push(`floods: ${name}: ${describe(waits)}; responses to the flood: ${counts.join(', ')}`)
    // Work that this flood left behind must not slow down the next measurement.
    await pause(2_000)
  }
  return { findings, notes }
}

async function repeat (work: () => Promise<void>, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    await work()
    await pause(500)
  }
}

const mailRequests: FloodRequest[] = ['password-reset', 'magic-link', 'email-verification'].map(kind => ({
  method: 'POST', path: `/v1/auth/${kind}`, body: { email: 'bystander-0@example.com' }
}))

/** Returns a well-formed token whose key id does not exist. */
function tokenWithUnknownKey (): string {
  const part = (content: object) => Buffer.from(JSON.stringify(content)).toString('base64url')
  const header = part({ alg: 'ES256', typ: 'at+jwt', kid: 'unknown' })
  return `${header}.${part({})}.${randomBytes(64).toString('base64url')}`
}

const addSessions = `
  with added as (
    insert into sessions (id, user_id, methods, remembered, expires_at)
    select uuid_v7(), $1, '{pwd}', false, now() + interval '30 days' from generate_series(1, $2) returning id
  )
  insert into refresh_tokens (session_id) select id from added`

const addEndedSessions = `
insert into sessions (id, user_id, methods, remembered, expires_at, ended_at, end_reason)
select uuid_v7(), $1, '{pwd}', false, now() + interval '30 days', now(), 'logout' from generate_series(1, $2)`

const addEvents = `
  insert into audit_events (type, user_id, actor_id, detail)
  select 'user.updated', $1, $1, '{"changed": ["name"]}' from generate_series(1, $2)`

const describe = (waits: WaitsMs) => Object.entries(waits).map(([kind, ms]) =>
  `${kind} ${[0.5, 0.95, 0.99, 1].map(share => percentile(ms, share).toFixed(1)).join(' ')}`).join(', ') +
  ' ms (50th, 95th, 99th and 100th percentile)'

export default floods
