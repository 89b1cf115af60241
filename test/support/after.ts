import { rmSync } from 'node:fs'
import * as embeddedPostgres from '../../src/database/embedded/embedded-postgres.ts'
import { folder } from './postgres.ts'

if (!process.env['TEST_DATABASE_URL']) {
  const orphan = await embeddedPostgres.start(folder)
  await orphan.stop()
}
rmSync(folder, { recursive: true, force: true })
