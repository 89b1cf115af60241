import { availableParallelism, cpus, loadavg } from 'node:os'
import admin from './admin.ts'
import type { Benchmark, Finding, Report } from './benchmark.ts'
import floods from './floods.ts'
import logins from './logins.ts'
import memory from './memory.ts'
import refresh from './refresh.ts'
import reset from './reset.ts'
import revocations from './revocations.ts'
import sessions from './sessions.ts'
import start from './start.ts'
import storm from './storm.ts'
import throttle from './throttle.ts'
import verifier from './verifier.ts'
import verify from './verify.ts'

const benchmarks: Record<string, Benchmark> = { logins, throttle, reset, refresh, sessions, revocations, verify, verifier, admin, storm, floods, start, memory }

const names = process.argv.length > 2 ? process.argv.slice(2) : Object.keys(benchmarks)
const unknown = names.find(name => !Object.hasOwn(benchmarks, name))
if (unknown !== undefined) {
  console.error(`There is no benchmark "${unknown}": ${Object.keys(benchmarks).join(', ')}.`)
  process.exit(2)
}

const handlers: Array<() => unknown> = []
let tearing: Promise<void> | undefined
async function takeDown () {
  for (let handler = handlers.pop(); handler; handler = handlers.pop()) {
    try {
      await handler()
    } catch (error) {
      console.error(error)
    }
  }
}
// One at a time and in order, also when a signal arrives while a benchmark ends.
const tearDown = () => (tearing ??= takeDown().finally(() => { tearing = undefined }))
for (const [signal, code] of [['SIGINT', 130], ['SIGTERM', 143]] as const) {
  process.once(signal, () => { void tearDown().finally(() => process.exit(code)) })
}

async function run (name: string): Promise<Report> {
  console.error(`${name} …`)
  try {
    return await benchmarks[name]?.({ teardown: handler => { handlers.push(handler) } }) ?? { findings: [], notes: [] }
  } finally {
    await tearDown()
  }
}

const kept = ({ measured, bound, is }: Finding) => measured === undefined || (is === 'least' ? measured >= bound : measured <= bound)

function table (findings: Finding[]): string {
  const rows = findings.map(finding => {
    const { name, measured, bound, is, unit, digits } = finding
    return [name, measured === undefined ? '-' : measured.toFixed(digits) + unit, `${is === 'least' ? '>=' : '<='} ${bound}${unit}`, measured === undefined ? 'skipped' : kept(finding) ? 'ok' : 'MISSED']
  })
  const lines = [['promise', 'measured', 'bound', ''], ...rows]
  const width = (column: number) => Math.max(...lines.map(line => line[column]?.length ?? 0))
  return lines.map(line => line.map((cell, column) => cell.padEnd(width(column))).join('   ').trimEnd()).join('\n')
}

const load = loadavg()[0]?.toFixed(1)
const reports: Report[] = []
for (const name of names) reports.push(await run(name))
const findings = reports.flatMap(({ findings }) => findings)
console.log(`
${table(findings)}

${reports.flatMap(({ notes }) => notes).join('\n')}
machine: ${availableParallelism()} cores (${cpus()[0]?.model ?? 'unknown'}), Node ${process.version}, ${process.platform} ${process.arch}, load average at the start ${load}`)
process.exit(findings.every(kept) ? 0 : 1)
