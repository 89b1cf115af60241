import { createHash } from 'node:crypto'
import { once } from 'node:events'
import net from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'
import { codeOf, EmbeddedPostgresError } from './failure.ts'

// If two processes find no server in a folder at the same moment, PostgreSQL may let both start one.
const names: Partial<Record<NodeJS.Platform, (folder: string) => string>> = {
  linux: folder => `\0latchkey-${folder}`,
  win32: folder => `\\\\.\\pipe\\latchkey-${folder}`
}
const nameLength = 32
const retryIntervalMs = 30
// The previous owner may be shutting down.
const claimTimeoutMs = 3_000

/** The error for a folder that another service uses. */
export const folderInUse = (dir: string) =>
  new EmbeddedPostgresError(`another Latchkey is already using ${dir}: ` +
  'stop it, or give this one its own database with DATABASE_URL')

/**
 * Claims a folder for this process, and returns the function that releases it. Throws if another process
 * keeps the folder for longer than a shutdown takes. The claim is a name that the operating system frees when
 * the process ends. On a platform without such names, the lock in the database must suffice.
 */
export async function claimFolder (dir: string): Promise<() => void> {
  const folder = createHash('sha256').update(dir).digest('hex').slice(0, nameLength)
  const name = names[process.platform]?.(folder)
  if (name === undefined) return () => {}
  for (const end = Date.now() + claimTimeoutMs; ; await pause(retryIntervalMs)) {
    const server = net.createServer(socket => socket.destroy()).listen(name)
    try {
      await once(server, 'listening')
      server.unref()
      return () => { server.close() }
    } catch (error) {
      if (codeOf(error) !== 'EADDRINUSE') throw error
      if (Date.now() > end) throw folderInUse(dir)
    }
  }
}
