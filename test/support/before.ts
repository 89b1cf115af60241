import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import * as embeddedPostgres from '../../src/database/embedded/embedded-postgres.ts'
import { migrate } from '../../src/database/migrate.ts'
import { addressFile, folder, named, sql, template } from './postgres.ts'

// One server for all test files, with a migrated database to copy. It is left running when this process ends.
async function address (): Promise<string> {
  const given = process.env['TEST_DATABASE_URL']
  if (given) {
    mkdirSync(folder, { recursive: true })
    return given
  }
  const settings = ['fsync=off', 'synchronous_commit=off', 'full_page_writes=off', 'max_connections=300']
  const orphan = await embeddedPostgres.start(folder, { settings })
  if (!orphan.adopted) return orphan.url
  await orphan.stop()
  rmSync(folder, { recursive: true, force: true })
  return (await embeddedPostgres.start(folder, { settings })).url
}

const url = await address()
await sql(url, `drop database if exists ${template} with (force)`)
await sql(url, `create database ${template} template template0`)
await migrate(named(url, template))
writeFileSync(addressFile, url)
process.exit(0)
