import t, { type Test } from 'tap'
import { connect } from '../../src/database/database.ts'
import type { Browser } from '../support/client.ts'
import { dump, encodingsOf } from '../support/dump.ts'
import { build, newUser, type Service } from '../support/app.ts'
import { waitUntil } from '../support/polling.ts'

const address = '203.0.113.77'
const agent = 'Distinctive/7.31 (Analytical Engine)'
const headers = { 'user-agent': agent, 'x-forwarded-for': address, 'x-request-id': 'request-of-the-countess' }
const behindProxy = { TRUST_PROXY: '127.0.0.1' }

/** Somebody who has just registered. */
async function arrived ({ browser, sql }: Service, more: object = {}, roles: string[] = ['user']) {
  const somebody = { ...newUser(), ...more }
  const client = browser()
  const { body } = await client.post('/v1/auth/register', somebody, headers)
  const id: string = body.user.id
  await sql('update users set roles = $2 where id = $1', [id, roles])
  client.accessToken = (await client.post('/v1/auth/refresh', undefined, headers)).body.access_token
  return { ...somebody, id, sessionId: body.session_id as string, client }
}

const leave = async (client: Browser, password?: string) => await client.send('DELETE', '/v1/me', password === undefined ? undefined : { password }, headers)
const count = async ({ sql }: Service, table: string, id: string, column = 'user_id') => (await sql<{ n: number }>(`select count(*)::int as n from ${table} where ${column} = $1`, [id]))[0]?.n

/** How many wait for somebody else's lock. */
const locked = async ({ sql }: Service) => (await sql("select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'")).length

/** Tables with a column that says whose a row is, or who made it. */
const owned = async ({ sql }: Service) => (await sql<{ table: string, column: string }>(`
  select table_name as table, column_name as column from information_schema.columns join information_schema.tables using (table_schema, table_name)
  where table_schema = 'public' and table_type = 'BASE TABLE' and column_name in ('user_id', 'actor_id', 'owner_id', 'subject') and data_type = 'uuid' order by 1, 2`))

