import { spawn } from 'node:child_process'
import { setTimeout as pause } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { freePort } from '../src/database/embedded/server.ts'
import type { Teardown } from '../test/support/teardown.ts'
import { terminate } from './child.ts'
import { withConnections } from './connection.ts'

export interface MeasuredService {
  pid: number
  port: number
  /** Seconds from the start of the process until `/readyz` answered. */
  startupSeconds: number
  stop: () => Promise<void>
}

const program = fileURLToPath(new URL('../src/latchkey.cjs', import.meta.url))

/**
 * Starts the service as a process in a folder, and waits until it is ready. Its log has the default level.
 */
export async function start (
  t: Teardown, cwd: string, environment: Record<string, string>
): Promise<MeasuredService> {
  const port = Number(environment['PORT'] ?? await freePort())
  const startedAt = performance.now()
  // A few users sign in very often, so sign-ins are counted but never throttled.
  const limits = {
    LOGIN_RATE_LIMIT: '1000000/1h',
    LOGIN_NETWORK_LIMIT: '1000000/1h',
    LOGIN_ACCOUNT_LIMIT: '1000000/1h'
  }
  // This process's own variables may configure another Latchkey, so the service gets none of them.
  const env = { PATH: process.env['PATH'], NODE_ENV: 'test', PORT: String(port), ...limits, ...environment }
  const child = spawn(process.execPath, ['--max-semi-space-size=32', program, 'serve'], {
    cwd,
    env,
    stdio: ['ignore', 'ignore', 'pipe']
  })
  const stop = async () => await terminate(child)
  t.teardown(stop)
  let errorOutput = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => { errorOutput += text })

  while (!await isReady(port)) {
    if (child.exitCode !== null || child.signalCode !== null) {
      throw new Error(`the service ended early (${child.exitCode ?? child.signalCode}): ${errorOutput}`)
    }
    if (performance.now() - startedAt > 30_000) {
      throw new Error(`the service is not ready after 30 s: ${errorOutput}`)
    }
    await pause(5)
  }
  return { pid: child.pid ?? 0, port, startupSeconds: (performance.now() - startedAt) / 1_000, stop }
}

const isReady = (port: number) =>
  withConnections(port, 1, async ([connection]) => await connection?.get('/readyz')).then(
    () => true,
    () => false
  )
