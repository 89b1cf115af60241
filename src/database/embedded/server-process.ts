import * as fs from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { codeOf, ignoreCodes } from './failure.ts'
import { isAlive, isWindows, run } from './process.ts'

/** A running server, as its file `postmaster.pid` describes it. */
export interface FoundServer { pid: number, port: number, status: string | undefined }

// The lines of postmaster.pid.
const [pidLine, portLine, statusLine] = [0, 3, 7]
const rereadMs = 200

/**
 * Finds the server of a cluster. Removes a `postmaster.pid` that would prevent a new server from starting.
 */
export async function findServer (dataDir: string): Promise<FoundServer | undefined> {
  const file = join(dataDir, 'postmaster.pid')
  const read = () => fs.readFile(file, 'utf8').catch(ignoreCodes('ENOENT'))
  const text = await read()
  if (text === undefined) return undefined
  const lines = text.split('\n')
  const pid = Number(lines[pidLine])
  if (await isServer(pid, dataDir)) {
    return { pid, port: Number(lines[portLine]), status: lines[statusLine]?.trim() }
  }
  // PostgreSQL notices a process that has ended, but takes another program with the same id for a server.
  if (!pid || isAlive(pid)) {
    await pause(rereadMs)
    if (await read() === text) await fs.rm(file, { force: true })
  }
  return undefined
}

/** Whether a process is the server of this cluster. */
export async function isServer (pid: number, dataDir: string): Promise<boolean> {
  if (!isAlive(pid)) return false
  if (process.platform === 'linux') return await isServerOnLinux(pid, dataDir)
  const query = `(Get-CimInstance Win32_Process -Filter ProcessId=${pid}).CommandLine`
  const command = isWindows
    ? run('powershell', ['-NoProfile', '-Command', query])
    : run('ps', ['-ww', '-o', 'command=', '-p', String(pid)])
  const { stdout } = await command.catch(() => ({ stdout: '' }))
  return /postgres(\.exe)?"? -D /.test(stdout) && stdout.includes(dataDir)
}

async function isServerOnLinux (pid: number, dataDir: string): Promise<boolean> {
  const command = await fs.readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')
  if (command.includes(`postgres\0-D\0${dataDir}\0`)) return true
  // The folder was renamed while its server ran.
  if (!/^[^\0]*\/postgres\0/.test(command)) return false
  return await fs.readlink(`/proc/${pid}/cwd`).catch(() => '') === dataDir
}

// A fast shutdown, then an immediate one, then a kill.
const steps: Array<[signal: NodeJS.Signals, waitMs: number]> =
  [['SIGINT', 10_000], ['SIGQUIT', 6_000], ['SIGKILL', 2_000]]
const pollIntervalMs = 15

/** Ends the server, and waits until it has ended. */
export async function terminate (pid: number | undefined, dataDir: string): Promise<void> {
  for (const [signal, waitMs] of steps) {
    if (pid === undefined || !await isServer(pid, dataDir)) return
    try {
      process.kill(pid, signal)
      // A suspended process gets the signal only when it continues.
      if (!isWindows) process.kill(pid, 'SIGCONT')
    } catch (error) {
      if (codeOf(error) !== 'ESRCH') throw error
    }
    const giveUpAt = Date.now() + waitMs
    while (Date.now() < giveUpAt && await isServer(pid, dataDir)) await pause(pollIntervalMs)
  }
}
