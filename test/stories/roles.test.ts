import { createPrivateKey } from 'node:crypto'
import * as clients from '../../src/clients/clients.ts'
import { purge, revokeUserTokens } from '../../src/tokens/revocations.ts'
import type { Answer } from '../support/client.ts'
import { build, newUser, type Service } from '../support/app.ts'
import { claimsOf, compact, signers } from '../support/jwt.ts'
import { waitFor } from '../support/polling.ts'
import { repeatUnavailable } from '../support/repetition.ts'
import { scale } from '../support/soak.ts'
import { t } from '../support/test.ts'

const signIn = async (service: Service, path = 'login', user = newUser()) => {
  const { body } = await service
    .browser()
    .post(`/v1/auth/${path}`, { ...user, refresh_token_delivery: 'body' })
  return {
    user,
    id: body.user.id as string,
    sid: body.session_id as string,
    token: body.access_token as string,
    refreshToken: body.refresh_token as string
  }
}
const register = async (service: Service) => await signIn(service, 'register')
const grant = async (service: Service, id: string, roles: string[]) => {
  await service.sql('update users set roles = $2 where id = $1', [id, roles])
}
const refresh = async (service: Service, token: string): Promise<Answer> =>
  await service.browser().post('/v1/auth/refresh', { refresh_token: token })
const verificationStatus = async (service: Service, token: string, query = '') =>
  (await service.browser().get(`/v1/auth/verify${query}`, { authorization: `Bearer ${token}` })).status
/** Reduces the roles of a user to these, and revokes the user's tokens, in one transaction. */
async function reduceRoles ({ app }: Service, id: string, roles: string[]) {
  await app.db.transaction(async tx => {
    await tx.query('update users set roles = $2, updated_at = now() where id = $1', [id, roles])
    await revokeUserTokens(tx, id, { reason: 'roles_changed', accessTokenSeconds: 900 })
  })
}
/** Creates a client. Returns a function that introspects a token at a service. */
async function introspector (service: Service) {
  const { client_id: id, client_secret: secret } = await clients.create(
    service.app.db,
    { name: 'orders', scopes: ['introspect'] },
    {}
  )
  const authorization = `Basic ${Buffer.from(`${id}:${secret}`).toString('base64')}`
  return async (service: Service, token: string) =>
    (
      await service
        .browser()
        .send('POST', '/oauth/introspect', `token=${token}`, {
          authorization,
          'content-type': 'application/x-www-form-urlencoded'
        })
    ).body
}

