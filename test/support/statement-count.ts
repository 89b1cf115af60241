import { AsyncLocalStorage } from 'node:async_hooks'
import pg from 'pg'

const counters = new AsyncLocalStorage<{ statements: number }>()
let isInstalled = false

/** Counts what the driver sends, because a statement that is hidden in a helper counts as well. */
function install () {
  if (isInstalled) return
  isInstalled = true
  const { prototype } = pg.Client
  const send = prototype.query
  prototype.query = function (this: pg.Client, ...parameters: unknown[]) {
    const counter = counters.getStore()
    if (counter) counter.statements++
    return Reflect.apply(send, this, parameters)
  } as typeof send
}

/**
 * Counts the SQL statements that `work` causes in this process: its own, and not those of background work.
 */
export async function countStatements<T> (
  work: () => Promise<T>
): Promise<{ statements: number, result: T }> {
  install()
  const counter = { statements: 0 }
  const result = await counters.run(counter, work)
  return { statements: counter.statements, result }
}
