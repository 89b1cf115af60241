import * as fs from 'node:fs/promises'
import { userInfo } from 'node:os'
import { dirname, join } from 'node:path'
import { EmbeddedPostgresError, unless } from './failure.ts'
import { run } from './process.ts'

/** As whom the programs of PostgreSQL run; nothing where it is as ourselves. */
export interface Identity { uid?: number, gid?: number, unshare?: string }

const nobody = 65_534

// PostgreSQL refuses to run as root, and initdb for a user without a name. A user namespace takes that name away and
// leaves the access to the files; where there is none, as in most containers, root can only become another user.
export async function identify ({ dir, dataDir, postgres }: { dir: string, dataDir: string, postgres: string }): Promise<Identity> {
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

export function through (unshare: string | undefined, program: string, args: string[]): [string, string[]] {
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
export async function own (folder: string, { uid = 0, gid = 0 }: Identity): Promise<void> {
  const owner = await fs.stat(folder).catch(unless('ENOENT'))
  if (owner === undefined || owner.uid === uid) return
  for (const name of await fs.readdir(folder, { recursive: true })) await fs.lchown(join(folder, name), uid, gid)
  await fs.chown(folder, uid, gid)
}