t.test('the roles of the configuration', async t => {
  const service = await build(t, {
    ROLES: 'support=tickets:read, роль, editor=articles:read+articles:write+tickets:read, admin=everything'
  })
  const ada = await register(service)
  const introspect = await introspector(service)

  await t.test('give each token their scopes, once and in one order', async t => {
    t.match(claimsOf(ada.token), { roles: ['user'], scope: 'account' })
    for (const [held, roles, scope] of [
      [
        ['editor', 'user', 'support'],
        ['user', 'support', 'editor'],
        'account tickets:read articles:read articles:write'
      ],
      [['support', 'editor'], ['support', 'editor'], 'account tickets:read articles:read articles:write'],
      [['user', 'admin', 'роль'], ['user', 'admin', 'роль'], 'account everything'],
      [[], [], 'account']
    ] as const) {
      await grant(service, ada.id, [...held])
      const { body } = await refresh(service, ada.refreshToken)
      const {
        user: { email, password }
      } = ada
      const { body: signedIn } = await service.browser().post('/v1/auth/login', { email, password })
      for (const token of [body.access_token, signedIn.access_token]) {
        const claims = claimsOf(token)
        t.strictSame(
          [claims.roles, claims.scope, claims.client_id],
          [roles, scope, 'latchkey'],
          held.join(',')
        )
      }
      for (const token of [body.access_token, body.refresh_token]) {
        t.match(await introspect(service, token), { active: true, scope })
      }
    }
  })

  await t.test('do not include an unknown role, which is in no token but stays with the user', async t => {
    await grant(service, ada.id, ['user', 'root', 'constructor', '__proto__', 'Support', 'support'])
    const { body } = await refresh(service, ada.refreshToken)
    t.strictSame(claimsOf(body.access_token).roles, ['user', 'support'])
    t.strictSame(body.user.roles, ['user', 'root', 'constructor', '__proto__', 'Support', 'support'])
    t.equal(await verificationStatus(service, body.access_token, '?roles=root'), 403)
    const withRoot = await build(t, { ROLES: 'root=all' }, { url: service.url })
    const { body: withRootBody } = await refresh(withRoot, body.refresh_token)
    t.match(claimsOf(withRootBody.access_token), { roles: ['user', 'root'], scope: 'account all' })
    ada.refreshToken = withRootBody.refresh_token
  })

  await t.test('if none are configured, tokens have the imported roles, up to a maximum length', async t => {
    const withoutRoles = await build(t, {}, { url: service.url })
    const longRoles = Array.from({ length: 100 }, (_, i) => `${i} ${'x'.repeat(190)}`)
    for (const roles of [['user', 'root', '__proto__'], [...longRoles, 'admin']]) {
      await grant(service, ada.id, roles)
      const { body } = await refresh(withoutRoles, ada.refreshToken)
      ada.refreshToken = body.refresh_token
      const { roles: tokenRoles } = claimsOf(body.access_token)
      t.strictSame(
        tokenRoles,
        roles.length < 10 ? roles : [...longRoles.slice(0, tokenRoles.length - 1), 'admin']
      )
      t.equal(await verificationStatus(withoutRoles, body.access_token), 204)
    }
  })

  await t.test('a route requires any of its roles and all of its scopes', async t => {
    await grant(service, ada.id, ['user', 'editor'])
    const { body: { access_token: token } } = await refresh(service, ada.refreshToken)
    for (const [query, status] of [
      ['?roles=editor', 204],
      ['?roles=admin,editor', 204],
      ['?roles=admin', 403],
      ['?scope=articles:write%20account', 204],
      ['?scope=articles:write%20everything', 403],
      ['?roles=editor&scope=everything', 403],
      ['?roles=admin&scope=account', 403],
      ['?roles=edit', 403],
      ['?scope=articles', 403]
    ] as const) {
      t.equal(await verificationStatus(service, token, query), status, query)
    }
    t.match(await service.browser().get('/v1/admin/keys', { authorization: `Bearer ${token}` }), {
      status: 403,
      body: { code: 'forbidden' },
      headers: { 'www-authenticate': /insufficient_scope/ }
    })

    const { kid, privateKey } = service.app.keyring.getSigningKey()
    const forge = (changes: object) =>
      compact(
        { alg: 'ES256', typ: 'at+jwt', kid },
        { ...claimsOf(token), ...changes },
        signers['ES256']?.(createPrivateKey(privateKey)) ?? String
      )
    const me = async (changes: object) =>
      (await service.browser().get('/v1/me', { authorization: `Bearer ${forge(changes)}` })).status
    t.strictSame(
      [
        await me({}),
        await me({ scope: 'articles:read' }),
        await me({ scope: 'accounts' }),
        await me({ scope: '' })
      ],
      [200, 403, 403, 403],
      'the own account requires its scope'
    )
    t.match(
      await service
        .browser()
        .get('/v1/admin/keys', { authorization: `Bearer ${forge({ roles: ['admin'] })}` }),
      { status: 403 },
      'the database decides who is an administrator'
    )
  })
})

