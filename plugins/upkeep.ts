import { setTimeout as pause } from 'node:timers/promises'
import fp from 'fastify-plugin'
import * as audit from '../src/audit.ts'
import * as links from '../src/links.ts'
import * as revocations from '../src/revocations.ts'
import { clearExpired } from '../src/sessions/expiry.ts'
import * as throttle from '../src/throttle.ts'
import { erase } from '../src/users/erasure.ts'
import * as deliveries from '../src/webhooks/deliveries.ts'

export interface UpkeepOptions {
  /** Seconds. */
  refreshToken: number
  auditRetention: number
}

const batch = 500
const counters = 5_000
const events = 2_000
// Milliseconds: between two batches, and between two rounds.
const breath = 50
const rest = 60_000

/** Clears away what has expired, in small batches, so that nothing else waits. */
export default fp(async function upkeep (app, { refreshToken, auditRetention }: UpkeepOptions) {
  const closing = new AbortController()
  const { signal } = closing

  async function round () {
    for (let after: string | undefined, more = true; more; await pause(breath, undefined, { signal, ref: false })) {
      const { last } = await clearExpired(app.db, after, batch, refreshToken)
      after = last
      more = last !== undefined
    }
    for (let after: Buffer | undefined, more = true; more; await pause(breath, undefined, { signal, ref: false })) {
      after = await throttle.clearExpired(app.db, after, counters)
      more = after !== undefined
    }
    for (const forget of [() => revocations.forget(app.db, batch), () => audit.forget(app.db, auditRetention, batch), () => links.forget(app.db, batch), () => deliveries.forget(app.db, batch)]) {
      while (await forget() === batch) await pause(breath, undefined, { signal, ref: false })
    }
    while (await erase(app.db, events)) await pause(breath, undefined, { signal, ref: false })
  }

  async function run () {
    while (!signal.aborted) {
      await round().catch((error: unknown) => { if (!signal.aborted) app.log.warn({ err: error }, 'clearing away what has expired failed; trying again later') })
      await pause(rest, undefined, { signal, ref: false }).catch(() => {})
    }
  }
  let running: Promise<void> | undefined
  app.keyring.loaded.then(() => { running = run() }, () => {})

  app.addHook('onClose', async () => {
    closing.abort()
    await running
  })
}, { name: 'upkeep', dependencies: ['keyring'] })
