import { setTimeout as pause } from 'node:timers/promises'
import type pg from 'pg'
import { prepare, type Cluster, type ClusterLog } from './cluster.ts'
import { codeOf, EmbeddedPostgresError } from './failure.ts'
import { claimFolder, folderInUse } from './folder-claim.ts'
import { isServer, terminate } from './server-process.ts'
import { reach, type EmbeddedServer } from './server.ts'

export { EmbeddedPostgresError }

export interface EmbeddedPostgres {
  url: string
  /** The version of the server, such as 18.4. */
  version: string
  dataDir: string
  /** Whether the server was adopted from an owner that died. */
  isAdopted: boolean
  /** Shuts the server down, and waits until it has ended. */
  stop: () => Promise<void>
}

export interface EmbeddedPostgresOptions {
  /**
   * Refuse if another live process owns the folder (the default). Otherwise share its server, and leave it
   * running.
   */
  isExclusive?: boolean
  /** Further settings of the server, as `name=value`. A server that already runs does not get them. */
  settings?: readonly string[]
  log?: ClusterLog
}

const firstHealDelayMs = 20
const laterHealDelayMs = 500
const maxHealDelayMs = 5_000

/**
 * Starts a PostgreSQL in the folder `dir`, and restarts it when it is lost, until `stop`. Throws an
 * EmbeddedPostgresError if that is not possible.
 */
export async function start (dir: string, options: EmbeddedPostgresOptions = {}): Promise<EmbeddedPostgres> {
  const { isExclusive = true, settings = [], log = () => {} } = options
  const cluster = await prepare(dir, settings, log)
  // PostgreSQL's own lock does not prevent two processes from starting a server at the same moment.
  const release = isExclusive ? await claimFolder(cluster.dir) : () => {}
  const ending = new AbortController()
  let healing: Promise<void> | undefined
  let stopping: Promise<void> | undefined
  let server = await acquire(cluster, isExclusive, ending.signal).catch((error: unknown) => {
    release()
    throw error
  })
  const { port, isStarted } = server
  watch()
  const verb = isStarted ? 'started' : isExclusive ? 'adopted' : 'shared'
  log(`embedded PostgreSQL ${verb}`, { pid: server.pid, port })

  // The connection that holds the lock ends with the server.
  function watch (): void {
    server.socket.unref()
    server.client.once('end', () => {
      if (isExclusive && !ending.signal.aborted) healing = heal()
    })
  }

  async function heal (): Promise<void> {
    log('embedded PostgreSQL lost; restarting it', { pid: server.pid })
    const lostAt = Date.now()
    const firstDelayMs = await isServer(server.pid, cluster.dataDir) ? firstHealDelayMs : laterHealDelayMs
    let failedAttempts = 0
    for (let delayMs = firstDelayMs; ; delayMs = Math.min(delayMs * 2, maxHealDelayMs)) {
      try {
        await pause(delayMs, undefined, { signal: ending.signal, ref: false })
        server = await acquire(cluster, isExclusive, ending.signal, port)
        const seconds = Math.round((Date.now() - lostAt) / 100) / 10
        log('embedded PostgreSQL is back', {
          pid: server.pid, port, seconds, failed_attempts: failedAttempts
        })
        return watch()
      } catch (error) {
        if (ending.signal.aborted) return
        if (failedAttempts++ === 0) {
          log('embedded PostgreSQL could not be restarted; retrying', { err: error })
        }
      }
    }
  }

  async function stop (): Promise<void> {
    ending.abort()
    await healing
    server.socket.ref()
    // The lock is held until the server has ended, so that no process adopts a server that shuts down.
    const isLastUser = async () => isStarted && await isUnused(server.client).catch(() => false)
    if (isExclusive || await isLastUser()) await terminate(server.pid, cluster.dataDir)
    await server.client.end()
    release()
  }

  return {
    url: `postgres://latchkey:${cluster.password}@127.0.0.1:${port}/latchkey`,
    version: server.version,
    dataDir: cluster.dataDir,
    isAdopted: isExclusive && !isStarted,
    stop: () => (stopping ??= stop())
  }
}

const maxAttempts = 5

/** Connects to the server, locks it, and creates the database of the service. */
async function acquire (
  cluster: Cluster, isExclusive: boolean, signal: AbortSignal, port?: number
): Promise<EmbeddedServer & { version: string }> {
  for (let attempt = 1; ; attempt++) {
    const server = await reach(cluster, signal, port)
    try {
      await lock(server.client, isExclusive, cluster.dir)
      if (port === undefined || port === server.port) {
        return { ...server, version: await createDatabase(server.client) }
      }
      // While the lock was free, another process started a server on a port that this service does not use.
      await terminate(server.pid, cluster.dataDir)
    } catch (error) {
      await server.client.end()
      if (error instanceof EmbeddedPostgresError) throw error
      // The server has ended meanwhile, most likely because its owner shut it down.
      if (attempt < maxAttempts && !signal.aborted) continue
      if (server.isStarted) await terminate(server.pid, cluster.dataDir)
      throw error
    }
  }
}

const lockTimeoutMs = 2_000
const lockPollMs = 50

/**
 * Takes an advisory lock in the database "postgres", apart from the locks of the service: 1 belongs to the
 * owner, and 2 to all processes that share the server.
 */
async function lock (client: pg.Client, isExclusive: boolean, dir: string): Promise<void> {
  if (!isExclusive) {
    await client.query('select pg_advisory_lock_shared(2)')
    return
  }
  const giveUpAt = Date.now() + lockTimeoutMs
  while (!await isTrue(client, 'pg_try_advisory_lock(1)')) {
    if (Date.now() > giveUpAt) throw folderInUse(dir)
    await pause(lockPollMs)
  }
}

async function isUnused (client: pg.Client): Promise<boolean> {
  await client.query('select pg_advisory_unlock_shared(2)')
  return await isTrue(client, 'pg_try_advisory_lock(1)') && await isTrue(client, 'pg_try_advisory_lock(2)')
}

async function isTrue (client: pg.Client, condition: string): Promise<boolean> {
  const { rows } = await client.query<{ holds: boolean }>(`select ${condition} as holds`)
  return rows[0]?.holds === true
}

/** Creates the database of the service if it does not exist. Returns the version of the server. */
async function createDatabase (client: pg.Client): Promise<string> {
  const { rows } = await client.query<{ version: string, exists: boolean }>(`
    select current_setting('server_version') as version,
      exists (select from pg_database where datname = 'latchkey') as exists`)
  if (!rows[0]?.exists) {
    // Another process may have created it meanwhile.
    await client.query('create database latchkey').catch(error => {
      if (!['42P04', '23505'].includes(codeOf(error))) throw error
    })
  }
  return rows[0]?.version.replace(/ .*/, '') ?? ''
}
