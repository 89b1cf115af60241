import type { Entry } from './revocation-log.ts'

/** As the plugin has it: what a reader at a position lacks, then whatever is new. */
export type Follow = (position: string | undefined, reader: (entries: Entry[]) => void) => { position: () => string, stop: () => void }

export interface Stream {
  /** The text of the events (WHATWG HTML, server-sent events), as fast as it is taken. */
  events: AsyncIterable<string>
  /** Ends it: what is waiting is not sent any more. */
  stop: () => void
}

// Milliseconds.
const heartbeat = 5_000
const patience = 10_000
// Between half an hour and an hour, so that readers authenticate again, and not all at a time.
const longest = () => (1 + Math.random()) * 1_800_000
// How many events are written at a time, and how many may wait for one reader.
const chunk = 200
const mostWaiting = 200_000

/** The events for one reader of the feed that has those up to `position`; `onStalled` is called when it takes nothing for too long. */
export function follow (subscribe: Follow, position: string | undefined, onStalled: () => void): Stream {
  const waiting: Entry[] = []
  const closing = new AbortController()
  let wake = () => {}
  let takenAt = performance.now()

  const subscription = subscribe(position, entries => {
    // All that a new reader lacks may be more than that.
    if (waiting.length > 0 && waiting.length + entries.length > mostWaiting) return onStalled()
    for (const entry of entries) waiting.push(entry)
    wake()
  })
  const watch = setInterval(() => { if (performance.now() - takenAt > patience) onStalled() }, patience / 4)
  watch.unref()
  const end = setTimeout(stop, longest())
  end.unref()

  function stop () {
    closing.abort()
    subscription.stop()
    clearInterval(watch)
    clearTimeout(end)
    wake()
  }

  async function news (): Promise<void> {
    if (waiting.length > 0 || closing.signal.aborted) return
    await new Promise<void>(resolve => {
      const timer = setTimeout(resolve, heartbeat)
      wake = () => {
        clearTimeout(timer)
        resolve()
      }
    })
  }

  async function * events () {
    let synced = false
    yield 'retry: 1000\n\n'
    while (!closing.signal.aborted) {
      takenAt = performance.now()
      if (waiting.length > 0) {
        yield waiting.splice(0, chunk).map(written).join('')
      } else if (!synced) {
        synced = true
        yield `id: ${subscription.position()}\n: synced\n\n`
      } else {
        await news()
        takenAt = performance.now()
        if (!closing.signal.aborted && waiting.length === 0) yield `id: ${subscription.position()}\n: heartbeat\n\n`
      }
    }
  }

  return { events: events(), stop }
}

// What each is called, and what it names the tokens by.
const names = { session: ['session.ended', 'sid'], token: ['token.revoked', 'jti'], user: ['user.tokens_revoked', 'token_version'] } as const

function written ({ revocation: { kind, id, subject, reason, tokenVersion, endedAt, expiresAt }, position }: Entry): string {
  const [event, name] = names[kind]
  return `id: ${position}\nevent: ${event}\ndata: ${JSON.stringify({ [name]: tokenVersion ?? id, sub: subject, reason, ended_at: endedAt, expires_at: expiresAt })}\n\n`
}
