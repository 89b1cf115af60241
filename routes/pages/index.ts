import { Type } from '@sinclair/typebox'
import type { SignInOptions } from '../sign-in.ts'
import type { Typed } from '../typed.ts'
import assets from './assets.ts'
import authorize from './authorize.ts'
import consent from './consent.ts'
import endSession from './end-session.ts'
import signOutPages from './sign-out.ts'
import { readContinuation } from './continuation.ts'
import { renderInbox, sentAddress } from './inbox.ts'
import { languageFor, rememberLanguage } from './language.ts'
import { pageHeaders } from './layout.ts'
import mailedLinks from './mailed-links.ts'
import { formType, parseForm } from './refused-form.ts'
import signInPages from './sign-in.ts'
import signUpPage from './sign-up.ts'
import startPage, { type StartOptions } from './start.ts'

export interface PagesOptions extends StartOptions { signIn: SignInOptions }

const noCors = { cors: { origin: false } }

/** The pages for people, on which they sign in, sign up, and use mailed links. They work without scripts. */
const pages: Typed<PagesOptions> = async (app, { signIn, ...start }) => {
  const { context } = start
  app.removeAllContentTypeParsers()
  app.addContentTypeParser(formType, { parseAs: 'string' }, (_request, body, done) => {
    done(null, parseForm(body.toString()))
  })
  await app.register(assets, { assets: context.assets })
  await app.register(startPage, start)

  // No other origin may read a page, not even one that may call the API: a page shows who is signed in.
  app.addHook('onRoute', route => {
    route.config = { ...route.config, ...noCors }
    const { method, url } = route
    if (method === 'GET') app.options(url, { schema: { hide: true }, config: noCors }, async () => {})
  })
  await app.register(mailedLinks, { context, signIn })
  await app.register(signInPages, { context, signIn })
  await app.register(signUpPage, { context, signIn })
  const { links } = signIn
  await app.register(authorize, { context, links })
  await app.register(consent, { context, links })
  await app.register(signOutPages, { context, links })
  await app.register(endSession, { context, links })

  const sent = Type.Union([Type.Literal('sign-in'), Type.Literal('password'), Type.Literal('sign-up')])
  app.get('/check-inbox', {
    schema: { hide: true, querystring: Type.Object({ sent: Type.Optional(sent) }) }
  }, async (request, reply) => {
    const continuation = await readContinuation(request)
    const language = languageFor(request, context.issuer)
    rememberLanguage(request, reply, context.issuer)
    const { sent = 'sign-in' } = request.query
    const address = sentAddress(request, context.issuer)
    const isSent = app.mailer.shown === undefined
    const page = renderInbox(context, { language, continuation, sent, address, lives: signIn.links, isSent })
    return reply.headers(pageHeaders(language)).send(page)
  })

  // Password managers open this address to change a password (W3C, A Well-Known URL for Changing Passwords).
  app.get('/.well-known/change-password', { schema: { hide: true } }, async (_request, reply) =>
    reply.redirect(`${context.basePath}/forgot`, 303))
}

export default pages
