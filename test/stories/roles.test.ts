import { createPrivateKey } from 'node:crypto'
import t from 'tap'
import * as clients from '../../src/clients/service-clients.ts'
import { purge, revokeUserTokens } from '../../src/tokens/revocations.ts'
import type { Answer } from '../support/client.ts'
import { build, newUser, type Service } from '../support/app.ts'
import { compact, signers } from '../support/issuer.ts'
import { waitFor } from '../support/polling.ts'
import { repeatUnavailable } from '../support/repetition.ts'
import { scale } from '../support/soak.ts'

const claimsOf = (token: string) => JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString())
const signIn = async (service: Service, path = 'login', somebody = newUser()) => {
  const { body } = await service.browser().post(`/v1/auth/${path}`, { ...somebody, refresh_token_delivery: 'body' })
  return { somebody, id: body.user.id as string, sid: body.session_id as string, token: body.access_token as string, refreshToken: body.refresh_token as string }
}
const register = async (service: Service) => await signIn(service, 'register')
const grant = async (service: Service, id: string, roles: string[]) => { await service.sql('update users set roles = $2 where id = $1', [id, roles]) }
const refresh = async (service: Service, token: string): Promise<Answer> => await service.browser().post('/v1/auth/refresh', { refresh_token: token })
const says = async (service: Service, token: string, query = '') => (await service.browser().get(`/v1/auth/verify${query}`, { authorization: `Bearer ${token}` })).status
/** Takes all roles but these from a user, as one transaction, and lets this instance know. */
async function leave ({ app }: Service, id: string, roles: string[]) {
  await app.db.transaction(async tx => {
    await tx.query('update users set roles = $2, updated_at = now() where id = $1', [id, roles])
    await revokeUserTokens(tx, id, { reason: 'roles_changed', accessTokenSeconds: 900 })
  })
}
/** What introspection says at a service. */
async function introspector (service: Service) {
  const { client_id: id, client_secret: secret } = await clients.create(service.app.db, { name: 'orders', scopes: ['introspect'] }, {})
  const authorization = `Basic ${Buffer.from(`${id}:${secret}`).toString('base64')}`
  return async (at: Service, token: string) =>
    (await at.browser().send('POST', '/oauth/introspect', `token=${token}`, { authorization, 'content-type': 'application/x-www-form-urlencoded' })).body
}

t.test('roles are those of the configuration', async t => {
  const service = await build(t, { ROLES: 'support=tickets:read, роль, editor=articles:read+articles:write+tickets:read, admin=everything' })
  const ada = await register(service)
  const introspect = await introspector(service)

  await t.test('and each token has the scopes that its user\'s give, once and in one order', async t => {
    t.match(claimsOf(ada.token), { roles: ['user'], scope: 'account' })
    for (const [held, roles, scope] of [
      [['editor', 'user', 'support'], ['user', 'support', 'editor'], 'account tickets:read articles:read articles:write'],
      [['support', 'editor'], ['support', 'editor'], 'account tickets:read articles:read articles:write'],
      [['user', 'admin', 'роль'], ['user', 'admin', 'роль'], 'account everything'],
      [[], [], 'account']
    ] as const) {
      await grant(service, ada.id, [...held])
      const { body } = await refresh(service, ada.refreshToken)
      const { somebody: { email, password } } = ada
      const { body: signedIn } = await service.browser().post('/v1/auth/login', { email, password })
      for (const token of [body.access_token, signedIn.access_token]) {
        const claims = claimsOf(token)
        t.strictSame([claims.roles, claims.scope, claims.client_id], [roles, scope, 'latchkey'], held.join(','))
      }
      for (const token of [body.access_token, body.refresh_token]) t.match(await introspect(service, token), { active: true, scope })
    }
  })

  await t.test('and a name that is not among them is in no token, and stays with the user', async t => {
    await grant(service, ada.id, ['user', 'root', 'constructor', '__proto__', 'Support', 'support'])
    const { body } = await refresh(service, ada.refreshToken)
    t.strictSame(claimsOf(body.access_token).roles, ['user', 'support'])
    t.strictSame(body.user.roles, ['user', 'root', 'constructor', '__proto__', 'Support', 'support'])
    t.equal(await says(service, body.access_token, '?roles=root'), 403)
    const other = await build(t, { ROLES: 'root=all' }, { url: service.url })
    const { body: there } = await refresh(other, body.refresh_token)
    t.match(claimsOf(there.access_token), { roles: ['user', 'root'], scope: 'account all' })
    ada.refreshToken = there.refresh_token
  })

  await t.test('and where none is named, whatever an import gave is in the token, as long as that is not too long', async t => {
    const open = await build(t, {}, { url: service.url })
    const long = Array.from({ length: 100 }, (_, i) => `${i} ${'x'.repeat(190)}`)
    for (const roles of [['user', 'root', '__proto__'], [...long, 'admin']]) {
      await grant(service, ada.id, roles)
      const { body } = await refresh(open, ada.refreshToken)
      ada.refreshToken = body.refresh_token
      const { roles: told } = claimsOf(body.access_token)
      t.strictSame(told, roles.length < 10 ? roles : [...long.slice(0, told.length - 1), 'admin'])
      t.equal(await says(open, body.access_token), 204)
    }
  })

  await t.test('and a route demands any of the roles, and all of the scopes', async t => {
    await grant(service, ada.id, ['user', 'editor'])
    const { body: { access_token: token } } = await refresh(service, ada.refreshToken)
    for (const [query, status] of [['?roles=editor', 204], ['?roles=admin,editor', 204], ['?roles=admin', 403], ['?scope=articles:write%20account', 204], ['?scope=articles:write%20everything', 403], ['?roles=editor&scope=everything', 403], ['?roles=admin&scope=account', 403], ['?roles=edit', 403], ['?scope=articles', 403]] as const) t.equal(await says(service, token, query), status, query)
    t.match(await service.browser().get('/v1/admin/keys', { authorization: `Bearer ${token}` }), { status: 403, body: { code: 'forbidden' }, headers: { 'www-authenticate': /insufficient_scope/ } })

    const { kid, privateKey } = service.app.keyring.getSigningKey()
    const forge = (changes: object) => compact({ alg: 'ES256', typ: 'at+jwt', kid }, { ...claimsOf(token), ...changes }, signers['ES256']?.(createPrivateKey(privateKey)) ?? String)
    const me = async (changes: object) => (await service.browser().get('/v1/me', { authorization: `Bearer ${forge(changes)}` })).status
    t.strictSame([await me({}), await me({ scope: 'articles:read' }), await me({ scope: 'accounts' }), await me({ scope: '' })], [200, 403, 403, 403], 'the own account needs its scope')
    t.match(await service.browser().get('/v1/admin/keys', { authorization: `Bearer ${forge({ roles: ['admin'] })}` }), { status: 403 }, 'and an administrator is one by the database')
  })
})

