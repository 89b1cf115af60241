import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import {
  createLocalJWKSet,
  decodeJwt,
  decodeProtectedHeader,
  jwtVerify,
  SignJWT,
  generateKeyPair,
  exportJWK
} from 'jose'
import { connect } from '../../src/database/database.ts'
import { ensureKeys, rotateKey } from '../../src/tokens/key-rotation.ts'
import { Problem } from '../../src/http/problem.ts'
import { isSealedWith } from '../../src/crypto/sealing.ts'
import { bearer } from '../support/authorization-header.ts'
import type { Answer, Browser } from '../support/client.ts'
import { build, keyEncryptionKey, newUser, type Service } from '../support/app.ts'
import { kidOf } from '../support/jwt.ts'
import { waitFor } from '../support/polling.ts'
import { createDatabase, sql } from '../support/postgres.ts'
import { flakyProxy } from '../support/flaky-proxy.ts'
import { scale } from '../support/soak.ts'
import { t } from '../support/test.ts'

const everySecond = { SIGNING_KEY_ROTATION: '1s', JWKS_MAX_AGE: '1s' }
const everyTwoSeconds = { SIGNING_KEY_ROTATION: '2s', JWKS_MAX_AGE: '2s' }
const issuer = 'http://localhost:3000'

const pause = async (milliseconds = 5) => await new Promise(resolve => setTimeout(resolve, milliseconds))
const verifyToken = async (service: Service, token: string) =>
  (await service.browser().get('/v1/auth/verify', bearer(token))).status
/** Rotates keys as instances do that race. A statement waits for the lock of another one only briefly. */
async function ensureKeysInRace ({ db, keyring }: Service['app']): Promise<void> {
  for (;;) {
    try {
      return await ensureKeys(db, keyring.options, 'later')
    } catch (error) {
      if (!(error instanceof Problem && error.status === 503)) throw error
    }
  }
}
const jwks = (service: Service) => service.app.keyring.getPublishedKeys().map(({ kid }) => kid)

interface Timeline {
  kid: string
  purpose: string
  sealed_secret: Buffer
  longest_life: number
  published: number
  from: number
  to: number | null
  gone: number | null
}
/** The keys in the database, the oldest first. Times are seconds. */
const timelines = async (url: string, purpose = 'access_token') =>
  await sql<Timeline>(
    url,
    `
  select kid, purpose, sealed_secret, longest_life,
    extract(epoch from published_at)::float8 as published, extract(epoch from signs_from)::float8 as from,
    extract(epoch from retires_at)::float8 as to, extract(epoch from gone_at)::float8 as gone
  from keys where purpose = $1 order by signs_from`,
    [purpose]
  )

/** Another service, which verifies tokens with the JWKS of this instance and caches it as long as it may. */
function createVerifier (service: Service) {
  let keys: ReturnType<typeof createLocalJWKSet> | undefined
  let readAgain = 0
  return async (token: string) => {
    const now = performance.now()
    if (!keys || now >= readAgain) {
      const { headers, body } = await service.browser().get('/.well-known/jwks.json')
      readAgain = now + 1_000 * Number(/max-age=(\d+)/.exec(String(headers['cache-control']))?.[1])
      keys = createLocalJWKSet(body)
    }
    await jwtVerify(token, keys, { issuer, audience: issuer, typ: 'at+jwt', algorithms: ['ES256', 'EdDSA'] })
  }
}

/** A signed-in user who refreshes at any instance. */
async function signIn (service: Service) {
  const register = async () =>
    await service.browser().post('/v1/auth/register', { ...newUser(), refresh_token_delivery: 'body' })
  const answer = await register()
  if (answer.status !== 201) throw new Error(answer.text)
  let { access_token: accessToken, refresh_token: refreshToken } = answer.body
  return {
    accessToken: (): string => accessToken,
    /** Returns the status. A 503 changes nothing. */
    async refresh (at: Service): Promise<number> {
      const { status, body } = await at.browser().post('/v1/auth/refresh', { refresh_token: refreshToken })
      if (status === 200) ({ access_token: accessToken, refresh_token: refreshToken } = body)
      return status
    }
  }
}

