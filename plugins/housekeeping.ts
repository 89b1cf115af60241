import { setTimeout as pause } from 'node:timers/promises'
import fp from 'fastify-plugin'
import * as audit from '../src/audit/events.ts'
import * as leases from '../src/jobs/leases.ts'
import * as links from '../src/one-time-tokens/one-time-tokens.ts'
import { purgeBuckets } from '../src/mail/limits.ts'
import * as revocations from '../src/tokens/revocations.ts'
import { purgeExpired } from '../src/sessions/expiry.ts'
import { endSurplus, findCrowdedUsers } from '../src/sessions/surplus.ts'
import * as throttle from '../src/throttle/sign-in-throttle.ts'
import { erase } from '../src/accounts/erasure.ts'
import * as deliveries from '../src/webhooks/deliveries.ts'

export interface UpkeepOptions {
  /** Seconds. */
  refreshToken: number
  auditRetention: number
  /** How many sessions a user may have. */
  sessionLimit: number
}

const batch = 500
const counters = 5_000
const events = 2_000
// To find and end the sessions of users who have too many: sessions read, and ended, at a time.
const listedSessions = 20_000
const surplusSessions = 500
// Milliseconds: between two batches, and between two rounds.
const breath = 50
const rest = 60_000

/** Clears away what has expired, in small batches, so that nothing else waits. */
export default fp(async function upkeep (app, { refreshToken, auditRetention, sessionLimit }: UpkeepOptions) {
  const closing = new AbortController()
  const { signal } = closing

  const breathe = async () => await pause(breath, undefined, { signal, ref: false })
  const all = (forget: () => Promise<number>) => async () => { while (await forget() === batch) await breathe() }
  const tasks: Array<() => Promise<void>> = [
    // This task comes first. Until a user is within the limit, ending all their sessions may take too long.
    async () => {
      for (let after: string | undefined, hasMore = true; hasMore; await breathe()) {
        const { userIds, last } = await findCrowdedUsers(app.db, after, listedSessions, sessionLimit)
        for (const userId of userIds) {
          while (await endSurplus(app.db, userId, sessionLimit, surplusSessions)) await breathe()
        }
        after = last
        hasMore = last !== undefined
      }
    },
    async () => {
      for (let after: string | undefined, more = true; more; await breathe()) {
        const { last } = await purgeExpired(app.db, { after, limit: batch, refreshToken })
        after = last
        more = last !== undefined
      }
    },
    async () => {
      for (let after: Buffer | undefined, more = true; more; await breathe()) {
        after = await throttle.clearExpired(app.db, after, counters)
        more = after !== undefined
      }
    },
    async () => {
      for (let after: Buffer | undefined, more = true; more; await breathe()) {
        after = await purgeBuckets(app.db, after, counters)
        more = after !== undefined
      }
    },
    all(() => revocations.forget(app.db, batch)),
    all(() => audit.forget(app.db, auditRetention, batch)),
    all(() => links.forget(app.db, batch)),
    all(() => deliveries.forget(app.db, batch)),
    all(() => leases.purge(app.db, batch)),
    async () => { while (await erase(app.db, events)) await breathe() }
  ]

  async function run () {
    while (!signal.aborted) {
      // What fails keeps nothing else from being cleared away; one of the faults is told.
      const faults: unknown[] = []
      for (const task of tasks) if (!signal.aborted) await task().catch((error: unknown) => { faults.push(error) })
      if (faults.length > 0 && !signal.aborted) app.log.warn({ err: faults[0] }, 'clearing away what has expired failed; trying again later')
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