t.test('whoever leaves', async t => {
  const service = await build(t, behindProxy)

  await t.test('is found nowhere in the database, in whatever form', async t => {
    const secrets = { email: 'Ada.Countess+Love@Example.COM', name: 'Augusta Ada, Countess of Lovelace', username: 'ada_countess' }
    const ada = await arrived(service, secrets)
    const boss = await arrived(service, {}, ['user', 'admin'])
    const elsewhere = service.browser()
    for (const password of ['wrong password', 'still wrong']) await elsewhere.post('/v1/auth/login', { email: secrets.email, password }, headers)
    t.equal((await elsewhere.post('/v1/auth/login', { username: secrets.username, password: ada.password }, headers)).status, 200)
    t.equal((await ada.client.patch('/v1/me', { name: 'Countess Again', username: 'the_countess' }, headers)).status, 200)
    t.equal((await ada.client.patch('/v1/me', { name: secrets.name, username: secrets.username }, headers)).status, 200)
    const password = 'another phrase of her own'
    t.equal((await ada.client.post('/v1/me/password', { current_password: ada.password, new_password: password }, headers)).status, 204)
    t.equal((await elsewhere.post('/v1/auth/login', { email: secrets.email, password }, headers)).status, 200)
    await service.sql("update refresh_tokens set generation = 7, confirmations = array[now() - interval '1 day'] where session_id in (select id from sessions where user_id = $1 and ended_at is null and id <> $2)", [ada.id, ada.sessionId])
    t.equal((await elsewhere.post('/v1/auth/refresh', undefined, headers)).status, 401, 'a replay, which tells of both holders')
    t.equal((await service.sql("select from audit_events where type = 'session.replayed' and detail ->> 'opened_ip' = $1", [address])).length, 1)
    await service.sql("insert into audit_events (type, user_id, actor_id, ip, user_agent, detail) values ('user.updated', $1, $2, $3, $4, $5)", [ada.id, boss.id, '192.0.2.9', 'Boss/1', { from: secrets.email }])
    await service.sql("insert into one_time_tokens (token_hash, purpose, user_id, email_version, password_version, email, canonical_email, expires_at) values ('\\x01', 'email_undo', $1, 1, 1, 'former-countess@example.com', 'former-countess@example.com', now() + interval '1 hour')", [ada.id])
    await service.sql("insert into one_time_tokens (token_hash, purpose, user_id, email_version, password_version, email, canonical_email, expires_at) values ('\\x02', 'email_change', $1, 1, 1, $2, lower($2), now() + interval '1 hour')", [boss.id, secrets.email])
    await service.sql("insert into pending_registrations (id, email, canonical_email, name, password_hash, expires_at) values (gen_random_uuid(), $1, lower($1), $2, '$x', now() + interval '1 hour')", [secrets.email, secrets.name])
    await service.sql("insert into jobs (kind, user_id, sealed, run_at, expires_at) values ('mail', $1, convert_to($2, 'UTF8'), now() + interval '1 hour', now() + interval '1 day')", [ada.id, secrets.email])

    const traces = [secrets.email, secrets.email.toLowerCase(), secrets.name, 'Countess Again', secrets.username, 'the_countess', 'adacountess', 'former-countess@example.com', ada.sessionId]
    const places = [address, agent, headers['x-request-id'], '192.0.2.9', 'Boss/1']
    const before = await dump(service)
    for (const trace of [secrets.email, secrets.name, secrets.username, ada.sessionId, ...places]) t.ok(before.includes(trace.toLowerCase()), `${trace} is there`)
    t.ok(encodingsOf(secrets.email).some(form => form !== secrets.email.toLowerCase() && before.includes(form)), 'in more than one form')

    const gone = await leave(ada.client, password)
    t.match(gone, { status: 204, text: '' })
    t.notOk(['refresh_token', 'device', 'registration_3000'].some(name => ada.client.jar.has(name)), 'the browser has forgotten, too')

    const after = await dump(service)
    for (const trace of traces.filter(each => each !== ada.sessionId)) for (const form of encodingsOf(trace)) t.notOk(after.includes(form), `${trace} as ${form}`)
    // What the others left is theirs.
    const hers = await service.sql<{ row: string }>('select audit_events::text as row from audit_events where user_id = $1 or actor_id = $1', [ada.id])
    t.ok(hers.length > 10)
    for (const { row } of hers) for (const place of places) t.notOk(row.includes(place), row)
    t.strictSame(await service.sql('select type, actor_id, ip, user_agent, request_id, detail from audit_events where user_id = $1 order by id desc limit 1', [ada.id]), [
      { type: 'user.deleted', actor_id: ada.id, ip: null, user_agent: null, request_id: null, detail: {} }
    ])
    for (const { table, column } of await owned(service)) {
      if (['audit_events', 'erasures', 'revocations'].includes(table)) continue
      t.equal(await count(service, table, ada.id, column), 0, `${table}.${column}`)
    }
    t.equal(await count(service, 'audit_events', boss.id), 2, 'what is about others stays')
    t.equal((await service.sql('select from audit_events where user_id = $1 and ip = $2', [boss.id, address])).length, 2)
  })

  await t.test('is signed out everywhere at once, and can come back only as somebody new', async t => {
    const ada = await arrived(service)
    const second = service.browser()
    second.accessToken = (await second.post('/v1/auth/login', { email: ada.email, password: ada.password }, headers)).body.access_token
    t.equal((await leave(second, ada.password)).status, 204)
    for (const client of [ada.client, second]) t.match(await client.get('/v1/me', headers), { status: 401, body: { code: 'invalid_token' } })
    t.match(await ada.client.post('/v1/auth/refresh', undefined, headers), { status: 401, body: { code: 'invalid_refresh_token' } })
    t.strictSame((await service.sql('select distinct reason from revocations where subject = $1', [ada.id])), [{ reason: 'account_deleted' }])
    t.match(await service.browser().post('/v1/auth/login', ada.email ? { email: ada.email, password: ada.password } : {}), { status: 401, body: { code: 'invalid_credentials' } })
    const again = await service.browser().post('/v1/auth/register', { email: ada.email, password: ada.password })
    t.equal(again.status, 201)
    t.not(again.body.user.id, ada.id)
  })

  await t.test('leaves no address behind that was to be theirs, asked for in the same moment', async t => {
    const [ada, to] = [await arrived(service), newUser().email]
    const db = connect({ url: service.url })
    t.teardown(() => db.end())
    const answers = await db.transaction(async tx => {
      // The end of a deletion, which erases personal data from the user's events, waits for this.
      await tx.query('select from audit_events where user_id = $1 for update', [ada.id])
      const left = leave(ada.client, ada.password)
      await waitUntil('the deletion is all but done', async () => await locked(service) === 1)
      const state = { answered: false }
      const asked = ada.client.post('/v1/me/email', { password: ada.password, email: to }, headers).finally(() => { state.answered = true })
      await waitUntil('the change waits, or does not', async () => state.answered || await locked(service) === 2)
      return [left, asked]
    })
    const [left, asked] = await Promise.all(answers)
    t.equal(left?.status, 204)
    // It waits for the deletion no longer than a quarter of a second.
    t.ok([401, 403, 503].includes(asked?.status ?? 0), String(asked?.status))
    t.equal(await count(service, 'one_time_tokens', ada.id), 0)
    t.equal(await count(service, 'jobs', ada.id), 0)
  })

  await t.test('leaves a device to those who share it', async t => {
    const [ada, bob] = [await arrived(service), newUser()]
    // In body delivery: a sign-in that overwrites the cookie of a session ends it.
    t.equal((await ada.client.post('/v1/auth/register', { ...bob, refresh_token_delivery: 'body' }, headers)).status, 201)
    t.equal((await leave(ada.client, ada.password)).status, 204)
    const device = ada.client.jar.get('device') ?? ''
    t.notOk(Buffer.from(device, 'base64url').includes(Buffer.from(ada.id.replaceAll('-', ''), 'hex')))
    t.not(device, '')
  })

  await t.test('proves to be the one', async t => {
    const ada = await arrived(service)
    t.match(await leave(ada.client, 'not the password'), { status: 403, body: { code: 'invalid_credentials' } })
    t.match(await leave(ada.client), { status: 400, body: { code: 'validation_failed', errors: [{ pointer: '/password' }] } })
    t.match(await ada.client.send('DELETE', '/v1/me', { password: ada.password, really: true }, headers), { status: 400 })
    t.match(await service.browser().send('DELETE', '/v1/me', { password: ada.password }), { status: 401 })
    t.equal(await count(service, 'users', ada.id, 'id'), 1)

    await service.sql('update users set password_hash = null where id = $1', [ada.id])
    await service.sql("update sessions set authenticated_at = now() - interval '6 minutes' where id = $1", [ada.sessionId])
    t.match(await leave(ada.client), { status: 403, body: { code: 'invalid_credentials', detail: /Sign in again/ } })
    t.match(await leave(ada.client, 'anything'), { status: 403 })
    t.match(await ada.client.post('/v1/me/password', { new_password: 'the first phrase of mine' }, headers), { status: 403, body: { detail: /Sign in again/ } })
    await service.sql("update sessions set authenticated_at = now() - interval '4 minutes' where id = $1", [ada.sessionId])
    t.equal((await leave(ada.client)).status, 204)
  })

  await t.test('is throttled like whoever signs in', async t => {
    const strict = await build(t, { ...behindProxy, LOGIN_RATE_LIMIT: '3/15m' }, { url: service.url })
    const ada = await arrived(strict)
    for (const status of [403, 403, 403, 429]) t.equal((await leave(ada.client, 'not the password')).status, status)
    t.equal((await leave(ada.client, ada.password)).status, 429)
  })

  await t.test('is told so at the address that was theirs', async t => {
    const ada = await arrived(service)
    t.equal((await leave(ada.client, ada.password)).status, 204)
    await waitUntil('the mail is sent', () => service.logs.some(({ mail }) => JSON.stringify(mail)?.includes(`"account_deleted","to":"${ada.email}"`)))
  })

  await t.test('and set no password before can set one', async t => {
    const ada = await arrived(service)
    await service.sql('update users set password_hash = null where id = $1', [ada.id])
    const first = 'the first phrase of mine'
    t.match(await ada.client.post('/v1/me/password', { new_password: 'password' }, headers), { status: 422 })
    t.equal((await ada.client.post('/v1/me/password', { new_password: first }, headers)).status, 204)
    t.match(await ada.client.post('/v1/me/password', { new_password: 'one more phrase of mine' }, headers), { status: 400, body: { errors: [{ pointer: '/current_password' }] } })
    t.equal((await service.browser().post('/v1/auth/login', { email: ada.email, password: first })).status, 200)
  })
})

