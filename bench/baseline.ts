import { fork } from 'node:child_process'
import { once } from 'node:events'
import { availableParallelism } from 'node:os'
import { fileURLToPath } from 'node:url'
import type { Teardown } from '../test/support/teardown.ts'
import { terminate } from './child.ts'

/** A process that the service is compared with: it does only the part of the work that cannot be avoided. */
export interface Baseline {
  ask: <Answer>(question: object) => Promise<Answer>
}

/** Starts a script of this folder as a process, with as many threads as the service has. */
export function start (t: Teardown, script: string, ...args: string[]): Baseline {
  const env = { PATH: process.env['PATH'], UV_THREADPOOL_SIZE: String(availableParallelism() + 4) }
  const child = fork(fileURLToPath(new URL(`${script}.js`, import.meta.url)), args, { env })
  t.teardown(() => terminate(child))
  const ended = once(child, 'exit').then(() => { throw new Error(`${script} ended`) })
  ended.catch(() => {})
  return {
    async ask<Answer> (question: object) {
      const answered = once(child, 'message')
      child.send(question)
      const [respond] = await Promise.race([answered, ended])
      return respond as Answer
    }
  }
}

/** Called by the script: answers each message of the benchmark, until the benchmark ends. */
export function answer<Question> (work: (question: Question) => Promise<unknown>): void {
  process.on('message', (question: Question) => {
    void work(question).then(result => process.send?.(result))
  })
  process.on('disconnect', () => process.exit())
}
