import { randomBytes } from 'node:crypto'
import { setTimeout as pause } from 'node:timers/promises'
import pg from 'pg'
import { smtpServer } from '../test/support/smtp.ts'
import { arrivals, connections, percentile } from './arrivals.ts'
import * as bare from './bare.ts'
import type { Benchmark, Finding } from './benchmark.ts'
import type { Flood, FloodAnswers, FloodRequest } from './flood.ts'
import * as people from './users.ts'
import { folder, postgres } from './postgres.ts'
import * as service from './service.ts'

const floodSeconds = 12
const idleSeconds = 24
const perSecond = { readiness: 20, refreshes: 10, logins: 2 }
// A wait up to this long is always within the bound, however fast the idle service answers.
const leastBoundMs = 50
const bystanders = 16
const sessionsOfAttacker = 1_000
const endedSessionsOfAttacker = 100_000
const eventsOfAttacker = 18_000

interface Waits { readiness: number[], refreshes: number[], logins: number[] }
type Person = people.Held & { login: people.Login }
type Attack = Pick<Flood, 'connections' | 'networks' | 'requests' | 'pipelined'> & { meanwhile?: () => Promise<void> }

/**
 * Measures how long others wait for `/readyz`, a refresh and a login while an attacker floods the service,
 * and compares that with an idle service. All limits but `MAX_SESSIONS_PER_USER` have their defaults.
 */
