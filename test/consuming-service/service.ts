// Compiled in CI against the packed package, as another service would have it, and run against a Latchkey.
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import { Type } from '@sinclair/typebox'
import Fastify, { type FastifyInstance } from 'fastify'
import verifier, {
  AuthError, createVerifier, type Auth, type VerifierHealth, type VerifierOptions
} from 'latchkey/verifier'

const issuer = process.argv[2] ?? 'http://localhost:3000'
const options: VerifierOptions = {
  issuer, audience: issuer, clientId: process.env['CLIENT_ID'], clientSecret: process.env['CLIENT_SECRET']
}

const app = Fastify().withTypeProvider<TypeBoxTypeProvider>()
await app.register(verifier, options)
app.get('/me', { onRequest: app.requireAuth }, async ({ auth }) => {
  const { sub, roles }: Auth = auth
  return { sub, roles }
})
app.put('/orders/:number', {
  schema: {
    params: Type.Object({ number: Type.Number() }), headers: Type.Object({ authorization: Type.String() })
  },
  preHandler: [app.requireAuth, app.requireScope('orders:write')]
}, async request => ({ number: request.params.number + 1, by: request.auth.client_id }))
await app.register(async (scope: FastifyInstance) => {
  scope.addHook('onRequest', scope.requireRole('user', 'admin'))
  scope.get('/for-users', async ({ auth }) => auth.scope.includes('account'))
})

// @ts-expect-error: what a token says cannot be changed
export const change = (auth: Auth) => { auth.sub = 'root' }
// @ts-expect-error: nor can its lists
export const promote = (auth: Auth) => auth.roles.push('admin')
// @ts-expect-error: a client's own token has no session
export const session = (auth: Auth): string => auth.sid
// @ts-expect-error: an algorithm with a shared secret
export const shared: VerifierOptions = { ...options, algorithms: ['HS256'] }

const registered = await fetch(`${issuer}/v1/auth/register`, {
  method: 'POST',
  headers: { 'content-type': 'application/json' },
  body: JSON.stringify({
    email: `consumer-${Date.now()}@example.com`,
    password: 'a phrase for the consumer',
    refresh_token_delivery: 'body'
  })
})
const { access_token: token, user }: { access_token: string, user: { id: string } } = Object(
  await registered.json()
)
const authorization = `Bearer ${token}`
function expect (holds: boolean, what: string) {
  if (!holds) throw new Error(what)
}

const me = await app.inject({ url: '/me', headers: { authorization } })
expect(me.json().sub === user.id, `the user is another: ${me.body}`)
expect(
  (await app.inject({ url: '/for-users', headers: { authorization } })).body === 'true',
  'a user is not let in'
)
expect(
  (await app.inject({ method: 'PUT', url: '/orders/1', headers: { authorization } })).statusCode === 403,
  'a scope is not demanded'
)
expect(
  (await app.inject({ url: '/me', headers: { authorization: `${authorization}x` } })).statusCode === 401,
  'a changed token is let in'
)
const health: VerifierHealth = app.verifier.health()
expect(health.ready && health.keys.count > 0, JSON.stringify(health))
await app.close()

const core = createVerifier(options)
expect((await core.verify(token)).sub === user.id, 'the core finds another user')
const failure: unknown = await core.verify(`${token}x`).catch((error: unknown) => error)
expect(failure instanceof AuthError && failure.statusCode === 401, 'the core lets a changed token in')
core.close()
console.log(`Another service knows ${user.id} by the token alone.`)
