import { chmodSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import * as embeddedPostgres from '../src/database/embedded/embedded-postgres.ts'
import type { Teardown } from '../test/support/teardown.ts'

/** Creates an empty folder. Every user may read it, because PostgreSQL may have to run as another user. */
export function temporaryFolder (t: Teardown): string {
  const path = mkdtempSync(join(tmpdir(), 'latchkey-bench-'))
  t.teardown(() => rmSync(path, { recursive: true, force: true, maxRetries: 3 }))
  chmodSync(path, 0o755)
  return path
}

/** Starts a PostgreSQL with its default durability, and returns the URL of an empty database. */
export async function startPostgres (t: Teardown): Promise<string> {
  const starting = embeddedPostgres.start(temporaryFolder(t))
  // A signal may end the benchmark while PostgreSQL is still starting.
  t.teardown(() => starting.then(server => server.stop(), () => {}))
  return (await starting).url
}
