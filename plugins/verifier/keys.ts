import { setTimeout as pause } from 'node:timers/promises'
import { unavailable } from './auth-error.ts'
import { backoffMs } from './backoff.ts'
import { getJson, UnexpectedResponse } from './issuer-requests.ts'
import { importKey, isPublishedJwk, type VerificationKey } from './jwk.ts'
import type { VerifierLog } from './log.ts'
import type { IssuerMetadata } from './metadata.ts'
import type { Algorithm } from './options.ts'
import { createUnknownKeys } from './unknown-keys.ts'

/** The state of the issuer's public keys. */
export interface KeysHealth {
  /** How many keys are known. */
  count: number
  /** Seconds since the keys were last read; null if they never were. */
  age: number | null
  /** Whether the last attempt to read the keys failed. */
  failing: boolean
}

/** The issuer's public keys, read again in the background. */
export interface IssuerKeys {
  start: () => void
  /** Returns a known key. It does no I/O. */
  find: (kid: string) => VerificationKey | undefined
  /**
   * Asks the issuer for a key that is unknown. For a second, the issuer is not asked for it again. Throws an
   * AuthError (503) if the issuer could not be asked, or if too many requests wait for its response.
   */
  ask: (kid: string) => Promise<VerificationKey | undefined>
  /** Whether the issuer still publishes this key. */
  holds: (key: VerificationKey) => boolean
  /** Whether the keys were ever read, which also proves that the issuer is configured as it is. */
  areKnown: () => boolean
  /** Returns the state of the keys. */
  health: () => KeysHealth
  /** Fulfilled when the keys were read for the first time. */
  loaded: Promise<void>
}

export interface IssuerKeysOptions {
  discover: () => Promise<IssuerMetadata>
  algorithms: readonly Algorithm[]
  log: VerifierLog
  closing: AbortSignal
}

const minAskIntervalMs = 2_000
const maxWaiting = 1_000

/**
 * Keys that are read from `start` until `closing`: after each cache time, and after failures with backoff.
 */
export function createIssuerKeys ({ discover, algorithms, log, closing }: IssuerKeysOptions): IssuerKeys {
  let keys: ReadonlyMap<string, VerificationKey> | undefined
  let readAt = 0
  let failures = 0
  let reading: Promise<void> | undefined
  let timer: NodeJS.Timeout | undefined
  let resolveLoaded = () => {}
  const loaded = new Promise<void>(resolve => { resolveLoaded = resolve })

  /** Returns for how many milliseconds the keys may be cached. */
  async function load (): Promise<number> {
    const { jwks } = await discover()
    const { body, maxAgeSeconds } = await getJson(jwks, closing)
    const { keys: published }: { keys?: unknown } = Object(body)
    if (!Array.isArray(published)) throw new UnexpectedResponse(jwks, 'no key set')
    const found = new Map<string, VerificationKey>()
    for (const jwk of published.filter(isPublishedJwk)) {
      const key = await importKey(jwk, algorithms)
      const known = keys?.get(jwk.kid)
      // A key that stays keeps its object, because cached tokens refer to it.
      const isSame = known?.alg === key?.alg && known?.thumbprint === key?.thumbprint
      if (key && !found.has(key.kid)) found.set(key.kid, known && isSame ? known : key)
    }
    keys = found
    readAt = performance.now()
    return maxAgeSeconds * 1_000
  }

  // Never rejects: `failures` tells how it went.
  function read (): Promise<void> {
    clearTimeout(timer)
    reading ??= load().then(cacheMs => {
      if (failures > 0) log.info({}, 'issuer keys read again')
      failures = 0
      resolveLoaded()
      return cacheMs
    }, (error: unknown) => {
      failures++
      if (failures === 1 && !closing.aborted) log.warn({ err: error }, 'issuer keys not read; retrying')
      return backoffMs(failures)
    }).then(delayMs => {
      reading = undefined
      if (!closing.aborted) timer = setTimeout(() => { void read() }, delayMs).unref()
    })
    return reading
  }

  let askedAt = -minAskIntervalMs
  let asking: Promise<void> | undefined
  let waiting = 0
  const unknownKeys = createUnknownKeys()

  // Anyone can invent key ids. All requests with unknown ids share the next read, and these reads keep a
  // distance.
  async function readForUnknownKeys () {
    const delayMs = askedAt + minAskIntervalMs - performance.now()
    if (delayMs > 0) await pause(delayMs, undefined, { signal: closing, ref: false }).catch(() => {})
    askedAt = performance.now()
    await read()
  }

  closing.addEventListener('abort', () => clearTimeout(timer), { once: true })

  return {
    start: () => { void read() },
    loaded,
    find: kid => keys?.get(kid),
    holds: key => keys?.get(key.kid) === key,
    areKnown: () => keys !== undefined,
    async ask (kid) {
      if (!keys) throw unavailable('issuer keys not read yet')
      if (failures > 0) throw unavailable('issuer cannot be asked for a key')
      if (unknownKeys.has(kid)) return undefined
      if (waiting >= maxWaiting) throw unavailable('too many requests wait for a key')
      waiting++
      try {
        asking ??= readForUnknownKeys().finally(() => { asking = undefined })
        await asking
      } finally {
        waiting--
      }
      const key = keys.get(kid)
      if (!key && failures > 0) throw unavailable('issuer cannot be asked for a key')
      // This cannot hide a key that a later read brings: only unknown keys are asked for.
      if (!key) unknownKeys.add(kid)
      return key
    },
    health: () => ({
      count: keys?.size ?? 0,
      age: keys ? Math.floor((performance.now() - readAt) / 1_000) : null,
      failing: failures > 0
    })
  }
}
