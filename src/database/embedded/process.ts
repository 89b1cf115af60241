import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { codeOf } from './failure.ts'

/** Runs a program and waits for its end. */
export const run = promisify(execFile)

export const isWindows = process.platform === 'win32'

// The server may outlive the service, or run as another user. So its environment must not contain secrets.
export const serverEnvironment = { LC_ALL: 'C' }

/** Whether a process with this id exists. */
export function isAlive (pid: number): boolean {
  try {
    return pid > 0 && process.kill(pid, 0)
  } catch (error) {
    return codeOf(error) === 'EPERM'
  }
}