t.test('a role that is taken is gone at once', async t => {
  const settings = { ROLES: 'support=tickets:read' }
  const one = await build(t, settings)
  const two = await build(t, settings, { url: one.url })
  const introspect = await introspector(one)
  const ada = await register(one)
  const granted = async (who = ada) => {
    await grant(one, who.id, ['user', 'support'])
    const { body } = await refresh(one, who.refreshToken)
    Object.assign(who, { refreshToken: body.refresh_token, token: body.access_token })
    return body.access_token as string
  }
  const old: string[] = []
  const all = [one, two]

  await t.test('from every token that there is, on every instance, while the sessions live on', async t => {
    const before = [ada.token, await granted(), (await signIn(one, 'login', ada.somebody)).token]
    const bob = await register(one)
    for (const token of before) for (const service of all) t.equal(await says(service, token), 204)
    await leave(one, ada.id, ['user'])
    const begun = performance.now()
    for (const token of before) t.equal(await says(one, token), 401, 'here at once')
    for (const token of before) t.strictSame(await introspect(two, token), { active: false }, 'and wherever the database is asked')
    for (const token of before) await waitFor(async () => await says(two, token) === 401, 20)
    t.ok(performance.now() - begun < 1_000, `elsewhere after ${Math.round(performance.now() - begun)} ms`)
    t.equal(await says(two, bob.token), 204, 'nobody else is touched')
    t.match(await one.sql('select count(*)::int as n from sessions where user_id = $1 and ended_at is null', [ada.id]), [{ n: 2 }])
    t.match(await one.sql("select count(*)::int as n from audit_events where user_id = $1 and type = 'session.ended'", [ada.id]), [{ n: 0 }])

    const { status, body } = await refresh(two, ada.refreshToken)
    t.equal(status, 200)
    t.match(claimsOf(body.access_token), { roles: ['user'], scope: 'account', sid: ada.sid, token_version: 1 })
    for (const service of all) t.equal(await says(service, body.access_token), 204, 'in the very same second')
    t.match(await introspect(two, body.access_token), { active: true, token_version: 1 })
    const again = await signIn(two, 'login', ada.somebody)
    for (const service of all) t.equal(await says(service, again.token), 204)
    Object.assign(ada, { token: body.access_token, refreshToken: body.refresh_token })
    old.push(...before)
  })

  await t.test('also when one is taken after the other', async t => {
    const first = await granted()
    await leave(one, ada.id, ['user'])
    const second = await granted()
    await leave(two, ada.id, ['user'])
    await leave(one, ada.id, [])
    old.push(first, second)
    for (const service of all) for (const token of old) await waitFor(async () => await says(service, token) === 401, 20)
    const { body } = await refresh(one, ada.refreshToken)
    t.match(claimsOf(body.access_token), { roles: [], token_version: 4 })
    for (const service of all) t.equal(await says(service, body.access_token), 204)
    Object.assign(ada, { token: body.access_token, refreshToken: body.refresh_token })
  })

  await t.test('for an instance that starts later, too', async t => {
    const three = await build(t, settings, { url: one.url })
    for (const token of old) t.equal(await says(three, token), 401)
    t.equal(await says(three, ada.token), 204)
    t.equal((await refresh(three, ada.refreshToken)).status, 200)
  })

  await t.test('and the end of the session is one for all that', async t => {
    const cy = await register(one)
    const before = await granted(cy)
    await leave(one, cy.id, ['user'])
    const { body } = await refresh(one, cy.refreshToken)
    t.match(await one.browser().post('/v1/auth/logout', { refresh_token: body.refresh_token }), { status: 204 })
    for (const token of [before, body.access_token]) {
      t.equal(await says(one, token), 401)
      await waitFor(async () => await says(two, token) === 401, 20)
    }
    const again = await signIn(one, 'login', cy.somebody)
    for (const service of all) t.equal(await says(service, again.token), 204)
  })

  await t.test('for as long as an old token could live, and then it is forgotten', async t => {
    const rows = async () => await one.sql<{ lives: number }>("select extract(epoch from expires_at - now())::int as lives from revocations where kind = 'user' and subject = $1", [ada.id])
    const kept = await rows()
    t.equal(kept.length, 4)
    t.ok(kept.every(({ lives }) => lives > 900 && lives < 1_000), 'the life of an access token, and a minute')
    await one.sql("update refresh_tokens set access_expires_at = now() + interval '2 hours' where session_id = $1", [ada.sid])
    await leave(one, ada.id, [])
    t.ok((await rows()).some(({ lives }) => lives > 7_200), 'or of one that was issued for longer')
    t.equal(await purge(one.app.db, 100), 0)
    await one.sql("update revocations set expires_at = now() - interval '61 minutes' where kind = 'user'")
    t.ok(await purge(one.app.db, 100) >= 5)
    t.strictSame(await rows(), [])
    for (const service of all) for (const token of old) t.equal(await says(service, token), 401, 'not while it is in memory')
  })

  await t.test('of nobody is nothing', async t => {
    await one.app.db.transaction(async tx => await revokeUserTokens(tx, '00000000-0000-7000-8000-000000000000', { reason: 'roles_changed', accessTokenSeconds: 900 }))
    t.strictSame(await one.sql('select from revocations where subject = $1', ['00000000-0000-7000-8000-000000000000']), [])
  })
})

