import { createHash } from 'node:crypto'
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import pg from 'pg'
import * as embeddedPostgres from '../../src/database/embedded/embedded-postgres.ts'
import { migrate } from '../../src/database/migrate.ts'
import { readMigrations } from '../../src/database/migration-files.ts'
import { prepareIdTokenKey } from './id-token-key.ts'
import { addressFile, folder, named, sql, template } from './postgres.ts'

/** Settings of a server whose data may be lost at any time. */
const settings = [
  'fsync=off', 'synchronous_commit=off', 'full_page_writes=off', 'max_connections=300',
  // Autovacuum would visit each of the many databases, and change statistics in the middle of a test.
  'autovacuum=off'
]

/**
 * Starts the PostgreSQL server of this checkout's tests, or shares the one that runs, and makes the migrated
 * database that each test copies. The function it returns stops the server unless another test run uses it.
 */
export async function start (): Promise<() => Promise<void>> {
  const given = process.env['TEST_DATABASE_URL']
  const server = given === undefined ? await startEmbedded() : undefined
  const url = given ?? server?.url ?? ''
  await dropAbandonedDatabases(url)
  await createTemplate(url)
  mkdirSync(folder, { recursive: true })
  await prepareIdTokenKey()
  writeFileSync(addressFile, url)
  return async () => { await server?.stop() }
}

/** Stops the server and deletes its data. */
export async function discard (): Promise<void> {
  if (process.env['TEST_DATABASE_URL'] === undefined) {
    const server = await embeddedPostgres.start(folder)
    await server.stop()
  }
  rmSync(folder, { recursive: true, force: true })
}

async function startEmbedded (): Promise<embeddedPostgres.EmbeddedPostgres> {
  const options = { isExclusive: false, settings }
  const server = await embeddedPostgres.start(folder, options).catch(async () => {
    // The data of an earlier run can be damaged, because the server does not wait until they are on the disk.
    rmSync(folder, { recursive: true, force: true })
    return await embeddedPostgres.start(folder, options)
  })
  await cheapenLogin(server.url)
  return server
}

/** Tests connect thousands of times. With the default number of iterations, each login takes milliseconds. */
async function cheapenLogin (url: string): Promise<void> {
  const { username, password } = new URL(url)
  await sql(url, `do $$ begin
    set local scram_iterations = 1;
    alter role ${pg.escapeIdentifier(username)} password ${pg.escapeLiteral(decodeURIComponent(password))};
  end $$`)
}

/** Drops the databases of test runs that were killed. Younger ones may belong to another run. */
async function dropAbandonedDatabases (url: string): Promise<void> {
  const abandoned = await sql<{ datname: string }>(url, `
    select datname from pg_database
    where datname ~ '^test_' and not exists (select from pg_stat_activity where datid = pg_database.oid)
      and (pg_stat_file(format('base/%s/PG_VERSION', oid), true)).modification < now() - interval '1 hour'`)
  for (const { datname } of abandoned) await sql(url, `drop database if exists ${datname} with (force)`)
}

/** Creates the template, unless it is there and comes from the same migrations. */
async function createTemplate (url: string): Promise<void> {
  const checksums = readMigrations().map(migration => migration.checksum).join()
  const checksum = createHash('sha256').update(checksums).digest('hex')
  const [found] = await sql<{ checksum: string | null }>(url, `
    select shobj_description(oid, 'pg_database') as checksum from pg_database where datname = $1`, [template])
  if (found?.checksum === checksum) return
  await sql(url, `drop database if exists ${template} with (force)`)
  await sql(url, `create database ${template} template template0`)
  await migrate(named(url, template))
  // The first connection writes a cache of the catalog (`pg_internal.init`). Copies of the template have it.
  await sql(named(url, template), 'select 1')
  await sql(url, `comment on database ${template} is '${checksum}'`)
}
