// The server's side of the revocation feed. `revocations.ts` writes revocations to the database,
// `revocation-reader.ts` reads them, and `revocation-log.ts` keeps them in memory. The endpoint is
// routes/oauth/revocations.ts, and the other end of the feed is plugins/verifier/revocation-feed.ts.
import { setImmediate } from 'node:timers/promises'
import type { RevocationEntry } from './revocation-log.ts'

/** Gives a reader the entries after a position, then every new entry until `stop`. */
export type SubscribeToRevocations =
  (position: string | undefined, onEntries: (entries: RevocationEntry[]) => void) => RevocationSubscription

export interface RevocationSubscription {
  /** The position of a reader that has every entry so far. */
  position: () => string
  stop: () => void
}

export interface RevocationStream {
  /** The text of the events (WHATWG HTML, server-sent events), produced as fast as the reader reads it. */
  events: AsyncIterable<string>
  /** Ends the stream. Waiting entries are not sent. */
  stop: () => void
}

const heartbeatMs = 5_000
const stallTimeoutMs = 10_000
const minLifetimeMs = 1_800_000
// Readers must authenticate again from time to time, but not all at once.
const lifetimeMs = () => (1 + Math.random()) * minLifetimeMs
const maxEventsPerWrite = 200
const maxWaitingEntries = 200_000

/**
 * Creates the event stream of one reader of the feed, which already has the entries up to `position`. Calls
 * `onStalled` if the reader reads nothing for 10 seconds, or too many entries wait for it.
 */
export function createRevocationStream (
  subscribe: SubscribeToRevocations, position: string | undefined, onStalled: () => void
): RevocationStream {
  const waiting: RevocationEntry[] = []
  const closing = new AbortController()
  const isStopped = () => closing.signal.aborted
  let wake = () => {}
  let lastReadAt = performance.now()

  const subscription = subscribe(position, entries => {
    // The first entries are everything that the reader lacks, which may be more than the limit.
    if (waiting.length > 0 && waiting.length + entries.length > maxWaitingEntries) return onStalled()
    for (const entry of entries) waiting.push(entry)
    wake()
  })
  const checkStalled = () => { if (performance.now() - lastReadAt > stallTimeoutMs) onStalled() }
  const stallTimer = setInterval(checkStalled, stallTimeoutMs / 4).unref()
  const lifetimeTimer = setTimeout(stop, lifetimeMs()).unref()

  function stop () {
    closing.abort()
    subscription.stop()
    clearInterval(stallTimer)
    clearTimeout(lifetimeTimer)
    wake()
  }

  /** Waits for an entry, at most until the next heartbeat. */
  async function waitForEntries (): Promise<void> {
    if (waiting.length > 0 || isStopped()) return
    await new Promise<void>(resolve => {
      const timer = setTimeout(resolve, heartbeatMs)
      wake = () => {
        clearTimeout(timer)
        resolve()
      }
    })
  }

  async function * generateEvents () {
    let isSynced = false
    yield 'retry: 1000\n\n'
    while (!isStopped()) {
      lastReadAt = performance.now()
      if (waiting.length > 0) {
        yield waiting.splice(0, maxEventsPerWrite).map(formatEvent).join('')
        // A fast reader asks for more at once. Otherwise other requests would wait for all of its entries.
        await setImmediate()
      } else if (!isSynced) {
        isSynced = true
        yield `id: ${subscription.position()}\n: synced\n\n`
      } else {
        await waitForEntries()
        lastReadAt = performance.now()
        const isIdle = !isStopped() && waiting.length === 0
        if (isIdle) yield `id: ${subscription.position()}\n: heartbeat\n\n`
      }
    }
  }

  return { events: generateEvents(), stop }
}

// The event of each kind, and the member by which it names the revoked tokens.
const eventsByKind = {
  session: { event: 'session.ended', member: 'sid' },
  token: { event: 'token.revoked', member: 'jti' },
  user: { event: 'user.tokens_revoked', member: 'token_version' }
} as const

function formatEvent ({ revocation, position }: RevocationEntry): string {
  const { kind, id, subject, reason, tokenVersion, endedAt, expiresAt } = revocation
  const { event, member } = eventsByKind[kind]
  const times = { ended_at: endedAt, expires_at: expiresAt }
  const data = { [member]: tokenVersion ?? id, sub: subject, reason, ...times }
  return `id: ${position}\nevent: ${event}\ndata: ${JSON.stringify(data)}\n\n`
}
