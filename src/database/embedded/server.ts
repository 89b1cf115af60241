import { spawn, type ChildProcess, type StdioOptions } from 'node:child_process'
import { once } from 'node:events'
import * as fs from 'node:fs/promises'
import net from 'node:net'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import pg from 'pg'
import type { Cluster } from './cluster.ts'
import { codeOf, EmbeddedPostgresError } from './failure.ts'
import { commandLine, identify } from './identity.ts'
import { serverEnvironment } from './process.ts'
import { findServer, terminate } from './server-process.ts'

interface ServerConnection { client: pg.Client, socket: net.Socket }

interface Launched {
  child: ChildProcess
  /** Returns why the server did not start. */
  readComplaint: () => Promise<string>
}

/** A server that answers. `started` says whether this call has started it. */
export interface EmbeddedServer extends ServerConnection { pid: number, port: number, isStarted: boolean }

const pollIntervalMs = 15
const relaunchDelayMs = 200
const silenceMs = 5_000
const startTimeoutMs = 20_000
const connectTimeoutMs = 3_000

/** Connects to the server of the cluster. Starts one if none runs, and replaces one that does not answer. */
export async function reach (cluster: Cluster, signal: AbortSignal, port?: number): Promise<EmbeddedServer> {
  const giveUpAt = Date.now() + startTimeoutMs
  let launched: Launched | undefined
  let heardAt = Date.now()
  try {
    for (;; await pause(pollIntervalMs)) {
      signal.throwIfAborted()
      const found = await findServer(cluster.dataDir)
      let refusal = ''
      if (found?.status === 'ready') {
        try {
          const connection = await connect(found.port, cluster.password)
          return { ...found, ...connection, isStarted: launched?.child.pid === found.pid }
        } catch (error) {
          refusal = refusalOf(error, cluster)
        }
      } else if (found === undefined && !isRunning(launched?.child)) {
        if (launched && await mayRelaunch(launched, cluster, giveUpAt)) await pause(relaunchDelayMs)
        launched = await launch(cluster, port ?? await freePort())
        heardAt = Date.now()
      }
      if (Date.now() < heardAt + silenceMs) continue
      heardAt = Date.now()
      if (found?.status === 'starting' || refusal.startsWith(operatorIntervention)) {
        cluster.log('embedded PostgreSQL is recovering', { pid: found?.pid })
      } else if (refusal || heardAt > giveUpAt) {
        throw new EmbeddedPostgresError(
          `PostgreSQL in ${cluster.dataDir} does not answer (see ${cluster.dir}/pg.log) ${refusal}`)
      } else {
        cluster.log('embedded PostgreSQL does not answer; stopping it', { pid: found?.pid })
        await terminate(found?.pid ?? launched?.child.pid, cluster.dataDir)
      }
    }
  } catch (error) {
    if (isRunning(launched?.child)) await terminate(launched?.child.pid, cluster.dataDir)
    throw error
  }
}

// The first digits of SQLSTATE codes.
const invalidAuthorization = '28'
const operatorIntervention = '57'

/** The SQLSTATE with which a server refuses a connection. Throws if the password is wrong. */
function refusalOf (error: unknown, { dir, dataDir }: Cluster): string {
  const refusal = error instanceof pg.DatabaseError ? codeOf(error) : ''
  if (!refusal.startsWith(invalidAuthorization)) return refusal
  throw new EmbeddedPostgresError(`the password in ${dir}/pg-password does not fit ${dataDir}: put the ` +
    'right one back, or set DATABASE_URL', { cause: error })
}

/**
 * Whether another start may succeed: another process was faster, children of a killed server still run, or
 * another program took the port. Throws if the start failed for another reason.
 */
async function mayRelaunch (
  { readComplaint }: Launched, { dir }: Cluster, giveUpAt: number
): Promise<boolean> {
  const complaint = await readComplaint()
  if (/already exists|in use|could not create any/.test(complaint) && Date.now() <= giveUpAt) return true
  throw new EmbeddedPostgresError(`PostgreSQL did not start: ${complaint} (see ${dir}/pg.log)`)
}

async function launch (cluster: Cluster, port: number): Promise<Launched> {
  const { unshare, ...user } = await identify(cluster)
  const file = join(cluster.dir, 'pg.log')
  const log = await fs.open(file, 'a', 0o600)
  try {
    const { size } = await log.stat()
    const settings = cluster.settings.flatMap(setting => ['-c', setting])
    const args = ['-D', cluster.dataDir, '-p', String(port), '-h', '127.0.0.1', '-k', '', ...settings]
    const stdio: StdioOptions = ['ignore', log.fd, log.fd]
    const child = spawn(...commandLine(unshare, cluster.postgres, args), {
      ...user,
      env: serverEnvironment,
      cwd: cluster.dir,
      // In a process group of its own: Ctrl-C is for the service, which drains before it stops the server.
      detached: true,
      windowsHide: true,
      stdio
    })
    let failure = ''
    child.on('error', error => { failure = error.message })
    child.unref()
    const readComplaint = async () => {
      const text = (await fs.readFile(file)).subarray(size).toString()
      const reasons = Array.from(text.matchAll(/(?:FATAL|PANIC|DETAIL): +(.+)/g), match => match[1])
      return failure || reasons.join(': ') || text.trim()
    }
    return { child, readComplaint }
  } finally {
    await log.close()
  }
}

function isRunning (child: ChildProcess | undefined): boolean {
  return child?.pid !== undefined && child.exitCode === null && child.signalCode === null
}

async function connect (port: number, password: string): Promise<ServerConnection> {
  const socket = new net.Socket()
  const client = new pg.Client({
    host: '127.0.0.1',
    port,
    user: 'latchkey',
    password,
    database: 'postgres',
    ssl: false,
    application_name: 'latchkey lock',
    connectionTimeoutMillis: connectTimeoutMs,
    stream: () => socket
  })
  // The event 'end' follows an error. Callers listen to that.
  client.on('error', () => {})
  await client.connect()
  return { client, socket }
}

/** A port of this machine on which nothing listens at the moment. */
export async function freePort (): Promise<number> {
  const server = net.createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  server.close()
  await once(server, 'close')
  return typeof address === 'object' && address ? address.port : 0
}