/**
 * Refreshes for several users, on the instances in turn, until the signal. Returns the failures and all
 * tokens.
 */
async function traffic (
  instances: () => Service[],
  signal: AbortSignal,
  { users = 3, check = async () => {} }: { users?: number, check?: (token: string) => Promise<void> } = {}
) {
  const failures: Array<{ kid: string, what: string }> = []
  const tokens: string[] = []
  const one = async () => {
    const turn = (count: number) => {
      const all = instances()
      return all[count % all.length] ?? Promise.reject(new Error('there is no instance'))
    }
    const user = await signIn(await turn(0))
    for (let count = 0; !signal.aborted; count++) {
      const at = await turn(count)
      const status = await user.refresh(at)
      if (status === 200) tokens.push(user.accessToken())
      else if (status !== 503) failures.push({ kid: '', what: `refused with ${status}` })
      await check(user.accessToken()).catch((error: unknown) => {
        failures.push({ kid: kidOf(user.accessToken()), what: String(error) })
      })
      await pause(20)
    }
  }
  await Promise.all(Array.from({ length: users }, one))
  return { failures, tokens }
}

t.test('while two instances rotate keys every two seconds and users refresh on both', async t => {
  const first = await build(t, everyTwoSeconds)
  const second = await build(t, everyTwoSeconds, { url: first.url })
  const both = [first, second]
  const verifiers = both.map(createVerifier)
  const idleUser = await signIn(first)
  const stopping = new AbortController()

  const now = async () =>
    (
      await first.app.db.query<{ now: number }>('select extract(epoch from clock_timestamp())::float8 as now')
    )[0]?.now ?? NaN
  const samples: Array<{
    earliest: number
    latest: number
    clockError: number
    signers: string[]
    macs: string[]
    published: string[][]
  }> = []
  const watched = (async () => {
    while (!stopping.signal.aborted) {
      const earliest = await now()
      const sample = {
        // Both clocks are that of this machine, so the offset is the error of its measurement.
        clockError: Math.max(...both.map(({ app }) => Math.abs(app.keyring.clockOffsetMs()))) / 1_000,
        signers: both.map(({ app }) => app.keyring.getSigningKey().kid),
        macs: both.map(({ app }) => app.keyring.getMacKey().kid),
        published: both.map(jwks)
      }
      samples.push({ earliest, ...sample, latest: await now() })
      if (new Set(samples.map(({ signers }) => signers[0])).size > scale(9, 2)) stopping.abort()
      await pause(30)
    }
  })()
  let checks = 0
  const { failures, tokens } = await traffic(() => both, stopping.signal, {
    users: 4,
    check: async token => {
      for (const verify of verifiers) await verify(token)
      checks++
    }
  })
  await watched
  const keys = await timelines(first.url)
  const macs = await timelines(first.url, 'refresh_token')

  t.test('every refresh succeeds, and every token can be verified', async t => {
    t.strictSame(failures, [])
    t.ok(
      checks >= scale(40, 15) && tokens.length >= scale(40, 15),
      `${tokens.length} tokens, ${checks} checks by two services`
    )
    t.ok(new Set(tokens.map(kidOf)).size > scale(7, 1), `signed with ${new Set(tokens.map(kidOf)).size} keys`)
  })

  t.test('every token stays valid, at both instances and at other services', async t => {
    const tokenOfEachKey = [...new Map(tokens.map(token => [kidOf(token), token])).values()]
    for (const token of tokenOfEachKey) {
      for (const verify of verifiers) await verify(token)
      for (const service of both) t.equal(await verifyToken(service, token), 204)
    }
  })

  t.test('both sign with the active key', async t => {
    for (const { earliest, latest, clockError, signers, macs: used } of samples) {
      const tolerance = clockError + 0.05
      for (const [kids, timeline] of [
        [signers, keys],
        [used, macs]
      ] as const) {
        for (const kid of kids) {
          const key = timeline.find(key => key.kid === kid)
          if (!key || key.from > latest + tolerance || (key.to ?? Infinity) < earliest - tolerance) {
            t.fail(`${kid} signs out of its time`, { key, earliest, latest })
          }
        }
      }
    }
    t.ok(samples.length > 30)
  })

  t.test('both publish a key for a cache time before it signs, and while its tokens live', async t => {
    const [{ signers: [original] } = { signers: [] }] = samples
    for (const kid of new Set(samples.flatMap(({ signers }) => signers))) {
      const signs = samples.findIndex(({ signers }) => signers.includes(kid))
      const everywhere = samples.findIndex(({ published }) => published.every(kids => kids.includes(kid)))
      if (kid !== original) t.ok(everywhere < signs, `${kid} is published everywhere before it signs`)
      t.ok(
        samples.slice(everywhere).every(({ published }) => published.every(kids => kids.includes(kid))),
        'and afterwards'
      )
    }
    for (const { kid, published, from, to, gone } of keys) {
      if (kid !== original) t.ok(from - published >= 4, 'a cache time for the instances, and one for others')
      if (to !== null) t.ok(gone !== null && gone - to >= 900 + 2 && to >= from)
    }
    for (const { to, gone } of macs) if (to !== null) t.ok(gone !== null && gone - to >= 7 * 86_400)
  })

  t.test('one successor is created every two seconds', async t => {
    for (const timeline of [keys, macs]) {
      for (const [index, { from, to }] of timeline.entries()) {
        const next = timeline[index + 1]
        t.equal(to, next?.from ?? null, 'without a gap')
        if (next) t.ok(next.from - from >= 1.999, `after ${next.from - from} s`)
      }
    }
    const made = [...keys, ...macs].map(({ kid }) => kid)
    t.match(
      await first.sql(
        `select count(*)::int as n from audit_events
          where type in ('key.created', 'key.rotated') and actor_id is null and detail ->> 'kid' = any($1)`,
        [made]
      ),
      [{ n: made.length }]
    )
  })

  t.test('a refresh token stays valid after the rotation of its key', async t => {
    t.ok(macs.length > 3)
    t.equal(await idleUser.refresh(second), 200)
    const third = await build(t, everyTwoSeconds, { url: first.url })
    t.equal(await idleUser.refresh(third), 200, 'also at a new instance')
  })
})

