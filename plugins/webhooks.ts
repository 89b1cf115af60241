import { setMaxListeners } from 'node:events'
import fp from 'fastify-plugin'
import type { Trust } from '../src/config/config.ts'
import { scheduledDelaySeconds } from '../src/jobs/backoff.ts'
import type { Job } from '../src/jobs/queue.ts'
import type { KeyEncryptionKeys } from '../src/crypto/sealing.ts'
import { createDestination } from '../src/webhooks/destination.ts'
import { attemptTimeoutMs, post, type DeliveryOutcome } from '../src/webhooks/request.ts'
import * as sending from '../src/webhooks/sending.ts'
import * as signature from '../src/webhooks/signature.ts'

declare module 'fastify' {
  interface FastifyInstance {
    webhooks: {
      /** Why a URL is refused, as far as the URL itself tells. */
      refusal: (url: string) => string | undefined
      newSecret: () => signature.NewSecret
    }
  }
}

export interface WebhooksOptions {
  keys: KeyEncryptionKeys
  /** Addresses that webhooks may have although they are not public. */
  privateNetworks: Trust | undefined
  /** Whether public addresses must be reached over TLS. */
  requiresHttps: boolean
}

/** A message without a signature is not sent: its receiver could not authenticate it. */
const unsigned: DeliveryOutcome = { milliseconds: 0, error: 'secret' }

const concurrency = 64
const maxPerWebhook = 4
const leaseSeconds = 3 * attemptTimeoutMs / 1_000
const retryScheduleSeconds = [5, 30, 120, 600, 1_800, 3_600, 7_200, 14_400, 28_800, 43_200] as const

const pausedMessage = 'webhook paused: nothing is sent until an administrator activates it'
const unsignedMessage = 'webhook secret not readable: no KEY_ENCRYPTION_KEY decrypts it; create a new secret'

/** Sends the deliveries that the audit log has enqueued, until they succeed or expire. */
export default fp(async function webhooksPlugin (app, { keys, ...options }: WebhooksOptions) {
  const destination = createDestination(options)
  const closing = new AbortController()
  setMaxListeners(concurrency, closing.signal)
  const running = new Map<string, number>()
  const addRunning = (webhookId: string, change: 1 | -1) => {
    const count = (running.get(webhookId) ?? 0) + change
    if (count > 0) running.set(webhookId, count)
    else running.delete(webhookId)
  }

  app.decorate('webhooks', { refusal: destination.refusal, newSecret: () => signature.newSecret(keys) })

  app.jobs.work('webhook', {
    concurrency,
    leaseSeconds,
    lease: async limit => await sending.lease(app.db, { limit, leaseSeconds, maxPerWebhook, running }),
    run: async job => {
      const webhookId = job.subject ?? ''
      addRunning(webhookId, 1)
      try {
        await deliver(job)
        // What is recorded of the delivery has ended or rescheduled the job.
        return 'rescheduled'
      } finally {
        addRunning(webhookId, -1)
      }
    }
  })

  async function deliver (job: Job): Promise<void> {
    const message = await sending.readMessage(app.db, job)
    if (!message) return
    let outcome: DeliveryOutcome
    try {
      outcome = await attempt(message)
    } catch (error) {
      if (!closing.signal.aborted) throw error
      await sending.releaseLease(app.db, job)
      return
    }
    if (outcome.error === undefined) await sending.recordSuccess(app.db, message, outcome)
    else await onFailure(job, message, outcome)
  }

  async function attempt (message: sending.DeliveryMessage): Promise<DeliveryOutcome> {
    const { id, url, type, data, createdAt, now } = message
    const secrets = signature.unsealSecrets(keys, message.secrets)
    if (secrets.length === 0) return unsigned
    const body = JSON.stringify({ type, timestamp: createdAt, data })
    const headers = signature.signatureHeaders(secrets, { id, timestamp: now, body })
    return await post({ url, headers, body }, destination, closing.signal)
  }

  async function onFailure (job: Job, message: sending.DeliveryMessage, outcome: DeliveryOutcome) {
    const { attempts } = job
    const delaySeconds = scheduledDelaySeconds(attempts, retryScheduleSeconds)
    const { isFinal, paused } = await sending.recordFailure(app.db, { job, message, outcome, delaySeconds })
    const details = { webhook: message.webhookId, delivery: message.id, ...outcome }
    if (paused) app.log.warn({ ...details, reason: paused }, pausedMessage)
    if (isFinal) app.log.warn(details, 'webhook delivery given up')
    else if (outcome === unsigned) app.log.warn({ ...details, attempts }, unsignedMessage)
    else app.log.info({ ...details, attempts }, 'webhook delivery failed; retrying')
  }

  app.addHook('onClose', async () => { closing.abort() })
}, { name: 'webhooks', dependencies: ['database', 'jobs'] })
