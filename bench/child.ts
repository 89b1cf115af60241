import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'

/** Has a child process end, as an operator would, and waits until it is gone. */
export async function end (child: ChildProcess): Promise<void> {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return
  const exit = once(child, 'exit')
  child.kill('SIGTERM')
  await exit
}
