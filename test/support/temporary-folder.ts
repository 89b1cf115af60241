import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Teardown } from './teardown.ts'

/** Makes an empty folder that is deleted when the test ends. */
export function temporaryFolder (t: Teardown): string {
  const path = mkdtempSync(join(tmpdir(), 'latchkey-test-'))
  t.teardown(() => { rmSync(path, { recursive: true, force: true, maxRetries: 5 }) })
  return path
}
