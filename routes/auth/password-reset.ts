import { resetPassword } from '../../src/accounts/password-reset.ts'
import { linkToken, newPassword } from '../schemas.ts'
import type { SignInOptions } from '../sign-in.ts'
import { contextOf, strict, type Typed } from '../typed.ts'
import { addLinkRequestRoute } from './link-requests.ts'

const description = [
  'Sets a new password. The link works once. All sessions of the user end, and all known devices are',
  'forgotten. If the password is rejected, the link stays valid. The caller is not signed in.'
].join(' ')

/** The routes that set a new password with a mailed link. */
const passwordReset: Typed<SignInOptions> = async (app, { links }) => {
  await addLinkRequestRoute(app, {
    path: '/password-reset',
    kind: 'password_reset',
    operationId: 'requestPasswordReset',
    summary: 'Request a link to set a new password',
    purpose: 'Mails a link to the address of an account. The account does not change until the link is used.',
    links
  })

  app.post('/password-reset/confirm', {
    schema: {
      operationId: 'resetPassword',
      tags: ['Links'],
      summary: 'Set a new password with a link',
      description,
      security: [],
      body: strict({ token: linkToken, new_password: newPassword }, {
        examples: [{ token: linkToken['examples'][0], new_password: 'another phrase of my own' }]
      }),
      response: { 204: { type: 'null', description: 'The password was set.' } }
    },
    onRequest: app.assertHashingCapacity,
    config: {
      limit: 'password', problems: ['link_expired', 'password_rejected', 'overloaded', 'database_unavailable']
    }
  }, async (request, reply) => {
    const { token, new_password: chosen } = request.body
    await resetPassword(app, { token, newPassword: chosen }, contextOf(request, links))
    return reply.code(204).send()
  })
}

export default passwordReset
