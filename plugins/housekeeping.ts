import { setTimeout as pause } from 'node:timers/promises'
import fp from 'fastify-plugin'
import { housekeepingTasks } from '../src/capabilities.ts'
import type { HousekeepingSettings } from '../src/capability.ts'

const batchDelayMs = 50
const roundIntervalMs = 60_000

/** Purges what has expired, in small batches, so that requests do not wait. */
export default fp(async function housekeeping (app, settings: HousekeepingSettings) {
  const closing = new AbortController()
  const { signal } = closing

  async function runTasks () {
    // A task that fails does not keep the others from running. One of the errors is logged.
    const errors: unknown[] = []
    for (const task of housekeepingTasks) {
      if (signal.aborted) return
      try {
        const batches = task(app.db, settings)[Symbol.asyncIterator]()
        while (!(await batches.next()).done) await pause(batchDelayMs, undefined, { signal, ref: false })
      } catch (error) {
        errors.push(error)
      }
    }
    if (errors.length === 0 || signal.aborted) return
    app.log[app.databaseOutage.consequenceLevel]({ err: errors[0] }, 'housekeeping failed; retrying later')
  }

  async function run () {
    while (!signal.aborted) {
      await runTasks()
      await app.idleness.pause(roundIntervalMs, signal)
    }
  }
  let running: Promise<void> | undefined
  app.keyring.loaded.then(() => { running = run() }, () => {})

  app.addHook('onClose', async () => {
    closing.abort()
    await running
  })
}, { name: 'housekeeping', dependencies: ['database', 'idleness', 'keyring'] })