t.test('instances that race create one successor', async t => {
  const service = await build(t)
  await service.sql(
    `update keys set published_at = published_at - interval '40 days',
      signs_from = signs_from - interval '40 days'`
  )
  const {
    app: {
      db,
      keyring: { options }
    }
  } = service
  const instances = await Promise.all(
    Array.from({ length: 3 }, async () => await build(t, {}, { url: service.url }))
  )
  await Promise.all([...instances, service].map(({ app }) => ensureKeysInRace(app)))
  for (const purpose of ['access_token', 'refresh_token']) {
    const [old, successor, ...more] = await timelines(service.url, purpose)
    t.strictSame(more, [])
    t.equal(old?.to, successor?.from)
    t.ok(
      (successor?.from ?? 0) > Date.now() / 1_000 + 500,
      'the overdue successor still waits for the caches'
    )
  }
  await ensureKeys(db, options, 'start')
  t.equal((await timelines(service.url)).length, 2)

  await t.test('a key that is gone for a day is deleted', async t => {
    await service.sql("update keys set gone_at = now() - interval '23 hours' where retires_at is not null")
    await ensureKeys(db, options, 'later')
    t.equal((await timelines(service.url)).length, 2)
    await service.sql("update keys set gone_at = now() - interval '25 hours' where retires_at is not null")
    await ensureKeys(db, options, 'later')
    t.equal((await timelines(service.url)).length, 1)
  })
})

