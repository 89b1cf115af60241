import { setTimeout as delay } from 'node:timers/promises'
import type pg from 'pg'
import { prepare, type Cluster, type Log } from './cluster.ts'
import { claim } from './folder-claim.ts'
import { codeOf, EmbeddedPostgresError } from './failure.ts'
import { isServer, reach, terminate, type Server } from './server.ts'

export { EmbeddedPostgresError }

export interface EmbeddedPostgres {
  url: string
  /** Of the server, such as 18.4. */
  version: string
  dataDir: string
  /** An orphaned server was taken over. */
  adopted: boolean
  /** Shuts the server down and waits until it is gone. */
  stop: () => Promise<void>
}

export interface Options {
  /** Refuse when another live process holds the folder (default). Otherwise share its server, and leave it running. */
  exclusive?: boolean
  /** Further settings of the server, as `name=value`. They do not reach one that runs already. */
  settings?: readonly string[]
  log?: Log
}

/** A PostgreSQL of one's own in `dir`, kept up until `stop`. Throws `EmbeddedPostgresError` where that cannot be. */
export async function start (dir: string, { exclusive = true, settings = [], log = () => {} }: Options = {}): Promise<EmbeddedPostgres> {
  const cluster = await prepare(dir, settings, log)
  // PostgreSQL's own lock does not keep two from starting a server in the same moment.
  const release = exclusive ? await claim(cluster.dir) : () => {}
  const ending = new AbortController()
  let healing: Promise<void> | undefined
  let stopping: Promise<void> | undefined
  let server = await hold(cluster, exclusive, ending.signal).catch((error: unknown) => {
    release()
    throw error
  })
  const { port, started } = server
  watch()
  log(started ? 'PostgreSQL started' : exclusive ? 'PostgreSQL adopted' : 'PostgreSQL shared', { pid: server.pid, port })

  // The connection that holds the lock ends with the server, whoever started that.
  function watch () {
    server.socket.unref()
    server.client.once('end', () => {
      if (exclusive && !ending.signal.aborted) healing = heal()
    })
  }

  async function heal () {
    log('PostgreSQL is lost', { pid: server.pid })
    for (let wait = await isServer(server.pid, cluster.dataDir) ? 20 : 500; ; wait = Math.min(wait * 2, 5_000)) {
      try {
        await delay(wait, undefined, { signal: ending.signal, ref: false })
        server = await hold(cluster, exclusive, ending.signal, port)
        log('PostgreSQL is back', { pid: server.pid, port })
        return watch()
      } catch (error) {
        if (ending.signal.aborted) return
        log('PostgreSQL is not back yet', { err: error })
      }
    }
  }

  async function stop () {
    ending.abort()
    await healing
    server.socket.ref()
    // The lock is kept until the server is gone: nobody can adopt what is being shut down.
    if (exclusive || (started && await isUnused(server.client).catch(() => false))) await terminate(server.pid, cluster.dataDir)
    await server.client.end()
    release()
  }

  return {
    url: `postgres://latchkey:${cluster.password}@127.0.0.1:${port}/latchkey`,
    version: server.version,
    dataDir: cluster.dataDir,
    adopted: exclusive && !started,
    stop: () => (stopping ??= stop())
  }
}

async function hold (cluster: Cluster, exclusive: boolean, signal: AbortSignal, port?: number): Promise<Server & { version: string }> {
  for (let attempt = 1; ; attempt++) {
    const server = await reach(cluster, signal, port)
    try {
      await lock(server.client, exclusive, cluster.dir)
      if (port === undefined || port === server.port) {
        return { ...server, version: await createDatabase(server.client) }
      }
      // While nobody held the lock, somebody started a server where the pool of this service does not look for it.
      await terminate(server.pid, cluster.dataDir)
    } catch (error) {
      await server.client.end()
      if (error instanceof EmbeddedPostgresError) throw error
      // The server went away in between, most likely with the owner that shut it down: once more.
      if (attempt < 5 && !signal.aborted) continue
      if (server.started) await terminate(server.pid, cluster.dataDir)
      throw error
    }
  }
}

// In the database "postgres", apart from the service's own locks: 1 belongs to the owner, 2 to all who share its server.
async function lock (client: pg.Client, exclusive: boolean, dir: string): Promise<void> {
  if (!exclusive) {
    await client.query('select pg_advisory_lock_shared(2)')
    return
  }
  for (const end = Date.now() + 2_000; !await isTrue(client, 'pg_try_advisory_lock(1)'); await delay(50)) {
    if (Date.now() > end) throw new EmbeddedPostgresError(`another Latchkey is already using ${dir}: stop it, or give this one its own database with DATABASE_URL`)
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

// The version of the server, which has the service's database then.
async function createDatabase (client: pg.Client): Promise<string> {
  const { rows } = await client.query<{ version: string, made: boolean }>(`
    select current_setting('server_version') as version, exists (select from pg_database where datname = 'latchkey') as made`)
  if (!rows[0]?.made) {
    await client.query('create database latchkey').catch(error => {
      if (!['42P04', '23505'].includes(codeOf(error))) throw error
    })
  }
  return rows[0]?.version.replace(/ .*/, '') ?? ''
}
