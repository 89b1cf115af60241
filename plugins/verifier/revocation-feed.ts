import { setTimeout as pause } from 'node:timers/promises'
import { createParser } from 'eventsource-parser'
import { backoffMs, startDeadline } from './backoff.ts'
import type { RevocableClaims } from './claims.ts'
import { get, UnexpectedResponse } from './issuer-requests.ts'
import type { VerifierLog } from './log.ts'
import type { IssuerMetadata } from './metadata.ts'
import type { ClientCredentials } from './settings.ts'
import { createRevokedTokenCache } from './revoked-tokens.ts'

/** The state of the revocation feed. */
export interface FeedHealth {
  /** Whether the feed is followed now, so that every revocation arrives at once. */
  followed: boolean
  /** Since when the feed is not followed (RFC 3339); null while it is. */
  downSince: string | null
}

/** The issuer's revocation feed, followed in the background. */
export interface FeedClient {
  start: () => void
  /**
   * Whether the token was revoked, as far as is known: by itself, with its session, or with all of its user.
   */
  isRevoked: (token: RevocableClaims) => boolean
  /** Seconds without the feed: 0 while it is followed, and Infinity until it first was. */
  lostSeconds: () => number
  health: () => FeedHealth
  /** Fulfilled when all earlier revocations have arrived for the first time. */
  synced: Promise<void>
}

export interface FeedClientOptions {
  discover: () => Promise<IssuerMetadata>
  credentials: ClientCredentials
  feedTimeoutSeconds: number
  clockToleranceSeconds: number
  log: VerifierLog
  closing: AbortSignal
}

// An operator has to change something before the issuer accepts the credentials.
const rejectedRetryMs = 30_000
// A connection that lasted longer has not failed at once, so backoff starts again.
const stableAfterMs = 5_000
const purgeIntervalMs = 60_000
const maxEventCharacters = 65_536

/** Follows the feed from `start` until `closing`. A new connection receives what the last one missed. */
export function createFeedClient (options: FeedClientOptions): FeedClient {
  const { discover, credentials, feedTimeoutSeconds, clockToleranceSeconds, log, closing } = options
  const revokedTokens = createRevokedTokenCache(clockToleranceSeconds)
  const startedAt = performance.now()
  let heardAt: number | undefined
  let isFollowed = false
  let lastEventId = ''
  let purgedAt = startedAt
  let reportedFailure: string | undefined
  let resolveSynced = () => {}
  const synced = new Promise<void>(resolve => { resolveSynced = resolve })

  const createEventParser = () => createParser({
    maxBufferSize: maxEventCharacters,
    onEvent ({ id, event, data }) {
      if (!revokedTokens.add(event, data)) log.warn({ event }, 'revocation feed event cannot be read')
      // An id that is not valid in a header cannot be sent back. Without an id the issuer sends everything
      // again.
      if (id !== undefined) lastEventId = /^[\x21-\x7e]{0,1024}$/.test(id) ? id : ''
    },
    onError (error) {
      if (error.type === 'max-buffer-size-exceeded') throw error
    },
    onComment (comment) {
      if (comment !== 'synced') return
      isFollowed = true
      if (reportedFailure !== undefined) log.info({}, 'revocation feed followed again')
      reportedFailure = undefined
      resolveSynced()
    }
  })

  async function connect (): Promise<void> {
    const { revocationFeed } = await discover()
    if (!revocationFeed) throw new Error('the issuer names no revocation feed of its own origin')
    const { signal, renew, clear } = startDeadline(feedTimeoutSeconds * 1_000, closing)
    try {
      const response = await get(revocationFeed, feedHeaders(credentials, lastEventId), signal)
      if (!/^text\/event-stream\b/i.test(response.headers['content-type'] ?? '')) {
        response.destroy()
        throw new UnexpectedResponse(revocationFeed, 'no event stream')
      }
      const parser = createEventParser()
      for await (const text of response) {
        renew()
        parser.feed(text)
        if (isFollowed) heardAt = performance.now()
        if (performance.now() - purgedAt > purgeIntervalMs) {
          purgedAt = performance.now()
          revokedTokens.purge()
        }
      }
      if (!isFollowed) throw new UnexpectedResponse(revocationFeed, 'a stream that ended too early')
    } catch (error) {
      throw signal.aborted ? signal.reason : error
    } finally {
      isFollowed = false
      clear()
    }
  }

  // A failure is logged once, not at each attempt. Returns whether the issuer rejected the credentials.
  function reportFailure (error: unknown): boolean {
    const isRejected = error instanceof UnexpectedResponse && (error.status === 401 || error.status === 403)
    const message = isRejected
      ? 'issuer rejects the client credentials; revocations do not arrive'
      : 'revocation feed lost; trying again'
    if (reportedFailure !== message) log[isRejected ? 'error' : 'warn']({ err: error }, message)
    reportedFailure = message
    return isRejected
  }

  const isClosed = () => closing.aborted

  async function follow (): Promise<void> {
    for (let failures = 0; !isClosed();) {
      const connectedAt = performance.now()
      let delayMs: number | undefined
      try {
        await connect()
      } catch (error) {
        if (isClosed()) return
        if (reportFailure(error)) delayMs = rejectedRetryMs
      }
      failures = performance.now() - connectedAt > stableAfterMs ? 1 : failures + 1
      await pause(delayMs ?? backoffMs(failures), undefined, { signal: closing, ref: false }).catch(() => {})
    }
  }

  function downSince (): string | null {
    if (isFollowed) return null
    return new Date(Date.now() - (performance.now() - (heardAt ?? startedAt))).toISOString()
  }

  function lostSeconds (): number {
    if (isFollowed) return 0
    return heardAt === undefined ? Infinity : (performance.now() - heardAt) / 1_000
  }

  return {
    start: () => { void follow() },
    synced,
    isRevoked: revokedTokens.isRevoked,
    lostSeconds,
    health: () => ({ followed: isFollowed, downSince: downSince() })
  }
}

function feedHeaders ({ id, secret }: ClientCredentials, lastEventId: string): Record<string, string> {
  // RFC 6749 section 2.3.1: both are form-encoded before they are joined.
  const encode = (text: string) => new URLSearchParams({ '': text }).toString().slice(1)
  return {
    accept: 'text/event-stream',
    authorization: `Basic ${Buffer.from(`${encode(id)}:${encode(secret)}`).toString('base64')}`,
    ...lastEventId === '' ? {} : { 'last-event-id': lastEventId }
  }
}
