import { spawn, type ChildProcess, type StdioOptions } from 'node:child_process'
import { once } from 'node:events'
import * as fs from 'node:fs/promises'
import net from 'node:net'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import pg from 'pg'
import type { Cluster } from './cluster.ts'
import { codeOf, EmbeddedPostgresError, unless } from './failure.ts'
import { identify, through } from './identity.ts'
import { environment, exists, run, windows } from './process.ts'

interface Found { pid: number, port: number, status: string | undefined }
interface Connection { client: pg.Client, socket: net.Socket }
interface Launched { child: ChildProcess, complaint: () => Promise<string> }

/** A server that answers; `started` says that it was not there before. */
export interface Server extends Connection { pid: number, port: number, started: boolean }

// A connection to the server of the cluster: the one that runs, or else a new one.
export async function reach (cluster: Cluster, signal: AbortSignal, port?: number): Promise<Server> {
  const giveUp = Date.now() + 20_000
  let launched: Launched | undefined
  let heard = Date.now()
  try {
    for (;; await delay(15)) {
      signal.throwIfAborted()
      const found = await find(cluster)
      let refusal = ''
      if (found?.status === 'ready') {
        try {
          return { ...found, ...await connect(found.port, cluster.password), started: launched?.child.pid === found.pid }
        } catch (error) {
          refusal = error instanceof pg.DatabaseError ? codeOf(error) : ''
          if (refusal.startsWith('28')) {
            throw new EmbeddedPostgresError(`the password in ${cluster.dir}/pg-password is not the one of ${cluster.dataDir}`, { cause: error })
          }
        }
      } else if (found === undefined && !isRunning(launched?.child)) {
        const complaint = await launched?.complaint()
        if (complaint !== undefined) {
          // Another start was faster, children of a killed server are still there, or the port was lost to another program.
          if (!/already exists|in use|could not create any/.test(complaint) || Date.now() > giveUp) {
            throw new EmbeddedPostgresError(`PostgreSQL did not start: ${complaint} (see ${cluster.dir}/pg.log)`)
          }
          await delay(200)
        }
        launched = await launch(cluster, port ?? await freePort())
        heard = Date.now()
      }
      if (Date.now() < heard + 5_000) continue
      heard = Date.now()
      if (found?.status === 'starting' || refusal.startsWith('57')) {
        cluster.log('PostgreSQL is recovering', { pid: found?.pid })
      } else if (refusal || heard > giveUp) {
        throw new EmbeddedPostgresError(`PostgreSQL in ${cluster.dataDir} does not answer (see ${cluster.dir}/pg.log) ${refusal}`)
      } else {
        cluster.log('PostgreSQL does not answer and is stopped', { pid: found?.pid })
        await terminate(found?.pid ?? launched?.child.pid, cluster.dataDir)
      }
    }
  } catch (error) {
    if (isRunning(launched?.child)) await terminate(launched?.child.pid, cluster.dataDir)
    throw error
  }
}

async function launch (cluster: Cluster, port: number): Promise<Launched> {
  const { unshare, ...user } = await identify(cluster)
  const file = join(cluster.dir, 'pg.log')
  const log = await fs.open(file, 'a', 0o600)
  try {
    const { size } = await log.stat()
    const args = ['-D', cluster.dataDir, '-p', String(port), '-h', '127.0.0.1', '-k', '', ...cluster.settings.flatMap(setting => ['-c', setting])]
    // A process group of its own: Ctrl-C is for the service, which drains before it stops the server.
    const stdio: StdioOptions = ['ignore', log.fd, log.fd]
    const child = spawn(...through(unshare, cluster.postgres, args), { ...user, env: environment, cwd: cluster.dir, detached: true, windowsHide: true, stdio })
    let failure = ''
    child.on('error', error => { failure = error.message })
    child.unref()
    const complaint = async () => {
      const text = (await fs.readFile(file)).subarray(size).toString()
      const reasons = Array.from(text.matchAll(/(?:FATAL|PANIC|DETAIL): +(.+)/g), match => match[1])
      return failure || reasons.join(': ') || text.trim()
    }
    return { child, complaint }
  } finally {
    await log.close()
  }
}

function isRunning (child: ChildProcess | undefined): boolean {
  return child?.pid !== undefined && child.exitCode === null && child.signalCode === null
}

// The server that postmaster.pid names. Removes that file where it would keep a new server from starting.
async function find ({ dataDir }: Cluster): Promise<Found | undefined> {
  const file = join(dataDir, 'postmaster.pid')
  const read = () => fs.readFile(file, 'utf8').catch(unless('ENOENT'))
  const text = await read()
  if (text === undefined) return undefined
  const lines = text.split('\n')
  const pid = Number(lines[0])
  if (await isServer(pid, dataDir)) return { pid, port: Number(lines[3]), status: lines[7]?.trim() }
  // PostgreSQL sees by itself that a pid is gone, but takes another program that has the pid now for a server.
  if (!pid || exists(pid)) {
    await delay(200)
    if (await read() === text) await fs.rm(file, { force: true })
  }
  return undefined
}

export async function isServer (pid: number, dataDir: string): Promise<boolean> {
  if (!exists(pid)) return false
  if (process.platform === 'linux') {
    const command = await fs.readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')
    // The second is for a folder that was renamed under its server.
    return command.includes(`postgres\0-D\0${dataDir}\0`) || (/^[^\0]*\/postgres\0/.test(command) && await fs.readlink(`/proc/${pid}/cwd`).catch(() => '') === dataDir)
  }
  const query = `(Get-CimInstance Win32_Process -Filter ProcessId=${pid}).CommandLine`
  const asked = windows ? run('powershell', ['-NoProfile', '-Command', query]) : run('ps', ['-ww', '-o', 'command=', '-p', String(pid)])
  const { stdout } = await asked.catch(() => ({ stdout: '' }))
  return /postgres(\.exe)?"? -D /.test(stdout) && stdout.includes(dataDir)
}

export async function terminate (pid: number | undefined, dataDir: string): Promise<void> {
  const steps: [NodeJS.Signals, number][] = [['SIGINT', 10_000], ['SIGQUIT', 6_000], ['SIGKILL', 2_000]]
  for (const [signal, wait] of steps) {
    if (pid === undefined || !await isServer(pid, dataDir)) return
    try {
      process.kill(pid, signal)
      // One that was suspended hears of the signal only when it goes on.
      if (!windows) process.kill(pid, 'SIGCONT')
    } catch (error) {
      if (codeOf(error) !== 'ESRCH') throw error
    }
    for (const end = Date.now() + wait; Date.now() < end && await isServer(pid, dataDir);) await delay(15)
  }
}

async function connect (port: number, password: string): Promise<Connection> {
  const socket = new net.Socket()
  const client = new pg.Client({
    host: '127.0.0.1',
    port,
    user: 'latchkey',
    password,
    database: 'postgres',
    ssl: false,
    application_name: 'latchkey lock',
    connectionTimeoutMillis: 3_000,
    stream: () => socket
  })
  // 'end' follows, and is what matters.
  client.on('error', () => {})
  await client.connect()
  return { client, socket }
}

/** A port of this host that nobody listens on at the moment. */
export async function freePort (): Promise<number> {
  const server = net.createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  server.close()
  await once(server, 'close')
  return typeof address === 'object' && address ? address.port : 0
}
