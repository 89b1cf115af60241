import { randomInt } from 'node:crypto'
import pg from 'pg'
import type { Benchmark } from './benchmark.ts'
import { open } from './connection.ts'
import * as people from './users.ts'
import { folder, postgres } from './postgres.ts'
import * as service from './service.ts'
import { median } from './throughput.ts'

const [count, rounds, requests] = [1_000_000, 3, 100]
// How busy the machine is shows here.
const bare = 'the own account, for comparison'

// One in 100,000 is a rare one, and the disabled ones have the last addresses; half have one role, half another.
const generate = `
  insert into users (id, email, canonical_email, roles, disabled_at, email_verified_at, password_hash)
  select uuid_v7(), address, address, case when i % 100000 = 7 then '{user,rare}' when i % 2 = 0 then '{user,even}' else '{user,odd}' end::text[],
    case when i % 10 = 0 and address > 'v' then now() end, now(), repeat('x', 97)
  from generate_series($1::int, $2::int) as i, lateral (select format('%s%s-%s@example-%s.com', chr(97 + i * 7 % 26), substr(md5(i::text), 1, 6), i, i % 1000) as address) as named`
// A month of them, one every 2.6 seconds; each with an id of its time.
const events = `
  insert into audit_events (id, created_at, type, user_id, actor_id, detail)
  select (overlay(lpad(to_hex((extract(epoch from at) * 4096000)::bigint), 15, '0') placing '7' from 13 for 0) || substr(gen_random_uuid()::text, 20))::uuid, at,
    case when i % 100000 = 7 then 'key.rotated' when i % 3 = 0 then 'session.ended' else 'login.succeeded' end, users.id, case when i % 10 = 9 then (select id from users where roles = '{user}') else users.id end, '{}'
  from generate_series($1::int, $2::int) as i cross join lateral (select now() - (${count} - i) * interval '2.6 s' as at) as happened
  join (select id, row_number() over () as n from users limit 10000) as users on n = i % 10000 + 1`

/** How long lists and searches take an administrator of a million users, and a million events. */
const admin: Benchmark = async t => {
  const url = await postgres(t)
  const { port } = await service.start(t, folder(t), { DATABASE_URL: url, RATE_LIMIT: 'off', ACCESS_TOKEN_TTL: '1h' })
  const [login] = await people.register(port, 1)
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  const begun = performance.now()
  for (const statement of [generate, events]) for (let from = 1; from < count; from += 50_000) await client.query(statement, [from, from + 49_999])
  const seconds = (performance.now() - begun) / 1_000
  await client.query("update users set roles = '{user,admin}' where email = $1", [login?.email])
  await client.query('vacuum analyze')
  await client.query('checkpoint')
  const { rows: [sizes] } = await client.query("select pg_total_relation_size('users') as users, pg_total_relation_size('user_roles') as user_roles, pg_relation_size('users_active_idx') as users_active_idx, pg_relation_size('audit_events_type_idx') as audit_events_type_idx")
  const { rows: somebody } = await client.query<{ id: string, email: string }>('select id, email from users order by random() limit 1000')
  await client.end()
  const connection = await open(port)
  t.teardown(() => connection.close())
  const { access_token: token, user: { id: operator } } = JSON.parse(await connection.post('/v1/auth/login', login ?? {}))

  const headers = { authorization: `Bearer ${token}` }
  const anybody = () => somebody[randomInt(somebody.length)] ?? { id: '', email: '' }
  const deep = () => Buffer.from(anybody().email).toString('base64url')
  const kinds: Record<string, () => string> = {
    [bare]: () => 'me',
    'the first page': () => 'admin/users?limit=100',
    'a deep page': () => `admin/users?cursor=${deep()}`,
    'a prefix of one character': () => `admin/users?email=${anybody().email.slice(0, 1)}`,
    'a prefix of four': () => `admin/users?email=${anybody().email.slice(0, 4)}`,
    'a whole address': () => `admin/users?email=${anybody().email}`,
    'no match': () => 'admin/users?email=zzzz&role=nobody',
    'a rare role': () => 'admin/users?role=rare',
    'a role of half of them, deep': () => `admin/users?role=even&cursor=${deep()}`,
    disabled: () => 'admin/users?status=disabled',
    'active, deep': () => `admin/users?status=active&cursor=${deep()}`,
    'a role, disabled': () => 'admin/users?role=even&status=disabled',
    'a role that nobody disabled has': () => 'admin/users?role=rare&status=disabled&email=a',
    'all of them': () => `admin/users?role=user&status=active&email=${anybody().email.slice(0, 2)}`,
    events: () => 'admin/audit-events?limit=100',
    'events of a user': () => `admin/audit-events?user_id=${anybody().id}`,
    'events by an actor': () => `admin/audit-events?actor_id=${anybody().id}`,
    'events by one who did a tenth of them, of a rare type': () => `admin/audit-events?actor_id=${operator}&type=key.rotated`,
    'events of a rare type': () => 'admin/audit-events?type=key.rotated',
    'events of a type that never happened': () => 'admin/audit-events?type=user.verified',
    'events of a user and a type': () => `admin/audit-events?user_id=${anybody().id}&type=login.succeeded`,
    'events of a time': () => `admin/audit-events?type=session.ended&until=${new Date(Date.now() - randomInt(30 * 86_400_000)).toISOString()}`
  }
  const measured = Object.keys(kinds).map(kind => ({ kind, p50: [] as number[], p99: [] as number[] }))
  // The kinds in turn: what else the machine does meets them all. The first round warms up.
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
    findings: [{ name: `admin: p99 of the slowest kind of list, of ${count} users`, measured: Math.max(...measured.filter(({ kind }) => kind !== bare).map(({ p99 }) => median(p99))), bound: 20, is: 'most', unit: ' ms', digits: 1 }],
    notes: [
      `admin: ${count} users and events were made in ${seconds.toFixed(0)} s; megabytes: ${Object.entries(Object(sizes)).map(([name, bytes]) => `${name} ${(Number(bytes) / 1e6).toFixed(0)}`).join(', ')}`,
      ...measured.map(({ kind, p50, p99 }) => `admin: ${kind}: p50 ${median(p50).toFixed(1)} ms, p99 ${median(p99).toFixed(1)} ms`)
    ]
  }
}

export default admin
