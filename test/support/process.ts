import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { environment } from './app.ts'
import { commandOf, threadPool } from './program.ts'
import type { Teardown } from './teardown.ts'

export interface Running {
  child: ChildProcess
  base: string
  output: () => string
  ended: Promise<{ code: number | null; signal: string | null }>
}

/** How a program is run. A `launcher` gets the program's command line as its arguments. */
interface Surroundings {
  cwd: string
  env: Record<string, string | undefined>
  port: number
  launcher?: string[]
}

/** Starts a program of this project in a process of its own, which ends with the test. */
export function run (t: Teardown, args: string[], { cwd, env, port, launcher = [] }: Surroundings): Running {
  const [command = '', ...others] = [...launcher, process.execPath, ...args]
  const child = spawn(command, others, {
    cwd,
    env: { PATH: process.env['PATH'], ...env },
    stdio: ['ignore', 'pipe', 'pipe']
  })
  let text = ''
  child.stdout.on('data', chunk => { text += chunk })
  child.stderr.on('data', chunk => { text += chunk })
  const ended = once(child, 'close').then(([code, signal]) => ({ code, signal }))
  t.teardown(async () => {
    child.kill('SIGTERM')
    await ended
  })
  return { child, base: `http://127.0.0.1:${port}`, output: () => text, ended }
}

/** Starts the service as a process of its own, in this folder. */
export const start = (
  t: Teardown,
  cwd: string,
  env: Record<string, string | undefined>,
  port: number
): Running =>
  run(t, [...commandOf('src/latchkey.cts'), 'serve'], {
    cwd,
    port,
    env: {
      ...threadPool,
      ...environment,
      KEY_ENCRYPTION_KEY: undefined,
      PORT: String(port),
      ISSUER_URL: `http://localhost:${port}`,
      ...env
    }
  })

/** Waits until a program answers at this path with 200. */
export async function ready ({ base, child, output }: Running, path = '/readyz'): Promise<void> {
  while (child.exitCode === null) {
    const answer = await fetch(`${base}${path}`).catch(() => undefined)
    await answer?.arrayBuffer()
    if (answer?.status === 200) return
    await new Promise(resolve => setTimeout(resolve, 20))
  }
  throw new Error(`it ended: ${output()}`)
}

/** Posts JSON to a running service, and reads the answer. */
export async function post (url: string, body: object) {
  const answer = await fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body)
  })
  const text = await answer.text()
  return { status: answer.status, headers: answer.headers, body: text === '' ? {} : JSON.parse(text) }
}
