import { readFile } from 'node:fs/promises'
import { setTimeout as pause } from 'node:timers/promises'
import type { Benchmark } from './benchmark.ts'
import { withConnections } from './connection.ts'
import * as people from './users.ts'
import { folder, postgres } from './postgres.ts'
import * as service from './service.ts'

const rest = 3_000

/** The resident memory of a service that has nothing to do yet; and, without a bound, of one that has worked. */
const memory: Benchmark = async t => {
  const finding = { name: 'memory: of an idle service', bound: 130, is: 'most', unit: ' MB', digits: 0 } as const
  if (process.platform !== 'linux') return { findings: [{ ...finding, measured: undefined }], notes: ['memory: is measured on Linux only'] }

  // The limiter stays, but lets all of this through.
  const { pid, port } = await service.start(t, folder(t), { DATABASE_URL: await postgres(t), RATE_LIMIT: '100000/1m' })
  await pause(rest)
  const idle = await resident(pid)

  const [person] = await people.register(port, 1)
  await withConnections(port, 10, connections => Promise.all(connections.map(async connection => {
    let session = { id: '', token: '' }
    for (let login = 0; login < 5; login++) session = people.held(await connection.post('/v1/auth/login', person ?? {}))
    for (let refresh = 0; refresh < 50; refresh++) session = people.held(await connection.post('/v1/auth/refresh', { refresh_token: session.token }))
  })))
  await pause(rest)
  const worked = await resident(pid)
  return {
    findings: [{ ...finding, measured: idle }],
    notes: [`memory: ${idle.toFixed(0)} MB idle; ${worked.toFixed(0)} MB after 50 logins and 500 refreshes, 10 at a time`]
  }
}

// In units of a million bytes.
async function resident (pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8')
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1]) * 1_024 / 1e6
}

export default memory
