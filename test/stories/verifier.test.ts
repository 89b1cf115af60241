import * as clients from '../../src/clients/clients.ts'
import { freePort } from '../../src/database/embedded/server.ts'
import { rotateKey } from '../../src/tokens/key-rotation.ts'
import * as consumer from '../support/consumer.ts'
import { waitFor } from '../support/polling.ts'
import { build, newUser } from '../support/app.ts'
import { t } from '../support/test.ts'

t.test('a service with the verifier', async t => {
  const port = await freePort()
  const issuer = `http://localhost:${port}`
  const environment = { ISSUER_URL: issuer, AUDIENCE: 'urn:orders', JWKS_MAX_AGE: '1s' }
  const latchkey = await build(t, environment)
  await latchkey.app.listen({ host: '127.0.0.1', port })
  const credentials = async (...scopes: string[]) => {
    const { client_id: clientId, client_secret: clientSecret } = await clients.create(
      latchkey.app.db,
      { name: 'orders', scopes },
      {}
    )
    return { clientId, clientSecret }
  }
  const orders = await consumer.start(t, { url: issuer }, await credentials('revocations'))
  const isFollowed = () => orders.app.verifier.health().feed?.followed === true
  await waitFor(isFollowed)
  const signIn = async (service = latchkey) => {
    const { body } = await service
      .browser()
      .post('/v1/auth/register', { ...newUser(), refresh_token_delivery: 'body' })
    return {
      body,
      token: String(body.access_token),
      kid: JSON.parse(Buffer.from(String(body.access_token).split('.')[0] ?? '', 'base64url').toString()).kid
    }
  }
  const signOut = async ({ body }: { body: { refresh_token: string } }, service = latchkey) =>
    await service.browser().post('/v1/auth/logout', { refresh_token: body.refresh_token })

  await t.test('accepts users until they sign out', async t => {
    const [one, other] = [await signIn(), await signIn()]
    t.match(await orders.get('/me', one.token), {
      status: 200,
      body: {
        sub: one.body.user.id,
        sid: one.body.session_id,
        roles: ['user'],
        scope: ['account'],
        client_id: 'latchkey',
        amr: ['pwd']
      }
    })
    t.equal(await orders.status(other.token), 200)
    await signOut(one)
    await waitFor(async () => (await orders.status(one.token)) === 401, 3)
    t.equal(await orders.status(other.token), 200)
  })

  await t.test('accepts clients until their tokens are revoked', async t => {
    const { clientId, clientSecret } = await credentials('orders:read', 'orders:write')
    const headers = {
      authorization: `Basic ${Buffer.from(`${clientId}:${clientSecret}`).toString('base64')}`,
      'content-type': 'application/x-www-form-urlencoded'
    }
    const { body } = await latchkey.browser().post('/oauth/token', 'grant_type=client_credentials', headers)
    t.match(await orders.get('/orders', body.access_token), {
      status: 200,
      body: { sub: clientId, client_id: clientId, roles: [], scope: ['orders:read', 'orders:write'] }
    })
    t.match(await latchkey.browser().post('/oauth/revoke', `token=${body.access_token}`, headers), {
      status: 200
    })
    await waitFor(async () => (await orders.get('/orders', body.access_token)).status === 401, 3)
  })

  await t.test('accepts a key that signs at once, and rejects a dropped one', async t => {
    const old = await signIn()
    t.equal(await orders.status(old.token), 200)
    const { options } = latchkey.app.keyring
    const { kid } = await rotateKey(latchkey.app.db, options, { isImmediate: true }, {})
    let fresh = old
    await waitFor(async () => {
      fresh = await signIn()
      t.equal(await orders.status(fresh.token), 200)
      return fresh.kid === kid
    })
    t.equal(await orders.status(old.token), 200)
    await rotateKey(latchkey.app.db, options, { isImmediate: true, drop: old.kid }, {})
    await waitFor(async () => (await orders.status(old.token)) === 401)
    t.equal(await orders.status(fresh.token), 200)
  })

  await t.test('continues while Latchkey is unavailable, and then gets what it missed', async t => {
    const [stays, ends] = [await signIn(), await signIn()]
    t.strictSame([await orders.status(stays.token), await orders.status(ends.token)], [200, 200])
    await latchkey.app.close()
    await waitFor(() => !isFollowed())
    t.strictSame([await orders.status(stays.token), await orders.status(ends.token)], [200, 200])
    const restarted = await build(t, environment, { url: latchkey.url })
    await signOut(ends, restarted)
    await restarted.app.listen({ host: '127.0.0.1', port })
    await waitFor(async () => (await orders.status(ends.token)) === 401)
    t.equal(await orders.status(stays.token), 200)
    await waitFor(isFollowed)
  })
})

t.test('a service that reaches Latchkey only at an internal address', async t => {
  const url = 'https://auth.example.com'
  const latchkey = await build(t, { ISSUER_URL: url, AUDIENCE: 'urn:orders', TOKEN_CLAIMS: 'email' })
  const discoveryUrl = await latchkey.app.listen({ host: '127.0.0.1', port: 0 })
  const { client_id: clientId, client_secret: clientSecret } = await clients.create(
    latchkey.app.db, { name: 'orders', scopes: ['revocations'] }, {}
  )
  const orders = await consumer.start(t, { url }, { discoveryUrl, clientId, clientSecret })
  await waitFor(() => orders.app.verifier.health().feed?.followed === true)
  const client = latchkey.browser()
  const { body } = await client.post('/v1/auth/register', { ...newUser(), refresh_token_delivery: 'body' })
  t.match(await orders.get('/me', body.access_token), {
    status: 200, body: { sub: body.user.id, additional: { email: body.user.email } }
  })
  await client.post('/v1/auth/logout', { refresh_token: body.refresh_token })
  await waitFor(async () => (await orders.status(body.access_token)) === 401, 3)
})
