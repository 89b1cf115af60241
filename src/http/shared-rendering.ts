import { setTimeout as pause } from 'node:timers/promises'
import { overloaded } from './problems.ts'

// The pause after a rendering is this many times as long, so that renderings take a tenth of the event loop.
const pauseFactor = 9
const maxPauseMs = 1_000
const maxWaiting = 1_000

/**
 * Renders once for all waiting requests, so that many requests cost no more than few. A request gets what was
 * rendered after it came. Beyond 1,000 waiting requests it throws `overloaded`.
 */
export function shareRendering (render: () => Promise<string>): () => Promise<string> {
  let rendering: Promise<unknown> = Promise.resolve()
  let next: Promise<string> | undefined
  let pauseEndsAt = 0
  let waiting = 0

  async function renderNext (): Promise<string> {
    await rendering
    const pauseMs = pauseEndsAt - performance.now()
    if (pauseMs > 0) await pause(pauseMs, undefined, { ref: false })
    // A request that comes from now on waits for a later rendering.
    next = undefined
    const beganAt = performance.now()
    const text = render()
    rendering = text.catch(() => {}).then(() => {
      const now = performance.now()
      pauseEndsAt = now + Math.min((now - beganAt) * pauseFactor, maxPauseMs)
    })
    return await text
  }

  return async () => {
    if (waiting >= maxWaiting) throw overloaded(1, 'too many requests wait for the metrics')
    waiting++
    try {
      next ??= renderNext()
      return await next
    } finally {
      waiting--
    }
  }
}
