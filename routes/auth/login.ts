import { Type } from '@sinclair/typebox'
import { signInWithPassword } from '../../src/authentication/password-sign-in.ts'
import { validationFailed } from '../../src/http/problems.ts'
import { identify, type LoginName } from '../../src/users/credential.ts'
import { TokenResponse } from '../schemas.ts'
import { answerSignIn, signInMembers, signInRequestOf, type SignInOptions } from '../sign-in.ts'
import { contextOf, ref, strict, type Typed } from '../typed.ts'

const description = [
  'Creates a session for the account with this email address or username and password. Send either `email`',
  'or `username`. If the request carries a refresh cookie, the session of that cookie ends. If that session',
  'belongs to another user, it ends only if the new refresh token is delivered in the cookie.'
].join(' ')

const login: Typed<SignInOptions> = async (app, options) => {
  const { lifetimes, links, requiresVerification } = options
  app.post('/login', {
    schema: {
      operationId: 'login',
      tags: ['Sign-in'],
      summary: 'Sign in',
      description,
      security: [],
      body: strict({
        email: Type.Optional(Type.String({ maxLength: 320 })),
        username: Type.Optional(Type.String({ maxLength: 320 })),
        password: Type.String({ minLength: 1, maxLength: 1024 }),
        ...signInMembers
      }, { examples: [{ email: 'ada@example.com', password: 'a phrase of my own' }] }),
      response: { 200: ref(TokenResponse) }
    },
    onRequest: app.assertHashingCapacity,
    config: {
      limit: 'password',
      counted: 'logins',
      problems: [
        'invalid_credentials', 'account_disabled', 'email_not_verified', 'overloaded', 'database_unavailable'
      ]
    }
  }, async (request, reply) => {
    const { email, username, password, remember, refresh_token_delivery: delivery } = request.body
    const name = requireLoginName(email, username)
    const subject = await identify(app.db, name, { includesPending: requiresVerification })
    const context = contextOf(request, links)
    const attempt = { subject, password, device: request.device, ticket: context.ticket }
    const signInRequest = await signInRequestOf(request, options, { remember, delivery })
    const completion = await signInWithPassword(app, attempt, signInRequest, context)
    return answerSignIn(reply, completion, { lifetimes, delivery })
  })
}

/** Throws `validation_failed` unless the request has either an address or a username. */
function requireLoginName (email: string | undefined, username: string | undefined): LoginName {
  if (email !== undefined && username === undefined) return { email }
  if (username !== undefined && email === undefined) return { username }
  const detail = email === undefined ? 'is required (or `username`)' : 'must not be combined with `username`'
  throw validationFailed('Send either `email` or `username`.', [{ pointer: '/email', detail }])
}

export default login