const floods: Benchmark = async t => {
  const url = await postgres(t)
  const smtp = await smtpServer(t)
  const { port } = await service.start(t, folder(t), {
    DATABASE_URL: url, TRUST_PROXY: '127.0.0.1/32', SMTP_URL: smtp.url, MAIL_FROM: 'login@example.com', MAX_SESSIONS_PER_USER: '1000'
  })
  const database = new pg.Client({ connectionString: url })
  await database.connect()
  t.teardown(() => database.end())
  const pool = connections(port)
  t.teardown(() => pool.close())

  let requests = 0
  // Each request of a bystander comes from a network of its own, as if from many people.
  const network = () => ({ 'x-forwarded-for': `198.18.${(requests++ >> 8) % 256}.${requests % 256}` })
  const post = async (path: string, body: object) => await pool.use(async connection => {
    const { status, body: text } = await connection.send(path, body, network())
    if (status >= 300) throw new Error(`POST ${path} was answered ${status}: ${text}`)
    return text
  })
  const register = async (email: string): Promise<Person> => {
    const login: people.Login = { email, password: `correct horse ${email.length} battery`, refresh_token_delivery: 'body' }
    return { login, ...people.held(await post('/v1/auth/register', login)) }
  }

  const everybody: Person[] = []
  for (let index = 0; index < bystanders; index++) everybody.push(await register(`bystander-${index}@example.com`))
  const attacker = await register('attacker@example.com')
  const { rows: [{ id: attackerId } = { id: '' }] } = await database.query<{ id: string }>(
    "select id from users where email = 'attacker@example.com'")
  await database.query(addEndedSessions, [attackerId, endedSessionsOfAttacker])
  await database.query(addEvents, [attackerId, eventsOfAttacker])
  await database.query('vacuum analyze')

  const measure = async (seconds: number): Promise<Waits> => {
    // A session is never refreshed twice at the same time.
    const turns = everybody.map(() => Promise.resolve())
    // A request that is refused, or gets no answer, counts as waiting for ever.
    const ms = async (perSecond: number, work: (index: number) => Promise<unknown>) =>
      (await arrivals(perSecond, seconds, async index => await work(index).then(() => true, () => false)))
        .map(({ ms, outcome: isAnswered }) => isAnswered ? ms : Infinity)
    const [readiness, refreshes, logins] = await Promise.all([
      ms(perSecond.readiness, async () => await pool.use(async connection => await connection.get('/readyz'))),
      ms(perSecond.refreshes, async index => {
        const [i, person] = [index % everybody.length, everybody[index % everybody.length]]
        const turn = (turns[i] ?? Promise.resolve()).then(async () => {
          if (!person) return
          person.token = people.held(await post('/v1/auth/refresh', { refresh_token: person.token })).token
        })
        turns[i] = turn.catch(() => {})
        await turn
      }),
      ms(perSecond.logins, async index => await post('/v1/auth/login', everybody[index % everybody.length]?.login ?? {}))
    ])
    return { readiness, refreshes, logins }
  }

  const authorization = `Bearer ${attacker.accessToken}`
  const ask = (method: string, path: string, body?: object): FloodRequest => ({
    method, path, headers: { authorization }, ...body !== undefined && { body }
  })
  const attacks: Record<string, Attack> = {
    'the API document': {
      connections: 20,
      networks: 1,
      requests: ['/docs/yaml', '/docs/json', '/openapi.json', '/docs/static/swagger-ui-bundle.js'].map(path => ask('GET', path))
    },
    'ending all sessions of an account': {
      connections: 20,
      networks: 1,
      requests: [ask('DELETE', '/v1/me/sessions')],
      meanwhile: async () => { await database.query(addSessions, [attackerId, sessionsOfAttacker]) }
    },
    'mails to one address, from one network': { connections: 20, networks: 1, requests: mailRequests },
    'mails to one address, from 50 networks': { connections: 20, networks: 50, requests: mailRequests },
    exports: { connections: 20, networks: 1, requests: [ask('GET', '/v1/me/export')] },
    'changes of an account': {
      connections: 20,
      networks: 1,
      requests: ['Ada', 'Grace'].map(name => ask('PATCH', '/v1/me', { name }))
    },
    'unknown key ids': {
      connections: 40,
      networks: 1,
      requests: [{ method: 'GET', path: '/v1/auth/verify', headers: { authorization: `Bearer ${tokenOfUnknownKey()}` } }],
      pipelined: 5_000
    }
  }

  // A process is slower in its first seconds.
  await measure(4)
  const idle = await measure(idleSeconds)
  const generator = bare.start(t, 'flood')
  const findings: Finding[] = []
  const notes = [`floods: idle: ${describe(idle)}`]
  let prefixes = 0
  for (const [name, { meanwhile, ...attack }] of Object.entries(attacks)) {
    const sending = generator.ask<FloodAnswers>({ port, seconds: floodSeconds, prefix: `203.${prefixes++}`, ...attack })
    const over = new AbortController()
    const preparing = meanwhile ? repeat(meanwhile, over.signal) : undefined
    const [during, answers] = await Promise.all([measure(floodSeconds), sending])
    over.abort()
    await preparing
    for (const kind of ['readiness', 'refreshes', 'logins'] as const) {
      const bound = Math.max(2 * percentile(idle[kind], 0.99), leastBoundMs)
      findings.push({
        name: `floods: ${name}: ${kind}, p99`,
        measured: percentile(during[kind], 0.99),
        bound: Math.round(bound * 10) / 10,
        is: 'most',
        unit: ' ms',
        digits: 1
      })
    }
    const counts = Object.entries(answers).map(([status, count]) => `${count} × ${status === '0' ? 'none' : status}`)
    notes.push(`floods: ${name}: ${describe(during)}; the flood was answered ${counts.join(', ')}`)
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

/** A token that is well-formed, but names a key that does not exist. */
function tokenOfUnknownKey (): string {
  const part = (content: object) => Buffer.from(JSON.stringify(content)).toString('base64url')
  return `${part({ alg: 'ES256', typ: 'at+jwt', kid: 'unknown' })}.${part({})}.${randomBytes(64).toString('base64url')}`
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

const describe = (waits: Waits) => Object.entries(waits).map(([kind, ms]) =>
  `${kind} ${[0.5, 0.95, 0.99, 1].map(share => percentile(ms, share).toFixed(1)).join(' ')}`).join(', ') +
  ' ms (50th, 95th, 99th and 100th percentile)'

export default floods