t.test('a rolling change of the algorithm fails no verification', async t => {
  const old = { JWKS_MAX_AGE: '2s' }
  const next = { ...old, SIGNING_ALGORITHM: 'EdDSA' }
  const instances = [await build(t, old)]
  const [first] = instances
  if (!first) return
  const second = await build(t, old, { url: first.url })
  instances.push(second)
  const verifiers = [first, second].map(createVerifier)
  const stopping = new AbortController()
  const usedKids = new Set<string | undefined>()
  const running = traffic(() => instances, stopping.signal, {
    check: async token => {
      for (const verify of verifiers) await verify(token)
      usedKids.add(kidOf(token))
    }
  })
  const third = await build(t, next, { url: first.url })
  instances.push(third)
  const newest = async () => (await timelines(first.url)).at(-1)?.kid
  const edDsa = await newest()
  await waitFor(() => instances.every(({ app }) => app.keyring.getSigningKey().kid === edDsa))
  // Instances with the old configuration do not replace the new key.
  await Promise.all([first, second].map(({ app }) => ensureKeysInRace(app)))
  t.equal(await newest(), edDsa)
  await waitFor(() => usedKids.has(edDsa))
  stopping.abort()
  const { failures, tokens } = await running
  t.strictSame(failures, [])
  t.strictSame([...new Set(tokens.map(token => decodeProtectedHeader(token).alg))], ['ES256', 'EdDSA'])
  for (const token of [tokens[0], tokens.at(-1)]) {
    for (const service of instances) t.equal(await verifyToken(service, token ?? ''), 204)
  }
})

t.test('a leaked key that is dropped', async t => {
  const first = await build(t)
  const second = await build(t, {}, { url: first.url })
  const user = await signIn(first)
  const leaked = user.accessToken()
  for (const service of [first, second]) {
    t.equal(
      await verifyToken(service, leaked),
      204,
      'verified and cached'
    )
  }

  await t.test('is not trusted any more: here at once, elsewhere when the notification arrives', async t => {
    const { options } = first.app.keyring
    const key = await rotateKey(first.app.db, options, { isImmediate: false, drop: kidOf(leaked) }, {})
    t.equal(await verifyToken(first, leaked), 401)
    await waitFor(async () => (await verifyToken(second, leaked)) === 401)
    for (const service of [first, second]) {
      t.strictSame(
        (await service.browser().get('/.well-known/jwks.json')).body.keys
          .filter(({ alg }: { alg: string }) => alg === 'ES256')
          .map(({ kid }: { kid: string }) => kid),
        [key.kid]
      )
    }
    t.equal(await user.refresh(second), 200, 'no user is signed out')
    for (const service of [first, second]) t.equal(await verifyToken(service, user.accessToken()), 204)
  })

  await t.test('is not trusted any more even if the notification is lost', async t => {
    second.app.notifications.removeAllListeners('latchkey_keys')
    const token = user.accessToken()
    t.equal(await verifyToken(second, token), 204)
    await rotateKey(first.app.db, first.app.keyring.options, { isImmediate: false, drop: kidOf(token) }, {})
    await waitFor(async () => (await verifyToken(second, token)) === 401)
  })

  await t.test('stays dropped when token lifetimes grow or the key-encryption key changes', async t => {
    const fresh = randomBytes(32)
    const later = await build(
      t,
      {
        ACCESS_TOKEN_TTL: '30d',
        SIGNING_KEY_ROTATION: '1s',
        KEY_ENCRYPTION_KEY: [fresh, keyEncryptionKey].map(key => key.toString('base64')).join()
      },
      { url: first.url }
    )
    t.equal(await verifyToken(later, leaked), 401)
    t.notOk(jwks(later).includes(kidOf(leaked)))
  })
})

