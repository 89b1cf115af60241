import { availableParallelism, cpus, loadavg } from 'node:os'
import admin from './admin.ts'
import type { Benchmark, Measurement, Report } from './benchmark.ts'
import floods from './floods.ts'
import logins from './logins.ts'
import memory from './memory.ts'
import provider from './provider.ts'
import refresh from './refresh.ts'
import reset from './reset.ts'
import revocations from './revocations.ts'
import sessions from './sessions.ts'
import start from './start.ts'
import storm from './storm.ts'
import throttle from './throttle.ts'
import verifier from './verifier.ts'
import verify from './verify.ts'

const benchmarks: Record<string, Benchmark> = {
  logins,
  throttle,
  reset,
  refresh,
  provider,
  sessions,
  revocations,
  verify,
  verifier,
  admin,
  storm,
  floods,
  start,
  memory
}

const names = process.argv.length > 2 ? process.argv.slice(2) : Object.keys(benchmarks)
const unknown = names.find(name => !Object.hasOwn(benchmarks, name))
if (unknown !== undefined) {
  console.error(`Unknown benchmark "${unknown}". Choose from: ${Object.keys(benchmarks).join(', ')}.`)
  process.exit(2)
}

const handlers: Array<() => unknown> = []
let teardown: Promise<void> | undefined
async function runHandlers () {
  for (let handler = handlers.pop(); handler; handler = handlers.pop()) {
    try {
      await handler()
    } catch (error) {
      console.error(error)
    }
  }
}
// The handlers run one at a time and in order, even if a signal arrives while a benchmark ends.
const tearDown = () => (teardown ??= runHandlers().finally(() => { teardown = undefined }))
for (const [signal, code] of [['SIGINT', 130], ['SIGTERM', 143]] as const) {
  process.once(signal, () => { void tearDown().finally(() => process.exit(code)) })
}

async function run (name: string): Promise<Report> {
  console.error(`running ${name} …`)
  try {
    return (
      (await benchmarks[name]?.({
        teardown: handler => {
          handlers.push(handler)
        }
      })) ?? { findings: [], notes: [] }
    )
  } finally {
    await tearDown()
  }
}

function isWithinBound ({ measured, bound, limit }: Measurement): boolean {
  if (measured === undefined) return true
  return limit === 'minimum' ? measured >= bound : measured <= bound
}

function formatTable (findings: Measurement[]): string {
  const rows = findings.map(finding => {
    const { name, measured, bound, limit, unit, digits } = finding
    const value = measured === undefined ? '-' : measured.toFixed(digits) + unit
    const result = measured === undefined ? 'skipped' : isWithinBound(finding) ? 'ok' : 'MISSED'
    return [name, value, `${limit === 'minimum' ? '>=' : '<='} ${bound}${unit}`, result]
  })
  const lines = [['what is measured, and compared with what', 'measured', 'promised', 'result'], ...rows]
  const width = (column: number) => Math.max(...lines.map(line => line[column]?.length ?? 0))
  return lines
    .map(line =>
      line
        .map((cell, column) => cell.padEnd(width(column)))
        .join('   ')
        .trimEnd()
    )
    .join('\n')
}

const platform = `Node ${process.version}, ${process.platform} ${process.arch}`
const machine = `${availableParallelism()} cores (${cpus()[0]?.model ?? 'unknown'}), ${platform}`
const startLoad = loadavg()[0]?.toFixed(1)
const reports: Report[] = []
for (const name of names) reports.push(await run(name))
const findings = reports.flatMap(({ findings }) => findings)
console.log(`
${formatTable(findings)}

${reports.flatMap(({ notes }) => notes).join('\n')}
machine: ${machine}, load average at the start ${startLoad}`)
process.exit(findings.every(isWithinBound) ? 0 : 1)
