import type { Test } from 'tap'
import { connect, type Database } from '../../src/database/database.ts'
import { maxCountedJobs, readBacklog } from '../../src/jobs/backlog.ts'
import * as jobs from '../../src/jobs/queue.ts'
import { resumeDeliveries, retryUnsigned } from '../../src/webhooks/delivery-batches.ts'
import * as sending from '../../src/webhooks/sending.ts'
import { createDatabase, sql } from '../support/postgres.ts'
import { t } from '../support/test.ts'

/**
 * A migrated database, and one connection to it: its prepared statements keep the plans of a small table.
 */
async function connectToNew (t: Test): Promise<{ url: string, db: Database }> {
  const url = await createDatabase(t)
  const db = connect({ url, connections: 1 })
  t.teardown(async () => await db.end())
  return { url, db }
}

/** Inserts a webhook that is active, or paused, and returns its id. */
async function insertWebhook (url: string, { isPaused }: { isPaused: boolean }): Promise<string> {
  const [webhook] = await sql<{ id: string }>(url, `
    insert into webhooks (id, url, events, paused_at, paused_reason)
    values (
      gen_random_uuid(), 'https://hooks.example.com/', '{user.*}',
      case when $1 then now() end, case when $1 then 'asked' end
    ) returning id`, [isPaused])
  return webhook?.id ?? ''
}

t.test('a worker leases no more jobs than it asked for', async t => {
  const { url, db } = await connectToNew(t)
  await insertWebhook(url, { isPaused: false })
  await sql(url, 'vacuum analyze jobs, webhooks')
  const lease = {
    mail: async () => await jobs.lease(db, 'mail', 4, 60),
    webhook: async () =>
      await sending.lease(db, { limit: 4, leaseSeconds: 60, maxPerWebhook: 64, running: new Map() })
  }
  for (const [kind, leaseJobs] of Object.entries(lease)) {
    for (let round = 0; round < 8; round++) t.strictSame(await leaseJobs(), [])
    await sql(url, `
      insert into jobs (kind, subject, expires_at)
      select $1, webhooks.id, now() + interval '1 hour' from webhooks, generate_series(1, 100)`, [kind])
    t.equal((await leaseJobs()).length, 4, kind)
    t.equal((await leaseJobs()).length, 4, kind)
  }
})

t.test('the delay of the backlog ignores jobs of paused webhooks', async t => {
  const { url, db } = await connectToNew(t)
  const paused = await insertWebhook(url, { isPaused: true })
  const active = await insertWebhook(url, { isPaused: false })
  const insertJob = async (kind: string, subject: string | null, ageHours: number) => await sql(url, `
    insert into jobs (kind, subject, created_at, run_at, attempts, expires_at)
    values (
      $1, $2, now() - make_interval(hours => $3), now() + interval '1 minute', 3, now() + interval '1 hour'
    )`, [kind, subject, ageHours])
  const backlog = async () => Object.fromEntries(
    (await readBacklog(db)).map(({ kind, jobs, lateSeconds }) =>
      [kind, [jobs, Math.round(lateSeconds / 3_600)]])
  )
  t.strictSame(await backlog(), {})
  await insertJob('webhook', paused, 9)
  t.strictSame(await backlog(), { webhook: [1, 0] })
  await insertJob('webhook', active, 2)
  await insertJob('mail', null, 3)
  t.strictSame(await backlog(), { webhook: [2, 2], mail: [1, 3] }, 'a rescheduled job is late')
  await sql(url, 'update webhooks set deleted_at = now() where paused_at is null')
  t.strictSame(await backlog(), { webhook: [2, 0], mail: [1, 3] })
  await sql(url, 'update webhooks set paused_at = null, paused_reason = null, deleted_at = null')
  await resumeDeliveries(db, paused)
  t.strictSame(await backlog(), { webhook: [2, 2], mail: [1, 3] }, 'a resumed job is new')
})

t.test('the cost of reading the backlog does not depend on the number of jobs', async t => {
  const { url, db } = await connectToNew(t)
  await insertWebhook(url, { isPaused: true })
  await sql(url, `
    insert into jobs (kind, subject, created_at, run_at, expires_at)
    select kind, case when kind = 'webhook' then webhooks.id end, now() - make_interval(secs => i),
      now() - make_interval(secs => i), now() + interval '1 hour'
    from webhooks, unnest(array['mail', 'webhook']) as kind, generate_series(1, 30000) as i`)
  await sql(url, 'analyze jobs, webhooks')
  const countReadRows = async () => (await db.query<{ read: number }>(`
    select (seq_tup_read + idx_tup_fetch)::int as read from pg_stat_xact_user_tables
    where relname = 'jobs'`))[0]?.read ?? 0
  const before = await countReadRows()
  t.strictSame(
    (await readBacklog(db)).map(({ kind, jobs }) => [kind, jobs]),
    [['mail', maxCountedJobs], ['webhook', maxCountedJobs]]
  )
  const rows = await countReadRows() - before
  t.ok(rows > 0 && rows <= 2 * maxCountedJobs, `${rows} rows`)
  const [mails] = await readBacklog(db)
  t.equal(Math.floor((mails?.lateSeconds ?? 0) / 30_000), 1, 'the oldest is among them')
})

t.test('the jobs that were kept for a paused webhook become due in batches', async t => {
  const { url, db } = await connectToNew(t)
  const webhookId = await insertWebhook(url, { isPaused: true })
  await sql(url, `
    with added as (
      insert into webhook_deliveries (webhook_id, type, data, error)
      select $1, 'user.updated', '{}', case when i % 2 = 0 then 'secret' end
      from generate_series(1, 5000) as i returning id, error
    )
    insert into jobs (id, kind, subject, attempts, created_at, run_at, expires_at)
    select id, 'webhook', $1, 3, now() - interval '2 days',
      now() + case when error is null then -1 else 1 end * interval '1 hour' * random(),
      now() + interval '1 hour'
    from added`, [webhookId])
  const batchSizes: number[] = []
  const observedDatabase = {
    publish: db.publish,
    query: async <Row extends object>(
      statement: Parameters<typeof db.query>[0], values?: readonly unknown[]
    ) => {
      const rows = await db.query<Row>(statement, values)
      const [row] = rows
      for (const name of ['renewed', 'seen']) {
        if (row && name in row) batchSizes.push(Number(Object(row)[name]))
      }
      return rows
    }
  }
  const countDue = async () =>
    (await sql<{ n: number }>(url, 'select count(*)::int as n from jobs where run_at <= now()'))[0]?.n
  await retryUnsigned(observedDatabase, webhookId)
  t.equal(await countDue(), 5_000, 'a job whose webhook had no secret is due')
  t.ok(batchSizes.length > 2 && Math.max(...batchSizes) <= 1_000, batchSizes.join(' '))
  await sql(url, `
    update jobs set run_at = now() + interval '1 hour' where id in (select id from jobs limit 2500)`)
  batchSizes.length = 0
  await resumeDeliveries(observedDatabase, webhookId)
  t.match(await sql(url, `
    select count(*)::int as n from jobs
    where run_at <= now() and attempts = 0 and created_at > now() - interval '1 hour'
      and expires_at > now() + interval '2 days'`), [{ n: 5_000 }])
  t.ok(Math.max(...batchSizes) <= 2_000, batchSizes.join(' '))
})
