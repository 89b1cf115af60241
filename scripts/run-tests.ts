// Runs test files in parallel: the given files, those of a set, or all. Files share a few processes, unless
// they measure their process or there is only one.
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
import { countAssertions, failuresOf } from './test-failures.ts'
import { allFiles, filesOf, mostlyWaits, needsOwnProcess } from './test-sets.ts'
import { TestWorkers, type FileOutput } from './test-workers.ts'

interface Counts { passed: number, failed: number }

// TAP_TIMEOUT=1200 gives a slow machine more time.
const fileTimeoutSeconds = Number(process.env['TAP_TIMEOUT'] ?? 300)
// A file that does not stop at its timeout is killed a minute later.
const endedAfterMs = (fileTimeoutSeconds + 60) * 1_000
// One more than there are processors: while a file waits, another one can use its processor.
const defaultJobs = 1 + availableParallelism()

const { values: { set, jobs = defaultJobs }, positionals } = parseArgs({
  options: { set: { type: 'string' }, jobs: { type: 'string' } },
  allowPositionals: true
})
const named = [...set === undefined ? [] : filesOf(set), ...positionals]
const files = named.length > 0 ? [...new Set(named)] : allFiles()
const env = { ...process.env, ...set === 'soak' && { SOAK: '1' } }
const workers = new TestWorkers({ env, fileTimeoutSeconds, endedAfterMs })

/** Runs a file in a process of its own. */
async function runAlone (file: string): Promise<FileOutput> {
  const child = spawn(process.execPath, commandOf(file), {
    env: { ...env, TAP_TIMEOUT: String(fileTimeoutSeconds) },
    stdio: ['ignore', 'pipe', 'inherit'],
    timeout: endedAfterMs,
    killSignal: 'SIGKILL'
  })
  const [tap, [code]] = await Promise.all([text(child.stdout), once(child, 'close')])
  return { tap, hasEnded: code === 0 }
}

async function runFile (file: string): Promise<Counts> {
  const startedAt = performance.now()
  const isAlone = files.length === 1 || needsOwnProcess(file)
  const output = isAlone ? await runAlone(file) : await workers.run(file)
  const counts = countsOf(output)
  const seconds = ((performance.now() - startedAt) / 1_000).toFixed(1)
  const outcome = counts.failed === 0 ? 'ok    ' : 'FAILED'
  console.log(`${outcome} ${file}: ${counts.passed} passed, ${counts.failed} failed (${seconds} s)`)
  if (counts.failed > 0) console.log(failuresOf(output.tap))
  return counts
}

function countsOf ({ tap, hasEnded }: FileOutput): Counts {
  const { passed, failed } = countAssertions(tap)
  return { passed, failed: hasEnded ? failed : Math.max(failed, 1) }
}

/** Ends the workers. Counts what fails after their last file. */
async function closeWorkers (): Promise<Counts[]> {
  const outputs = await workers.close()
  for (const { tap, hasEnded } of outputs) {
    if (!hasEnded) console.log('FAILED: a process did not end by itself. A test has left something open.')
    else if (countAssertions(tap).failed > 0) console.log(`FAILED after its last file:\n${failuresOf(tap)}`)
  }
  return outputs.map(countsOf)
}

const stopServer = await testDatabase.start()
const busy = files.filter(file => !mostlyWaits(file))
const lanes = await Promise.all([
  mapConcurrently(busy, Number(jobs), runFile),
  mapConcurrently(files.filter(mostlyWaits), 1, runFile)
])
const counts = lanes.flat()
counts.push(...await closeWorkers())
await stopServer()
const sum = (outcome: keyof Counts) => counts.reduce((total, result) => total + result[outcome], 0)
console.log(`${sum('passed')} passed, ${sum('failed')} failed`)
process.exit(sum('failed') > 0 ? 1 : 0)