t.test('a removed role has no effect any more', async t => {
  const settings = { ROLES: 'support=tickets:read' }
  const one = await build(t, settings)
  const two = await build(t, settings, { url: one.url })
  const introspect = await introspector(one)
  const ada = await register(one)
  const grantSupport = async (user = ada) => {
    await grant(one, user.id, ['user', 'support'])
    const { body } = await refresh(one, user.refreshToken)
    Object.assign(user, { refreshToken: body.refresh_token, token: body.access_token })
    return body.access_token as string
  }
  const oldTokens: string[] = []
  const instances = [one, two]

  await t.test('in any existing token, on any instance, and the sessions continue', async t => {
    const before = [ada.token, await grantSupport(), (await signIn(one, 'login', ada.user)).token]
    const bob = await register(one)
    for (const token of before) {
      for (const service of instances) t.equal(await verificationStatus(service, token), 204)
    }
    await reduceRoles(one, ada.id, ['user'])
    for (const token of before) {
      t.equal(await verificationStatus(one, token), 401, 'this instance rejects them at once')
    }
    for (const token of before) {
      t.strictSame(await introspect(two, token), { active: false }, 'introspection asks the database')
    }
    for (const token of before) await waitFor(async () => await verificationStatus(two, token) === 401)
    t.equal(await verificationStatus(two, bob.token), 204, 'other users are not affected')
    t.match(
      await one.sql('select count(*)::int as n from sessions where user_id = $1 and ended_at is null', [
        ada.id
      ]),
      [{ n: 2 }]
    )
    t.match(
      await one.sql(
        "select count(*)::int as n from audit_events where user_id = $1 and type = 'session.ended'",
        [ada.id]
      ),
      [{ n: 0 }]
    )

    const { status, body } = await refresh(two, ada.refreshToken)
    t.equal(status, 200)
    t.match(claimsOf(body.access_token), {
      roles: ['user'],
      scope: 'account',
      sid: ada.sid,
      token_version: 1
    })
    for (const service of instances) {
      t.equal(await verificationStatus(service, body.access_token), 204, 'also in the same second')
    }
    t.match(await introspect(two, body.access_token), { active: true, token_version: 1 })
    const newSession = await signIn(two, 'login', ada.user)
    for (const service of instances) t.equal(await verificationStatus(service, newSession.token), 204)
    Object.assign(ada, { token: body.access_token, refreshToken: body.refresh_token })
    oldTokens.push(...before)
  })

  await t.test('if several are removed one after the other', async t => {
    const firstToken = await grantSupport()
    await reduceRoles(one, ada.id, ['user'])
    const secondToken = await grantSupport()
    await reduceRoles(two, ada.id, ['user'])
    await reduceRoles(one, ada.id, [])
    oldTokens.push(firstToken, secondToken)
    for (const service of instances) {
      for (const token of oldTokens) {
        await waitFor(async () => (await verificationStatus(service, token)) === 401, 20)
      }
    }
    const { body } = await refresh(one, ada.refreshToken)
    t.match(claimsOf(body.access_token), { roles: [], token_version: 4 })
    for (const service of instances) t.equal(await verificationStatus(service, body.access_token), 204)
    Object.assign(ada, { token: body.access_token, refreshToken: body.refresh_token })
  })

  await t.test('on an instance that starts later', async t => {
    const three = await build(t, settings, { url: one.url })
    for (const token of oldTokens) t.equal(await verificationStatus(three, token), 401)
    t.equal(await verificationStatus(three, ada.token), 204)
    t.equal((await refresh(three, ada.refreshToken)).status, 200)
  })

  await t.test('and ending the session works as usual', async t => {
    const cy = await register(one)
    const before = await grantSupport(cy)
    await reduceRoles(one, cy.id, ['user'])
    const { body } = await refresh(one, cy.refreshToken)
    t.match(await one.browser().post('/v1/auth/logout', { refresh_token: body.refresh_token }), {
      status: 204
    })
    for (const token of [before, body.access_token]) {
      t.equal(await verificationStatus(one, token), 401)
      await waitFor(async () => await verificationStatus(two, token) === 401, 20)
    }
    const newSession = await signIn(one, 'login', cy.user)
    for (const service of instances) t.equal(await verificationStatus(service, newSession.token), 204)
  })

  await t.test('until the old tokens have expired, and then the revocation is purged', async t => {
    const readRevocations = async () =>
      await one.sql<{ seconds: number }>(
        `select extract(epoch from expires_at - now())::int as seconds from revocations
        where kind = 'user' and subject = $1`,
        [ada.id]
      )
    const revocations = await readRevocations()
    t.equal(revocations.length, 4)
    t.ok(
      revocations.every(({ seconds }) => seconds > 900 && seconds < 1_000),
      'the lifetime of an access token, and a minute'
    )
    await one.sql(
      "update refresh_tokens set access_expires_at = now() + interval '2 hours' where session_id = $1",
      [ada.sid]
    )
    await reduceRoles(one, ada.id, [])
    t.ok(
      (await readRevocations()).some(({ seconds }) => seconds > 7_200),
      'the lifetime of the longest-lived token'
    )
    t.equal(await purge(one.app.db, 100), 0)
    await one.sql("update revocations set expires_at = now() - interval '61 minutes' where kind = 'user'")
    t.ok(await purge(one.app.db, 100) >= 5)
    t.strictSame(await readRevocations(), [])
    for (const service of instances) {
      for (const token of oldTokens) {
        t.equal(await verificationStatus(service, token), 401, 'rejected while the revocation is in memory')
      }
    }
  })

  await t.test('and revoking the tokens of an unknown user does nothing', async t => {
    await one.app.db.transaction(
      async tx =>
        await revokeUserTokens(tx, '00000000-0000-7000-8000-000000000000', {
          reason: 'roles_changed',
          accessTokenSeconds: 900
        })
    )
    t.strictSame(
      await one.sql('select from revocations where subject = $1', ['00000000-0000-7000-8000-000000000000']),
      []
    )
  })
})