t.test('an attacker with invented key ids', async t => {
  const first = await build(t)
  const second = await build(t, {}, { url: first.url })
  // Notifications of the keys do not arrive.
  second.app.notifications.removeAllListeners('latchkey_keys')
  const { privateKey } = await generateKeyPair('ES256')
  const claims = decodeJwt((await signIn(first)).accessToken())
  const inventToken = async () =>
    await new SignJWT(claims)
      .setProtectedHeader({ alg: 'ES256', typ: 'at+jwt', kid: randomBytes(32).toString('base64url') })
      .sign(privateKey)
  let queries = 0
  const { query } = second.app.db
  second.app.db.query = async (statement, values) => {
    if (typeof statement === 'string' && statement.includes('from keys')) queries++
    return await query(statement, values)
  }

  await t.test('does not affect a token of a new key', async t => {
    const stopping = new AbortController()
    const flood = (async () => {
      const tokens = await Promise.all(Array.from({ length: 20 }, inventToken))
      while (!stopping.signal.aborted) {
        for (const status of await Promise.all(tokens.map(async token => await verifyToken(second, token)))) {
          if (status !== 401) t.fail(`response ${status}`)
        }
        await new Promise(resolve => setImmediate(resolve))
      }
    })()
    const user = await signIn(first)
    for (let round = 0; round < 6; round++) {
      await rotateKey(first.app.db, first.app.keyring.options, { isImmediate: true }, {})
      await first.app.keyring.reload()
      t.equal(await user.refresh(first), 200)
      t.equal(await verifyToken(second, user.accessToken()), 204)
    }
    stopping.abort()
    await flood
  })

  await t.test('causes only a few queries a second', async t => {
    const tokens = await Promise.all(Array.from({ length: 300 }, inventToken))
    const startedAt = performance.now()
    queries = 0
    t.strictSame(
      [...new Set(await Promise.all(tokens.map(async token => await verifyToken(second, token))))],
      [401]
    )
    const seconds = (performance.now() - startedAt) / 1_000
    t.ok(queries <= 3 + 6 * seconds, `${queries} in ${seconds} s`)
  })
})

t.test('unknown key ids', async t => {
  const service = await build(t)
  const user = await signIn(service)
  const { privateKey } = await generateKeyPair('ES256')
  const signWith = async (kid: string) =>
    await new SignJWT(decodeJwt(user.accessToken())).setProtectedHeader(
      { alg: 'ES256', typ: 'at+jwt', kid }
    ).sign(privateKey)
  const inventedToken = async () => await signWith(randomBytes(32).toString('base64url'))
  /** A text in the form of a refresh token, with an unknown key id. */
  const inventedRefreshToken = () =>
    'lkr_' + Buffer.concat([Buffer.from([1]), randomBytes(80)]).toString('base64url')
  const present = {
    access: async (token: string) => await service.browser().get('/v1/me', bearer(token)),
    refresh: async (token: string) =>
      await service.browser().post('/v1/auth/refresh', { refresh_token: token })
  }

  // Reads of the keys wait while the gate is closed.
  let readGate: Promise<void> | undefined
  let reads = 0
  const { query } = service.app.db
  service.app.db.query = async (statement, values) => {
    if (typeof statement === 'string' && statement.includes('from keys')) {
      reads++
      await readGate
    }
    return await query(statement, values)
  }
  const closeGate = () => {
    let open = () => {}
    readGate = new Promise(resolve => {
      open = resolve
    })
    return () => {
      readGate = undefined
      open()
    }
  }

  for (const kind of ['access', 'refresh'] as const) {
    const inventToken = async () => (kind === 'access' ? await inventedToken() : inventedRefreshToken())

    await t.test(
      `of ${kind} tokens: a thousand requests wait for a read, further ones are rejected at once`,
      async t => {
        const tokens = await Promise.all(Array.from({ length: 1_200 }, inventToken))
        const open = closeGate()
        const early: Answer[] = []
        const answers = tokens.map(async token => {
          const answer = await present[kind](token)
          if (readGate) early.push(answer)
          return answer
        })
        await waitFor(() => early.length >= 200)
        t.equal(await verifyToken(service, user.accessToken()), 204, 'a known key does not wait')
        open()
        const all = await Promise.all(answers)
        const having = (status: number) => all.filter(answer => answer.status === status)
        t.equal(having(401).length, 1_000)
        t.equal(having(503).length, 200)
        t.match(having(503)[0], { body: { code: 'overloaded' }, headers: { 'retry-after': '1' } })
      }
    )

    await t.test(`of ${kind} tokens: an unknown id is rejected without another read`, async t => {
      const token = await inventToken()
      const before = reads
      for (let round = 0; round < 50; round++) t.equal((await present[kind](token)).status, 401)
      // Without the memory of unknown ids, each request would read the keys. The service also polls.
      t.ok(reads - before < 25, `${reads - before} reads`)
    })
  }

  await t.test('are known when the notification arrives, even if they were just unknown', async t => {
    // A token that was not verified yet.
    t.equal(await user.refresh(service), 200)
    const token = user.accessToken()
    const kid = kidOf(token)
    await service.sql('create table hidden_keys as select * from keys where kid = $1', [kid])
    await service.sql('delete from keys where kid = $1', [kid])
    await service.app.keyring.reload()
    t.equal(await verifyToken(service, token), 401)
    const word = once(service.app.notifications, 'latchkey_keys')
    await service.sql(
      `with shown as (insert into keys select * from hidden_keys returning kid)
        select pg_notify('latchkey_keys', '') from shown`
    )
    await word
    t.equal(await verifyToken(service, token), 204)
  })

  await t.test('that are too long are rejected without a read', async t => {
    const open = closeGate()
    t.equal((await present.access(await signWith('x'.repeat(1_000)))).status, 401)
    open()
  })
})

