import { connect } from '../../src/database/database.ts'
import { checkPrivileges, listPending, migrate } from '../../src/database/migrate.ts'
import { build, newUser } from '../support/app.ts'
import { mapConcurrently } from '../support/concurrency.ts'
import { pgbouncer, skip } from '../support/pgbouncer.ts'
import { waitFor } from '../support/polling.ts'
import { createDatabase, named, sql } from '../support/postgres.ts'
import { t } from '../support/test.ts'

t.test('behind PgBouncer in transaction mode with its defaults', { skip }, async t => {
  await t.test('three migrations at once apply each migration once, and leave no lock', async t => {
    const direct = await createDatabase(t, { empty: true })
    const pooled = await pgbouncer(t, direct)
    const pending = await listPending(pooled)
    const applied = await Promise.all([migrate(pooled), migrate(pooled), migrate(pooled)])
    t.strictSame(applied.flat().sort(), pending)
    t.strictSame(await migrate(pooled), [], 'once more')
    const locks = await sql(direct, `
      select from pg_locks join pg_database on pg_database.oid = pg_locks.database
      where locktype = 'advisory' and datname = current_database()`)
    t.strictSame(locks, [])
  })

  await t.test('two instances serve 50 parallel refreshes each', async t => {
    const direct = await createDatabase(t)
    // A busy machine must not fail the test.
    const pooled = `${await pgbouncer(t, direct)}?connect_timeout=60`
    const instances = await Promise.all([build(t, {}, { url: pooled }), build(t, {}, { url: pooled })])
    const [one, two] = instances
    const instanceOf = (index: number) => index % 2 === 0 ? one : two
    const answers = await mapConcurrently([...Array(100).keys()], 20, async index =>
      await instanceOf(index).browser().post('/v1/auth/register', {
        ...newUser(), refresh_token_delivery: 'body'
      }))
    let tokens = answers.map(({ body }) => body.refresh_token as string)
    for (const round of [1, 2]) {
      const refreshed = await Promise.all(tokens.map(async (token, index) =>
        await instanceOf(index + round).browser().post('/v1/auth/refresh', { refresh_token: token })))
      t.strictSame(refreshed.filter(({ status }) => status !== 200), [], `round ${round}`)
      tokens = refreshed.map(({ body }) => body.refresh_token as string)
    }
    const faults = instances.flatMap(({ logs }) => logs.filter(({ level }) => Number(level) >= 40))
    t.strictSame(faults, [])
    t.match(one.logs.find(({ msg }) => /^DATABASE_URL leads through a connection pooler/.test(String(msg))),
      { level: 30 })
  })

  await t.test('settings apply to each transaction, and reach no other session', async t => {
    const direct = await createDatabase(t)
    const pooled = await pgbouncer(t, direct, { settings: ['default_pool_size = 1'] })
    const db = connect({ url: pooled, connections: 1 })
    t.teardown(() => db.end())
    const select = "select current_setting('lock_timeout') as lock, current_setting('DateStyle') as style"
    const within = [{ lock: '250ms', style: 'ISO, MDY' }]
    t.strictSame(await db.query(select), within)
    t.strictSame(await db.query({ name: 'settings', text: select }), within)
    t.strictSame(await db.transaction(async tx => await tx.query({ name: 'settings', text: select })), within)
    const [outside] = await sql<{ lock: string }>(pooled, select)
    t.equal(outside?.lock, '0')
  })

  await t.test('the owner migrates through it, while the service\'s role owns nothing', async t => {
    const direct = await createDatabase(t, { empty: true })
    const role = `pooled_${process.pid}`
    await sql(direct, `create role ${role} login password 'secret'`)
    t.teardown(async () => {
      await sql(direct, `drop owned by ${role}`)
      await sql(direct, `drop role ${role}`)
    })
    const ownerUrl = await pgbouncer(t, direct, { roles: { [role]: 'secret' } })
    const pooled = Object.assign(new URL(ownerUrl), { username: role, password: 'secret' }).href
    const migrateAsOwner = async () => await migrate(pooled, undefined, { ownerUrl })
    const applied = await Promise.all([migrateAsOwner(), migrateAsOwner()])
    t.ok(applied.flat().length > 0)
    t.strictSame(await sql(direct, `
      select distinct pg_get_userbyid(relowner)::text as owner from pg_class
      where relnamespace = 'public'::regnamespace`), [{ owner: 'latchkey_owner' }])
    t.match(await checkPrivileges(pooled), { separation: 'separate', remaining: [] })
    const service = await build(t, { MIGRATE_ON_START: 'false' }, { url: pooled })
    t.equal((await service.browser().post('/v1/auth/register', newUser())).status, 201)
    const wrong = Object.assign(new URL(pooled), { password: 'hunter2' }).href
    await t.rejects(migrate(wrong), { message: new RegExp(`refuses role ${role} `) })
  })

  await t.test('with DATABASE_DIRECT_URL, instances listen and migrate without the pooler', async t => {
    const direct = await createDatabase(t, { empty: true })
    const pooled = await pgbouncer(t, direct)
    const service = await build(t, { DATABASE_URL: pooled, DATABASE_DIRECT_URL: direct }, { url: pooled })
    const listening = await waitFor(async () => (await sql<{ query: string }>(direct, `
      select query from pg_stat_activity
      where datname = current_database() and application_name = 'latchkey listen'`))[0])
    t.match(listening.query, /^(listen|select 1)/i)
    t.strictSame(service.logs.filter(({ msg }) => /pooler/.test(String(msg))), [])
    const wrong = named(direct, 'missing')
    const unready = await build(
      t,
      { MIGRATE_ON_START: 'false', DATABASE_URL: pooled, DATABASE_DIRECT_URL: wrong },
      { url: pooled, ready: false }
    )
    await t.rejects(unready.app.migrated, {
      message: /database "missing" does not exist; correct DATABASE_DIRECT_URL/
    })
    const other = await createDatabase(t, { empty: true })
    await t.rejects(migrate(pooled, undefined, { directUrl: other }), {
      message: 'DATABASE_DIRECT_URL and DATABASE_URL lead to different databases'
    })
  })
})

t.test('a pooler that is not recognized and loses prepared statements costs no request', async t => {
  const url = await createDatabase(t)
  const statement = { name: 'one', text: 'select 1 as one' }
  // What another session leaves on the connection, after it has prepared the statement and before.
  for (const [prepares, interference] of [
    [true, 'deallocate all'], [false, "prepare one as select 'of another session'"]
  ] as const) {
    const db = connect({ url, connections: 1 })
    t.teardown(() => db.end())
    if (prepares) t.strictSame(await db.query(statement), [{ one: 1 }])
    await db.query(interference)
    t.strictSame(await db.query(statement), [{ one: 1 }], interference)
  }
})