t.test('no token with a role that was taken is ever good, whatever races the removal', async t => {
  const service = await build(t, { ROLES: 'support=tickets:read', MAX_SESSIONS_PER_USER: '1000' })
  const other = await build(t, { ROLES: 'support=tickets:read', MAX_SESSIONS_PER_USER: '1000' }, { url: service.url })
  const ada = await register(service)
  const counts = { before: 0, after: 0 }
  const dead: string[] = []
  for (let round = 0; round < scale(100, 20); round++) {
    await grant(service, ada.id, ['user', 'support'])
    const { body } = await refresh(service, ada.refreshToken)
    const at = [service, other]
    const racing = [
      ...Array.from({ length: 4 }, async (_, i) => (await repeatUnavailable(() => refresh(at[i % 2] ?? service, body.refresh_token))).body),
      (async () => (await repeatUnavailable(() => service.browser().post('/v1/auth/login', ada.somebody))).body)()
    ]
    const removal = leave(service, ada.id, ['user'])
    const late = Array.from({ length: 2 }, async (_, i) => (await repeatUnavailable(() => refresh(at[i % 2] ?? service, body.refresh_token))).body)
    const raced = await Promise.all([...racing, ...late])
    await removal
    const next = await refresh(service, body.refresh_token)
    const seconds = raced.filter(({ access_token: token }) => claimsOf(token).iat === claimsOf(next.body.access_token).iat).length
    if (seconds === 0) t.comment('no token of the same second')
    for (const { access_token: token } of [...raced, next.body]) {
      const { roles, scope, token_version: version } = claimsOf(token)
      const had = roles.includes('support')
      if (had !== scope.includes('tickets') || had !== (version === undefined || version <= round)) t.fail(`roles ${roles}, scope ${scope} and version ${version} are of different moments, in round ${round}`)
      const status = await says(service, token)
      if (status !== (had ? 401 : 204)) t.fail(`a token with the roles ${roles} is answered ${status} in round ${round}`)
      if (had) dead.push(token)
      counts[had ? 'before' : 'after']++
    }
    Object.assign(ada, { refreshToken: next.body.refresh_token })
    if (claimsOf(next.body.access_token).roles.includes('support')) t.fail('a refresh after the removal gives the role')
  }
  t.ok(counts.before > scale(100, 20) && counts.after > scale(100, 20), `${counts.before} tokens were issued before, ${counts.after} after`)
  for (const token of dead) await waitFor(async () => await says(other, token) === 401, 20)
  t.pass('and all of the former are refused elsewhere')
})
