import { setTimeout as pause } from 'node:timers/promises'
import type { FastifyBaseLogger } from 'fastify'
import { getJson, UnexpectedAnswer } from './exchange.ts'
import { isPublished, verificationKey, type VerificationKey } from './jwk.ts'
import type { Metadata } from './metadata.ts'
import type { Algorithm } from './options.ts'
import { unavailable } from './refusal.ts'
import { createUnknownKeys } from './unknown-keys.ts'
import { backoff } from './backoff.ts'

/** The state of the issuer's public keys. */
export interface KeysHealth {
  /** How many keys are known. */
  count: number
  /** Seconds since the keys were last read; null if they never were. */
  age: number | null
  /** Whether the last attempt to read the keys failed. */
  failing: boolean
}

/** The issuer's public keys (a JWK set, RFC 7517 section 5), refreshed in the background. */
export interface Keys {
  /** Begins to read the keys. */
  start: () => void
  /** Returns a known key. It does no I/O. */
  find: (kid: string) => VerificationKey | undefined
  /**
   * Asks the issuer for an unknown key. Calls share one request, and requests are 2 seconds apart. A key that
   * the issuer does not have is not asked for again within a second. Rejects with a Refusal (503) if the
   * issuer cannot be asked, or if too many callers wait.
   */
  ask: (kid: string) => Promise<VerificationKey | undefined>
  /** Whether the issuer still publishes this key. */
  holds: (key: VerificationKey) => boolean
  /** Returns the state of the keys. */
  health: () => KeysHealth
  /** Fulfilled once the keys were read for the first time. */
  loaded: Promise<void>
}

const [betweenAsks, mostAsking] = [2_000, 1_000]

/**
 * Prepares the keys of an issuer. After `start` they are read again as often as `cache-control` allows, and
 * after a failure with backoff, until `closing` aborts. Never throws: a failure is logged once, and the last
 * keys stay.
 */
export function prepare (metadata: () => Promise<Metadata>, algorithms: readonly Algorithm[], log: FastifyBaseLogger, closing: AbortSignal): Keys {
  let keys: ReadonlyMap<string, VerificationKey> | undefined
  let readAt = 0
  let failures = 0
  let reading: Promise<void> | undefined
  let timer: NodeJS.Timeout | undefined
  let isLoaded = () => {}
  const loaded = new Promise<void>(resolve => { isLoaded = resolve })

  // Returns the milliseconds until the next read.
  async function load (): Promise<number> {
    const { jwks } = await metadata()
    const { body, maxAge } = await getJson(jwks, closing)
    const { keys: published }: { keys?: unknown } = Object(body)
    if (!Array.isArray(published)) throw new UnexpectedAnswer(jwks, 'no key set')
    const found = new Map<string, VerificationKey>()
    for (const jwk of published.filter(isPublished)) {
      const key = await verificationKey(jwk, algorithms)
      const known = keys?.get(jwk.kid)
      // A key that has not changed stays the same object, so that cached tokens that it signed stay valid.
      if (key && !found.has(key.kid)) found.set(key.kid, known?.alg === key.alg && known.thumbprint === key.thumbprint ? known : key)
    }
    keys = found
    readAt = performance.now()
    return maxAge * 1_000
  }

  // Never rejects: `failures` counts the failed reads.
  function read (): Promise<void> {
    clearTimeout(timer)
    reading ??= load().then(lifetime => {
      if (failures > 0) log.info('issuer keys read again')
      failures = 0
      isLoaded()
      return lifetime
    }, (error: unknown) => {
      failures++
      if (failures === 1 && !closing.aborted) log.warn({ err: error }, 'issuer keys could not be read; retrying')
      return backoff(failures)
    }).then(wait => {
      reading = undefined
      if (!closing.aborted) timer = setTimeout(() => { void read() }, wait).unref()
    })
    return reading
  }

  let askedAt = -betweenAsks
  let asking: Promise<void> | undefined
  let askers = 0
  const unknown = createUnknownKeys()

  // Anyone can invent key ids. All requests with unknown ones share the next read, and these reads are
  // spaced.
  async function readForAskers () {
    const wait = askedAt + betweenAsks - performance.now()
    if (wait > 0) await pause(wait, undefined, { signal: closing, ref: false }).catch(() => {})
    askedAt = performance.now()
    await read()
  }

  closing.addEventListener('abort', () => clearTimeout(timer), { once: true })

  return {
    start: () => { void read() },
    loaded,
    find: kid => keys?.get(kid),
    holds: key => keys?.get(key.kid) === key,
    async ask (kid) {
      if (!keys) throw unavailable('the keys of the issuer are not known yet')
      if (failures > 0) throw unavailable('the issuer cannot be asked for a key')
      if (unknown.has(kid)) return undefined
      if (askers >= mostAsking) throw unavailable('too many requests wait for a key')
      askers++
      try {
        asking ??= readForAskers().finally(() => { asking = undefined })
        await asking
      } finally {
        askers--
      }
      const key = keys.get(kid)
      if (!key && failures > 0) throw unavailable('the issuer cannot be asked for a key')
      // This cannot hide a key that a later read finds: only unknown keys are asked for.
      if (!key) unknown.add(kid)
      return key
    },
    health: () => ({ count: keys?.size ?? 0, age: keys ? Math.floor((performance.now() - readAt) / 1_000) : null, failing: failures > 0 })
  }
}
