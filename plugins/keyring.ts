import fp from 'fastify-plugin'
import { active, ensure, load, type Keyring, type KeyringOptions, type PublicJwk, type SigningKey } from '../src/keyring.ts'
import { databaseUnavailable } from '../src/problem.ts'
import type { MacKey } from '../src/refresh-token.ts'
import { untilItSucceeds } from '../src/retry.ts'
import { UnsealError } from '../src/secret.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** The keys in memory. Until they are loaded, each of these throws `database_unavailable`. */
    keyring: {
      signer: () => SigningKey
      /** The published key of this id; the database is asked again, now and then, for one that is not known. */
      verifier: (kid: string) => Promise<SigningKey | undefined>
      published: () => PublicJwk[]
      mac: () => MacKey
      macSecret: (kid: string) => Buffer | undefined
      /** Fulfilled when the keys are loaded, rejected where they cannot be opened. */
      loaded: Promise<void>
      isLoaded: () => boolean
    }
  }
}

/** The signing keys and token secrets, loaded from the database and read again on a timer. */
export default fp(async function keyring (app, options: KeyringOptions) {
  const closing = new AbortController()
  let ring: Keyring | undefined
  let loading: Promise<void> | undefined
  let asked = 0
  let failed = false

  const reload = () => {
    asked = performance.now()
    loading ??= load(app.db, options.keys)
      .then(keyring => { ring = keyring; failed = false }, (error: unknown) => { failed = true; throw error })
      .finally(() => { loading = undefined })
    return loading
  }
  const warn = (error: unknown) => app.log.warn({ err: error }, 'the keys could not be read; trying again')

  const loaded = app.migrated.then(() => untilItSucceeds(async () => {
    await ensure(app.db, options)
    await reload()
  }, { every: 1_000, signal: closing.signal, isFinal: error => error instanceof UnsealError, onFailure: warn }))
  loaded.catch(() => {})

  const keys = () => {
    if (!ring) throw databaseUnavailable('the keys are not loaded yet')
    return ring
  }
  const newest = <Key extends { signsFrom: Date, retiresAt: Date | null }>(keys: Key[], clockOffset: number) => {
    const key = active(keys, new Date(Date.now() + clockOffset))
    if (!key) throw databaseUnavailable('there is no key whose time has come')
    return key
  }

  app.decorate('keyring', {
    loaded,
    isLoaded: () => ring !== undefined,
    signer: () => newest(keys().signing, keys().clockOffset),
    mac: () => newest(keys().mac, keys().clockOffset),
    macSecret: kid => keys().mac.find(key => key.kid === kid)?.secret,
    published: () => keys().signing.map(({ publicJwk }) => publicJwk),
    async verifier (kid) {
      const find = () => keys().signing.find(key => key.kid === kid)
      const key = find()
      // Anyone can invent key ids: the database hears of it once in five seconds.
      if (key) return key
      if (!loading && performance.now() - asked < 5_000) {
        // Where it could not be asked, nobody knows that there is no such key.
        if (failed) throw databaseUnavailable('the keys could not be read')
        return undefined
      }
      await reload()
      return find()
    }
  })

  // A key is published for two times the cache time before it signs, so every instance knows it by then.
  const timer = setInterval(() => { if (ring) reload().catch(warn) }, Math.min(options.jwksMaxAge, 30) * 1_000)
  timer.unref()
  app.addHook('onClose', async () => {
    closing.abort()
    clearInterval(timer)
    await loading?.catch(() => {})
  })
}, { name: 'keyring', dependencies: ['database'] })
