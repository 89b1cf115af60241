import fp from 'fastify-plugin'
import type { MacKey, Pepper } from '../src/crypto/secret-keys.ts'
import { UnsealError } from '../src/crypto/sealing.ts'
import { createClockCheck } from '../src/database/clock-offset.ts'
import { databaseUnavailable } from '../src/http/problems.ts'
import { retry } from '../src/jobs/retry.ts'
import { parse, type RefreshToken } from '../src/sessions/refresh-token.ts'
import { ensureIdTokenKey } from '../src/tokens/id-token-key.ts'
import { createKeyLookup } from '../src/tokens/key-lookup.ts'
import type { PublicJwk } from '../src/tokens/key-pair.ts'
import { keysChanged, type KeyringOptions } from '../src/tokens/key-records.ts'
import { ensureKeys } from '../src/tokens/key-rotation.ts'
import {
  findActiveKey, findPublishedKey, idTokenSigners, loadKeyring, publishedKeys
} from '../src/tokens/keyring.ts'
import type { Keyring, SigningKey, SigningPeriod } from '../src/tokens/keyring.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** The keys in memory. Until they are loaded, each function throws `database_unavailable`. */
    keyring: {
      /**
       * The key that signs access tokens now. Also throws `database_unavailable` if the keys were not read
       * for too long.
       */
      getSigningKey: () => SigningKey
      /** The key that signs ID tokens with RS256 now. Throws as `getSigningKey` does. */
      getIdTokenKey: () => SigningKey
      /**
       * Finds a published key, of either purpose. If its id is unknown, the keys are read again. Throws
       * `overloaded` if too many calls wait for that.
       */
      findSigningKey: (kid: string) => Promise<SigningKey | undefined>
      isKnownKey: (kid: string) => boolean
      getPublishedKeys: () => PublicJwk[]
      /** The key that authenticates new refresh tokens. */
      getMacKey: () => MacKey
      /** Reads an authentic refresh token. Returns undefined for any other text. */
      readRefreshToken: (token: string) => Promise<RefreshToken | undefined>
      /** The pepper of new password hashes. */
      getPepper: () => Pepper
      /** Finds a pepper as `findSigningKey` finds a key. */
      findPepper: (kid: string) => Promise<Pepper | undefined>
      /** Fulfilled when the keys are loaded. Rejected if no key-encryption key opens them. */
      loaded: Promise<void>
      isLoaded: () => boolean
      /**
       * The time of the database in milliseconds, which all instances share. The clock of this machine may
       * differ. Known to about the duration of a query, once the keys are loaded.
       */
      nowMs: () => number
      /** The database's clock minus this machine's, in milliseconds. 0 until the keys are loaded. */
      clockOffsetMs: () => number
      options: KeyringOptions
      /** Reads the keys again. A change by this service does so by itself. */
      reload: () => Promise<void>
    }
  }
}

// Notifications can be lost.
const pollIntervalMs = 1_000
const startRetryMs = 1_000
const maxRotationCheckIntervalMs = 30_000

/**
 * The signing keys, refresh token keys and peppers: created, rotated, and read again when an instance changed
 * them.
 */
