import { createHash } from 'node:crypto'
import { once } from 'node:events'
import net from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { codeOf, EmbeddedPostgresError } from './failure.ts'

// Of two that find no server in a folder at the same moment, PostgreSQL itself may let both start one.
const names: Partial<Record<NodeJS.Platform, (folder: string) => string>> = {
  linux: folder => `\0latchkey-${folder}`,
  win32: folder => `\\\\.\\pipe\\latchkey-${folder}`
}

/**
 * Claims a folder for this process, and gives what releases it; throws where another has it for longer than its
 * end takes. The name is the system's, which forgets it with the process. Where there are no such names, the lock
 * within the server has to do.
 */
export async function claim (dir: string): Promise<() => void> {
  const name = names[process.platform]?.(createHash('sha256').update(dir).digest('hex').slice(0, 32))
  if (name === undefined) return () => {}
  for (const end = Date.now() + 3_000; ; await delay(30)) {
    const server = net.createServer(socket => socket.destroy()).listen(name)
    try {
      await once(server, 'listening')
      server.unref()
      return () => { server.close() }
    } catch (error) {
      if (codeOf(error) !== 'EADDRINUSE') throw error
      if (Date.now() > end) throw new EmbeddedPostgresError(`another Latchkey is already using ${dir}: stop it, or give this one its own database with DATABASE_URL`)
    }
  }
}
