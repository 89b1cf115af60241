import { signInWithLink } from '../../src/accounts/magic-link.ts'
import { linkToken, TokenResponse } from '../schemas.ts'
import { answerSignIn, signInMembers, signInRequestOf, type SignInOptions } from '../sign-in.ts'
import { originOf, ref, strict, type Typed } from '../typed.ts'
import { addLinkRequestRoute } from './link-requests.ts'

const description = [
  'Creates a session. The link works once, and also verifies the address. If the address was not verified',
  'before, the password of the account becomes invalid, and all its sessions end. If the request carries a',
  'refresh cookie, the session of that cookie ends, as in a login.'
].join(' ')

/** The routes that sign in with a mailed link, without a password. */
const magicLink: Typed<SignInOptions> = async (app, options) => {
  const { lifetimes, links } = options
  await addLinkRequestRoute(app, {
    path: '/magic-link',
    kind: 'magic_link',
    operationId: 'requestMagicLink',
    summary: 'Request a link that signs in',
    purpose: 'Mails a link that signs in the user of the account with this address.',
    links
  })

  app.post('/magic-link/confirm', {
    schema: {
      operationId: 'followMagicLink',
      tags: ['Links'],
      summary: 'Sign in with a link',
      description,
      security: [],
      body: strict({ token: linkToken, ...signInMembers }, {
        examples: [{ token: linkToken['examples'][0] }]
      }),
      response: { 200: ref(TokenResponse) }
    },
    config: { limit: 'password', counted: 'logins', problems: ['link_expired', 'database_unavailable'] }
  }, async (request, reply) => {
    const { token, remember, refresh_token_delivery: delivery } = request.body
    const signInRequest = await signInRequestOf(request, options, { remember, delivery })
    const completion = await signInWithLink(app.db, token, signInRequest, originOf(request))
    return answerSignIn(reply, completion, { lifetimes, delivery })
  })
}

export default magicLink
