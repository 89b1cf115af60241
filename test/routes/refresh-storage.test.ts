import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { load } from '../../src/config/config.ts'
import { rotate } from '../../src/sessions/rotation.ts'
import { build, environment, newUser } from '../support/app.ts'
import { waitUntil } from '../support/polling.ts'
import { scale } from '../support/soak.ts'
import { t } from '../support/test.ts'

const refreshes = scale(100_000, 5_000)
// These are made one after the other.
const serialRefreshes = 1_000

t.test('many refreshes add no row and hardly a page: each is one heap-only update', async t => {
  const { lifetimes } = load(environment)
  // With a long grace period the list of confirmations is full, and the row as long as it can be.
  for (const replayGraceSeconds of [0, 3_600]) {
    const service = await build(t)
    const [unused] = await service.sql<{ bytes: number }>(
      "select pg_indexes_size('refresh_tokens')::int as bytes")
    const sessionIds: string[] = []
    for (let i = 0; i < 9; i++) {
      sessionIds.push((await service.browser().post('/v1/auth/register', newUser())).body.session_id)
    }
    const refresh = async (sessionId: string, generation: number) => {
      const [hash, nonce] = [randomBytes(32), randomBytes(16)]
      const token = { sessionId, generation, hash, nonce, issuedAt: new Date() }
      await rotate(service.app.db, token, { ...lifetimes, replayGraceSeconds }, {
        origin: {},
        assertAwaited: () => {},
        sealNotification: () => undefined,
        onLostState: () => assert.fail()
      })
    }
    // Here no older transaction keeps old versions of a row, as it does among refreshes at the same time.
    const [serialId = '', ...concurrentIds] = sessionIds
    for (let generation = 1; generation <= serialRefreshes; generation++) await refresh(serialId, generation)
    const [table] = await service.sql<{ bytes: number, rowBytes: number }>(`
      select pg_relation_size('refresh_tokens')::int as bytes,
        (select max(pg_column_size(refresh_tokens))::int from refresh_tokens) as "rowBytes"`)
    const { bytes = Infinity, rowBytes = 0 } = table ?? {}
    t.ok(bytes <= serialRefreshes * rowBytes / 4, `${bytes} bytes, and ${rowBytes} in a row`)

    await Promise.all(concurrentIds.map(async sessionId => {
      for (let generation = 1; generation <= refreshes / concurrentIds.length; generation++) {
        await refresh(sessionId, generation)
      }
    }))
    const [{ longest } = { longest: 0 }] = await service.sql<{ longest: number }>(
      'select max(cardinality(confirmations)) as longest from refresh_tokens')
    t.equal(longest, replayGraceSeconds === 0 ? 1 : 32)
    // What a connection did is counted at the latest when it ends.
    await service.app.close()
    interface Statistics { updates: number, hot: number, rows: number, indexBytes: number }
    const statistics = async () => (await service.sql<Statistics>(`
      select n_tup_upd::int as updates, n_tup_hot_upd::int as hot,
        (select count(*)::int from refresh_tokens) as rows, pg_indexes_size(relid)::int as "indexBytes"
      from pg_stat_user_tables where relname = 'refresh_tokens'`))[0]
    const updates = serialRefreshes + refreshes
    const seen = await waitUntil('every update is counted', async () => {
      const seen = await statistics()
      return seen && seen.updates >= updates && seen
    })
    t.match(seen, { updates, rows: 9 })
    t.ok(seen.hot >= 0.95 * updates, `${seen.hot} of them heap-only`)
    // The index has no entry for a new version of a row: only its first page was added.
    t.ok(seen.indexBytes <= (unused?.bytes ?? 0) + 2 * 8_192, `${seen.indexBytes} bytes`)
  }
})
