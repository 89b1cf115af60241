import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { freePort } from '../../src/database/embedded/server.ts'
import { waitUntil } from './polling.ts'
import { sql } from './postgres.ts'
import type { Teardown } from './teardown.ts'
import { temporaryFolder } from './temporary-folder.ts'

const env = { PATH: `${process.env['PATH']}:/usr/sbin` }
const isMissing = process.env['CI'] !== 'true' && spawnSync('pgbouncer', ['-V'], { env }).error !== undefined
/** Why tests with PgBouncer are skipped, if it is not installed. In CI they never are. */
export const skip = isMissing ? 'pgbouncer is not installed' : false

const nobody = 65_534

interface PgBouncerOptions {
  settings?: string[]
  /** The passwords of further roles. */
  roles?: Record<string, string>
}

/**
 * Starts a PgBouncer in transaction mode, otherwise with its defaults, in front of the server of a database.
 * Returns the URL of the database through it.
 */
export async function pgbouncer (
  t: Teardown, url: string, { settings = [], roles = {} }: PgBouncerOptions = {}
): Promise<string> {
  const { hostname, port: serverPort, username, password } = new URL(url)
  const port = await freePort()
  const folder = temporaryFolder(t)
  const users = join(folder, 'users')
  const configuration = join(folder, 'pgbouncer.ini')
  const passwords = { ...roles, [username]: decodeURIComponent(password) }
  writeFileSync(users, Object.entries(passwords).map(([name, text]) => `"${name}" "${text}"\n`).join(''))
  writeFileSync(configuration, [
    '[databases]', `* = host=${hostname} port=${serverPort}`, '[pgbouncer]', 'pool_mode = transaction',
    'listen_addr = 127.0.0.1', `listen_port = ${port}`, 'unix_socket_dir =',
    // The server of an older version has no passwords.
    `auth_type = ${password === '' ? 'trust' : 'scram-sha-256'}`,
    `auth_file = ${users}`, ...settings, ''
  ].join('\n'))
  // PgBouncer refuses to run as root.
  chmodSync(folder, 0o755)
  const identity = process.getuid?.() === 0 ? { uid: nobody, gid: nobody } : {}
  const child = spawn('pgbouncer', [configuration], { env, stdio: ['ignore', 'ignore', 'pipe'], ...identity })
  let log = ''
  child.stderr.on('data', chunk => { log += chunk })
  const ended = once(child, 'close').catch(() => {})
  t.teardown(async () => {
    child.kill('SIGKILL')
    await ended
  })
  const pooled = Object.assign(new URL(url), { port: String(port) }).href
  await waitUntil(() => `pgbouncer does not run: ${log}`, async () => {
    if (child.exitCode !== null || child.pid === undefined) throw new Error(`pgbouncer does not run: ${log}`)
    return await sql(pooled, 'select 1').then(() => true, () => false)
  })
  return pooled
}
