import { Type } from '@sinclair/typebox'
import { requestLink, type LinkKind } from '../../src/accounts/link-requests.ts'
import { signInWithPassword } from '../../src/authentication/password-sign-in.ts'
import { identify } from '../../src/users/credential.ts'
import { signInRequestOf, type SignInOptions } from '../sign-in.ts'
import { strict, type Typed } from '../typed.ts'
import { findSession } from './authorization-flow.ts'
import type { PageContext } from './context.ts'
import { continueAfterSignIn, readContinuation, rememberContinuation } from './continuation.ts'
import { refusedAs, sendFormPage } from './form-page.ts'
import { redirectToInbox } from './inbox.ts'
import { assertOwnForm, pageContextOf } from './page-request.ts'
import { renderForgot, renderSignIn } from './sign-in-views.ts'
import type { SentKind } from './texts/inbox.ts'

export interface SignInPageOptions { context: PageContext, signIn: SignInOptions }

const sealedRequest = Type.Optional(Type.String({ maxLength: 8_192 }))
const remember = Type.Optional(Type.Literal('true'))

/** The pages to sign in and to ask for a link. They keep the rules of the API's routes. */
const signInPages: Typed<SignInPageOptions> = async (app, { context, signIn }) => {
  app.get('/sign-in', { schema: { hide: true }, config: refusedAs(context, renderSignIn) },
    async (request, reply) => {
      const isForClient = Object(request.query).request !== undefined
      const session = isForClient ? undefined : await findSession({ request, links: signIn.links })
      return session
        ? reply.redirect(`${context.basePath}/signed-in`, 303)
        : await sendFormPage(request, reply, context, renderSignIn)
    })

  app.get('/forgot', { schema: { hide: true }, config: refusedAs(context, renderForgot) },
    async (request, reply) => await sendFormPage(request, reply, context, renderForgot))

  app.post('/sign-in', {
    schema: {
      hide: true,
      body: strict({
        identifier: Type.String({ minLength: 1, maxLength: 320 }),
        password: Type.String({ minLength: 1, maxLength: 1024 }),
        remember,
        request: sealedRequest
      })
    },
    onRequest: [assertOwnForm, app.assertHashingCapacity],
    config: { limit: 'password', counted: 'logins', ...refusedAs(context, renderSignIn) }
  }, async (request, reply) => {
    const { identifier, password, remember } = request.body
    const continuation = await readContinuation(request)
    // A username has no `@`, and an address has one.
    const name = identifier.includes('@') ? { email: identifier } : { username: identifier }
    const subject = await identify(app.db, name, { includesPending: signIn.requiresVerification })
    const requestContext = pageContextOf(request, context, signIn)
    const attempt = { subject, password, device: request.device, ticket: requestContext.ticket }
    const signInRequest = await signInRequestOf(
      request, signIn, { remember: remember === 'true', isOnPage: true })
    const completion = await signInWithPassword(app, attempt, signInRequest, requestContext)
    return await continueAfterSignIn(request, reply, completion, { context, signIn, continuation })
  })

  /** Adds a form that asks for a mail. Its answer is the same whether or not the account exists. */
  const addLinkRequest = (path: string, kind: LinkKind, sent: SentKind) => {
    const isForgot = path === '/forgot'
    const page = isForgot ? renderForgot : renderSignIn
    app.post(path, {
      schema: {
        hide: true,
        body: strict({
          identifier: Type.Optional(Type.String({ maxLength: 320 })),
          email: Type.Optional(Type.String({ maxLength: 320 })),
          // The button of the sign-in form submits its other fields, too. They have no effect here.
          password: Type.Optional(Type.String({ maxLength: 1024 })),
          remember,
          request: sealedRequest
        })
      },
      onRequest: assertOwnForm,
      config: { limit: 'mail', ...refusedAs(context, page) }
    }, async (request, reply) => {
      const { identifier = '', email = identifier } = request.body
      const continuation = await readContinuation(request)
      await requestLink(app.db, { kind, email }, pageContextOf(request, context, signIn).mail)
      rememberContinuation(reply, context, continuation)
      return redirectToInbox(reply, context, { sent, address: email, continuation })
    })
  }
  addLinkRequest('/sign-in/link', 'magic_link', 'sign-in')
  addLinkRequest('/sign-up/link', 'email_verification', 'sign-up')
  addLinkRequest('/forgot', 'password_reset', 'password')
}

export default signInPages
