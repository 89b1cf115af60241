import { chmodSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import * as embeddedPostgres from '../src/database/embedded/embedded-postgres.ts'
import type { Teardown } from './benchmark.ts'

/** An empty folder; others may read it, for PostgreSQL may have to run as another user than this. */
export function folder (t: Teardown): string {
  const path = mkdtempSync(join(tmpdir(), 'latchkey-bench-'))
  t.teardown(() => rmSync(path, { recursive: true, force: true, maxRetries: 3 }))
  chmodSync(path, 0o755)
  return path
}

/** The address of an empty database on a PostgreSQL of its own, as durable as PostgreSQL is by default. */
export async function postgres (t: Teardown): Promise<string> {
  const starting = embeddedPostgres.start(folder(t))
  // Also one that is still starting when a signal ends the benchmark.
  t.teardown(() => starting.then(server => server.stop(), () => {}))
  return (await starting).url
}
