// Runs test files in parallel, each in a process of its own: the given files, those of a set, or all.
//   node --import tsx scripts/run-tests.ts test/routes/refresh.test.ts …
//   node --import tsx scripts/run-tests.ts --set fast test/plugins/pepper.test.ts …
// It runs the source, or the compiled files if this script is compiled. It starts the tests' PostgreSQL
// server, or shares that of another run, and stops it at the end. The runner of `tap` takes twice as long,
// because it loads every module through hooks for types and coverage.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { availableParallelism } from 'node:os'
import { text } from 'node:stream/consumers'
import { parseArgs } from 'node:util'
import { mapConcurrently } from '../test/support/concurrency.ts'
import { commandOf } from '../test/support/program.ts'
import * as testDatabase from '../test/support/test-database.ts'
import { failuresOf } from './test-failures.ts'
import { allFiles, filesOf } from './test-sets.ts'

interface Result { file: string, passed: number, failed: number }

// TAP_TIMEOUT=1200 gives a slow machine more time.
const fileTimeoutSeconds = Number(process.env['TAP_TIMEOUT'] ?? 300)
// A file that does not stop at its timeout is killed a minute later.
const endedAfterMs = (fileTimeoutSeconds + 60) * 1_000
// One more than there are processors: while a file waits, another one can use its processor.
const defaultJobs = 1 + availableParallelism()

const { values: { set, jobs = defaultJobs, again = '0' }, positionals } = parseArgs({
  options: {
    set: { type: 'string' },
    jobs: { type: 'string' },
    // How many files may fail beside others and pass when each is run again by itself.
    again: { type: 'string' }
  },
  allowPositionals: true
})
const named = [...set === undefined ? [] : filesOf(set), ...positionals]
const files = named.length > 0 ? named : allFiles()

async function runFile (file: string): Promise<Result> {
  const startedAt = performance.now()
  const child = spawn(process.execPath, commandOf(file), {
    env: { ...process.env, TAP_TIMEOUT: String(fileTimeoutSeconds), ...set === 'soak' && { SOAK: '1' } },
    stdio: ['ignore', 'pipe', 'inherit'],
    timeout: endedAfterMs,
    killSignal: 'SIGKILL'
  })
  const [output, [code]] = await Promise.all([text(child.stdout), once(child, 'close')])
  const counts = output.split('\n').filter(line => line.startsWith('# {')).at(-1) ?? ''
  const countOf = (outcome: string) => Number(new RegExp(`${outcome}: (\\d+)`).exec(counts)?.[1] ?? 0)
  const passed = countOf('pass')
  const failed = Math.max(countOf('fail'), code === 0 ? 0 : 1)
  const seconds = ((performance.now() - startedAt) / 1_000).toFixed(1)
  const outcome = failed === 0 ? 'ok    ' : 'FAILED'
  console.log(`${outcome} ${file}: ${passed} passed, ${failed} failed (${seconds} s)`)
  if (failed > 0) console.log(failuresOf(output))
  return { file, passed, failed }
}

/** Runs the files that failed again, one at a time, unless they are more than may fail once. */
async function runAgain (results: Result[]): Promise<Result[]> {
  const failures = results.filter(({ failed }) => failed > 0)
  if (failures.length > Number(again)) return results
  const repeated: Result[] = []
  for (const { file } of failures) {
    console.log(`${file} failed beside other files. It is run again by itself.`)
    repeated.push(await runFile(file))
  }
  return [...results.filter(({ failed }) => failed === 0), ...repeated]
}

const stopServer = await testDatabase.start()
const results = await runAgain(await mapConcurrently(files, Number(jobs), runFile))
await stopServer()
const sum = (outcome: 'passed' | 'failed') => results.reduce((total, result) => total + result[outcome], 0)
console.log(`${sum('passed')} passed, ${sum('failed')} failed`)
process.exit(sum('failed') > 0 ? 1 : 0)
