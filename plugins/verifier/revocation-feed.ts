import { setTimeout as pause } from 'node:timers/promises'
import { createParser } from 'eventsource-parser'
import type { FastifyBaseLogger } from 'fastify'
import { remember, type Token } from './revoked-sessions.ts'
import { get, UnexpectedAnswer } from './exchange.ts'
import type { Metadata } from './metadata.ts'
import type { Settings } from './options.ts'
import { backoff, deadline } from './backoff.ts'

/** The state of the revocation feed. */
export interface FeedHealth {
  /** Whether the feed is connected and has caught up. */
  followed: boolean
  /** Since when the feed is not followed (RFC 3339); null while it is. */
  downSince: string | null
}

/** The sessions and tokens that the issuer has revoked, as its feed reports them. */
export interface RevocationFeed {
  /** Begins to follow the feed. */
  start: () => void
  /**
   * Whether the token is known to be revoked: by itself, with its session, or with all tokens of its user.
   */
  isEnded: (token: Token) => boolean
  /** Seconds without the feed: 0 while it is followed, Infinity if it never was. */
  lostFor: () => number
  /** Returns the state of the feed. */
  health: () => FeedHealth
  /** Fulfilled once the feed has caught up for the first time. */
  synced: Promise<void>
}

/** The options of the feed; durations are in seconds. */
export interface FeedOptions extends Pick<Settings, 'feedTimeout' | 'clockTolerance'> {
  credentials: { id: string, secret: string }
}

// `slowly` is for refused credentials, which a person has to fix.
const [slowly, settled, sweepEvery, mostCharacters] = [30_000, 5_000, 60_000, 65_536]

/**
 * Prepares to follow the revocation feed: server-sent events (WHATWG HTML section 9.2), with the client's
 * credentials (RFC 6749 section 2.3.1). After `start` it reconnects with backoff until `closing` aborts, and
 * continues after the last event (`Last-Event-ID`). Never throws: a failure is logged once.
 */
export function prepare (metadata: () => Promise<Metadata>, { credentials, feedTimeout, clockTolerance }: FeedOptions, log: FastifyBaseLogger, closing: AbortSignal): RevocationFeed {
  const ended = remember(clockTolerance)
  const startedAt = performance.now()
  let heardAt: number | undefined
  let followed = false
  let lastEventId = ''
  let sweptAt = startedAt
  let complaint: string | undefined
  let isSynced = () => {}
  const synced = new Promise<void>(resolve => { isSynced = resolve })

  const parserOfOneConnection = () => createParser({
    maxBufferSize: mostCharacters,
    onEvent ({ id, event, data }) {
      if (!ended.take(event, data)) log.warn({ event }, 'revocation feed event not readable')
      // What is no header value cannot be sent back: without an id the issuer tells everything again.
      if (id !== undefined) lastEventId = /^[\x21-\x7e]{0,1024}$/.test(id) ? id : ''
    },
    onError (error) {
      if (error.type === 'max-buffer-size-exceeded') throw error
    },
    onComment (comment) {
      if (comment !== 'synced') return
      followed = true
      if (complaint !== undefined) log.info('revocation feed connected again')
      complaint = undefined
      isSynced()
    }
  })

  async function connect (): Promise<void> {
    const { revocations } = await metadata()
    if (!revocations) throw new Error('the issuer names no revocation feed of its own origin')
    const { signal, renew, clear } = deadline(feedTimeout * 1_000, closing)
    try {
      const response = await get(revocations, headers(credentials, lastEventId), signal)
      if (!/^text\/event-stream\b/i.test(response.headers['content-type'] ?? '')) {
        response.destroy()
        throw new UnexpectedAnswer(revocations, 'no event stream')
      }
      const parser = parserOfOneConnection()
      for await (const text of response) {
        renew()
        parser.feed(text)
        if (followed) heardAt = performance.now()
        if (performance.now() - sweptAt > sweepEvery) {
          sweptAt = performance.now()
          ended.sweep()
        }
      }
      if (!followed) throw new UnexpectedAnswer(revocations, 'no more than a part of what has ended')
    } catch (error) {
      throw signal.aborted ? signal.reason : error
    } finally {
      followed = false
      clear()
    }
  }

  // A failure is logged once, not at every attempt.
  function complain (error: unknown): boolean {
    const refused = error instanceof UnexpectedAnswer && (error.status === 401 || error.status === 403)
    const text = refused ? 'the issuer refuses the client credentials: ended sessions are not heard of' : 'the revocation feed is lost; trying again'
    if (complaint !== text) log[refused ? 'error' : 'warn']({ err: error }, text)
    complaint = text
    return refused
  }

  async function run (): Promise<void> {
    for (let failures = 0; !closing.aborted;) {
      const began = performance.now()
      let wait: number | undefined
      try {
        await connect()
      } catch (error) {
        if (closing.aborted) return
        if (complain(error)) wait = slowly
      }
      failures = performance.now() - began > settled ? 1 : failures + 1
      await pause(wait ?? backoff(failures), undefined, { signal: closing, ref: false }).catch(() => {})
    }
  }

  const lostFor = () => followed ? 0 : heardAt === undefined ? Infinity : (performance.now() - heardAt) / 1_000
  return {
    start: () => { void run() },
    synced,
    isEnded: ended.has,
    lostFor,
    health: () => ({ followed, downSince: followed ? null : new Date(Date.now() - (performance.now() - (heardAt ?? startedAt))).toISOString() })
  }
}

function headers ({ id, secret }: FeedOptions['credentials'], lastEventId: string): Record<string, string> {
  // RFC 6749 section 2.3.1: id and secret are form-encoded first.
  const encode = (text: string) => new URLSearchParams({ '': text }).toString().slice(1)
  return {
    accept: 'text/event-stream',
    authorization: `Basic ${Buffer.from(`${encode(id)}:${encode(secret)}`).toString('base64')}`,
    ...lastEventId === '' ? {} : { 'last-event-id': lastEventId }
  }
}
