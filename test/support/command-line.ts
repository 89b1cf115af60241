import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer, type AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'
import type { Environment } from '../../src/config/environment.ts'
import { variables } from '../../src/config/variables.ts'
import { commandOf, threadPool } from './program.ts'
import type { Teardown } from './teardown.ts'
import { temporaryFolder } from './temporary-folder.ts'

// The configuration of this checkout must not configure the command.
const inherited = Object.fromEntries(
  Object.entries(process.env).filter(([name]) => !Object.hasOwn(variables, name.replace(/_FILE$/, '')))
)

/** Starts a command in an empty folder, unless a folder is given. */
export function start (t: Teardown, args: string[], environment: Environment = {}, cwd = temporaryFolder(t)) {
  const child = spawn(process.execPath, [...commandOf('src/latchkey.cts'), ...args], {
    cwd,
    env: { ...inherited, ...threadPool, ...environment }
  })
  const exit = once(child, 'exit')
  const output = Promise.all([text(child.stdout), text(child.stderr), exit])
  t.teardown(async () => {
    child.kill('SIGKILL')
    await exit
  })
  const end = async () => {
    const [stdout, stderr, [code]] = await output
    return { code, stdout, stderr }
  }
  return { child, end }
}

/** Runs a command, and returns its exit code and its output. */
export const run = async (t: Teardown, args: string[], environment?: Environment, cwd?: string) =>
  await start(t, args, environment, cwd).end()

/** Finds a port of this machine on which no program listens. */
export async function closedPort (): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}
