import pg from 'pg'
import { connect } from '../src/database/database.ts'
import { migrate } from '../src/database/migrate.ts'
import { purgeExpired } from '../src/throttle/sign-in-throttle.ts'
import type { Benchmark } from './benchmark.ts'
import { postgres } from './postgres.ts'

const [failures, counted] = [1_000_000, 100_000]
// So many that no two batches that run side by side have one in common.
const [networks, accounts, connections, batch] = [250_000, 200_000, 4, 5_000]

// As a sign-in counts: of an account from a network, of the network, of the account. Nobody is refused.
const guess = `
  select count(wait_seconds) from generate_series($1::int, $2::int) as i, lateral count_login_attempt(
    array[substr(sha256(format('login %s', i)::bytea), 1, 16), substr(sha256(format('network %s', i % ${networks})::bytea), 1, 16), substr(sha256(format('account %s', i % ${accounts})::bytea), 1, 16)],
    '{5,50,100}', '{900,900,86400}')`

/** The size of the throttle's counters after a million failures, each of another account and network, that came all at once; and after they have expired. */
const throttle: Benchmark = async t => {
  const url = await postgres(t)
  await migrate(url)
  const begun = performance.now()
  let next = 0
  await Promise.all(Array.from({ length: connections }, async () => {
    const client = new pg.Client({ connectionString: url })
    await client.connect()
    for (; next < counted;) {
      const from = next
      next += batch
      await client.query(guess, [from, from + batch - 1])
    }
    await client.end()
  }))
  const seconds = (performance.now() - begun) / 1_000

  const db = connect({ url })
  t.teardown(() => db.end())
  const measure = async () => {
    const [row] = await db.query<{ rows: number, size: string }>("select count(*)::int as rows, pg_total_relation_size('login_throttles') as size from login_throttles")
    return { rows: row?.rows ?? 0, megabytes: Number(row?.size) / 1e6 }
  }
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  // The others as they would be counted, which would take minutes.
  for (const [kind, most, expires] of [['login', failures, '3 min'], ['network', networks, '18 s'], ['account', accounts, '14 min']] as const) {
    await client.query(`insert into login_throttles (key, failures, expires_at) select substr(sha256(format('${kind} %s', i)::bytea), 1, 16), 1, now() + interval '${expires}' from generate_series($1::int, $2::int) as i on conflict do nothing`, [Math.min(counted, most), most - 1])
  }
  const full = await measure()
  await client.query("update login_throttles set expires_at = now() - interval '1 s'")
  await client.end()
  const clearing = performance.now()
  for (let after: Buffer | undefined, more = true; more; more = after !== undefined) after = await purgeExpired(db, after, batch)
  const cleared = (performance.now() - clearing) / 1_000
  const { rows } = await measure()
  return {
    findings: [
      { name: 'throttle: its table after 1,000,000 failures at once', measured: full.megabytes, bound: 300, is: 'most', unit: ' MB', digits: 0 },
      { name: 'throttle: what is left of it when they have expired', measured: rows, bound: 0, is: 'most', unit: ' rows', digits: 0 }
    ],
    notes: [`throttle: ${full.rows} counters in ${full.megabytes.toFixed(0)} MB; of ${counted} failures ${(counted / seconds).toFixed(0)} a second were counted, ${(seconds * 1e6 * connections / counted).toFixed(0)} us each; cleared away in ${cleared.toFixed(1)} s`]
  }
}

export default throttle
