import { Type } from '@sinclair/typebox'
import { applyFor, register } from '../../src/accounts/registration.ts'
import { email, name, newPassword, orNone, TokenResponse, username } from '../schemas.ts'
import { mailContextOf, originOf, queueTicket, ref, replacedSessions, strict, type Typed } from '../typed.ts'
import { signedIn, signInOptions, type SignInOptions } from './session.ts'

const registration: Typed<SignInOptions> = async (app, { lifetimes, sessionLimit, links, requireVerification }) => {
  app.post('/register', {
    schema: {
      operationId: 'register',
      tags: ['Sign-in'],
      summary: 'Sign up',
      description: 'Makes an account and signs its user in. The session of a refresh cookie that the request carries ends, as with a login. If addresses must be verified first, it mails a link that makes the account instead. The answer is then the same for an address that is taken, whose owner is told by mail. It sets the registration cookie, which proves who registered when the mailed link is used.',
      security: [],
      body: strict({
        email,
        password: newPassword,
        name: Type.Optional(orNone(name)),
        username: Type.Optional(orNone(username)),
        ...signInOptions
      }, { examples: [{ email: 'ada@example.com', password: 'a long phrase of your own', name: 'Ada Lovelace' }] }),
      response: {
        201: ref(TokenResponse),
        202: strict({ status: Type.Literal('verification_required') }, { description: 'Addresses must be proved first: a link is mailed that makes the account.', examples: [{ status: 'verification_required' }] })
      }
    },
    onRequest: app.admitPassword,
    config: { limit: 'password', problems: ['email_taken', 'username_taken', 'password_rejected', 'overloaded', 'database_unavailable'] }
  }, async (request, reply) => {
    const { remember = false, refresh_token_delivery: delivery, ...asked } = request.body
    if (asked.username != null) await app.assertOpenUsername(asked.username)
    const mailContext = mailContextOf(request, links)
    if (requireVerification) {
      const id = await applyFor(app.db, app.passwords, asked, mailContext, queueTicket(request))
      app.jobs.wake('mail')
      reply.setRegistrationCookie(id, links.emailVerification)
      return reply.code(202).send({ status: 'verification_required' })
    }
    const replaced = await replacedSessions(request, delivery)
    const created = await register(app.db, app.passwords, asked, mailContext, { methods: ['pwd'], remember, lifetimes, sessionLimit, replaced }, originOf(request), queueTicket(request))
    app.jobs.wake('mail')
    reply.code(201).setRegistrationCookie(created.session.user.id, links.emailVerification)
    return signedIn(app, reply, created, { lifetimes, delivery })
  })
}

export default registration
