import * as mailbox from '../../src/accounts/mailbox.ts'
import { accepted, email, linkToken, TokenResponse } from '../schemas.ts'
import { lettersOf, originOf, ref, strict, type Typed } from '../typed.ts'
import { signedIn, signInOptions, type SignInOptions } from './session.ts'

/** Signing in without a password, by a link. */
const magicLink: Typed<SignInOptions> = async (app, { lifetimes, sessionLimit, links }) => {
  app.post('/magic-link', {
    schema: {
      operationId: 'requestMagicLink',
      tags: ['Links'],
      summary: 'Ask for a link that signs in',
      description: 'Mails a link to the address of an account that signs its user in. Whether there is such an account, and whether a mail was sent, does not show.',
      security: [],
      body: strict({ email }, { examples: [{ email: 'ada@example.com' }] }),
      response: { 202: accepted }
    },
    config: { limit: 'mail', problems: ['database_unavailable'] }
  }, async (request, reply) => {
    await mailbox.request(app.db, 'magic_link', request.body.email, lettersOf(request, links))
    app.jobs.wake('mail')
    return reply.code(202).send({ status: 'accepted' })
  })

  app.post('/magic-link/confirm', {
    schema: {
      operationId: 'followMagicLink',
      tags: ['Links'],
      summary: 'Sign in with a link',
      description: 'Opens a session, once. It proves the address too: where it had not been before, the password that the account has until then, and the sessions made with it, are void.',
      security: [],
      body: strict({ token: linkToken, ...signInOptions }, { examples: [{ token: linkToken['examples'][0] }] }),
      response: { 200: ref(TokenResponse) }
    },
    config: { limit: 'password', counted: 'logins', problems: ['link_expired', 'database_unavailable'] }
  }, async (request, reply) => {
    const { token, remember = false, refresh_token_delivery: delivery } = request.body
    const { session, ended } = await mailbox.followMagicLink(app.db, token, { remember, lifetimes, sessionLimit }, originOf(request))
    app.revocations.add(ended)
    return signedIn(app, reply, session, lifetimes, delivery)
  })
}

export default magicLink
