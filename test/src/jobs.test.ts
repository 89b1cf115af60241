import t from 'tap'
import { connect } from '../../src/database/database.ts'
import * as jobs from '../../src/jobs/queue.ts'
import { resumeDeliveries, retryUnsigned } from '../../src/webhooks/deliveries.ts'
import * as sending from '../../src/webhooks/sending.ts'
import { createDatabase, sql } from '../support/postgres.ts'

t.test('no more jobs are begun than there is room for', async t => {
  const url = await createDatabase(t)
  // One connection, whose prepared statements keep the plan that was best when there was nothing to do.
  const db = connect({ url, connections: 1 })
  t.teardown(async () => await db.end())
  await sql(url, "insert into webhooks (id, url, events) values (gen_random_uuid(), 'https://hooks.example.com/', '{user.*}')")
  await sql(url, 'vacuum analyze jobs, webhooks')
  const claims = {
    mail: async () => await jobs.claim(db, 'mail', 4, 60),
    webhook: async () => await sending.lease(db, { limit: 4, leaseSeconds: 60, maxPerWebhook: 64, running: new Map() })
  }
  for (const [kind, claim] of Object.entries(claims)) {
    for (let round = 0; round < 8; round++) t.strictSame(await claim(), [])
    await sql(url, "insert into jobs (kind, subject, expires_at) select $1, webhooks.id, now() + interval '1 hour' from webhooks, generate_series(1, 100)", [kind])
    t.equal((await claim()).length, 4, kind)
    t.equal((await claim()).length, 4, kind)
  }
})

t.test('what is late is what is not kept on purpose', async t => {
  const url = await createDatabase(t)
  const db = connect({ url, connections: 1 })
  t.teardown(async () => await db.end())
  const [paused = '', active = ''] = (await sql<{ id: string }>(url, "insert into webhooks (id, url, events, paused_at, paused_reason) select gen_random_uuid(), 'https://hooks.example.com/', '{user.*}', since, case when since is not null then 'asked' end from unnest(array[now(), null]) as since returning id")).map(({ id }) => id)
  const add = async (kind: string, subject: string | null, hours: number) =>
    await sql(url, "insert into jobs (kind, subject, created_at, run_at, attempts, expires_at) values ($1, $2, now() - make_interval(hours => $3), now() + interval '1 minute', 3, now() + interval '1 hour')", [kind, subject, hours])
  const late = async () => Object.fromEntries((await jobs.backlog(db)).map(({ kind, jobs, late }) => [kind, [jobs, Math.round(late / 3_600)]]))
  t.strictSame(await late(), {})
  await add('webhook', paused, 9)
  t.strictSame(await late(), { webhook: [1, 0] })
  await add('webhook', active, 2)
  await add('mail', null, 3)
  t.strictSame(await late(), { webhook: [2, 2], mail: [1, 3] }, 'what is tried again is late')
  await sql(url, 'update webhooks set deleted_at = now() where paused_at is null')
  t.strictSame(await late(), { webhook: [2, 0], mail: [1, 3] })
  await sql(url, 'update webhooks set paused_at = null, paused_reason = null, deleted_at = null')
  await resumeDeliveries(db, paused)
  t.strictSame(await late(), { webhook: [2, 2], mail: [1, 3] }, 'what was kept is due from when it is no more')
})

t.test('the backlog costs the same however many jobs there are', async t => {
  const url = await createDatabase(t)
  const db = connect({ url, connections: 1 })
  t.teardown(async () => await db.end())
  await sql(url, "insert into webhooks (id, url, events, paused_at, paused_reason) select gen_random_uuid(), 'https://hooks.example.com/', '{user.*}', now(), 'asked'")
  await sql(url, "insert into jobs (kind, subject, created_at, run_at, expires_at) select kind, case when kind = 'webhook' then webhooks.id end, now() - make_interval(secs => i), now() - make_interval(secs => i), now() + interval '1 hour' from webhooks, unnest(array['mail', 'webhook']) as kind, generate_series(1, 30000) as i")
  await sql(url, 'analyze jobs, webhooks')
  const read = async () => (await db.query<{ read: number }>("select (seq_tup_read + idx_tup_fetch)::int as read from pg_stat_xact_user_tables where relname = 'jobs'"))[0]?.read ?? 0
  const before = await read()
  t.strictSame((await jobs.backlog(db)).map(({ kind, jobs }) => [kind, jobs]), [['mail', jobs.countedJobs], ['webhook', jobs.countedJobs]])
  const rows = await read() - before
  t.ok(rows > 0 && rows <= 2 * jobs.countedJobs, `${rows} rows`)
  const [mails] = await jobs.backlog(db)
  t.equal(Math.floor((mails?.late ?? 0) / 30_000), 1, 'the oldest is among them')
})

t.test('what a paused webhook kept is made due in batches', async t => {
  const url = await createDatabase(t)
  const db = connect({ url, connections: 1 })
  t.teardown(async () => await db.end())
  const [webhook] = await sql<{ id: string }>(url, "insert into webhooks (id, url, events, paused_at, paused_reason) select gen_random_uuid(), 'https://hooks.example.com/', '{user.*}', now(), 'asked' returning id")
  const id = webhook?.id ?? ''
  await sql(url, "with added as (insert into webhook_deliveries (webhook_id, type, data, error) select $1, 'user.updated', '{}', case when i % 2 = 0 then 'secret' end from generate_series(1, 5000) as i returning id, error) insert into jobs (id, kind, subject, attempts, created_at, run_at, expires_at) select id, 'webhook', $1, 3, now() - interval '2 days', now() + case when error is null then -1 else 1 end * interval '1 hour' * random(), now() + interval '1 hour' from added", [id])
  const sizes: number[] = []
  const watched = {
    query: async <Row extends object>(statement: Parameters<typeof db.query>[0], values?: readonly unknown[]) => {
      const rows = await db.query<Row>(statement, values)
      const [row] = rows
      for (const name of ['renewed', 'seen']) if (row && name in row) sizes.push(Number(Object(row)[name]))
      return rows
    }
  }
  const due = async () => (await sql<{ n: number }>(url, 'select count(*)::int as n from jobs where run_at <= now()'))[0]?.n
  await retryUnsigned(watched, id)
  t.equal(await due(), 5_000, 'what had no secret is due')
  t.ok(sizes.length > 2 && Math.max(...sizes) <= 1_000, sizes.join(' '))
  await sql(url, "update jobs set run_at = now() + interval '1 hour' where id in (select id from jobs limit 2500)")
  sizes.length = 0
  await resumeDeliveries(watched, id)
  t.match(await sql(url, "select count(*)::int as n from jobs where run_at <= now() and attempts = 0 and created_at > now() - interval '1 hour' and expires_at > now() + interval '2 days'"), [{ n: 5_000 }])
  t.ok(Math.max(...sizes) <= 2_000, sizes.join(' '))
})
