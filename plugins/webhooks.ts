import { setMaxListeners } from 'node:events'
import fp from 'fastify-plugin'
import type { Trust } from '../src/config/config.ts'
import type { Job } from '../src/jobs/queue.ts'
import type { KeyEncryptionKeys } from '../src/crypto/sealing.ts'
import { destination } from '../src/webhooks/destination.ts'
import { patience, post, type Outcome } from '../src/webhooks/request.ts'
import * as sending from '../src/webhooks/sending.ts'
import * as signature from '../src/webhooks/signature.ts'

declare module 'fastify' {
  interface FastifyInstance {
    webhooks: {
      /** Why nothing is sent to a URL, as far as the URL tells; undefined where nothing speaks against it. */
      refusal: (url: string) => string | undefined
      newSecret: () => signature.NewSecret
    }
  }
}

export interface WebhooksOptions {
  keys: KeyEncryptionKeys
  /** Addresses that may be called although they are not public. */
  privateNetworks: Trust | undefined
  /** Whether public addresses are called over TLS alone. */
  httpsOnly: boolean
}

// Whoever got it could not know whom it is from.
const unsigned: Outcome = { milliseconds: 0, error: 'secret' }

const atOnce = 64
const share = 4
const lease = 3 * patience / 1_000
// Seconds between attempts; the last holds for all that follow.
const waits = [5, 30, 120, 600, 1_800, 3_600, 7_200, 14_400, 28_800, 43_200]
const wait = (attempts: number) => (waits[Math.min(attempts, waits.length) - 1] ?? 5) * (0.9 + Math.random() / 5)

/** Sends what the audit log has written for webhooks, until it is delivered or its time is over. */
export default fp(async function webhooks (app, { keys, ...where }: WebhooksOptions) {
  const allowed = destination(where)
  const closing = new AbortController()
  setMaxListeners(atOnce, closing.signal)
  const running = new Map<string, number>()
  const count = (webhook: string, change: number) => {
    const number = (running.get(webhook) ?? 0) + change
    if (number > 0) running.set(webhook, number)
    else running.delete(webhook)
  }

  app.decorate('webhooks', { refusal: allowed.refusal, newSecret: () => signature.newSecret(keys) })

  app.jobs.work('webhook', {
    atOnce,
    lease,
    wait,
    claim: async most => await sending.claim(app.db, most, lease, share, running),
    run: async job => {
      const webhook = job.subject ?? ''
      count(webhook, 1)
      try {
        return await run(job)
      } finally {
        count(webhook, -1)
      }
    }
  })

  // The job ends with what is written of the delivery, or goes on.
  async function run (job: Job): Promise<'kept'> {
    const message = await sending.read(app.db, job)
    if (!message) return 'kept'
    const { id, webhookId, url, type, data, createdAt, now } = message
    const secrets = signature.openSecrets(keys, message.secrets)
    const body = JSON.stringify({ type, timestamp: createdAt, data })
    let outcome: Outcome
    try {
      outcome = secrets.length === 0 ? unsigned : await post(url, signature.signed(secrets, id, now, body), body, allowed, closing.signal)
    } catch (error) {
      if (!closing.signal.aborted) throw error
      await sending.release(app.db, job)
      return 'kept'
    }
    if (outcome.error === undefined) {
      await sending.succeeded(app.db, message, outcome)
      return 'kept'
    }
    const { final, paused } = await sending.failed(app.db, job, message, outcome, wait(job.attempts))
    const detail = { webhook: webhookId, delivery: id, ...outcome }
    if (paused) app.log.warn({ ...detail, reason: paused }, 'webhook paused: nothing is sent until an administrator activates it')
    if (final) app.log.warn(detail, 'webhook delivery given up')
    else if (outcome === unsigned) app.log.warn({ ...detail, attempts: job.attempts }, 'webhook secret not readable: no KEY_ENCRYPTION_KEY decrypts it; create a new secret')
    else app.log.info({ ...detail, attempts: job.attempts }, 'webhook delivery failed; retrying')
    return 'kept'
  }

  app.addHook('onClose', async () => { closing.abort() })
}, { name: 'webhooks', dependencies: ['database', 'jobs'] })
