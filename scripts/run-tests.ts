// Runs test files from source, without a build: npm run test:file -- test/routes/refresh.test.ts …
// It starts the tests' PostgreSQL server, or shares the one that another run has started, and stops it at the end.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { availableParallelism } from 'node:os'
import { text } from 'node:stream/consumers'
import { mapConcurrently } from '../test/support/concurrency.ts'
import { nodeOptions } from '../test/support/program.ts'
import * as testDatabase from '../test/support/test-database.ts'

interface Result { passed: number, failed: number }

const fileTimeoutSeconds = 300

const files = process.argv.slice(2)
if (files.length === 0) {
  console.error('Usage: npm run test:file -- test/routes/refresh.test.ts …')
  process.exit(2)
}

async function runFile (file: string): Promise<Result> {
  const startedAt = performance.now()
  const child = spawn(process.execPath, [...nodeOptions, file], {
    env: { ...process.env, TAP_TIMEOUT: String(fileTimeoutSeconds) },
    stdio: ['ignore', 'pipe', 'inherit']
  })
  const [output, [code]] = await Promise.all([text(child.stdout), once(child, 'close')])
  const counts = output.split('\n').filter(line => line.startsWith('# {')).at(-1) ?? ''
  const countOf = (outcome: string) => Number(new RegExp(`${outcome}: (\\d+)`).exec(counts)?.[1] ?? 0)
  const passed = countOf('pass')
  const failed = Math.max(countOf('fail'), code === 0 ? 0 : 1)
  const seconds = ((performance.now() - startedAt) / 1_000).toFixed(1)
  console.log(`${failed === 0 ? 'ok    ' : 'FAILED'} ${file}: ${passed} passed, ${failed} failed (${seconds} s)`)
  if (failed > 0) console.log(failuresOf(output))
  return { passed, failed }
}

/** The failed assertions of a test's output, each with the subtests that it is in and its details. */
function failuresOf (output: string): string {
  const shown: string[] = []
  let subtests: string[] = []
  let isInDetails = false
  for (const line of output.split('\n')) {
    const depth = line.search(/\S/) / 4
    const [, subtest] = /^ *# Subtest: (.*)$/.exec(line) ?? []
    if (subtest !== undefined) subtests = [...subtests.slice(0, depth), subtest]
    const isFailure = /^ *not ok \d+ - /.test(line)
    // A subtest that failed repeats the failures inside it.
    if (isFailure && !line.includes(' # time=')) shown.push(`\n  ${subtests.slice(0, depth).join(' > ')}`)
    if (isFailure) isInDetails = !line.includes(' # time=')
    else if (/^ *(ok \d+|# Subtest|\d+\.\.\d+)/.test(line)) isInDetails = false
    if (isInDetails || /^Bail out!|^ *# test unfinished/.test(line)) shown.push(`  ${line}`)
  }
  return shown.length > 0 ? shown.join('\n') : output
}

const stopServer = await testDatabase.start()
const results = await mapConcurrently(files, availableParallelism(), runFile)
await stopServer()
const sum = (outcome: keyof Result) => results.reduce((total, result) => total + result[outcome], 0)
console.log(`${sum('passed')} passed, ${sum('failed')} failed`)
process.exit(sum('failed') > 0 ? 1 : 0)
