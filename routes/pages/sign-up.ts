import { Type } from '@sinclair/typebox'
import { register, requestRegistration } from '../../src/accounts/registration.ts'
import { email, name, newPassword } from '../schemas.ts'
import { signInRequestOf } from '../sign-in.ts'
import { strict, type Typed } from '../typed.ts'
import { continueAfterSignIn, readContinuation, rememberContinuation } from './continuation.ts'
import { refusedAs, sendFormPage } from './form-page.ts'
import { redirectToInbox } from './inbox.ts'
import { assertOwnForm, pageContextOf } from './page-request.ts'
import { renderSignUp } from './sign-in-views.ts'
import type { SignInPageOptions } from './sign-in.ts'

/** The page to sign up. It keeps the rules of the API's route. */
const signUpPage: Typed<SignInPageOptions> = async (app, { context, signIn }) => {
  app.get('/sign-up', { schema: { hide: true }, config: refusedAs(context, renderSignUp) },
    async (request, reply) => await sendFormPage(request, reply, context, renderSignUp))

  app.post('/sign-up', {
    schema: {
      hide: true,
      body: strict({
        email,
        // A form sends an empty field, too.
        name: Type.Optional(Type.String({ ...name, minLength: 0 })),
        password: newPassword,
        request: Type.Optional(Type.String({ maxLength: 8_192 }))
      })
    },
    onRequest: [assertOwnForm, app.assertHashingCapacity],
    config: { limit: 'password', ...refusedAs(context, renderSignUp) }
  }, async (request, reply) => {
    const { email, password, name = '' } = request.body
    const continuation = await readContinuation(request)
    const user = { email, password, name: name.trim() === '' ? null : name }
    const requestContext = pageContextOf(request, context, signIn)
    const { links } = signIn
    if (signIn.requiresVerification) {
      const id = await requestRegistration(app, user, requestContext)
      reply.setRegistrationCookie(id, links.emailVerificationSeconds)
      rememberContinuation(reply, context, continuation)
      return redirectToInbox(reply, context, { sent: 'sign-up', address: email, continuation })
    }
    const signInRequest = await signInRequestOf(request, signIn, { isOnPage: true })
    const { userId, completion } = await register(app, user, signInRequest, requestContext)
    reply.setRegistrationCookie(userId, links.emailVerificationSeconds)
    return await continueAfterSignIn(request, reply, completion, { context, signIn, continuation })
  })
}

export default signUpPage
