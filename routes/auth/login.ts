import { Type } from '@sinclair/typebox'
import { signInWithPassword } from '../../src/authentication/password-sign-in.ts'
import { validationFailed } from '../../src/http/problems.ts'
import { identify, type LoginName } from '../../src/users/credential.ts'
import { TokenResponse } from '../schemas.ts'
import { contextOf, ref, strict, type Typed } from '../typed.ts'
import { answerSignIn, signInMembers, signInRequestOf, type SignInOptions } from '../sign-in.ts'

const description = [
  'Creates a session for the account with this e-mail address or username (one of them) and password.',
  'If the request carries a refresh cookie, the session of that cookie ends. A session of another user ends only if',
  'the new refresh token is delivered in the cookie, too.'
].join(' ')

const login: Typed<SignInOptions> = async (app, options) => {
  const { lifetimes, links, requireVerification } = options
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
    onRequest: app.admitPassword,
    config: {
      limit: 'password',
      counted: 'logins',
      problems: [
        'invalid_credentials', 'account_disabled', 'email_not_verified', 'overloaded', 'database_unavailable'
      ]
    }
  }, async (request, reply) => {
    const { email, username, password, remember, refresh_token_delivery: delivery } = request.body
    const of = await identify(app.db, loginName(email, username), { includesPending: requireVerification })
    const context = contextOf(request, links)
    const presented = { of, password, device: request.device, ticket: context.ticket }
    const asked = await signInRequestOf(request, options, { remember, delivery })
    const completion = await signInWithPassword(app, presented, asked, context)
    return answerSignIn(reply, completion, { lifetimes, delivery })
  })
}

function loginName (email: string | undefined, username: string | undefined): LoginName {
  if (email !== undefined && username === undefined) return { email }
  if (username !== undefined && email === undefined) return { username }
  const detail = email === undefined ? 'is required (or `username`)' : 'must not be combined with `username`'
  throw validationFailed('Send either `email` or `username`.', [{ pointer: '/email', detail }])
}

export default login
