import { setTimeout as pause } from 'node:timers/promises'
import type { FastifyBaseLogger } from 'fastify'
import { getJson, UnexpectedAnswer } from './exchange.ts'
import { isPublished, verificationKey, type VerificationKey } from './jwk.ts'
import type { Metadata } from './metadata.ts'
import type { Algorithm } from './options.ts'
import { unavailable } from './refusal.ts'
import { createUnknownKeys } from './unknown-keys.ts'
import { backoff } from './backoff.ts'

export interface KeysHealth {
  /** How many are known. */
  count: number
  /** Seconds since they were last read; null while they never were. */
  age: number | null
  /** Whether the last attempt to read them failed. */
  failing: boolean
}

/** The issuer's public keys, read again in the background. */
export interface Keys {
  start: () => void
  find: (kid: string) => VerificationKey | undefined
  /**
   * The same for a key that is unknown, after asking the issuer for it. For a second, the issuer is not asked
   * for it again. Throws a Refusal (503) if the issuer could not be asked, or too many wait for its answer.
   */
  ask: (kid: string) => Promise<VerificationKey | undefined>
  /** Whether this key is still published. */
  holds: (key: VerificationKey) => boolean
  health: () => KeysHealth
  /** Fulfilled when keys were read for the first time. */
  loaded: Promise<void>
}

const [betweenAsks, mostAsking] = [2_000, 1_000]

/** Keys that are read from the start on until `closing`: as often as they may change, and after failures with growing waits. */
export function prepare (metadata: () => Promise<Metadata>, algorithms: readonly Algorithm[], log: FastifyBaseLogger, closing: AbortSignal): Keys {
  let keys: ReadonlyMap<string, VerificationKey> | undefined
  let readAt = 0
  let failures = 0
  let reading: Promise<void> | undefined
  let timer: NodeJS.Timeout | undefined
  let isLoaded = () => {}
  const loaded = new Promise<void>(resolve => { isLoaded = resolve })

  // Milliseconds that what was read is good for.
  async function load (): Promise<number> {
    const { jwks } = await metadata()
    const { body, maxAge } = await getJson(jwks, closing)
    const { keys: published }: { keys?: unknown } = Object(body)
    if (!Array.isArray(published)) throw new UnexpectedAnswer(jwks, 'no key set')
    const found = new Map<string, VerificationKey>()
    for (const jwk of published.filter(isPublished)) {
      const key = await verificationKey(jwk, algorithms)
      const known = keys?.get(jwk.kid)
      // A key that stays is the same object, by which the tokens it signed are still known.
      if (key && !found.has(key.kid)) found.set(key.kid, known?.alg === key.alg && known.thumbprint === key.thumbprint ? known : key)
    }
    keys = found
    readAt = performance.now()
    return maxAge * 1_000
  }

  // Never rejects: how it went is in `failures`.
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
      if (!closing.aborted) timer = setTimeout(read, wait).unref()
    })
    return reading
  }

  let askedAt = -betweenAsks
  let asking: Promise<void> | undefined
  let askers = 0
  const unknown = createUnknownKeys()

  // Anyone can invent key ids: whoever comes with one shares the next read, and these reads keep a distance.
  async function readForAskers () {
    const wait = askedAt + betweenAsks - performance.now()
    if (wait > 0) await pause(wait, undefined, { signal: closing, ref: false }).catch(() => {})
    askedAt = performance.now()
    await read()
  }

  closing.addEventListener('abort', () => clearTimeout(timer), { once: true })

  return {
    start: read,
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
      // This cannot hide a key that a later read brings: only unknown keys are asked for.
      if (!key) unknown.add(kid)
      return key
    },
    health: () => ({ count: keys?.size ?? 0, age: keys ? Math.floor((performance.now() - readAt) / 1_000) : null, failing: failures > 0 })
  }
}
