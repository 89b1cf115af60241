import * as mailbox from '../../src/accounts/email-links.ts'
import { linkToken, TokenResponse } from '../schemas.ts'
import { originOf, ref, replacedSessions, strict, type Typed } from '../typed.ts'
import { asking } from './link-request.ts'
import { signedIn, signInOptions, type SignInOptions } from './session.ts'

/** Signing in without a password, by a link. */
const magicLink: Typed<SignInOptions> = async (app, { lifetimes, sessionLimit, links }) => {
  await asking(app, { path: '/magic-link', kind: 'magic_link', operationId: 'requestMagicLink', summary: 'Ask for a link that signs in', does: 'Mails a link to the address of an account that signs its user in.', links })

  app.post('/magic-link/confirm', {
    schema: {
      operationId: 'followMagicLink',
      tags: ['Links'],
      summary: 'Sign in with a link',
      description: 'Opens a session, once. It proves the address too: where it had not been before, the password that the account has until then, and the sessions made with it, are void. The session of a refresh cookie that the request carries ends, as with a login.',
      security: [],
      body: strict({ token: linkToken, ...signInOptions }, { examples: [{ token: linkToken['examples'][0] }] }),
      response: { 200: ref(TokenResponse) }
    },
    config: { limit: 'password', counted: 'logins', problems: ['link_expired', 'database_unavailable'] }
  }, async (request, reply) => {
    const { token, remember = false, refresh_token_delivery: delivery } = request.body
    const replaced = await replacedSessions(request, delivery)
    const created = await mailbox.followMagicLink(app.db, token, { remember, lifetimes, sessionLimit, replaced }, originOf(request))
    return signedIn(app, reply, created, { lifetimes, delivery })
  })
}

export default magicLink
