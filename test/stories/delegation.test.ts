import type { Test } from 'tap'
import * as clients from '../../src/clients/clients.ts'
import { connect } from '../../src/database/database.ts'
import { freePort } from '../../src/database/embedded/server.ts'
import { rotateKey } from '../../src/tokens/key-rotation.ts'
import { revokeUserTokens } from '../../src/tokens/revocations.ts'
import { environment, keyEncryptionKey, newUser } from '../support/app.ts'
import { type FetchedResponse } from '../support/consumer.ts'
import { type TokenPair } from '../support/delegation.ts'
import { kidOf } from '../support/jwt.ts'
import * as nginx from '../support/nginx.ts'
import { waitFor } from '../support/polling.ts'
import { createDatabase, sql } from '../support/postgres.ts'
import * as programs from '../support/process.ts'
import { commandOf } from '../support/program.ts'
import { onlyInSoak } from '../support/soak.ts'
import { temporaryFolder } from '../support/temporary-folder.ts'
import { t } from '../support/test.ts'

interface SignInResponse extends TokenPair { user: { id: string } }
interface Health { feed: { followed: boolean } }

async function send<Body = unknown> (
  method: string,
  url: string,
  token?: string,
  body?: object | URLSearchParams
): Promise<FetchedResponse<Body>> {
  const form = body instanceof URLSearchParams
  const response = await fetch(url, {
    method,
    headers: {
      ...(token !== undefined && { authorization: token.includes(' ') ? token : `Bearer ${token}` }),
      ...(body && !form && { 'content-type': 'application/json' })
    },
    ...(body && { body: form ? body : JSON.stringify(body) })
  })
  const text = await response.text()
  return {
    status: response.status,
    headers: response.headers,
    body: /json/.test(response.headers.get('content-type') ?? '') ? JSON.parse(text) : text
  }
}

