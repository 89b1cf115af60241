import { fork } from 'node:child_process'
import { once } from 'node:events'
import { availableParallelism } from 'node:os'
import { fileURLToPath } from 'node:url'
import type { Teardown } from './benchmark.ts'
import { end } from './child.ts'

/** What the service is compared with, in a process of its own. */
export interface Bare {
  ask: <Answer>(question: object) => Promise<Answer>
}

/** Runs the script of this name beside this one, with the threads that the service would have. */
export function start (t: Teardown, script: string, ...args: string[]): Bare {
  const env = { PATH: process.env['PATH'], UV_THREADPOOL_SIZE: String(availableParallelism() + 4) }
  const child = fork(fileURLToPath(new URL(`${script}.js`, import.meta.url)), args, { env })
  t.teardown(() => end(child))
  const gone = once(child, 'exit').then(() => { throw new Error(`${script} has ended`) })
  gone.catch(() => {})
  return {
    async ask<Answer> (question: object) {
      const answered = once(child, 'message')
      child.send(question)
      const [answer] = await Promise.race([answered, gone])
      return answer as Answer
    }
  }
}

/** In the script: answers what is asked, until the one who asks is gone. */
export function answer<Question> (work: (question: Question) => Promise<unknown>): void {
  process.on('message', (question: Question) => { void work(question).then(result => process.send?.(result)) })
  process.on('disconnect', () => process.exit())
}