t.test('the last administrator', async t => {
  const service = await build(t, behindProxy)
  const ada = await arrived(service, {}, ['admin'])
  const bob = await arrived(service, {}, ['user', 'admin'])

  await t.test('stays, and those who are disabled do not count', async t => {
    await service.sql('update users set disabled_at = now() where id = $1', [bob.id])
    t.match(await leave(ada.client, ada.password), { status: 409, body: { code: 'last_admin' } })
    t.equal(await count(service, 'users', ada.id, 'id'), 1)
    t.equal((await ada.client.get('/v1/me', headers)).status, 200)
    await service.sql('update users set disabled_at = null where id = $1', [bob.id])
  })

  await t.test('of two who leave at once is one', async t => {
    const answers = await Promise.all([leave(ada.client, ada.password), leave(bob.client, bob.password)])
    t.strictSame(answers.map(({ status }) => status).sort(), [204, 409])
    t.equal((await service.sql("select from users where roles @> '{admin}'")).length, 1)
  })
})

t.test('a deletion while others are at it', async t => {
  const service = await build(t, behindProxy)

  await t.test('lets nothing come back, and breaks nothing', async t => {
    for (let round = 0; round < 8; round++) {
      const ada = await arrived(service)
      const others = Array.from({ length: 3 }, () => service.browser())
      for (const other of others) other.accessToken = (await other.post('/v1/auth/login', ada.email ? { email: ada.email, password: ada.password } : {}, headers)).body.access_token
      const answers = await Promise.all([
        leave(ada.client, ada.password),
        ...others.map(other => other.post('/v1/auth/refresh', undefined, headers)),
        ...others.map(() => service.browser().post('/v1/auth/login', { email: ada.email, password: ada.password }, headers)),
        ...others.map(() => service.browser().post('/v1/auth/login', { email: ada.email, password: 'wrong password' }, headers)),
        ada.client.patch('/v1/me', { name: 'Still here' }, headers),
        leave(others[0] ?? ada.client, ada.password),
        others[1]?.delete('/v1/me/sessions', headers)
      ])
      // Those that wait too long for one another are told to come back.
      t.ok(answers.every(answer => answer && (answer.status < 500 || answer.headers['retry-after'] === '1')), JSON.stringify(answers.map(answer => answer?.status)))
      t.ok(answers.some(answer => answer?.status === 204))
      for (const table of ['users', 'sessions']) t.equal(await count(service, table, ada.id, table === 'users' ? 'id' : 'user_id'), 0, table)
      for (const other of [ada.client, ...others]) t.equal((await other.post('/v1/auth/refresh', undefined, headers)).status, 401)
    }
    t.strictSame(service.logs.filter(({ level }) => Number(level) >= 50), [])
  })

  await t.test('does not outrun a change of the password', async t => {
    for (let round = 0; round < 4; round++) {
      const ada = await arrived(service)
      const other = service.browser()
      other.accessToken = (await other.post('/v1/auth/login', { email: ada.email, password: ada.password }, headers)).body.access_token
      const password = 'another phrase of her own'
      const [changed, left] = await Promise.all([
        ada.client.post('/v1/me/password', { current_password: ada.password, new_password: password }, headers),
        leave(other, ada.password)
      ])
      t.ok([changed, left].filter(({ status }) => status === 204).length === 1, `${changed.status} ${left.status}`)
      t.equal(await count(service, 'users', ada.id, 'id'), left.status === 204 ? 0 : 1)
    }
  })

  await t.test('does not wait for what another one does to the audit log', async t => {
    const ada = await arrived(service)
    const db = connect({ url: service.url, connections: 1 })
    t.teardown(() => db.end())
    await db.transaction(async tx => {
      await tx.query('select from audit_events where user_id = $1 for update', [ada.id])
      t.equal((await leave(ada.client, ada.password)).status, 204)
    })
    t.equal(await count(service, 'users', ada.id, 'id'), 0)
    t.equal(await count(service, 'erasures', ada.id), 1, 'which is left to the housekeeping')
    t.ok((await personal(service, ada.id) ?? 0) > 0)
    await build(t, behindProxy, { url: service.url })
    await waitUntil('it is done', async () => await personal(service, ada.id) === 0)
  })

  await t.test('takes what is personal from an event that is written late', async t => {
    const ada = await arrived(service)
    t.equal((await leave(ada.client, ada.password)).status, 204)
    await service.sql("insert into audit_events (type, user_id, ip, user_agent, detail) values ('login.failed', $1, $2, $3, '{\"reason\": \"wrong_password\"}')", [ada.id, address, agent])
    await service.sql("update erasures set created_at = created_at - interval '5 minutes', run_at = now() where user_id = $1", [ada.id])
    t.strictSame(await service.sql('select erase_audit_events(500) as done'), [{ done: true }])
    t.strictSame(await service.sql('select from audit_events where user_id = $1 and (ip is not null or user_agent is not null or detail <> $2)', [ada.id, {}]), [])
    t.match(await service.sql("select created_at from erasures where user_id = $1 and run_at > now() + interval '4 minutes'", [ada.id]), [{}], 'and looks again')
    await service.sql("update erasures set created_at = now() - interval '2 hours', run_at = now() where user_id = $1", [ada.id])
    await service.sql('select erase_audit_events(500)')
    t.equal(await count(service, 'erasures', ada.id), 0, 'but not for ever')
  })
})