t.test(
  'a service that delegates sign-in to two instances, by a gateway and by the verifier',
  { skip: nginx.skip },
  async t => {
    const url = await createDatabase(t)
    const db = connect({ url, connections: 2 })
    t.teardown(async () => {
      await db.end()
    })
    const [portOne, portTwo, ordersPort] = [await freePort(), await freePort(), await freePort()]
    const issuer = `http://127.0.0.1:${portOne}`
    const secrets = {
      DATABASE_URL: url,
      KEY_ENCRYPTION_KEY: environment['KEY_ENCRYPTION_KEY'],
      ISSUER_URL: issuer
    }
    const settings = { ...secrets, ACCESS_TOKEN_TTL: '2m', SIGNING_KEY_ROTATION: '3s', JWKS_MAX_AGE: '1s' }
    const instance = async (port: number) => {
      const running = programs.start(t, temporaryFolder(t), settings, port)
      await programs.ready(running)
      return running
    }
    let [one, two] = await Promise.all([instance(portOne), instance(portTwo)])

    const client = await clients.create(db, { name: 'orders', scopes: ['revocations'] }, {})
    const basic = `Basic ${Buffer.from(`${client.client_id}:${client.client_secret}`).toString('base64')}`
    const startOrders = () =>
      programs.run(t, commandOf('examples/orders-service/server.ts'), {
        cwd: temporaryFolder(t),
        port: ordersPort,
        env: {
          ISSUER_URL: issuer,
          CLIENT_ID: client.client_id,
          CLIENT_SECRET: client.client_secret,
          PORT: String(ordersPort)
        }
      })
    const orders = startOrders()
    await programs.ready(orders, '/health')
    const gateway = await nginx.start(t, { latchkey: [portOne], orders: ordersPort })
    const health = async () => (await send<Health>('GET', `${orders.base}/health`)).body
    t.match(await health(), {
      ready: true,
      keys: { failing: false },
      feed: { followed: true, downSince: null }
    })

    /** Signs in at instance one, and registers first if needed. */
    async function signIn (credentials = newUser()) {
      const { status, body } = await send<SignInResponse>('POST', `${one.base}/v1/auth/login`, undefined, {
        ...credentials,
        refresh_token_delivery: 'body'
      })
      if (status === 200) {
        return {
          credentials,
          token: body.access_token,
          refreshToken: body.refresh_token,
          sub: body.user.id
        }
      }
      await send('POST', `${one.base}/v1/auth/register`, undefined, credentials)
      return await signIn(credentials)
    }
    const paths = { gateway: gateway.base, verifier: orders.base }
    const statuses = async (token: string) =>
      Object.fromEntries(
        await Promise.all(
          Object.entries(paths).map(async ([path, base]) => [
            path,
            (await send('GET', `${base}/orders`, token)).status
          ])
        )
      )
    const [accepted, rejected] = [
      { gateway: 200, verifier: 200 },
      { gateway: 401, verifier: 401 }
    ]

    /** Waits until this path rejects a token, for at most half of the token's life. */
    const waitForRejection = async (path: keyof typeof paths, token: string) =>
      await waitFor(async () => {
        const { status, headers, body } = await send('GET', `${paths[path]}/orders`, token)
        if (status !== 200 && (status !== 401 || !headers.get('www-authenticate')?.startsWith('Bearer'))) {
          throw new Error(`${path}: ${status} ${JSON.stringify(body)}`)
        }
        return status === 401
      }, 60)

    /** Asserts that both paths reject a token soon after its session has ended, and keep rejecting it. */
    async function expectRevocation (
      t: Test, token: string, end: () => Promise<FetchedResponse<unknown>>, why: string
    ) {
      t.strictSame(await statuses(token), accepted)
      const { status } = await end()
      t.ok(status === 204 || status === 200, `ended: ${status}`)
      await Promise.all([waitForRejection('gateway', token), waitForRejection('verifier', token)])
      t.strictSame(await statuses(token), rejected, why)
    }
    const signOutAtTwo = (refreshToken: string) => async () =>
      await send('POST', `${two.base}/v1/auth/logout`, undefined, { refresh_token: refreshToken })

    const ada = await signIn()

    await t.test('orders are placed through the gateway and at the service', async t => {
      for (const [path, base] of Object.entries(paths)) {
        t.match(await send('POST', `${base}/orders`, ada.token, { item: `by the ${path}` }), {
          status: 201,
          body: { owner: ada.sub }
        })
        t.match(await send('POST', `${base}/orders`, ada.token, { thing: 1 }), { status: 400 })
        t.match(await send('POST', `${base}/orders`, undefined, { item: 'x' }), { status: 401 })
        t.match(await send('GET', `${base}/orders/all`, ada.token), { status: 403 })
      }
      const otherUser = await signIn()
      t.strictSame(
        (await send('GET', `${gateway.base}/orders`, otherUser.token)).body,
        [],
        'each user sees their own'
      )
      await sql(url, "update users set roles = '{user,admin}' where id = $1", [otherUser.sub])
      const admin = await signIn(otherUser.credentials)
      for (const base of Object.values(paths)) {
        t.strictSame(
          (await send<Array<{ item: string }>>('GET', `${base}/orders/all`, admin.token)).body
            .map(({ item }) => item),
          ['by the gateway', 'by the verifier']
        )
      }
    })

    await t.test('a client can order, too, until its token is revoked', async t => {
      const { status, body } = await send<TokenPair>(
        'POST',
        `${one.base}/oauth/token`,
        basic,
        new URLSearchParams({ grant_type: 'client_credentials' })
      )
      t.equal(status, 200)
      const revoke = async () =>
        await send(
          'POST',
          `${two.base}/oauth/revoke`,
          basic,
          new URLSearchParams({ token: body.access_token })
        )
      await expectRevocation(t, body.access_token, revoke, 'revoked at the other instance')
    })

    await t.test('key rotation has no visible effect', onlyInSoak, async t => {
      let { refreshToken, token } = await signIn()
      const tokens = new Map([[kidOf(token), token]])
      const options = {
        keyEncryptionKeys: [keyEncryptionKey] as [Buffer],
        sealedColumns: [],
        algorithm: 'ES256' as const,
        jwksMaxAgeSeconds: 1,
        rotationSeconds: 3,
        tokenLifetimes: { access_token: 120, refresh_token: 604_800, id_token: 120 },
        hasPepper: false
      }
      const seen = new Set<string>()
      let requests = 0
      await waitFor(async () => {
        const { status, body } = await send<TokenPair>(
          'POST',
          `${requests % 2 === 0 ? one.base : two.base}/v1/auth/refresh`,
          undefined,
          { refresh_token: refreshToken }
        )
        if (status !== 200) throw new Error(`refresh: ${status} ${JSON.stringify(body)}`)
        ;({ refresh_token: refreshToken, access_token: token } = body)
        tokens.set(kidOf(token), token)
        requests++
        for (const [path, base] of Object.entries(paths)) {
          seen.add(
            `${path} ${(await send('POST', `${base}/orders`, token, { item: String(requests) })).status}`
          )
        }
        return tokens.size >= 4
      })
      // This key signs at once, before any cache has it.
      await rotateKey(db, options, { isImmediate: true }, {})
      const { token: unannounced } = await signIn()
      t.notOk(tokens.has(kidOf(unannounced)))
      tokens.set(kidOf(unannounced), unannounced)
      t.strictSame(
        [...seen].sort(),
        ['gateway 201', 'verifier 201'],
        `${requests} orders each way, with ${tokens.size} keys`
      )
      for (const each of tokens.values()) t.strictSame(await statuses(each), accepted)
    })

    await t.test('a sign-out at one instance takes effect everywhere', async t => {
      for (let n = 0; n < 5; n++) {
        const { token, refreshToken } = await signIn()
        await expectRevocation(t, token, signOutAtTwo(refreshToken), `round ${n}`)
      }
      t.strictSame(await statuses(ada.token), accepted, 'no other user is affected')
    })

    await t.test(
      'the removal of a role takes effect everywhere, and the user stays signed in',
      async t => {
        for (let n = 0; n < 5; n++) {
          const { sub, credentials } = await signIn()
          await sql(url, "update users set roles = '{user,admin}' where id = $1", [sub])
          const { token, refreshToken } = await signIn(credentials)
          const all = async (token: string) =>
            await Promise.all(
              Object.values(paths).map(async base => (await send('GET', `${base}/orders/all`, token)).status)
            )
          t.strictSame(await all(token), [200, 200])
          await expectRevocation(
            t,
            token,
            async () => {
              await db.transaction(async tx => {
                await tx.query("update users set roles = '{user}' where id = $1", [sub])
                await revokeUserTokens(tx, sub, { reason: 'roles_changed', accessTokenSeconds: 120 })
              })
              return { status: 204, headers: new Headers(), body: '' }
            },
            `round ${n}`
          )
          const { status, body } = await send<TokenPair>('POST', `${two.base}/v1/auth/refresh`, undefined, {
            refresh_token: refreshToken
          })
          t.equal(status, 200)
          t.strictSame(
            [await statuses(body.access_token), await all(body.access_token)],
            [accepted, [403, 403]],
            'the next token is valid at once'
          )
        }
      }
    )

    await t.test(
      'also if the instances have just lost their listening connections',
      async t => {
        for (let n = 0; n < 3; n++) {
          const { token, refreshToken } = await signIn()
          const listening = `from pg_stat_activity
            where application_name = 'latchkey listen' and datname = current_database()`
          await waitFor(async () => (await sql(url, `select ${listening}`)).length === 2)
          await sql(url, `select pg_terminate_backend(pid) ${listening}`)
          await expectRevocation(t, token, signOutAtTwo(refreshToken), `round ${n}`)
        }
      }
    )

    await t.test('without Latchkey the service continues with what it knows, and reports it', async t => {
      const bob = await signIn()
      t.strictSame(await statuses(bob.token), accepted)
      for (const each of [one, two]) each.child.kill('SIGTERM')
      t.match(await one.ended, { code: 0 })
      t.match(await two.ended, { code: 0 })
      await waitFor(async () => (await health()).feed.followed === false)
      const before = await health()
      t.match(before, { ready: true, feed: { followed: false, downSince: /^\d{4}-/ } })
      t.strictSame(
        await statuses(bob.token),
        { gateway: 503, verifier: 200 },
        'a gateway that cannot ask rejects every request'
      )
      t.equal(
        (await send('POST', `${orders.base}/orders`, bob.token, { item: 'during the outage' })).status,
        201
      )
      t.equal(
        (await send('GET', `${orders.base}/orders`, `${bob.token.slice(0, -4)}AAAA`)).status,
        401,
        'it still rejects invalid tokens'
      )

      await t.test('after the outage it gets the missed revocations', async t => {
        two = await instance(portTwo)
        t.equal((await signOutAtTwo(bob.refreshToken)()).status, 204)
        t.equal(
          (await send('GET', `${orders.base}/orders`, bob.token)).status,
          200,
          'before the feed is back'
        )
        one = await instance(portOne)
        await waitFor(async () => (await health()).feed.followed)
        t.strictSame(await statuses(bob.token), rejected, 'the feed is followed again')
        t.match(await health(), { ready: true, feed: { followed: true, downSince: null } })
        t.strictSame(await statuses(ada.token), accepted, 'no other user was signed out')
        const { token, refreshToken } = await signIn()
        // The instances may have a new key, which the service has to fetch.
        await waitFor(async () => (await statuses(token)).verifier === 200)
        await expectRevocation(t, token, signOutAtTwo(refreshToken), 'as before')
      })
    })

    await t.test('every program stops on SIGTERM', async t => {
      for (const each of [orders, one, two]) {
        each.child.kill('SIGTERM')
        t.match(await each.ended, { code: 0 })
      }
      const lines = orders
        .output()
        .trim()
        .split('\n')
        .map(line => JSON.parse(line))
      t.notMatch(orders.output(), client.client_secret)
      t.ok(lines.some(({ msg }) => msg === 'revocation feed followed again'))
    })
  }
)
