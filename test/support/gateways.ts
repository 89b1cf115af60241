import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync, readFileSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { freePort } from '../../src/database/embedded/server.ts'
import type { Teardown } from './teardown.ts'
import { temporaryFolder } from './temporary-folder.ts'

const env = { PATH: `${process.env['PATH']}:/usr/local/sbin:/usr/sbin` }
const { CI } = process.env

/** The reason to skip the tests of a program that cannot be run. CI requires all programs. */
const skipWithout = (program: string, versionArgument: string): string | false =>
  CI !== 'true' && spawnSync(program, [versionArgument], { env }).error !== undefined
    ? `${program} is not installed`
    : false

interface Places { latchkey: number, orders: number }

export interface GatewayProgram {
  skip: string | false
  /** Starts the program with the configuration of the example, but for the ports. Returns its base URL. */
  start: (t: Teardown, places: Places) => Promise<string>
}

/** Writes files of the example into a folder of the test's, with other texts in some places. */
function place (t: Teardown, files: string[], places: Array<[written: string, meant: string]>): string {
  const folder = temporaryFolder(t)
  const missing = new Set(places.map(([written]) => written))
  for (const name of files) {
    let text = readFileSync(resolve('examples/gateway', name), 'utf8')
    for (const [written, meant] of places) {
      if (text.includes(written)) missing.delete(written)
      text = text.replaceAll(written, meant)
    }
    writeFileSync(join(folder, name), text)
  }
  if (missing.size > 0) throw new Error(`the example has no ${[...missing].join(', ')}`)
  return folder
}

/** Runs a program in a folder until the test ends. The program must answer 204 at `/_health`. */
async function run (t: Teardown, command: string[], folder: string, base: string): Promise<string> {
  const [program = '', ...args] = command
  const log = openSync(join(folder, 'log'), 'a')
  const child = spawn(program, args, {
    cwd: folder, env: { ...env, HOME: folder }, stdio: ['ignore', log, log]
  })
  closeSync(log)
  const ended = once(child, 'close').catch(() => {})
  t.teardown(async () => {
    child.kill('SIGKILL')
    await ended
  })
  while ((await fetch(`${base}/_health`).catch(() => undefined))?.status !== 204) {
    if (child.exitCode !== null || child.pid === undefined) {
      throw new Error(`${program} does not run: ${readFileSync(join(folder, 'log'), 'utf8')}`)
    }
    await new Promise(resolve => setTimeout(resolve, 20))
  }
  return base
}

export const caddy: GatewayProgram = {
  skip: skipWithout('caddy', 'version'),
  start: async (t, { latchkey, orders }) => {
    const base = `http://127.0.0.1:${await freePort()}`
    const folder = place(t, ['Caddyfile'], [
      ['\n:8080 {', `\n${base} {`],
      ['latchkey:3000', `127.0.0.1:${latchkey}`],
      ['orders:8080', `127.0.0.1:${orders}`]
    ])
    return await run(t, ['caddy', 'run', '--config', 'Caddyfile', '--adapter', 'caddyfile'], folder, base)
  }
}

export const haproxy: GatewayProgram = {
  skip: skipWithout('haproxy', '-v'),
  start: async (t, { latchkey, orders }) => {
    const [port, inner] = [await freePort(), await freePort()]
    const folder = place(t, ['haproxy.cfg', 'verify.lua'], [
      ['bind :8080', `bind 127.0.0.1:${port}`],
      ['127.0.0.1:8081', `127.0.0.1:${inner}`],
      ['latchkey:3000', `127.0.0.1:${latchkey}`],
      ['orders:8080', `127.0.0.1:${orders}`]
    ])
    return await run(t, ['haproxy', '-f', 'haproxy.cfg'], folder, `http://127.0.0.1:${port}`)
  }
}
