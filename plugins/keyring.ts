import fp from 'fastify-plugin'
import { active, load, type Keyring, type SigningKey } from '../src/tokens/keyring.ts'
import type { PublicJwk } from '../src/tokens/key-pair.ts'
import { createKeyLookup } from '../src/tokens/key-lookup.ts'
import { ensure, type KeyringOptions } from '../src/tokens/key-rotation.ts'
import type { Pepper } from '../src/passwords/pepper.ts'
import { databaseUnavailable } from '../src/http/problem.ts'
import { parse, type MacKey, type RefreshToken } from '../src/sessions/refresh-token.ts'
import { retry } from '../src/jobs/retry.ts'
import { UnsealError } from '../src/crypto/sealing.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** The keys in memory. Until they are loaded, each of these throws `database_unavailable`. */
    keyring: {
      /** The key to sign with; also throws where the keys could not be read for too long to know. */
      signer: () => SigningKey
      /** The published key of this id. For an unknown id the keys are read again; throws `overloaded` if too many wait for it. */
      verifier: (kid: string) => Promise<SigningKey | undefined>
      isKnown: (kid: string) => boolean
      published: () => PublicJwk[]
      mac: () => MacKey
      /** What an authentic refresh token says of itself; undefined for any other. */
      readRefreshToken: (token: string) => Promise<RefreshToken | undefined>
      /** The pepper of new password hashes. */
      pepper: () => Pepper
      /** The pepper of this id, found like a published key. */
      findPepper: (kid: string) => Promise<Pepper | undefined>
      /** Fulfilled when the keys are loaded, rejected where they cannot be opened. */
      loaded: Promise<void>
      isLoaded: () => boolean
      options: KeyringOptions
      /** Reads the keys again, after a change. */
      reload: () => Promise<void>
    }
  }
}

// Milliseconds between readings, in case a notification was lost.
const pollEvery = 1_000

/** The signing keys, token secrets and the pepper: made, rotated, and read again on a timer and when another instance has changed them. */
export default fp(async function keyring (app, options: KeyringOptions) {
  const { keys: keyEncryptionKeys, jwksMaxAge, rotation } = options
  const closing = new AbortController()
  let ring: Keyring | undefined
  let readAt = 0
  let loading: Promise<void> | undefined
  let turning: Promise<void> | undefined

  const read = async () => {
    const began = performance.now()
    ring = await load(app.db, keyEncryptionKeys, ring)
    readAt = began
  }
  const reload = () => {
    loading ??= read().finally(() => { loading = undefined })
    return loading
  }
  // What changed while a reading was under way may not be in it.
  const reloadAfter = async () => {
    await loading?.catch(() => {})
    await reload()
  }
  const lookup = createKeyLookup(reloadAfter)
  // The first of a row of failures is told.
  let failing = false
  const warn = (error: unknown) => {
    // What cannot be looked up is not unknown.
    lookup.forget()
    if (!failing && !closing.signal.aborted) app.log[app.databaseOutage.consequenceLevel]({ err: error }, 'keys could not be read; retrying')
    failing = true
  }
  const refresh = (read: Promise<void>) => read.then(() => { failing = false }, warn)

  const loaded = app.migrated.then(() => retry(async () => {
    await ensure(app.db, options, 'start')
    await reloadAfter()
  }, { intervalMs: 1_000, signal: closing.signal, isFinal: error => error instanceof UnsealError, onFailure: warn }))
  loaded.catch(() => {})

  const keys = () => {
    if (!ring) throw databaseUnavailable('the keys are not loaded yet')
    return ring
  }
  function newest<Key extends { signsFrom: Date, retiresAt: Date | null }> (keys: Map<string, Key>, { clockOffset }: Keyring) {
    // A successor that is not known here was made after the last reading, and the key is published for so much longer than it signs.
    if (performance.now() - readAt > (jwksMaxAge + 60) * 1_000) throw databaseUnavailable('the keys could not be read for too long')
    // One that signs at once may not have come into its time by a clock that is read from afar.
    const key = active(keys, new Date(Date.now() + clockOffset)) ?? [...keys.values()].find(({ retiresAt }) => retiresAt === null)
    if (!key) throw databaseUnavailable('there is no key that signs')
    return key
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
    verifier: async kid => await lookup.find('access_token', kid, () => keys().signing.get(kid)),
    pepper () {
      const [pepper] = keys().peppers.values()
      if (!pepper) throw databaseUnavailable('there is no pepper')
      return pepper
    },
    findPepper: async kid => await lookup.find('password', kid, () => keys().peppers.get(kid)),
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
      return await lookup.find('refresh_token', kid, () => keys().mac.get(kid)) ? parse(token, secret) : undefined
    }
  })

  // The other instances are told of what this one makes; the poll is for word that got lost.
  app.notifications.on('latchkey_keys', () => {
    lookup.forget()
    if (ring) void refresh(reloadAfter())
  })
  const poll = setInterval(() => { if (ring) void refresh(reload()) }, pollEvery)
  const timer = setInterval(() => {
    if (ring) turning ??= refresh(ensure(app.db, options, 'later')).finally(() => { turning = undefined })
  }, Math.min(jwksMaxAge / 4, rotation / 4, 30) * 1_000)
  for (const each of [poll, timer]) each.unref()
  app.addHook('onClose', async () => {
    closing.abort()
    for (const each of [poll, timer]) clearInterval(each)
    await Promise.allSettled([loading, turning])
  })
}, { name: 'keyring', dependencies: ['notifications'] })
