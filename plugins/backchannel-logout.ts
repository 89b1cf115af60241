import { setMaxListeners } from 'node:events'
import fp from 'fastify-plugin'
import type { Trust } from '../src/config/config.ts'
import { newId } from '../src/crypto/random.ts'
import { scheduledDelaySeconds } from '../src/jobs/backoff.ts'
import { reschedule, type Job } from '../src/jobs/queue.ts'
import { createDestination } from '../src/webhooks/destination.ts'
import { attemptTimeoutMs, post } from '../src/webhooks/request.ts'

export interface BackchannelLogoutOptions {
  /** Addresses that clients may have although they are not public. */
  privateNetworks: Trust | undefined
}

const concurrency = 32
const leaseSeconds = 3 * attemptTimeoutMs / 1_000
const retryScheduleSeconds = [2, 10, 60, 300, 1_800, 7_200] as const
// OpenID Connect Back-Channel Logout 1.0 section 4 recommends at most two minutes.
const tokenLifetimeSeconds = 120

/**
 * Tells clients that a session of theirs has ended (OpenID Connect Back-Channel Logout 1.0). The SQL function
 * `end_sessions` has enqueued the job, or the purge of expired sessions (src/sessions/expiry.ts). The id of
 * the job is that of the session.
 */
export default fp(async function backchannelLogout (app, options: BackchannelLogoutOptions) {
  const destination = createDestination({ ...options, requiresHttps: true })
  const closing = new AbortController()
  setMaxListeners(concurrency, closing.signal)
  app.jobs.work('backchannel_logout', { concurrency, leaseSeconds, run })
  app.addHook('onClose', async () => { closing.abort() })

  async function run (job: Job): Promise<undefined | 'rescheduled'> {
    const { id: sid, userId: sub, subject: clientId, attempts, expired } = job
    const client = clientId === null ? undefined : await app.clients.find(clientId)
    const url = client?.backchannel_logout_uri
    if (!client || url == null || sub === null) return undefined
    const details = { client: client.client_id, session: sid, attempts }
    if (expired) {
      app.log.warn(details, 'back-channel logout given up')
      return undefined
    }
    const iat = Math.floor(app.keyring.nowMs() / 1_000)
    const claims = { sub, sid, aud: client.client_id, iat, exp: iat + tokenLifetimeSeconds, jti: newId() }
    const token = app.signLogoutToken(claims, client.id_token_signed_response_alg)
    const outcome = await post({
      url,
      headers: { 'content-type': 'application/x-www-form-urlencoded' },
      body: new URLSearchParams({ logout_token: token }).toString()
    }, destination, closing.signal)
    if (outcome.error === undefined) return undefined
    app.log.info({ ...details, ...outcome }, 'back-channel logout failed; retrying')
    await reschedule(app.db, job, scheduledDelaySeconds(attempts, retryScheduleSeconds))
    return 'rescheduled'
  }
}, { name: 'backchannel-logout', dependencies: ['jobs', 'clients', 'id-tokens', 'keyring', 'database'] })