t.test('a public key that is changed in the database is not published', async t => {
  const service = await build(t)
  const {
    app: {
      keyring: { getSigningKey }
    }
  } = service
  const { publicKey } = await generateKeyPair('ES256', { extractable: true })
  await service.sql("update keys set public_key = public_key || $1::jsonb where purpose = 'access_token'", [
    JSON.stringify(await exportJWK(publicKey))
  ])
  const after = await build(t, {}, { url: service.url })
  t.strictSame(after.app.keyring.getPublishedKeys(), service.app.keyring.getPublishedKeys())
  t.equal(after.app.keyring.getSigningKey().publicKey, getSigningKey().publicKey)
})

t.test('a rolling change of the key-encryption key fails nothing', async t => {
  const [old, fresh] = [keyEncryptionKey, randomBytes(32)]
  const url = await createDatabase(t)
  const start = async (...keys: Buffer[]) =>
    await build(
      t,
      { ...everySecond, KEY_ENCRYPTION_KEY: keys.map(key => key.toString('base64')).join() },
      { url }
    )
  const live = [await start(old), await start(old)]
  const stopping = new AbortController()
  const running = traffic(() => live, stopping.signal)
  for (const keys of [[old, fresh], [fresh, old], [fresh]]) {
    for (const index of [0, 1]) {
      const [retired] = live.splice(index, 1, await start(...keys))
      // It first responds to the requests that it has.
      await pause(300)
      await retired?.app.close()
      const known = new Set(live.flatMap(jwks))
      await waitFor(() => live.every(service => jwks(service).some(kid => !known.has(kid))))
    }
  }
  stopping.abort()
  const { failures, tokens } = await running
  t.strictSame(failures, [])
  t.ok(tokens.length > 20)
  const purposes = ['access_token', 'refresh_token', 'id_token']
  const all = (await Promise.all(purposes.map(async purpose => await timelines(url, purpose)))).flat()
  t.ok(
    all.length > 10 && all.every(({ sealed_secret: sealed }) => isSealedWith(fresh, sealed)),
    'everything is sealed with the new key'
  )
  for (const service of live) t.equal(await verifyToken(service, tokens[0] ?? ''), 204)
})

t.test('a value that is sealed with an old key-encryption key is sealed again in the background', async t => {
  const fresh = randomBytes(32)
  const service = await build(t, {
    JWKS_MAX_AGE: '1s',
    KEY_ENCRYPTION_KEY: [fresh, keyEncryptionKey].map(key => key.toString('base64')).join()
  })
  const sealedWith = async (key: Buffer) =>
    (await service.sql<{ sealed_secret: Buffer }>('select sealed_secret from keys')).every(
      ({ sealed_secret: sealed }) => isSealedWith(key, sealed)
    )
  t.ok(await sealedWith(fresh))
  await ensureKeys(
    service.app.db,
    { ...service.app.keyring.options, keyEncryptionKeys: [keyEncryptionKey, fresh] },
    'later'
  )
  await waitFor(async () => await sealedWith(fresh))
  t.match(await service.browser().post('/v1/auth/register', newUser()), { status: 201 })
})

