import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { codeOf } from './failure.ts'

/** Runs a program to its end. */
export const run = promisify(execFile)

export const windows = process.platform === 'win32'

// The server may outlive its owner, or run as nobody: its environment must not carry the service's secrets.
export const environment = { LC_ALL: 'C' }

/** Whether there is a process of this id. */
export function exists (pid: number): boolean {
  try {
    return pid > 0 && process.kill(pid, 0)
  } catch (error) {
    return codeOf(error) === 'EPERM'
  }
}
