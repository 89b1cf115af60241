import { randomInt } from 'node:crypto'
import pg from 'pg'
import type { Benchmark } from './benchmark.ts'
import { openConnection } from './connection.ts'
import * as testUsers from './users.ts'
import { temporaryFolder, startPostgres } from './postgres.ts'
import * as service from './service.ts'
import { median } from './throughput.ts'

const [count, rounds, requests] = [1_000_000, 3, 100]
// This request is the cheapest, so it shows how busy the machine is.
const comparison = 'own account, for comparison'

// One user in 100,000 has the role `rare`; the others have the role `even` or `odd`. The disabled users have
// the last addresses in order.
const insertUsers = `
  insert into users (id, email, canonical_email, roles, disabled_at, email_verified_at, password_hash)
  select uuid_v7(), address, address,
    case
      when i % 100000 = 7 then '{user,rare}' when i % 2 = 0 then '{user,even}' else '{user,odd}'
    end::text[],
    case when i % 10 = 0 and address > 'v' then now() end, now(), repeat('x', 97)
  from generate_series($1::int, $2::int) as i
  cross join lateral (
    select format('%s%s-%s@example-%s.com', chr(97 + i * 7 % 26), substr(md5(i::text), 1, 6), i, i % 1000)
      as address
  ) as named`
// One event every 2.6 seconds for a month. The id of each contains its time.
const insertEvents = `
  insert into audit_events (id, created_at, type, user_id, actor_id, detail)
  select (
      overlay(lpad(to_hex((extract(epoch from at) * 4096000)::bigint), 15, '0') placing '7' from 13 for 0)
      || substr(gen_random_uuid()::text, 20)
    )::uuid,
    at,
    case
      when i % 100000 = 7 then 'key.rotated'
      when i % 3 = 0 then 'session.ended'
      else 'login.succeeded'
    end,
    users.id,
    case when i % 10 = 9 then (select id from users where roles = '{user}') else users.id end, '{}'
  from generate_series($1::int, $2::int) as i
  cross join lateral (select now() - (${count} - i) * interval '2.6 s' as at) as happened
  join (select id, row_number() over () as n from users limit 10000) as users on n = i % 10000 + 1`

/** Measures an administrator's lists and searches among a million users and a million audit events. */
const admin: Benchmark = async t => {
  const url = await startPostgres(t)
  const { port } = await service.start(t, temporaryFolder(t), {
    DATABASE_URL: url,
    RATE_LIMIT: 'off',
    ACCESS_TOKEN_TTL: '1h'
  })
  const [login] = await testUsers.registerUsers(port, 1)
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  const startedAt = performance.now()
  for (const statement of [insertUsers, insertEvents]) {
    for (let from = 1; from < count; from += 50_000) await client.query(statement, [from, from + 49_999])
  }
  const seconds = (performance.now() - startedAt) / 1_000
  await client.query("update users set roles = '{user,admin}' where email = $1", [login?.email])
  await client.query('vacuum analyze')
  await client.query('checkpoint')
  const {
    rows: [sizes]
  } = await client.query(
    "select pg_total_relation_size('users') as users, pg_total_relation_size('user_roles') as " +
      "user_roles, pg_relation_size('users_active_idx') as users_active_idx, " +
      "pg_relation_size('audit_events_type_idx') as audit_events_type_idx"
  )
  const { rows: sample } = await client.query<{ id: string, email: string }>(
    'select id, email from users order by random() limit 1000'
  )
  await client.end()
  const connection = await openConnection(port)
  t.teardown(() => connection.close())
  const {
    access_token: token,
    user: { id: operator }
  } = JSON.parse(await connection.post('/v1/auth/login', login ?? {}))

  const headers = { authorization: `Bearer ${token}` }
  const randomUser = () => sample[randomInt(sample.length)] ?? { id: '', email: '' }
  const randomCursor = () => Buffer.from(randomUser().email).toString('base64url')
  const kinds: Record<string, () => string> = {
    [comparison]: () => 'me',
    'first page of users': () => 'admin/users?limit=100',
    'deep page of users': () => `admin/users?cursor=${randomCursor()}`,
    'address prefix of one character': () => `admin/users?email=${randomUser().email.slice(0, 1)}`,
    'address prefix of four characters': () => `admin/users?email=${randomUser().email.slice(0, 4)}`,
    'whole address': () => `admin/users?email=${randomUser().email}`,
    'no match': () => 'admin/users?email=zzzz&role=nobody',
    'rare role': () => 'admin/users?role=rare',
    'role of half the users, deep page': () => `admin/users?role=even&cursor=${randomCursor()}`,
    'disabled users': () => 'admin/users?status=disabled',
    'active users, deep page': () => `admin/users?status=active&cursor=${randomCursor()}`,
    'disabled users of a role': () => 'admin/users?role=even&status=disabled',
    'role that no disabled user has': () => 'admin/users?role=rare&status=disabled&email=a',
    'all filters together': () =>
      `admin/users?role=user&status=active&email=${randomUser().email.slice(0, 2)}`,
    'first page of events': () => 'admin/audit-events?limit=100',
    'events of a user': () => `admin/audit-events?user_id=${randomUser().id}`,
    'events by an actor': () => `admin/audit-events?actor_id=${randomUser().id}`,
    'events of a rare type by an actor of a tenth of all events': () =>
      `admin/audit-events?actor_id=${operator}&type=key.rotated`,
    'events of a rare type': () => 'admin/audit-events?type=key.rotated',
    'events of a type that never happened': () => 'admin/audit-events?type=user.verified',
    'events of a user and a type': () => `admin/audit-events?user_id=${randomUser().id}&type=login.succeeded`,
    'events of a type before a time': () => {
      const until = new Date(Date.now() - randomInt(30 * 86_400_000)).toISOString()
      return `admin/audit-events?type=session.ended&until=${until}`
    }
  }
  const measured = Object.keys(kinds).map(kind => ({ kind, p50: [] as number[], p99: [] as number[] }))
  // The kinds take turns, so that other processes slow down all of them. The first round does not count.
  for (let round = 0; round <= rounds; round++) {
    const times = new Map<string, number[]>()
    for (let index = 0; index < requests; index++) {
      for (const [kind, path] of Object.entries(kinds)) {
        const from = performance.now()
        await connection.get(`/v1/${path()}`, headers)
        times.set(kind, [...times.get(kind) ?? [], performance.now() - from])
      }
    }
    if (round > 0) {
      for (const { kind, p50, p99 } of measured) {
        const sorted = (times.get(kind) ?? []).sort((one, other) => one - other)
        p50.push(sorted[requests / 2 - 1] ?? NaN)
        p99.push(sorted[Math.ceil(requests * 0.99) - 1] ?? NaN)
      }
    }
  }
  return {
    findings: [
      {
        name: `admin: p99 of the slowest list, among ${count} users and events`,
        measured: Math.max(
          ...measured.filter(({ kind }) => kind !== comparison).map(({ p99 }) => median(p99))
        ),
        bound: 20,
        limit: 'maximum',
        unit: ' ms',
        digits: 1
      }
    ],
    notes: [
      `admin: ${count} users and events inserted in ${seconds.toFixed(0)} s; sizes in MB: ${Object.entries(
        Object(sizes)
      )
        .map(([name, bytes]) => `${name} ${(Number(bytes) / 1e6).toFixed(0)}`)
        .join(', ')}`,
      ...measured.map(
        ({ kind, p50, p99 }) =>
          `admin: ${kind}: p50 ${median(p50).toFixed(1)} ms, p99 ${median(p99).toFixed(1)} ms`
      )
    ]
  }
}

export default admin