const many = 20_000

/** So many events about the user, and as many that they caused with others. */
const busy = async ({ sql }: Service, id: string, n = many) => await sql(`
  insert into audit_events (type, user_id, actor_id, ip, user_agent, request_id, detail)
  select 'login.succeeded', case when i % 2 = 0 then $1::uuid else gen_random_uuid() end, $1::uuid, '${address}', '${agent}', 'r', '{"methods": ["pwd"]}' from generate_series(1, $2::int) as i`, [id, n])

const personal = async ({ sql }: Service, id: string) => (await sql<{ n: number }>('select count(*)::int as n from audit_events where (user_id = $1 or actor_id = $1) and (ip is not null or user_agent is not null or request_id is not null)', [id]))[0]?.n

t.test('a user with twenty thousand events', async t => {
  const service = await build(t, behindProxy)
  const ada = await arrived(service)
  await busy(service, ada.id)

  await t.test('exports them in bounded memory, as one document', async t => {
    const { body, headers: given } = await ada.client.get('/v1/me/export', headers)
    t.match(given, { 'cache-control': 'no-store', 'content-disposition': /^attachment/ })
    t.equal(body.audit_events.length + body.actions.length, many + 3)
    t.equal(new Set([...body.audit_events, ...body.actions].map(({ id }) => id)).size, many + 3)
  })

  await t.test('has them read a page at a time, also those that are not shown', async t => {
    const [restless] = await service.sql<{ id: string }>('select gen_random_uuid() as id')
    const id = restless?.id ?? ''
    await service.sql("insert into audit_events (type, user_id, actor_id) select 'login.succeeded', $1::uuid, $1::uuid from generate_series(1, 20000)", [id])
    await service.sql('analyze audit_events')
    const { personalData: parts } = await import('../../src/capabilities.ts')
    for (const { name, text } of parts) {
      const plan = (await service.sql<{ 'QUERY PLAN': string }>(`explain (analyze, costs off) ${text.replaceAll('$1', `'${id}'`).replaceAll('$2', 'null').replaceAll('$3', '500')}`)).map(row => row['QUERY PLAN']).join('\n')
      const walked = [...plan.matchAll(/(?:rows=|Rows Removed by \w+ ?\w*: )(\d+)/g)].map(([, rows]) => Number(rows))
      t.ok(walked.length > 0 && Math.max(...walked) <= 501, `${name}: ${plan}`)
    }
  })

  await t.test('is gone at once, and the rest is done in parts, by whoever comes', async t => {
    t.equal((await leave(ada.client, ada.password)).status, 204)
    t.equal(await count(service, 'users', ada.id, 'id'), 0)
    t.ok((await personal(service, ada.id) ?? 0) > many / 2)
    // As after a crash: nobody knows of it but the database.
    await service.app.close()
    const next = await build(t, {}, { url: service.url })
    await waitUntil('all events were seen', async () => (await next.sql('select from erasures where user_id = $1 and last_event_id is null and run_at > now()', [ada.id])).length === 1)
    t.equal(await personal(next, ada.id), 0)
    t.ok((await count(next, 'audit_events', ada.id) ?? 0) > many / 2, 'the events themselves stay')
    t.equal((await next.sql('select from audit_events where actor_id = $1 and user_id <> $1 and detail <> $2', [ada.id, { methods: ['pwd'] }])).length, 0, 'what is about others stays as it was')
  })
})

