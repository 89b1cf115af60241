// Runs the test files that its standard input names, a line each, one after the other in this process. So the
// service is loaded and compiled once for all of them. `test-workers.ts` starts it.
import { createInterface } from 'node:readline'
import { setTimeout as pause } from 'node:timers/promises'
import { pathToFileURL } from 'node:url'
import tap from 'tap'
import { moduleFile } from '../test/support/program.ts'
import { useTest } from '../test/support/test.ts'

const timeout = Number(process.env['FILE_TIMEOUT_SECONDS']) * 1_000

for await (const file of createInterface({ input: process.stdin })) {
  await tap.test(file, { timeout }, async t => {
    useTest(t)
    await import(pathToFileURL(moduleFile(file)).href)
  })
  // A promise that is rejected late counts for its file. `tap` would keep a comment of its own back until the
  // next test begins.
  await pause(20)
  process.stdout.write(`\n# end of ${file}\n`)
}