t.test('no token with a removed role is accepted, even if refreshes and sign-ins race it', async t => {
  const service = await build(t, { ROLES: 'support=tickets:read', MAX_SESSIONS_PER_USER: '1000' })
  const other = await build(
    t,
    { ROLES: 'support=tickets:read', MAX_SESSIONS_PER_USER: '1000' },
    { url: service.url }
  )
  const ada = await register(service)
  const counts = { before: 0, after: 0 }
  const staleTokens: string[] = []
  for (let round = 0; round < scale(100, 20); round++) {
    await grant(service, ada.id, ['user', 'support'])
    const { body } = await refresh(service, ada.refreshToken)
    const instances = [service, other]
    const racingRequests = [
      ...Array.from(
        { length: 4 },
        async (_, i) =>
          (await repeatUnavailable(() => refresh(instances[i % 2] ?? service, body.refresh_token))).body
      ),
      (async () => (await repeatUnavailable(() => service.browser().post('/v1/auth/login', ada.user))).body)()
    ]
    const removal = reduceRoles(service, ada.id, ['user'])
    const laterRequests = Array.from(
      { length: 2 },
      async (_, i) =>
        (await repeatUnavailable(() => refresh(instances[i % 2] ?? service, body.refresh_token))).body
    )
    const issued = await Promise.all([...racingRequests, ...laterRequests])
    await removal
    const next = await refresh(service, body.refresh_token)
    const sameSecondCount = issued.filter(
      ({ access_token: token }) => claimsOf(token).iat === claimsOf(next.body.access_token).iat
    ).length
    if (sameSecondCount === 0) t.comment('no token of the same second')
    for (const { access_token: token } of [...issued, next.body]) {
      const { roles, scope, token_version: version } = claimsOf(token)
      const hasRole = roles.includes('support')
      if (hasRole !== scope.includes('tickets') || hasRole !== (version === undefined || version <= round)) {
        t.fail(`roles ${roles}, scope ${scope} and version ${version} do not match in round ${round}`)
      }
      const status = await verificationStatus(service, token)
      if (status !== (hasRole ? 401 : 204)) {
        t.fail(`a token with the roles ${roles} gets ${status} in round ${round}`)
      }
      if (hasRole) staleTokens.push(token)
      counts[hasRole ? 'before' : 'after']++
    }
    Object.assign(ada, { refreshToken: next.body.refresh_token })
    if (claimsOf(next.body.access_token).roles.includes('support')) {
      t.fail('a refresh after the removal gives the role')
    }
  }
  t.ok(
    counts.before > scale(100, 20) && counts.after > scale(100, 20),
    `${counts.before} tokens were issued before, ${counts.after} after`
  )
  for (const token of staleTokens) {
    await waitFor(async () => (await verificationStatus(other, token)) === 401, 20)
  }
  t.pass('the other instance rejects all stale tokens')
})