t.test('the export', async t => {
  const service = await build(t, behindProxy)
  const [ada, boss] = [await arrived(service, { name: 'Ada', username: 'ada' }), await arrived(service, {}, ['admin'])]

  await t.test('has everything that any table has of the user', async t => {
    await service.sql("insert into one_time_tokens (token_hash, purpose, user_id, email_version, password_version, expires_at) values ('\\x0a', 'magic_link', $1, 1, 1, now() + interval '1 hour')", [ada.id])
    await service.sql("insert into jobs (kind, user_id, sealed, run_at, expires_at) values ('mail', $1, '\\x0b', now() + interval '1 hour', now() + interval '1 day')", [ada.id])
    await service.sql("insert into audit_events (type, user_id, actor_id, ip, user_agent, request_id) values ('user.updated', $1, $2, '192.0.2.9', 'Boss/1', 'boss'), ('user.updated', $2, $1, $3, $4, 'ada')", [ada.id, boss.id, address, agent])
    const { status, body, text } = await ada.client.get('/v1/me/export', headers)
    t.equal(status, 200)
    t.match(body.user, { id: ada.id, name: 'Ada', username: 'ada', has_password: true, canonical_email: ada.email })
    t.notMatch(text, /\$argon2id|token_hash|192\.0\.2\.9|Boss\/1/)
    t.match(body.audit_events.at(-2), { type: 'user.updated', actor_id: boss.id, ip: null, user_agent: null, request_id: null })
    t.match(body.audit_events.at(-1), { type: 'user.exported', ip: address, user_agent: agent })
    t.match(body.actions, [{ type: 'user.updated', ip: address }])
    t.notOk(body.actions[0].user_id ?? body.actions[0].detail)

    const rows: Record<string, number> = { sessions: body.sessions.length, one_time_tokens: body.links.length, jobs: body.jobs.length, 'audit_events.user_id': body.audit_events.length }
    // Of these a user has nothing while there is one, or nothing but what another table has.
    const empty = ['erasures.user_id', 'jobs.subject', 'revocations.subject']
    for (const { table, column } of await owned(service)) {
      if (empty.includes(`${table}.${column}`)) continue
      if (column === 'actor_id') t.equal(body.actions.length, (await service.sql(`select from ${table} where actor_id = $1 and actor_id is distinct from user_id`, [ada.id])).length)
      else t.equal(rows[`${table}.${column}`] ?? rows[table], await count(service, table, ada.id, column), `${table}.${column} is in the export`)
    }
    const columns = await service.sql<{ column_name: string }>("select column_name from information_schema.columns where table_schema = 'public' and table_name = 'users'")
    t.strictSame(columns.map(({ column_name: name }) => name).filter(name => !(name in body.user)), ['password_hash'], 'of the user all but the hash')
  })

  await t.test('is given to the user alone', async t => {
    t.equal((await service.browser().get('/v1/me/export')).status, 401)
    t.match(await ada.client.send('HEAD', '/v1/me/export', undefined, headers), { status: 200, text: '' })
    t.strictSame(new Set((await boss.client.get('/v1/me/export', headers)).body.audit_events.map(({ user_id: id }: { user_id: string }) => id)), new Set([boss.id]))
    t.match(await ada.client.get('/v1/me/export?all=true', headers), { status: 400 })
  })

  await t.test('holds no connection while its reader takes its time', async t => {
    await busy(service, ada.id, 6_000)
    const people = [ada]
    while (people.length < 12) {
      const next = await arrived(service)
      await busy(service, next.id, 6_000)
      people.push(next)
    }
    await listening(service)
    const slow = await Promise.all(people.map(async ({ client }) => await start(service, client)))
    t.equal((await ada.client.get('/v1/me', headers)).status, 200)
    await waitUntil('no connection is in use', () => service.app.db.connections.waiting === 0 && service.app.db.connections.idle === service.app.db.connections.total)
    const [first, ...others] = slow
    t.ok(JSON.parse(await first?.text() ?? '').audit_events.length > 3_000)
    for (const other of others) await other.body?.cancel()
    await waitUntil('all have ended', async () => (await service.sql('select from leases')).length === 0)
    await forgotten(t, service, ada)
  })

  await t.test('is read no faster than it is taken', async t => {
    const eve = await arrived(service)
    await busy(service, eve.id, 60_000)
    const { body } = await start(service, eve.client)
    const reader = body?.getReader()
    const chunks = [await reader?.read()]
    await service.sql("insert into audit_events (type, actor_id) values ('users.exported', $1)", [eve.id])
    while (chunks.at(-1)?.done === false) chunks.push(await reader?.read())
    const text = Buffer.concat(chunks.flatMap(chunk => chunk?.value ?? [])).toString()
    t.equal(JSON.parse(text).actions.at(-1).type, 'users.exported', 'what came last was not yet read when the reader paused')
  })

  await t.test('runs once at a time, on all instances together', async t => {
    const eve = await arrived(service)
    await busy(service, eve.id, 60_000)
    const other = await build(t, behindProxy, { url: service.url })
    const there = other.browser()
    there.accessToken = eve.client.accessToken
    const exports = async () => (await service.sql("select from audit_events where type = 'user.exported' and user_id = $1", [eve.id])).length
    const [first, ...refused] = await Promise.all([start(service, eve.client), ...Array.from({ length: 5 }, async () => await pastFirst(service, there))])
    for (const answer of refused) t.match(answer, { status: 429, headers: { 'retry-after': '5' }, body: { code: 'too_many_requests', detail: /export/ } })
    t.equal(await exports(), 1, 'and no more are recorded')
    t.equal((await there.send('HEAD', '/v1/me/export', undefined, headers)).status, 200)
    t.equal((await ada.client.get('/v1/me/export', headers)).status, 401, 'of one who has left')
    t.equal((await boss.client.get('/v1/me/export', headers)).status, 200, 'others are not held up')
    await first?.text()
    t.equal((await there.get('/v1/me/export', headers)).status, 200, 'once it has arrived')
    t.equal((await there.get('/v1/me/export', headers)).status, 200, 'and again')

    const broken = await start(service, eve.client)
    t.equal((await there.get('/v1/me/export', headers)).status, 429)
    await broken.body?.cancel()
    await waitUntil('it has ended', async () => (await service.sql('select from leases')).length === 0)
    t.equal((await there.get('/v1/me/export', headers)).status, 200, 'or was broken off')

    const lost = await start(service, eve.client)
    t.equal(lost.status, 200)
    t.equal((await there.get('/v1/me/export', headers)).status, 429)
    // As if its instance had died a minute ago.
    await service.sql('update leases set expires_at = now()')
    t.equal((await there.get('/v1/me/export', headers)).status, 200)
    await lost.body?.cancel()
  })

  await t.test('leaves no lease behind of an instance that died', async t => {
    await service.sql("insert into leases (key, holder, expires_at) values ('\\x01', gen_random_uuid(), now() - interval '1 second')")
    await build(t, {}, { url: service.url })
    await waitUntil('it is purged', async () => (await service.sql("select from leases where key = '\\x01'")).length === 0)
  })
})

