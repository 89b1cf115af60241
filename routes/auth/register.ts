import { Type } from '@sinclair/typebox'
import * as accounts from '../../src/accounts.ts'
import { email, name, newPassword, orNone, TokenResponse, username } from '../schemas.ts'
import { originOf, ref, strict, turnOf, type Typed } from '../typed.ts'
import { signedIn, signInOptions, type SignInOptions } from './session.ts'

const register: Typed<SignInOptions> = async (app, { lifetimes }) => {
  app.post('/register', {
    schema: {
      operationId: 'register',
      tags: ['Sign-in'],
      summary: 'Sign up',
      description: 'Makes an account and signs its user in.',
      security: [],
      body: strict({
        email,
        password: newPassword,
        name: Type.Optional(orNone(name)),
        username: Type.Optional(orNone(username)),
        ...signInOptions
      }, { examples: [{ email: 'ada@example.com', password: 'a long phrase of your own', name: 'Ada Lovelace' }] }),
      response: { 201: ref(TokenResponse) }
    },
    onRequest: app.admitPassword,
    config: { limit: 'password', problems: ['email_taken', 'username_taken', 'password_rejected', 'overloaded', 'database_unavailable'] }
  }, async (request, reply) => {
    const { remember = false, refresh_token_delivery: delivery, ...registration } = request.body
    const session = await accounts.register(app.db, app.passwords, registration, { methods: ['pwd'], remember }, lifetimes, originOf(request), turnOf(request))
    reply.code(201)
    return signedIn(app, reply, session, lifetimes, delivery)
  })
}

export default register
