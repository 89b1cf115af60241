import * as mailbox from '../../src/accounts/email-links.ts'
import { linkToken, newPassword } from '../schemas.ts'
import { mailContextOf, originOf, queueTicket, strict, type Typed } from '../typed.ts'
import { asking } from './link-request.ts'
import type { SignInOptions } from './session.ts'

/** A new password for whoever reads the mail of an account. */
const passwordReset: Typed<SignInOptions> = async (app, { links }) => {
  await asking(app, { path: '/password-reset', kind: 'password_reset', operationId: 'requestPasswordReset', summary: 'Ask for a link to set a new password', does: 'Mails a link to the address of an account, which stays as it is until that is used.', links })

  app.post('/password-reset/confirm', {
    schema: {
      operationId: 'resetPassword',
      tags: ['Links'],
      summary: 'Set a new password with a link',
      description: 'Sets the password, once; every session of the user ends, and the devices they signed in on are strangers again. A password that is refused leaves the link as it was. It signs nobody in.',
      security: [],
      body: strict({ token: linkToken, new_password: newPassword }, { examples: [{ token: linkToken['examples'][0], new_password: 'another phrase of your own' }] }),
      response: { 204: { type: 'null', description: 'The password is set.' } }
    },
    onRequest: app.admitPassword,
    config: { limit: 'password', problems: ['link_expired', 'password_rejected', 'overloaded', 'database_unavailable'] }
  }, async (request, reply) => {
    const { token, new_password: password } = request.body
    app.revocations.add(await mailbox.resetPassword(app.db, app, token, password, mailContextOf(request, links), originOf(request), queueTicket(request)))
    app.jobs.wake('mail')
    return reply.code(204).send()
  })
}

export default passwordReset