/** Has the service listen on a port of its own. */
const listening = async ({ app }: Service) => { await app.listen({ host: '127.0.0.1', port: 0 }) }

/** The answer to an export of which nothing is read yet. */
async function start ({ app }: Service, { accessToken }: Browser) {
  const server = app.server.address()
  const origin = `http://127.0.0.1:${typeof server === 'object' ? server?.port : ''}`
  return await fetch(`${origin}/v1/me/export`, { headers: { authorization: `Bearer ${accessToken}` } })
}

/** Asks for an export while another one of the same user runs. */
async function pastFirst ({ sql }: Service, browser: Browser) {
  await waitUntil('another runs', async () => (await sql('select from leases')).length > 0)
  return await browser.get('/v1/me/export', headers)
}

/** Somebody leaves while their export is read: the document ends, and nobody else is troubled. */
async function forgotten (t: Test, service: Service, { client, password }: { client: Browser, password: string }) {
  const [exported, left] = await Promise.all([client.get('/v1/me/export', headers), leave(client, password)])
  t.ok([200, 401].includes(exported.status) && left.status === 204)
  t.strictSame(service.logs.filter(({ level }) => Number(level) >= 50), [])
}

t.test('what cannot be cleared away keeps nothing else from it', async t => {
  const first = await build(t)
  const ada = await arrived(first)
  await busy(first, ada.id)
  t.equal((await leave(ada.client, ada.password)).status, 204)
  await first.app.close()
  await first.sql("insert into leases (key, holder, expires_at) values ('\\x01', gen_random_uuid(), now() - interval '1 minute')")
  await first.sql('alter table login_throttles rename to login_throttles_elsewhere')
  const next = await build(t, {}, { url: first.url })
  await waitUntil('the rest is gone', async () => await personal(next, ada.id) === 0 && (await next.sql('select from leases where expires_at < now()')).length === 0)
  await waitUntil('the log tells of it', () => next.logs.some(({ msg }) => String(msg).startsWith('clearing away')))
})