t.test('a shorter token lifetime ends no earlier token', async t => {
  const before = await build(t, { ...everySecond, ACCESS_TOKEN_TTL: '1h' })
  const user = await signIn(before)
  const token = user.accessToken()
  await before.app.close()
  const after = await build(t, { ...everySecond, ACCESS_TOKEN_TTL: '1s' }, { url: before.url })
  const known = jwks(after)
  await waitFor(() => !known.includes(after.app.keyring.getSigningKey().kid))
  t.equal(await verifyToken(after, token), 204)
  await createVerifier(after)(token)
  const key = (await timelines(before.url)).find(({ kid }) => kid === kidOf(token))
  t.ok(key?.gone && key.to && key.gone - key.to >= 3_600)

  await t.test('a longer lifetime extends that of the active key', async t => {
    const last = (await timelines(before.url)).at(-1)
    t.equal(last?.longest_life, 1)
    await build(t, { ...everySecond, ACCESS_TOKEN_TTL: '2h' }, { url: before.url })
    t.equal((await timelines(before.url)).find(({ kid }) => kid === last?.kid)?.longest_life, 7_200)
  })
})

t.test('when the database is unavailable for longer than a rotation', async t => {
  const real = await createDatabase(t)
  const { url, block, unblock } = await flakyProxy(t, real)
  const service = await build(t, everySecond, { url })
  const user = await signIn(service)
  const before = user.accessToken()
  const known = (await timelines(real)).map(({ kid }) => kid)
  block()

  await t.test('the last key stays active', async t => {
    const overdue = async () =>
      (
        await sql<{ overdue: boolean }>(
          real,
          "select bool_and(signs_from < now() - interval '3 s') as overdue from keys"
        )
      )[0]?.overdue === true
    await waitFor(overdue)
    t.ok(known.includes(service.app.keyring.getSigningKey().kid))
    t.equal(await user.refresh(service), 503)
    t.equal((await service.browser().get('/.well-known/jwks.json')).status, 200)
  })

  await t.test('the rotation continues without a gap when the database is back', async t => {
    unblock()
    await waitFor(async () => (await user.refresh(service)) === 200)
    t.equal(await verifyToken(service, before), 204)
    await createVerifier(service)(user.accessToken())
    await waitFor(() => !known.includes(service.app.keyring.getSigningKey().kid))
    t.equal(await user.refresh(service), 200)
    for (const token of [before, user.accessToken()]) t.equal(await verifyToken(service, token), 204)
    const keys = await timelines(real)
    for (const [index, { to }] of keys.entries()) t.equal(to, keys[index + 1]?.from ?? null)
    t.ok(keys.every(({ from }, index) => from - (keys[index - 1]?.from ?? 0) >= 0.999))
  })

  await t.test('an instance that starts then rotates, too', async t => {
    await service.app.close()
    await sql(
      real,
      `update keys set published_at = published_at - interval '1 day',
        signs_from = signs_from - interval '1 day', retires_at = retires_at - interval '1 day',
        gone_at = gone_at - interval '1 day'`
    )
    const last = (await timelines(real)).at(-1)?.kid
    const restarted: Service = await build(t, everySecond, { url: real })
    t.equal(restarted.app.keyring.getSigningKey().kid, last, 'at first it signs with the last key')
    const browser: Browser = restarted.browser()
    t.match(await browser.post('/v1/auth/register', newUser()), { status: 201 })
    await waitFor(() => restarted.app.keyring.getSigningKey().kid !== last)
    t.match(await browser.post('/v1/auth/refresh'), { status: 200 })
  })
})

t.test('an instance waits longer than a request for another one that creates a key', async t => {
  const service = await build(t)
  const db = connect({ url: service.url, connections: 1 })
  t.teardown(async () => await db.end())
  const rotated = await db.transaction(async tx => {
    await tx.query('select pg_advisory_xact_lock(7308332182714019)')
    const waiting = rotateKey(service.app.db, service.app.keyring.options, { isImmediate: false }, {})
    const waits = async () =>
      (
        await service.sql(
          `select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'
            and clock_timestamp() - query_start > interval '400 ms'`
        )
      ).length === 1
    while (!(await waits())) await new Promise(resolve => setImmediate(resolve))
    return { waiting }
  })
  t.match(await rotated.waiting, { purpose: 'access_token' })
})
