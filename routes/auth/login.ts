import { Type } from '@sinclair/typebox'
import * as accounts from '../../src/accounts/password-change.ts'
import { validationFailed } from '../../src/http/problem.ts'
import * as credentials from '../../src/users/credential.ts'
import { TokenResponse } from '../schemas.ts'
import { mailContextOf, originOf, queueTicket, ref, replacedSessions, strict, type Typed } from '../typed.ts'
import { signedIn, signInOptions, type SignInOptions } from './session.ts'

const login: Typed<SignInOptions> = async (app, { lifetimes, sessionLimit, links, requireVerification }) => {
  app.post('/login', {
    schema: {
      operationId: 'login',
      tags: ['Sign-in'],
      summary: 'Sign in',
      description: 'Opens a session for the account with this e-mail address or username (one of them) and password. If the request carries a refresh cookie, the session of that cookie ends. Another user\'s session ends only if the new refresh token is delivered in the cookie, too.',
      security: [],
      body: strict({
        email: Type.Optional(Type.String({ maxLength: 320 })),
        username: Type.Optional(Type.String({ maxLength: 320 })),
        password: Type.String({ minLength: 1, maxLength: 1024 }),
        ...signInOptions
      }, { examples: [{ email: 'ada@example.com', password: 'a long phrase of your own' }] }),
      response: { 200: ref(TokenResponse) }
    },
    onRequest: app.admitPassword,
    config: { limit: 'password', counted: 'logins', problems: ['invalid_credentials', 'account_disabled', 'email_not_verified', 'overloaded', 'database_unavailable'] }
  }, async (request, reply) => {
    const { email, username, password, remember = false, refresh_token_delivery: delivery } = request.body
    const named = await credentials.named(app.db, identifier(email, username), { pending: requireVerification })
    const claim = { of: named, password, device: request.device, ticket: queueTicket(request), verified: requireVerification }
    const replaced = await replacedSessions(request, delivery)
    const created = await accounts.signIn(app.db, app, claim, { methods: ['pwd'], remember, lifetimes, sessionLimit, replaced }, mailContextOf(request, links), originOf(request))
    app.jobs.wake('mail')
    return signedIn(app, reply, created, { lifetimes, delivery })
  })
}

function identifier (email: string | undefined, username: string | undefined) {
  if (email !== undefined && username === undefined) return { email }
  if (username !== undefined && email === undefined) return { username }
  throw validationFailed('Either the e-mail address or the username is needed, and not both.', [{ pointer: '/email', detail: email === undefined ? 'is required (or a username)' : 'is one too many beside the username' }])
}

export default login
