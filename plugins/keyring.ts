import fp from 'fastify-plugin'
import { active, load, type Keyring, type SigningKey } from '../src/keyring.ts'
import type { PublicJwk } from '../src/keyring/key-pair.ts'
import { ensure, type KeyringOptions } from '../src/keyring/rotation.ts'
import { databaseUnavailable } from '../src/problem.ts'
import { parse, type MacKey, type RefreshToken } from '../src/refresh-token.ts'
import { untilItSucceeds } from '../src/retry.ts'
import { UnsealError } from '../src/secret.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** The keys in memory. Until they are loaded, each of these throws `database_unavailable`. */
    keyring: {
      /** The key to sign with; also throws where the keys could not be read for too long to know. */
      signer: () => SigningKey
      /** The published key of this id; the database is asked again, now and then, for one that is not known. */
      verifier: (kid: string) => Promise<SigningKey | undefined>
      isKnown: (kid: string) => boolean
      published: () => PublicJwk[]
      mac: () => MacKey
      /** What an authentic refresh token says of itself; undefined for any other. */
      readRefreshToken: (token: string) => Promise<RefreshToken | undefined>
      /** Fulfilled when the keys are loaded, rejected where they cannot be opened. */
      loaded: Promise<void>
      isLoaded: () => boolean
      options: KeyringOptions
      /** Reads the keys again, after a change. */
      reload: () => Promise<void>
    }
  }
}

// Milliseconds between questions after key ids that are not known: anyone can invent them.
const askAgain = 5_000

/** The signing keys and token secrets: made, rotated, and read again on a timer and when another instance has changed them. */
export default fp(async function keyring (app, options: KeyringOptions) {
  const { keys: keyEncryptionKeys, jwksMaxAge } = options
  const closing = new AbortController()
  let ring: Keyring | undefined
  let readAt = 0
  let loading: Promise<void> | undefined
  let asked = -Infinity
  let failed = false

  const read = async () => {
    const began = performance.now()
    ring = await load(app.db, keyEncryptionKeys, ring)
    readAt = began
  }
  const reload = () => {
    loading ??= read()
      .then(() => { failed = false }, (error: unknown) => { failed = true; throw error })
      .finally(() => { loading = undefined })
    return loading
  }
  // What changed while a reading was under way may not be in it.
  const reloadAfter = async () => {
    await loading?.catch(() => {})
    await reload()
  }
  const warn = (error: unknown) => { if (!closing.signal.aborted) app.log.warn({ err: error }, 'the keys could not be read; trying again') }

  const loaded = app.migrated.then(() => untilItSucceeds(async () => {
    await ensure(app.db, options, 'start')
    await reloadAfter()
  }, { every: 1_000, signal: closing.signal, isFinal: error => error instanceof UnsealError, onFailure: warn }))
  loaded.catch(() => {})

  const keys = () => {
    if (!ring) throw databaseUnavailable('the keys are not loaded yet')
    return ring
  }
  function newest<Key extends { signsFrom: Date, retiresAt: Date | null }> (keys: Map<string, Key>, { clockOffset }: Keyring) {
    // A successor that is not known here was made after the last reading, and the key is published for so much longer than it signs.
    if (performance.now() - readAt > (jwksMaxAge + 60) * 1_000) throw databaseUnavailable('the keys could not be read for too long')
    const key = active(keys, new Date(Date.now() + clockOffset))
    if (!key) throw databaseUnavailable('there is no key whose time has come')
    return key
  }

  /** What `find` gives; where that is nothing, the keys are read once more before it is believed, but not too often. */
  async function find<Found> (look: () => Found | undefined): Promise<Found | undefined> {
    const found = look()
    if (found !== undefined) return found
    if (!loading && performance.now() - asked < askAgain) {
      // Where it could not be asked, nobody knows that there is no such key.
      if (failed) throw databaseUnavailable('the keys could not be read')
      return undefined
    }
    asked = performance.now()
    await reload()
    return look()
  }

  app.decorate('keyring', {
    loaded,
    isLoaded: () => ring !== undefined,
    options,
    reload: reloadAfter,
    signer: () => newest(keys().signing, keys()),
    mac: () => newest(keys().mac, keys()),
    published: () => [...keys().signing.values()].map(({ publicJwk }) => publicJwk),
    isKnown: kid => keys().signing.has(kid),
    verifier: kid => find(() => keys().signing.get(kid)),
    async readRefreshToken (token) {
      let unknown: string | undefined
      const secret = (kid: string) => {
        const key = keys().mac.get(kid)
        if (!key) unknown = kid
        return key?.secret
      }
      const authentic = parse(token, secret)
      if (authentic || unknown === undefined) return authentic
      const kid = unknown
      return await find(() => keys().mac.get(kid)) ? parse(token, secret) : undefined
    }
  })

  // The other instances are told of what this one makes; the timer is for what is due, and for word that got lost.
  app.notifications.on('latchkey_keys', () => { if (ring) reloadAfter().catch(warn) })
  const timer = setInterval(() => {
    if (ring) ensure(app.db, options, 'later').catch(warn).then(reload).catch(warn)
  }, Math.min(jwksMaxAge / 4, 30) * 1_000)
  timer.unref()
  app.addHook('onClose', async () => {
    closing.abort()
    clearInterval(timer)
    await loading?.catch(() => {})
  })
}, { name: 'keyring', dependencies: ['notifications'] })
