import t from 'tap'
import { connect } from '../../src/db.ts'
import * as jobs from '../../src/jobs.ts'
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
