import t from 'tap'
import { connect } from '../../src/db.ts'
import * as jobs from '../../src/jobs.ts'
import { keepUntil } from '../../src/webhooks/deliveries.ts'
import * as sending from '../../src/webhooks/sending.ts'
import { createDatabase, sql } from '../postgres.ts'

t.test('no more jobs are begun than there is room for', async t => {
  const url = await createDatabase(t)
  // One connection, whose prepared statements keep the plan that was best when there was nothing to do.
  const db = connect({ url, connections: 1 })
  t.teardown(async () => await db.end())
  await sql(url, "insert into webhooks (id, url, events) values (gen_random_uuid(), 'https://hooks.example.com/', '{user.*}')")
  await sql(url, 'vacuum analyze jobs, webhooks')
  const claims = {
    mail: async () => await jobs.claim(db, 'mail', 4, 60),
    webhook: async () => await sending.claim(db, 4, 60, 64, new Map())
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
  await keepUntil(db, paused)
  t.strictSame(await late(), { webhook: [2, 2], mail: [1, 3] }, 'what was kept is due from when it is no more')
})
