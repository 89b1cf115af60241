import pg from 'pg'
import { connect } from '../src/database/database.ts'
import { migrate } from '../src/database/migrate.ts'
import { purgeExpired } from '../src/throttle/sign-in-throttle.ts'
import type { Benchmark } from './benchmark.ts'
import { startPostgres } from './postgres.ts'

const [failures, counted] = [1_000_000, 100_000]
// There are so many networks and accounts that concurrent batches have none in common.
const [networks, accounts, connections, batch] = [250_000, 200_000, 4, 5_000]

// Counts a sign-in by account and network, by network, and by account. No limit is reached.
const countAttempts = `
  select count(wait_seconds) from generate_series($1::int, $2::int) as i, lateral count_login_attempt(
    array[
      substr(sha256(format('login %s', i)::bytea), 1, 16),
      substr(sha256(format('network %s', i % ${networks})::bytea), 1, 16),
      substr(sha256(format('account %s', i % ${accounts})::bytea), 1, 16)
    ],
    '{5,50,100}', '{900,900,86400}')`

/**
 * Measures the size of the sign-in throttle's table after a million failures at once, and after they have
 * expired.
 */
const throttle: Benchmark = async t => {
  const url = await startPostgres(t)
  await migrate(url)
  const startedAt = performance.now()
  let next = 0
  await Promise.all(Array.from({ length: connections }, async () => {
    const client = new pg.Client({ connectionString: url })
    await client.connect()
    for (; next < counted;) {
      const from = next
      next += batch
      await client.query(countAttempts, [from, from + batch - 1])
    }
    await client.end()
  }))
  const seconds = (performance.now() - startedAt) / 1_000

  const db = connect({ url })
  t.teardown(() => db.end())
  const measure = async () => {
    const [row] = await db.query<{ rows: number, size: string }>(
      "select count(*)::int as rows, pg_total_relation_size('login_throttles') as size from login_throttles"
    )
    return { rows: row?.rows ?? 0, megabytes: Number(row?.size) / 1e6 }
  }
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  // The other counters are inserted directly, because counting them would take minutes.
  for (const [kind, count, expiresIn] of [
    ['login', failures, '3 min'], ['network', networks, '18 s'], ['account', accounts, '14 min']
  ] as const) {
    await client.query(
      `insert into login_throttles (key, failures, expires_at) select substr(sha256(format('${kind} ` +
        `%s', i)::bytea), 1, 16), 1, now() + interval '${expiresIn}' from generate_series($1::int, ` +
        '$2::int) as i on conflict do nothing',
      [Math.min(counted, count), count - 1]
    )
  }
  const full = await measure()
  await client.query("update login_throttles set expires_at = now() - interval '1 s'")
  await client.end()
  const purgeStartedAt = performance.now()
  for (let after: Buffer | undefined, more = true; more; more = after !== undefined) {
    after = await purgeExpired(db, after, batch)
  }
  const purgeSeconds = (performance.now() - purgeStartedAt) / 1_000
  const { rows } = await measure()
  return {
    findings: [
      {
        name: 'throttle: table size after 1,000,000 failed sign-ins at once',
        measured: full.megabytes,
        bound: 300,
        limit: 'maximum',
        unit: ' MB',
        digits: 0
      },
      {
        name: 'throttle: rows left after they have expired',
        measured: rows,
        bound: 0,
        limit: 'maximum',
        unit: ' rows',
        digits: 0
      }
    ],
    notes: [
      `throttle: ${full.rows} counters in ${full.megabytes.toFixed(0)} MB; ` +
        `${(counted / seconds).toFixed(0)} failures/s counted, ` +
        `${((seconds * 1e6 * connections) / counted).toFixed(0)} µs each; purged in ` +
        `${purgeSeconds.toFixed(1)} s`
    ]
  }
}

export default throttle
