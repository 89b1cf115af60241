import { Type } from '@sinclair/typebox'
import { register, requestRegistration } from '../../src/accounts/registration.ts'
import { email, name, newPassword, orNone, TokenResponse, username } from '../schemas.ts'
import { answerSignIn, signInMembers, signInRequestOf, type SignInOptions } from '../sign-in.ts'
import { contextOf, ref, strict, type Typed } from '../typed.ts'

const description = [
  'Creates an account and signs its user in. If the request carries a refresh cookie, the session of that',
  'cookie ends, as in a login. If the service requires verified addresses, it mails a link that creates the',
  'account instead. The response is then the same if the address is taken, and the owner of the address gets',
  'an email. When the link is used, the registration cookie proves who registered.'
].join(' ')

const verificationRequired = strict({ status: Type.Literal('verification_required') }, {
  description: 'The address must be verified first. The link in the email creates the account.',
  examples: [{ status: 'verification_required' }]
})

const registration: Typed<SignInOptions> = async (app, options) => {
  const { lifetimes, links, requiresVerification } = options
  app.post('/register', {
    schema: {
      operationId: 'register',
      tags: ['Sign-in'],
      summary: 'Sign up',
      description,
      security: [],
      body: strict({
        email,
        password: newPassword,
        name: Type.Optional(orNone(name)),
        username: Type.Optional(orNone(username)),
        ...signInMembers
      }, { examples: [{ email: 'ada@example.com', password: 'a phrase of my own', name: 'Ada Lovelace' }] }),
      response: { 201: ref(TokenResponse), 202: verificationRequired }
    },
    onRequest: app.assertHashingCapacity,
    config: {
      limit: 'password',
      problems: ['email_taken', 'username_taken', 'password_rejected', 'overloaded', 'database_unavailable']
    }
  }, async (request, reply) => {
    const { remember, refresh_token_delivery: delivery, ...user } = request.body
    if (user.username != null) await app.assertUsernameAvailable(user.username)
    const context = contextOf(request, links)
    if (requiresVerification) {
      const id = await requestRegistration(app, user, context)
      reply.setRegistrationCookie(id, links.emailVerificationSeconds)
      return reply.code(202).send({ status: 'verification_required' })
    }
    const signInRequest = await signInRequestOf(request, options, { remember, delivery })
    const { userId, completion } = await register(app, user, signInRequest, context)
    reply.code(201).setRegistrationCookie(userId, links.emailVerificationSeconds)
    return answerSignIn(reply, completion, { lifetimes, delivery })
  })
}

export default registration
