import { createPrivateKey } from 'node:crypto'
import t from 'tap'
import * as clients from '../../src/clients.ts'
import type { Answer } from '../client.ts'
import { build, person, type Service } from '../helper.ts'
import { compact, signers } from '../issuer.ts'

const claimsOf = (token: string) => JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString())
const signIn = async (service: Service, path = 'login', somebody = person()) => {
  const { body } = await service.browser().post(`/v1/auth/${path}`, { ...somebody, refresh_token_delivery: 'body' })
  return { somebody, id: body.user.id as string, sid: body.session_id as string, token: body.access_token as string, refreshToken: body.refresh_token as string }
}
const register = async (service: Service) => await signIn(service, 'register')
const grant = async (service: Service, id: string, roles: string[]) => { await service.sql('update users set roles = $2 where id = $1', [id, roles]) }
const refresh = async (service: Service, token: string): Promise<Answer> => await service.browser().post('/v1/auth/refresh', { refresh_token: token })
const says = async (service: Service, token: string, query = '') => (await service.browser().get(`/v1/auth/verify${query}`, { authorization: `Bearer ${token}` })).status
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

  await t.test('and a route demands any of the roles, and all of the scopes', async t => {
    await grant(service, ada.id, ['user', 'editor'])
    const { body: { access_token: token } } = await refresh(service, ada.refreshToken)
    for (const [query, status] of [['?roles=editor', 204], ['?roles=admin,editor', 204], ['?roles=admin', 403], ['?scope=articles:write%20account', 204], ['?scope=articles:write%20everything', 403], ['?roles=editor&scope=everything', 403], ['?roles=admin&scope=account', 403], ['?roles=edit', 403], ['?scope=articles', 403]] as const) t.equal(await says(service, token, query), status, query)
    t.match(await service.browser().get('/v1/admin/keys', { authorization: `Bearer ${token}` }), { status: 403, body: { code: 'forbidden' }, headers: { 'www-authenticate': /insufficient_scope/ } })

    const { kid, privateKey } = service.app.keyring.signer()
    const forge = (changes: object) => compact({ alg: 'ES256', typ: 'at+jwt', kid }, { ...claimsOf(token), ...changes }, signers['ES256']?.(createPrivateKey(privateKey)) ?? String)
    const me = async (changes: object) => (await service.browser().get('/v1/me', { authorization: `Bearer ${forge(changes)}` })).status
    t.strictSame([await me({}), await me({ scope: 'articles:read' }), await me({ scope: 'accounts' }), await me({ scope: '' })], [200, 403, 403, 403], 'the own account needs its scope')
    t.match(await service.browser().get('/v1/admin/keys', { authorization: `Bearer ${forge({ roles: ['admin'] })}` }), { status: 403 }, 'and an administrator is one by the database')
  })
})