export default fp(async function keyring (app, options: KeyringOptions) {
  const { keyEncryptionKeys, jwksMaxAgeSeconds, rotationSeconds } = options
  const closing = new AbortController()
  let keys: Keyring | undefined
  let readAt = 0
  let reading: Promise<void> | undefined
  let rotating: Promise<void> | undefined
  let rotatingIdTokenKey: Promise<void> | undefined

  const checkClock = createClockCheck((fields, message) => { app.log.warn(fields, message) })
  async function load () {
    const startedAt = performance.now()
    keys = await loadKeyring(app.db, keyEncryptionKeys, keys)
    readAt = startedAt
    checkClock(keys.clockOffsetMs)
  }
  function read () {
    reading ??= load().finally(() => { reading = undefined })
    return reading
  }
  // A change that was made during a read may be missing from it.
  async function reload () {
    await reading?.catch(() => {})
    await read()
  }
  const lookup = createKeyLookup(reload)
  // Only the first of several failures in a row is logged.
  let hasFailed = false
  function warn (error: unknown) {
    // A key that cannot be looked up is not an unknown key.
    lookup.forget()
    if (!hasFailed && !closing.signal.aborted) {
      app.log[app.databaseOutage.consequenceLevel]({ err: error }, 'keys not read; retrying')
    }
    hasFailed = true
  }
  const logFailure = async (work: Promise<void>) => await work.then(() => { hasFailed = false }, warn)

  const loaded = app.migrated.then(() => retry(async () => {
    await ensureKeys(app.db, options, 'start')
    await reload()
  }, {
    intervalMs: startRetryMs,
    signal: closing.signal,
    isFinal: error => error instanceof UnsealError,
    onFailure: warn
  }))
  loaded.catch(() => {})

  function getKeys (): Keyring {
    if (!keys) throw databaseUnavailable('keys not loaded yet')
    return keys
  }
  const clockOffsetMs = () => keys?.clockOffsetMs ?? 0
  const nowMs = () => Date.now() + clockOffsetMs()
  function getActiveKey<Key extends SigningPeriod> (candidates: Key[]) {
    // A successor that is unknown here was created after the last read. It is published for at least two
    // cache times before it signs, so until then the known key is the right one.
    const maxAgeMs = (jwksMaxAgeSeconds + 60) * 1_000
    if (performance.now() - readAt > maxAgeMs) throw databaseUnavailable('keys not read for too long')
    const key = findActiveKey(candidates, new Date(nowMs()))
    if (!key) throw databaseUnavailable('no key signs')
    return key
  }

  async function readRefreshToken (token: string): Promise<RefreshToken | undefined> {
    let unknownKid: string | undefined
    const findSecret = (kid: string) => {
      const key = getKeys().refreshTokenKeys.get(kid)
      if (!key) unknownKid = kid
      return key?.secret
    }
    const authentic = parse(token, findSecret)
    if (authentic || unknownKid === undefined) return authentic
    const kid = unknownKid
    const key = await lookup.find('refresh_token', kid, () => getKeys().refreshTokenKeys.get(kid))
    return key && parse(token, findSecret)
  }

  app.decorate('keyring', {
    loaded,
    isLoaded: () => keys !== undefined,
    nowMs,
    clockOffsetMs,
    options,
    reload,
    getSigningKey: () => getActiveKey([...getKeys().signingKeys.values()]),
    getIdTokenKey () {
      const signers = idTokenSigners(getKeys())
      // The first one is generated after the start.
      if (signers.length === 0) rotate()
      return getActiveKey(signers)
    },
    findSigningKey: async kid => await lookup.find('signing', kid, () => findPublishedKey(getKeys(), kid)),
    isKnownKey: kid => findPublishedKey(getKeys(), kid) !== undefined,
    getPublishedKeys: () => publishedKeys(getKeys()),
    getMacKey: () => getActiveKey([...getKeys().refreshTokenKeys.values()]),
    readRefreshToken,
    getPepper () {
      const [pepper] = getKeys().peppers.values()
      if (!pepper) throw databaseUnavailable('no pepper exists')
      return pepper
    },
    findPepper: async kid => await lookup.find('password', kid, () => getKeys().peppers.get(kid))
  })

  async function reloadAfterChange () {
    lookup.forget()
    if (keys) await logFailure(reload())
  }
  // A change by this instance takes effect here before its request is answered, if the keys can be read.
  app.db.subscribe(keysChanged, reloadAfterChange)
  app.notifications.on('latchkey_keys', () => { void reloadAfterChange() })
  const stopPolling = app.idleness.repeat(pollIntervalMs, () => { if (keys) void logFailure(read()) })
  app.idleness.addRefresher(async () => { if (keys) await logFailure(read()) })
  function rotate () {
    if (!keys) return
    rotating ??= logFailure(ensureKeys(app.db, options, 'later')).finally(() => { rotating = undefined })
    rotatingIdTokenKey ??= logFailure(ensureIdTokenKey(app.db, options))
      .finally(() => { rotatingIdTokenKey = undefined })
  }
  loaded.then(rotate, () => {})
  const checkIntervalMs = Math.min(jwksMaxAgeSeconds, rotationSeconds) / 4 * 1_000
  const rotationIntervalMs = Math.min(checkIntervalMs, maxRotationCheckIntervalMs)
  const stopRotation = app.idleness.repeat(rotationIntervalMs, rotate)
  app.addHook('onClose', async () => {
    closing.abort()
    stopPolling()
    stopRotation()
    await Promise.allSettled([reading, rotating, rotatingIdTokenKey])
  })
}, { name: 'keyring', dependencies: ['database', 'idleness', 'notifications'] })
