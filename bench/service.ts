import { spawn } from 'node:child_process'
import { setTimeout as pause } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { freePort } from '../src/database/embedded/server.ts'
import type { Teardown } from './benchmark.ts'
import { end } from './child.ts'
import { withConnections } from './connection.ts'

export interface Service {
  pid: number
  port: number
  /** Seconds from the start of the process until it was ready. */
  startedIn: number
  stop: () => Promise<void>
}

const program = fileURLToPath(new URL('../src/latchkey.cjs', import.meta.url))

/** Runs the service in a folder as a process of its own, until it is ready. It logs as by default, to nowhere. */
export async function start (t: Teardown, cwd: string, environment: Record<string, string>): Promise<Service> {
  const port = Number(environment['PORT'] ?? await freePort())
  const begun = performance.now()
  // None of this process's own variables: they may be for another Latchkey.
  // Few people sign in often: what counts their failures counts them, but stops nobody.
  const limits = { LOGIN_RATE_LIMIT: '1000000/1h', LOGIN_NETWORK_LIMIT: '1000000/1h', LOGIN_ACCOUNT_LIMIT: '1000000/1h' }
  const env = { PATH: process.env['PATH'], NODE_ENV: 'test', PORT: String(port), ...limits, ...environment }
  const child = spawn(process.execPath, ['--max-semi-space-size=32', program, 'serve'], { cwd, env, stdio: ['ignore', 'ignore', 'pipe'] })
  const stop = () => end(child)
  t.teardown(stop)
  let complaint = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => { complaint += text })

  while (!await isReady(port)) {
    if (child.exitCode !== null || child.signalCode !== null) throw new Error(`the service ended (${child.exitCode ?? child.signalCode}): ${complaint}`)
    if (performance.now() - begun > 30_000) throw new Error(`the service is not ready after 30 s: ${complaint}`)
    await pause(5)
  }
  return { pid: child.pid ?? 0, port, startedIn: (performance.now() - begun) / 1_000, stop }
}

const isReady = (port: number) => withConnections(port, 1, async ([connection]) => await connection?.get('/readyz')).then(() => true, () => false)
