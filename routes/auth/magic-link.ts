import { signInWithLink } from '../../src/accounts/magic-link.ts'
import { linkToken, TokenResponse } from '../schemas.ts'
import { originOf, ref, strict, type Typed } from '../typed.ts'
import { linkRequestRoute } from './link-requests.ts'
import { answerSignIn, signInMembers, signInRequestOf, type SignInOptions } from '../sign-in.ts'

const description = [
  'Creates a session, once. The link also verifies the address. If the address was not verified before, the password',
  'that the account had until then becomes void, and the sessions made with it end. The session of a refresh cookie that',
  'the request carries ends, as with a login.'
].join(' ')

/** Signing in without a password, with a mailed link. */
const magicLink: Typed<SignInOptions> = async (app, options) => {
  const { lifetimes, links } = options
  await linkRequestRoute(app, {
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
      body: strict({ token: linkToken, ...signInMembers }, { examples: [{ token: linkToken['examples'][0] }] }),
      response: { 200: ref(TokenResponse) }
    },
    config: { limit: 'password', counted: 'logins', problems: ['link_expired', 'database_unavailable'] }
  }, async (request, reply) => {
    const { token, remember, refresh_token_delivery: delivery } = request.body
    const asked = await signInRequestOf(request, options, { remember, delivery })
    const completion = await signInWithLink(app.db, token, asked, originOf(request))
    return answerSignIn(reply, completion, { lifetimes, delivery })
  })
}

export default magicLink
