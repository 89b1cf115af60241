import { readFile } from 'node:fs/promises'
import { setTimeout as pause } from 'node:timers/promises'
import type { Benchmark } from './benchmark.ts'
import { withConnections } from './connection.ts'
import * as testUsers from './users.ts'
import { temporaryFolder, startPostgres } from './postgres.ts'
import * as service from './service.ts'

const settleMs = 3_000

/** Measures the resident memory of an idle service; and, without a bound, after some work. */
const memory: Benchmark = async t => {
  const finding = {
    name: 'memory: resident memory of an idle service',
    bound: 130,
    limit: 'maximum',
    unit: ' MB',
    digits: 0
  } as const
  if (process.platform !== 'linux') {
    return { findings: [{ ...finding, measured: undefined }], notes: ['memory: measured on Linux only'] }
  }

  // The rate limiter is on, but its limit is not reached.
  const { pid, port } = await service.start(t, temporaryFolder(t), {
    DATABASE_URL: await startPostgres(t),
    RATE_LIMIT: '100000/1m'
  })
  await pause(settleMs)
  const idle = await residentMb(pid)

  const [user] = await testUsers.registerUsers(port, 1)
  await withConnections(port, 10, connections => Promise.all(connections.map(async connection => {
    let session = { id: '', token: '' }
    for (let login = 0; login < 5; login++) {
      session = testUsers.parseTokens(await connection.post('/v1/auth/login', user ?? {}))
    }
    for (let refresh = 0; refresh < 50; refresh++) {
      session = testUsers.parseTokens(
        await connection.post('/v1/auth/refresh', { refresh_token: session.token })
      )
    }
  })))
  await pause(settleMs)
  const afterWork = await residentMb(pid)
  return {
    findings: [{ ...finding, measured: idle }],
    notes: [
      `memory: ${idle.toFixed(0)} MB idle; ${afterWork.toFixed(0)} MB after 50 logins and 500 ` +
        'refreshes, 10 at a time'
    ]
  }
}

/** Returns the resident memory of a process in megabytes. */
async function residentMb (pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8')
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1]) * 1_024 / 1e6
}

export default memory
