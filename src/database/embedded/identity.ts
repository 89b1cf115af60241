import * as fs from 'node:fs/promises'
import { userInfo } from 'node:os'
import { dirname, join } from 'node:path'
import { EmbeddedPostgresError, ignoreCodes } from './failure.ts'
import { run } from './process.ts'

/** The user as whom the programs of PostgreSQL run; empty if they run as this process does. */
export interface Identity {
  uid?: number
  gid?: number
  /** The program that runs them in a user namespace. */
  unshare?: string
}

interface Folders { dir: string, dataDir: string, postgres: string }

const nobodyId = 65_534

/**
 * Chooses the user for the programs. PostgreSQL refuses to run as root, and initdb as a user without a name.
 * In a user namespace root has no name but keeps its access to the files. Most containers allow no namespace,
 * so there root can only become another user.
 */
export async function identify (folders: Folders): Promise<Identity> {
  const { dir, dataDir, postgres } = folders
  const uid = process.getuid?.()
  const isRoot = uid === 0
  if (uid === undefined || (!isRoot && hasName())) return {}
  const owner = await fs.stat(dataDir).catch(ignoreCodes('ENOENT'))
  if (isRoot && owner && owner.uid !== 0 && await canReach(owner, dataDir, postgres)) {
    return { uid: owner.uid, gid: owner.gid }
  }
  const unshare = await findUnshare(folders)
  if (unshare) {
    if (isRoot) await changeOwner(dataDir, { uid: 0, gid: 0 })
    return { unshare }
  }
  const user = { uid: nobodyId, gid: nobodyId }
  if (!isRoot || !await canReach(user, dirname(dir), postgres)) {
    throw new EmbeddedPostgresError(`PostgreSQL cannot run as this user (uid ${uid}) here: set ` +
      `DATABASE_URL, or start the service as an ordinary user who can read ${postgres} and write ${dir}`)
  }
  await fs.chmod(dir, (await fs.stat(dir)).mode | 0o111)
  await changeOwner(dataDir, user)
  return user
}

/** The path of unshare(1), if it can make a user namespace that reaches the files. */
async function findUnshare ({ dir, postgres }: Folders): Promise<string> {
  const probe = 'unshare -U test -w "$0" && unshare -U test -x "$1" && command -v unshare'
  return await run('sh', ['-c', probe, dir, postgres]).then(({ stdout }) => stdout.trim(), () => '')
}

/** The command line of a program, in a user namespace if there is an `unshare`. */
export function commandLine (
  unshare: string | undefined, program: string, args: string[]
): [string, string[]] {
  return unshare ? [unshare, ['-U', program, ...args]] : [program, args]
}

function hasName (): boolean {
  try {
    return userInfo().username !== ''
  } catch {
    return false
  }
}

function canReach (
  { uid, gid }: { uid: number, gid: number }, folder: string, program: string
): Promise<boolean> {
  const args = ['-c', 'test -x "$0" && test -x "$1"', folder, program]
  return run('sh', args, { uid, gid }).then(() => true, () => false)
}

/**
 * Changes the owner of a folder and its content. The folder itself comes last, so that an interrupted change
 * is repeated.
 */
export async function changeOwner (folder: string, { uid = 0, gid = 0 }: Identity): Promise<void> {
  const owner = await fs.stat(folder).catch(ignoreCodes('ENOENT'))
  if (owner === undefined || owner.uid === uid) return
  for (const name of await fs.readdir(folder, { recursive: true })) {
    await fs.lchown(join(folder, name), uid, gid)
  }
  await fs.chown(folder, uid, gid)
}
